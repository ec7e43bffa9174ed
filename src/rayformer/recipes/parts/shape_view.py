"""A field of distances as pictures, beside the mesh that it was trained on.

pictures_of   from three sides, and cut through the middle
look          what one side shows of a surface: which rays meet it, where, and shaded how

The learned surface is met by sphere tracing the field itself, so that a picture shows what was learned and
not what a lattice kept of it. The true one is met in the same way, by the distance to its triangles. All
rays of a side are parallel.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rayformer.data.shapes.shape import Shape
from rayformer.geometry.sphere_tracing import box_stretch, trace
from rayformer.runs.pictures import Picture, distance_colours, error_colours, side_by_side

SIDES = {
    "1-front": (0.35, 0.3, 1.0),
    "2-behind": (-0.8, 0.2, -0.7),
    "3-above": (0.15, 1.0, 0.4),
}
"""Where one looks from; y is up."""
PIXELS = 256
CLOSE = 1e-3
"""A ray has met the surface where it is so near, in half sides of the cube."""
CAUTION = 0.8
"""Of steps by a learned distance, which may be too large."""
SHOWN_ERROR = 0.5
"""What is pale in a picture of errors, in percent of the shape's diagonal."""
CLAY, PAPER = (196, 178, 158), (255, 255, 255)

Distance = Callable[[Tensor], Tensor]
Normals = Callable[[Tensor], Tensor]


def pictures_of(distance: Distance, shape: Shape) -> dict[str, Picture]:
    """`distance` is the learned one, at any number of places."""

    def learned_normals(places: Tensor) -> Tensor:
        # Over a pixel's width: a grid's slope jumps from cell to cell, which no picture of this size shows.
        aside = shape.diagonal / PIXELS / 2 * torch.eye(3, dtype=torch.float64)
        slopes = [distance(places + one) - distance(places - one) for one in aside]
        return torch.nn.functional.normalize(torch.stack(slopes, dim=-1), dim=-1)

    def true_distance(places: Tensor) -> Tensor:
        return shape.surface.nearest(places).distance

    def true_normals(places: Tensor) -> Tensor:
        return shape.mesh.face_normals[shape.surface.nearest(places).face]

    pictures = {}
    for name, side in SIDES.items():
        learned, met = look(distance, learned_normals, side, shape.diagonal / 2, CAUTION)
        true, _ = look(true_distance, true_normals, side, shape.diagonal / 2, 1.0)
        there = met.isfinite().all(dim=-1)
        error = np.full(there.shape, np.nan)
        error[there.numpy()] = (true_distance(met[there]) * (100 / shape.diagonal)).numpy()
        pictures[f"sides/{name}"] = side_by_side(
            [Picture(learned), Picture(true), Picture(error_colours(error, SHOWN_ERROR))],
            ["learned", "true", f"off, 0 to {SHOWN_ERROR:g} %"],
            caption=f"{name[2:]}: the learned surface, the true one, and how far the first is from the "
            f"second, in percent of the diagonal (pale: {SHOWN_ERROR:g} % or more; grey: nothing)",
        )
    places, pixel = _slice()
    cuts = [
        distance_colours(one(places).view(PIXELS, PIXELS).numpy(), pixel)
        for one in (distance, shape.signed_distance)
    ]
    pictures["slice"] = side_by_side(
        [Picture(cut) for cut in cuts],
        ["learned", "true"],
        caption="cut through the middle, z = 0: red is inside, blue outside, a band to every tenth of the "
        "cube's half side; where distances are right, bands are evenly wide",
    )
    return pictures


def look(
    distance: Distance, normals: Normals, side: tuple[float, float, float], half: float, caution: float
) -> tuple[UInt8[np.ndarray, "height width 3"], Float[Tensor, "height width 3"]]:
    """A picture of the surface as seen from `side`, `half` to each border; and where each pixel's ray meets
    it, infinite where it does not."""
    back = torch.nn.functional.normalize(torch.tensor(side, dtype=torch.float64), dim=0)
    right = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).double(), back), dim=0
    )
    axes = torch.stack([right, torch.linalg.cross(back, right), back])
    x, y = _raster(half)
    origins = torch.stack([x, y, torch.full_like(x, 4.0)], dim=-1).view(-1, 3) @ axes
    directions = -back.expand_as(origins)
    along = trace(
        distance, origins, directions, *box_stretch(origins, directions, 1.0), close=CLOSE, caution=caution
    )
    met = along.isfinite()
    places = torch.full_like(origins, torch.inf)
    places[met] = origins[met] + along[met, None] * directions[met]
    picture = torch.tensor(PAPER, dtype=torch.float64).repeat(len(origins), 1)
    picture[met] = _shaded(normals(places[met]) @ axes.T)
    pixels = picture.view(PIXELS, PIXELS, 3).round().byte().numpy()
    return pixels, places.view(PIXELS, PIXELS, 3)


def _shaded(normals: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Clay in a light from above on the left, and a weak one from everywhere; `normals` are those that the
    camera sees: x right, y up, z towards it."""
    light = torch.nn.functional.normalize(torch.tensor([-0.4, 0.6, 0.7], dtype=torch.float64), dim=0)
    bright = 0.3 + 0.15 * normals[:, 1] + 0.65 * (normals @ light).clamp(min=0)
    return (bright[:, None] * torch.tensor(CLAY, dtype=torch.float64)).clamp(0, 255)


def _raster(half: float) -> tuple[Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """x to the right and y upward at the middles of the pixels."""
    at = half * ((2 * torch.arange(PIXELS, dtype=torch.float64) + 1) / PIXELS - 1)
    y, x = torch.meshgrid(-at, at, indexing="ij")
    return x, y


def _slice() -> tuple[Float[Tensor, "points 3"], float]:
    """The places of the pixels of a cut through the cube, and how wide a pixel is."""
    x, y = _raster(1.0)
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1).view(-1, 3), 2 / PIXELS
