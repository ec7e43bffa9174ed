"""Voxels that are kept only where there may be matter, and become finer as they are learned.

    VoxelGrid   a grid of links, and tables with a row for each voxel that is kept
      grow        a finer grid with the same content
      prune       voxels let go

Coarse to fine and pruned, as Plenoxels (Yu et al. 2022, https://arxiv.org/abs/2112.05131, section 3.4) and
DVGO (Sun et al. 2022, https://arxiv.org/abs/2111.11215) both do. Voxels stand at the corners of a lattice
that fills the cube [0, 1]^3; what lies between is their trilinear blend (`kernels/voxel_table.py`).

Axes: side, voxels along an axis; rows, voxels that are kept; channels, numbers of each.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from rayformer.kernels.voxel_table import voxel_values


class VoxelGrid(nn.Module):
    links: Int[Tensor, "side side side"]
    """The row of each voxel, -1 where none is kept. Rows are numbered in the order of the grid."""

    def __init__(self, side: int, tables: dict[str, tuple[int, float]], ways: dict[str, int]):
        """`tables` gives each table's channels and the value it starts from; `ways` how many rows a voxel
        has in it, where that is more than one."""
        super().__init__()
        self.ways = ways
        self.register_buffer("links", torch.arange(side**3, dtype=torch.int32).view(side, side, side))
        self.tables = nn.ParameterDict(
            {
                name: nn.Parameter(torch.full((side**3 * ways.get(name, 1), channels), start))
                for name, (channels, start) in tables.items()
            }
        )

    @property
    def side(self) -> int:
        return self.links.shape[0]

    @property
    def kept(self) -> Bool[Tensor, "side side side"]:
        return self.links >= 0

    def forward(
        self, name: str, positions: Float[Tensor, "points 3"], way: Int[Tensor, "points"] | None = None
    ) -> Float[Tensor, "points channels"]:
        """What the table called `name` says of places in the cube."""
        return voxel_values(positions, self.links, self.tables[name], self.ways.get(name, 1), way)

    # ------------------------------------------------------------------ fewer, and finer

    @torch.no_grad()
    def prune(self, kept: Bool[Tensor, "side side side"]) -> None:
        """Let go of the voxels that are not in `kept`."""
        kept = kept & self.kept
        rows = self.links[kept].long()
        if len(rows) == int(self.kept.sum()):
            return
        for name, table in self.tables.items():
            ways = self.ways.get(name, 1)
            chosen = table.view(-1, ways, table.shape[1])[rows]
            self.tables[name] = nn.Parameter(chosen.reshape(-1, table.shape[1]))
        self._number(kept)

    @torch.no_grad()
    def grow(self, side: int) -> None:
        """A lattice of another side whose voxels have the values that were found there; those are kept that
        some kept voxel reaches."""
        axis = torch.linspace(0, 1, side, device=self.links.device)
        kept = F.interpolate(
            self.kept[None, None].float(), size=(side,) * 3, mode="trilinear", align_corners=True
        )
        kept = kept[0, 0] > 0
        places = axis[kept.nonzero()]
        for name, table in self.tables.items():
            ways = self.ways.get(name, 1)
            if ways == 1:
                found = torch.cat([self(name, part) for part in places.split(2**18)])
            else:
                every = torch.arange(ways, device=places.device)
                parts = [
                    self(name, part.repeat_interleave(ways, 0), every.repeat(len(part)))
                    for part in places.split(2**18 // ways)
                ]
                found = torch.cat(parts)
            self.tables[name] = nn.Parameter(found.to(table.dtype))
        self.links = self.links.new_empty(side, side, side)
        self._number(kept)

    def _number(self, kept: Bool[Tensor, "side side side"]) -> None:
        numbers = kept.view(-1).cumsum(0, dtype=torch.int32).view(kept.shape) - 1
        self.links = torch.where(kept, numbers, -1)

    # ------------------------------------------------------------------ looking at it whole

    def dense(self, values: Float[Tensor, "rows"], empty: float) -> Float[Tensor, "side side side"]:
        """A number for each kept voxel laid out in space."""
        whole = values.new_full(self.links.shape, empty)
        whole[self.kept] = values
        return whole

    def neighbours(self, count: int, generator: Generator) -> Int[Tensor, "points 4"]:
        """Rows of `count` random kept voxels, and of their next ones along x, y and z: of itself where there
        is none. `generator` is on the device of the grid."""
        where = self.kept.view(-1).nonzero()[:, 0]
        chosen = where[torch.randint(len(where), (count,), generator=generator, device=where.device)]
        side = self.side
        place = torch.stack([chosen // side**2, chosen // side % side, chosen % side], dim=-1)
        steps = torch.cat([torch.zeros(1, 3), torch.eye(3)]).long().to(place.device)
        x, y, z = (place[:, None] + steps).clamp(max=side - 1).unbind(-1)
        rows = self.links[x, y, z].long()
        return torch.where(rows < 0, rows[:, :1], rows)


def most_within(values: Float[Tensor, "side side side"], cells: int) -> Float[Tensor, "cells cells cells"]:
    """The largest value that a blend of lattice values can take in each of `cells`^3 equal cells."""
    for axis in range(3):
        side = values.shape[axis]
        edges = torch.arange(cells + 1, device=values.device) * (side - 1) / cells
        low, high = edges[:-1].floor().long(), edges[1:].ceil().long()
        found = values.index_select(axis, low)
        for step in range(1, int((high - low).max()) + 1):
            found = torch.maximum(found, values.index_select(axis, torch.minimum(low + step, high)))
        values = found
    return values
