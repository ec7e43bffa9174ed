"""Features of a lattice at places between its cells: bilinear in a picture, trilinear in a volume.

    Corners   which cells each place lies between, and how near it is to each of them
    corners   of places, in units of cells: the middle of cell i lies at i + 1/2
    gather    a table of features at such places; differentiable with respect to the table

This is what `grid_sample` does, with zeros outside. It is written anew because on a processor the way back
of `grid_sample` is slow. Here both ways are sums over rows of a table (`embedding_bag`): forward over the
cells around a place, backward over the places around a cell, found by a counting sort. Measured on two cores,
16 features at 147,000 places of a 32^3 volume: 50 ms before, 10 ms now. Features lie last, as the
convolutions like them (channels_last).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, eq=False)
class Corners:
    rows: Int[Tensor, "points _"]
    """The 2^dims cells around each place, by their rows in the lattice's table (the last axis runs
    fastest)."""
    weights: Float[Tensor, "points _"]
    """How much each counts: they add up to 1 within the lattice, to less in its outer half cells, and to 0
    outside."""
    count: int
    """Rows of the table."""


@torch.no_grad()
def corners(places: Float[Tensor, "points dims"], cells: Sequence[int]) -> Corners:
    """The cells around each of `places`, in a lattice of so many `cells` along each axis.

    Places may lie anywhere, also where they are no numbers: such count as outside.
    """
    rows = torch.zeros(1, len(places), dtype=torch.int32, device=places.device)
    weights = torch.ones(1, len(places), dtype=places.dtype, device=places.device)
    for place, count in zip(places.T.contiguous(), cells, strict=True):
        place = (place - 0.5).nan_to_num(-2.0).clamp(-2.0, count + 1.0)
        low = place.floor()
        share, low = place - low, low.int()
        sides = []
        for cell, weight in ((low, 1 - share), (low + 1, share)):
            there = (cell >= 0) & (cell < count)
            sides.append((cell.clamp(0, count - 1), weight * there))
        rows = torch.cat([rows * count + cell for cell, _ in sides])
        weights = torch.cat([weights * weight for _, weight in sides])
    return Corners(rows.T.contiguous(), weights.T.contiguous(), int(np.prod(cells)))


def gather(table: Float[Tensor, "rows features"], at: Corners) -> Float[Tensor, "points features"]:
    """The features at the places of `at`, in float32."""
    assert len(table) == at.count, f"a table of {len(table)} rows for a lattice of {at.count} cells"
    return _Gather.apply(table.float(), at.rows, at.weights.float())  # type: ignore[no-any-return]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.count = len(table)
        return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        if gradient.device.type != "cpu":
            into = gradient.new_zeros(ctx.count, gradient.shape[1])
            for row, weight in zip(rows.T, weights.T, strict=True):
                into.index_add_(0, row.long(), gradient * weight[:, None])
            return into, None, None
        starts = np.arange(0, rows.numel() + 1, rows.shape[1], dtype=np.int32)
        forth = csr_matrix(
            (weights.numpy().ravel(), rows.numpy().ravel(), starts), shape=(len(rows), ctx.count)
        )
        back = forth.tocsc()  # of each cell, the places that it counts for
        into = F.embedding_bag(
            torch.from_numpy(back.indices), gradient.contiguous(), torch.from_numpy(back.indptr[:-1]),
            mode="sum", per_sample_weights=torch.from_numpy(back.data),
        )  # fmt: skip
        return into, None, None
