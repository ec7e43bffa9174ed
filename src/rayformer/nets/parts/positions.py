"""Where a token stands in the picture, as a learned vector that is added to it.

    resized            a grid of vectors for another number of places, by bicubic interpolation
    LearnedPositions   the grid as parameters, after vectors for tokens that stand nowhere

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, sec. 3.2: pictures of another size ask for the same
vectors at other places between them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def resized(
    grid: Float[Tensor, "1 tokens width"],
    was: tuple[int, int],
    becomes: tuple[int, int],
    antialias: bool = True,
) -> Float[Tensor, "1 _ width"]:
    """The vectors of `was` = (rows, columns) places at `becomes` places, row by row.

    With `antialias` the kernel is Keys' cubic with a = -0.5, and widens where places become fewer, as timm
    has it; without, a = -0.75 and it does not, as DeiT and transformers have it.
    """
    if was == becomes:
        return grid
    picture = grid.float().unflatten(1, was).permute(0, 3, 1, 2)
    picture = F.interpolate(picture, becomes, mode="bicubic", align_corners=False, antialias=antialias)
    return picture.permute(0, 2, 3, 1).flatten(1, 2).to(grid.dtype)


class LearnedPositions(nn.Module):
    """A vector for each of `rows` x `columns` places. The first `others` vectors belong to tokens that are no
    patch, such as the class token: they have no place, so no interpolation touches them."""

    def __init__(self, rows: int, columns: int, width: int, others: int = 0):
        super().__init__()
        self.grid, self.others = (rows, columns), others
        self.table = nn.Parameter(torch.empty(1, others + rows * columns, width))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, rows: int, columns: int) -> Float[Tensor, "1 tokens width"]:
        if (rows, columns) == self.grid:
            return self.table
        others, grid = self.table.split([self.others, self.table.shape[1] - self.others], dim=1)
        return torch.cat([others, resized(grid, self.grid, (rows, columns))], dim=1)
