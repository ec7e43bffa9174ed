"""Rays: half-lines with the stretch of them that is worth looking at.

    Rays          origins, directions, viewing directions, near and far, and how thick their cones are
    camera_rays   the rays of one camera, through every pixel or through given ones
    cast          the same for a batch in which every ray may have its own camera
    pixel_grid    the centres of all pixels of a picture

A point of a ray is `origin + t * direction` with `near <= t <= far`. Directions have length 1, so t is a
distance in scene units, except after the NDC warp (`geometry/ndc.py`); `view_directions` always are unit
vectors of the world.

A pixel sees a cone and not a line. `radii` is the radius of that cone at distance 1 along the unit direction,
as mip-NeRF has it (Barron et al. 2021, https://arxiv.org/abs/2103.13415, section 3.1): the distance to the
ray of the neighbouring pixel times 2 / sqrt(12), which gives a disc of the pixel's variance along x and y.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import spread, undistort


@dataclass(frozen=True, eq=False)
class Rays:
    origins: Float[Tensor, "rays 3"]
    directions: Float[Tensor, "rays 3"]
    """Unit length, except after the NDC warp."""
    view_directions: Float[Tensor, "rays 3"]
    """Unit length, in the world, whatever happened to `directions`."""
    near: Float[Tensor, "rays"]
    """Where the stretch worth looking at begins, in units of `directions`; likewise far."""
    far: Float[Tensor, "rays"]
    radii: Float[Tensor, "rays"] | None = None
    """Radius of the pixel's cone per unit of distance; None where a ray is no pixel's, and in NDC."""
    view: Int[Tensor, "rays"] | None = None
    """Which training view a ray is of, by its place among them; None for all other rays."""

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, which: slice | Tensor) -> "Rays":
        """Some of the rays, by a slice, a mask or a tensor of indices."""
        return Rays(
            self.origins[which],
            self.directions[which],
            self.view_directions[which],
            self.near[which],
            self.far[which],
            None if self.radii is None else self.radii[which],
            None if self.view is None else self.view[which],
        )

    def replaced(self, **parts: Tensor | None) -> "Rays":
        """The same rays with some of their parts replaced."""
        return replace(self, **parts)

    def to(self, device: torch.device | str | torch.dtype) -> "Rays":
        """The same rays on another device or in another precision."""
        return Rays(
            self.origins.to(device),
            self.directions.to(device),
            self.view_directions.to(device),
            self.near.to(device),
            self.far.to(device),
            None if self.radii is None else self.radii.to(device),
            self.view if self.view is None or isinstance(device, torch.dtype) else self.view.to(device),
        )

    def points(self, t: Float[Tensor, "rays samples"]) -> Float[Tensor, "rays samples 3"]:
        """The places at `t` along each ray."""
        return self.origins[:, None] + t[..., None] * self.directions[:, None]


def camera_rays(
    camera: Camera,
    pixels: Float[Tensor, "rays 2"] | None = None,
    *,
    near: float | int = 0.0,
    far: float | int = math.inf,
    dtype: torch.dtype = torch.float32,
) -> Rays:
    """The rays of `camera` through `pixels`: (x, y) coordinates with pixel centres at +0.5, not rounded to
    pixels.

    Without `pixels`, one ray through the centre of every pixel, row by row. The lens is inverted exactly.
    Everything is computed in float64 and returned as `dtype`.
    """
    pixels = pixel_grid(camera.width, camera.height) if pixels is None else pixels.double()
    lens = None if camera.lens.is_pinhole else camera.lens.coefficients[None]
    pose, intrinsics = camera.pose.double()[None], camera.intrinsics[None]
    pose, intrinsics = pose.to(pixels.device), intrinsics.to(pixels.device)
    lens = None if lens is None else lens.to(pixels.device)
    origins, directions, radii = (value.to(dtype) for value in cast(pixels, intrinsics, lens, pose))
    ones = torch.ones_like(origins[:, 0])
    return Rays(origins, directions, directions, near * ones, far * ones, radii)


def cast(
    pixels: Float[Tensor, "rays 2"],
    intrinsics: Float[Tensor, "#rays 4"],
    lenses: Float[Tensor, "#rays 5"] | None,
    poses: Float[Tensor, "#rays 4 4"],
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"], Float[Tensor, "rays"]]:
    """Origins, unit directions and radii of rays through `pixels`, each with its own fx fy cx cy, lens and
    pose.

    One call serves a batch drawn from any number of cameras; `lenses` None means pinholes. The precision is
    that of the arguments.
    """
    plane = (pixels - intrinsics[:, 2:]) / intrinsics[:, :2]
    apart = 1 / intrinsics[:, :2]  # from a pixel to its neighbours, on the plane at distance 1
    if lenses is not None:
        plane = undistort(plane, lenses)
        apart = apart * spread(plane, lenses)
    x, y = plane.unbind(-1)
    local = torch.stack([x, -y, -torch.ones_like(x)], dim=-1)  # OpenGL axes: y up, looking along -z
    directions = (poses[:, :3, :3] * local[:, None]).sum(dim=-1)  # faster than many small matrix products
    origins = poses[:, :3, 3].expand_as(directions)
    length = directions.norm(dim=-1)
    radii = (apart.mean(dim=-1) * (2 / math.sqrt(12))).expand_as(length) / length
    return origins, directions / length[:, None], radii


def pixel_grid(width: int, height: int) -> Float[Tensor, "pixels 2"]:
    """The (x, y) centres of all pixels, row by row, in float64."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5,
        torch.arange(width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2)
