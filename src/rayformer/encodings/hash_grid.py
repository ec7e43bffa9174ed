"""A learned encoding: features of a place from grids of rising resolution (`kernels/hash_grid.py` looks
them up).

HashGridConfig   how many levels, how fine, how large
HashGrid         the table as a parameter, and the look-up
spread           resolutions from coarsest to finest, each the same factor above the last
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.kernels.hash_grid import NGP_PRIMES, GridLayout, hash_grid


@dataclass(frozen=True, kw_only=True)
class HashGridConfig:
    levels: int = 8
    """Grids, from coarsest to finest."""
    features: int = 4
    """Numbers that a place has on each level: 1, 2, 4 or 8."""
    coarsest: int = 16
    """Cells across the box on the first level."""
    finest: int | None = None
    """Cells across the box on the last level; those between rise by one factor. none: as fine as the pixels
    of the photographs ask for."""
    log2_rows: int = 17
    """No level stores more than two to this many rows; finer levels share them by hashing."""

    def __post_init__(self):
        if self.levels < 1 or not 2 <= self.coarsest <= (self.finest or self.coarsest):
            raise ConfigError(
                "model.grid needs 1 level or more, and 2 <= coarsest <= finest, but levels is "
                f"{self.levels}, coarsest {self.coarsest} and finest {self.finest}."
            )
        if self.finest is None:
            replace(self, finest=self.coarsest)  # which refuses what works with no finest grid
        else:
            self.layout()

    def layout(self, primes: tuple[int, int, int] = NGP_PRIMES, shift: float = 0.0) -> GridLayout:
        """Raises ConfigError where a number cannot work, and where `finest` is still open."""
        if self.finest is None:
            raise ConfigError(
                "model.grid.finest must be a number of cells here, where no photographs suggest one."
            )
        resolutions = spread(self.coarsest, self.finest, self.levels)
        return GridLayout(
            resolutions=resolutions,
            features=self.features,
            log2_rows=self.log2_rows,
            primes=primes,
            shift=shift,
        )


class HashGrid(nn.Module):
    """Places in the unit box to features. `initial` bounds the uniform distribution that the table starts
    from.
    """

    def __init__(self, layout: GridLayout, initial: float = 1e-4):
        super().__init__()
        self.layout = layout
        self.size = layout.size
        """Features per place."""
        self.table = nn.Parameter(torch.empty(layout.rows, layout.features).uniform_(-initial, initial))

    def forward(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points features"]:
        """The features, in the precision of the table, under autocast too."""
        return hash_grid(places, self.table, self.layout)

    def extra_repr(self) -> str:
        layout = self.layout
        return f"resolutions={layout.resolutions}, features={layout.features}, rows={layout.rows:,}"


def spread(coarsest: int, finest: int, levels: int) -> tuple[int, ...]:
    """`levels` resolutions from coarsest to finest in equal ratios, rounded down (instant-ngp, eq. 2 and
    3).
    """
    if levels == 1:
        return (coarsest,)
    factor = (finest / coarsest) ** (1 / (levels - 1))
    return tuple(int(coarsest * factor**level + 1e-6) for level in range(levels))
