"""Where tokens stand to each other, as a learned number that is added to what one answers another.

    RelativeBias    a number for each step between two places of a window, and each head
    resized_table   the same for windows of another size

Liu et al. 2021 (Swin), https://arxiv.org/abs/2103.14030, eq. 4.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class RelativeBias(nn.Module):
    """A table with a row for each of the (2 side - 1)^2 steps (down, right) inside a window of side x side
    places; steps down vary slowest. The bias of a query is that of the step from the key to it."""

    def __init__(self, side: int, heads: int):
        super().__init__()
        self.side = side
        self.table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, height: int, width: int) -> Float[Tensor, "heads tokens tokens"]:
        """The bias within a window of at most `side` places along each axis, which go row by row."""
        assert max(height, width) <= self.side, f"a window of {height}x{width} has steps beyond {self.side}"
        rows = steps(height, width, self.side, self.table.device)
        return self.table[rows.flatten()].T.unflatten(1, rows.shape).contiguous()


def steps(height: int, width: int, side: int, device: torch.device) -> Int[Tensor, "tokens tokens"]:
    """The row of the table for each query and key."""
    down = torch.arange(height, device=device).repeat_interleave(width)
    right = torch.arange(width, device=device).repeat(height)
    rows, columns = (place[:, None] - place[None, :] + side - 1 for place in (down, right))
    return rows * (2 * side - 1) + columns


def resized_table(table: Float[Tensor, "rows heads"], side: int) -> Float[Tensor, "_ heads"]:
    """A table for windows of `side` places, by bicubic interpolation, as Swin's authors fine-tune with larger
    windows."""
    was = round(len(table) ** 0.5)
    assert was * was == len(table), f"{len(table)} rows are no table of steps inside a square"
    if was == 2 * side - 1:
        return table
    picture = table.float().T.unflatten(1, (was, was))[None]
    return F.interpolate(picture, (2 * side - 1,) * 2, mode="bicubic")[0].flatten(1).T.to(table.dtype)
