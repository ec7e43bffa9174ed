"""Where a token stands, as a vector that is added to it: in a sequence, as waves; in a picture, learned.

    sinusoidal         waves of falling frequency                                Vaswani et al. 2017, sec. 3.5
    resized            a grid of vectors for another number of places, by bicubic interpolation
    LearnedPositions   the grid as parameters, after vectors for tokens that stand nowhere

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929, sec. 3.2: pictures of another size ask for the same
vectors at other places between them.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def sinusoidal(
    tokens: int, width: int, first: int = 0, base: float | int = 10000, device: torch.device | None = None
) -> Float[Tensor, "tokens width"]:
    """sin(p / base^(2i / width)) and cos of the same, in turn, for the places p from `first` on.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. Nothing is learned, so there are vectors for places
    that no training has seen; and those of p + k are a rotation of those of p, the same for every p. An odd
    width ends on a sine.
    """
    # In double precision, which not every device has: the angles of far places would lose their digits.
    places = torch.arange(first, first + tokens, dtype=torch.float64)[:, None]
    angles = places * base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].float().to(device)


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
