"""Triangles: a surface as places and who is joined to whom.

    Mesh        vertices and faces; normals, areas, volume, pieces, points drawn on it

Faces turn counter-clockwise as seen from outside, so that normals point outward and the volume of a closed
surface is positive.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rayformer.geometry.similarity import Similarity


@dataclass(frozen=True, eq=False)
class Mesh:
    vertices: Float[Tensor, "points 3"]
    faces: Int[Tensor, "faces 3"]
    """Rows of `vertices`, counter-clockwise from outside."""

    @property
    def _crosses(self) -> Float[Tensor, "faces 3"]:
        """Of each face: its normal, as long as twice its area."""
        a, b, c = self.vertices[self.faces].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    @property
    def areas(self) -> Float[Tensor, "faces"]:
        return self._crosses.norm(dim=-1) / 2

    @property
    def face_normals(self) -> Float[Tensor, "faces 3"]:
        """Unit outward normals of the faces; of one without area, nothing."""
        return torch.nn.functional.normalize(self._crosses, dim=-1, eps=1e-300)

    @property
    def diagonal(self) -> float:
        """From corner to corner of the box around all vertices."""
        return float((self.vertices.amax(dim=0) - self.vertices.amin(dim=0)).norm())

    def sample(
        self, count: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "points 3"], Int[Tensor, "points"]]:
        """Places drawn evenly by area, and the faces that they are on. At least one face has an area."""
        upto = self.areas.double().cumsum(0)
        drawn = torch.rand(count, generator=generator, dtype=torch.float64)
        face = torch.searchsorted(upto, drawn * upto[-1]).clamp(max=len(self.faces) - 1)
        # Half of a parallelogram: what falls into the other half is turned round into this one.
        share = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        share = torch.where(share.sum(dim=1, keepdim=True) > 1, 1 - share, share).to(self.vertices.dtype)
        a, b, c = self.vertices[self.faces[face]].unbind(1)
        return a + share[:, :1] * (b - a) + share[:, 1:] * (c - a), face

    @property
    def volume(self) -> float:
        """What a closed surface holds; of an open one, nothing that means anything."""
        return float((self.vertices[self.faces[:, 0]] * self._crosses).sum() / 6)

    @property
    def normals(self) -> Float[Tensor, "points 3"]:
        """Unit outward normals at the vertices: the mean over the faces around each, by area."""
        total = torch.zeros_like(self.vertices)
        for corner in range(3):
            total.index_add_(0, self.faces[:, corner], self._crosses)
        return torch.nn.functional.normalize(total, dim=-1)

    @property
    def is_closed(self) -> bool:
        """Whether every edge belongs to two faces that pass it in opposite directions: no border, no
        crease."""
        there = torch.cat([self.faces, self.faces.roll(-1, dims=1)], dim=1).view(-1, 2, 3).mT.reshape(-1, 2)
        codes = there[:, 0] * len(self.vertices) + there[:, 1]
        back = there[:, 1] * len(self.vertices) + there[:, 0]
        unique = codes.unique()
        return len(unique) == len(codes) and torch.equal(unique, back.unique())

    def moved(self, move: Similarity) -> "Mesh":
        return Mesh(move.points(self.vertices), self.faces)

    def pieces(self) -> Int[Tensor, "faces"]:
        """The number of the connected piece that each face belongs to, from 0."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ends = self.faces[:, [0, 1, 1, 2]].reshape(-1, 2).numpy()
        size = len(self.vertices)
        graph = coo_array((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
        _, of_vertex = connected_components(graph, directed=False)
        _, of_face = np.unique(of_vertex[self.faces[:, 0].numpy()], return_inverse=True)
        return torch.from_numpy(of_face.astype(np.int64))

    def only(self, kept: Bool[Tensor, "faces"]) -> "Mesh":
        """Some of the faces, and the vertices that they need."""
        used, faces = self.faces[kept].unique(return_inverse=True)
        return Mesh(self.vertices[used], faces)

    def without_small(self, share: float) -> "Mesh":
        """Only pieces with at least `share` of the area of the largest; 1 leaves the largest alone."""
        if not len(self.faces):
            return self
        pieces = self.pieces()
        areas = torch.zeros(int(pieces.max()) + 1, dtype=torch.float64).index_add_(
            0, pieces, self.areas.double()
        )
        return self.only((areas >= share * areas.max())[pieces])
