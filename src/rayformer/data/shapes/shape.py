"""A shape that a field of distances can be trained on: triangles in a cube, and how far away they are.

    ShapeConfig   which mesh, how large in the cube, and what to do with one that is not closed
    Shape         the mesh, its signed distance, its normals, and the way back to the data's coordinates
    framed        the similarity that puts a mesh into the cube

The cube reaches from -1 to 1 along each axis; all distances are in units of half its side.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rayformer.core.errors import ConfigError
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.similarity import Similarity
from rayformer.kernels.triangles import Triangles

NAMES = ("demo",)
"""What data.source can name."""
INSIDE = 0.5
"""The winding number from which on a place is inside."""


@dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    source: str = "demo"
    """A mesh (.obj, .ply, .stl, .glb, .off), a folder that holds one, or `demo`: a knotted rope, drawn."""
    fill: float = 0.8
    """The longest side of the mesh, as a share of the side of the cube that the field lives in."""
    open: Literal["winding", "refuse"] = "winding"
    """What becomes of a mesh that has holes or passes through itself. winding: inside is what its triangles
    go round more than half, which puts a smooth lid on a hole. refuse: it is not trained on."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of a drawn shape, and no path."""
        return self.source in NAMES

    def __post_init__(self):
        if not 0.05 <= self.fill <= 0.95:
            raise ConfigError(
                f"data.fill must be a share of the cube's side, 0.05 to 0.95, but is {self.fill:g}: "
                "a mesh needs some space around it"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Shape:
    mesh: Mesh
    """In the cube, facing outward, float64: all that is between inside and outside."""
    buried: Mesh
    """Triangles with inside on both sides, from parts that reach into each other: they count for what is
    inside, and are no surface."""
    frame: Similarity
    """From the data's coordinates to the cube's."""
    source: str
    format: str
    fingerprint: str
    closed: bool
    """Whether no edge of the mesh is a border, and it does not pass through itself."""
    remarks: tuple[str, ...] = ()

    @property
    def diagonal(self) -> float:
        """Of the box around the mesh, in units of half the cube's side: what errors are shares of."""
        return self.mesh.diagonal

    def signed_distance(
        self, points: Float[Tensor, "points 3"], within: Float[Tensor, "points"] | None = None
    ) -> Float[Tensor, "points"]:
        """The distance to the surface, negative inside; float64. `within`: how near the surface is known to
        be at least. Where a hole has its lid, the sign changes at once."""
        distance = self.surface.nearest(points, within).distance
        return torch.where(self.inside(points), -distance, distance)

    def inside(self, points: Float[Tensor, "points 3"]) -> Bool[Tensor, "points"]:
        return self._everything.winding(points) > INSIDE

    @cached_property
    def surface(self) -> Triangles:
        return Triangles(self.mesh.vertices[self.mesh.faces])

    @cached_property
    def _everything(self) -> Triangles:
        if not len(self.buried.faces):
            return self.surface
        more = self.buried.vertices[self.buried.faces]
        return Triangles(torch.cat([self.surface.corners, more]))


def framed(mesh: Mesh, fill: float) -> Similarity:
    """The middle of the mesh's box to the origin, and its longest side to `fill` times the cube's."""
    low, high = mesh.vertices.amin(dim=0), mesh.vertices.amax(dim=0)
    longest = float((high - low).max())
    assert 0 < longest < math.inf, f"a mesh with a volume has sides, not {longest}"
    scale = 2 * fill / longest
    return Similarity(scale, torch.eye(3, dtype=torch.float64), -scale * (low + high) / 2)
