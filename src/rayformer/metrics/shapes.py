"""How near two shapes are to each other: by their surfaces, by what they fill, by the way they face.

    Chamfer              mean distance from one surface to the other, and back
    chamfer              points drawn on each, and how far the other surface is from them
    normal_consistency   whether surfaces that lie on each other face alike
    volume_iou           what two shapes fill both, as a share of what either fills

Distances go from a drawn point to the other surface's nearest triangle, not to its nearest drawn point, so
that they are those of the surfaces however few points are drawn: two spheres about one centre are as far
apart as their radii.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from rayformer.core.errors import ShapeError
from rayformer.geometry.mesh import Mesh
from rayformer.kernels.triangles import Triangles


@dataclass(frozen=True)
class Chamfer:
    forth: float
    """Mean distance from the first surface to the second, in their units: what the first has too much."""
    back: float
    """And from the second to the first: what the first lacks."""
    normals: float
    """`normal_consistency` of the same points."""

    @property
    def mean(self) -> float:
        """The Chamfer distance: the mean of both ways, of distances that are not squared."""
        return (self.forth + self.back) / 2


def chamfer(one: Mesh, other: Mesh, generator: Generator, points: int = 30_000) -> Chamfer:
    """Distance and agreement of two surfaces, by `points` drawn on each. Raises ShapeError where one has no
    faces."""
    if not len(one.faces) or not len(other.faces):
        raise ShapeError(
            f"chamfer compares two surfaces, but they have {len(one.faces)} and {len(other.faces)} faces"
        )
    ways = [_way(one, other, generator, points), _way(other, one, generator, points)]
    forth, back = (float(distance.mean()) for distance, _ in ways)
    return Chamfer(forth, back, float(torch.cat([cosines for _, cosines in ways]).mean()))


def normal_consistency(one: Mesh, other: Mesh, generator: Generator, points: int = 30_000) -> float:
    """The mean, both ways, of |cosine| between the normal at a drawn point and that at the nearest place of
    the other surface: 1 for the same surface, 1/2 for directions that have nothing to do with each other."""
    return chamfer(one, other, generator, points).normals


def volume_iou(one: Bool[Tensor, "points"], other: Bool[Tensor, "points"]) -> float:
    """Of points drawn evenly in space: those inside of both over those inside of either; 1 where neither has
    any. The points say which space: all of a box, or a skin about the surface, where it is hard."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 1.0


def _way(
    one: Mesh, other: Mesh, generator: Generator, points: int
) -> tuple[Float[Tensor, "points"], Float[Tensor, "points"]]:
    """From points drawn on one surface to the other: distances, and |cosines| of the normals."""
    places, face = one.sample(points, generator)
    found = Triangles(other.vertices[other.faces]).nearest(places)
    cosines = (one.face_normals[face] * other.face_normals[found.face]).sum(dim=-1).abs()
    return found.distance, cosines.double()
