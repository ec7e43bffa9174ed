"""Triangles as a camera sees them: which one each pixel shows, where on it, and how deep.

    Raster          of every pixel: depth, triangle, place on the triangle
    rasterise       triangles in camera coordinates in, a Raster out
    rasterise_twin  the same in plain torch, every triangle against every pixel

A pixel shows what the ray through its centre meets first. With the ray d = (x, y, 1) through a pixel, in
camera coordinates, and the corners a, b, c of a triangle, the three products

    e_a = d . (b x c)    e_b = d . (c x a)    e_c = d . (a x b)

have one sign exactly where the ray meets the triangle; e / (e_a + e_b + e_c) are the weights of the corners
at the place that is met, perspective and all, and the depth there is a . (b x c) / (e_a + e_b + e_c) (Olano
and Greer 1997, https://doi.org/10.1145/258694.258723). Nothing is divided by a depth, so a triangle that
reaches behind the camera needs no clipping.

Camera coordinates here: x right, y down, z into the scene, and pixel centres at +0.5. Both sides of a
triangle are seen. A triangle is taken as larger by `SLACK` of itself, so that no ray slips between
neighbours; where two are met at one depth, the first one counts. The loop runs on the processor,
wherever the tensors lie.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class Raster:
    depth: Float[Tensor, "height width"]
    """Along the optical axis, in the unit of the corners; infinity where there is nothing. float32."""
    face: Int[Tensor, "height width"]
    """Which triangle; -1 where there is none. int64."""
    weights: Float[Tensor, "height width 3"]
    """Of its three corners at the place that is seen, their sum 1; 0 where there is none. float32."""


@torch.no_grad()
def rasterise(
    corners: Float[Tensor, "faces 3 3"],
    width: int,
    height: int,
    focal: tuple[float, float],
    centre: tuple[float, float],
    near: float | int = 0.0,
) -> Raster:
    """What a pinhole sees of triangles whose corners are given in its coordinates: x right, y down, z ahead.

    `focal` and `centre` are in pixels, x first. What is no deeper than `near` is not seen.
    """
    from rayformer.kernels.rasterise_numba import rasterise as on_processor

    given = corners.detach().double().cpu().contiguous().numpy()
    depth, face, weights = on_processor(given, width, height, focal, centre, near)
    tensors = (torch.from_numpy(array).to(corners.device) for array in (depth, face, weights))
    return Raster(*tensors)


@torch.no_grad()
def rasterise_twin(
    corners: Float[Tensor, "faces 3 3"],
    width: int,
    height: int,
    focal: tuple[float, float],
    centre: tuple[float, float],
    near: float | int = 0.0,
) -> Raster:
    """`rasterise` in plain torch. Memory grows with triangles times pixels."""
    if not len(corners):
        shape, device = (height, width), corners.device
        nothing = torch.full(shape, torch.inf, device=device)
        return Raster(nothing, nothing.new_full(shape, -1, dtype=torch.int64), nothing.new_zeros(*shape, 3))
    a, b, c = corners.double().unbind(1)
    x = (torch.arange(width, dtype=torch.float64, device=a.device) + 0.5 - centre[0]) / focal[0]
    y = (torch.arange(height, dtype=torch.float64, device=a.device) + 0.5 - centre[1]) / focal[1]
    columns, rows = torch.meshgrid(x, y, indexing="xy")
    ray = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    opposite = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)
    products = torch.einsum("hwi,fki->hwfk", ray, opposite)
    total = products.sum(-1)
    weights = products / total[..., None]
    depth = (a * opposite[:, 0]).sum(-1) / total
    met = (weights >= -SLACK).all(-1) & (depth > near) & depth.isfinite()
    depth = torch.where(met, depth, torch.inf)
    nearest, face = depth.min(dim=-1)
    seen = nearest.isfinite()
    weights = weights.gather(2, face[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
    return Raster(
        nearest.float(),
        torch.where(seen, face, -1),
        torch.where(seen[..., None], weights, 0.0).float(),
    )
