"""Where in space there may be matter: a grid of densities, refreshed while the field learns.

    OccupancyConfig   how fine, and when a cell counts as empty
    Occupancy         the grid as buffers, so that a checkpoint holds it

Müller et al. 2022, https://arxiv.org/abs/2201.05989, appendix C. Every so often the field is asked for its
density at random places in some of the cells; a cell remembers the largest answer, which fades. Rays then
pass over cells that are empty, in which most of their length lies.

Axes: cells, along x, y and z of the space's cube.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.kernels.marching import Space

Densities = Callable[[Float[Tensor, "points 3"]], Float[Tensor, "points"]]
"""Places in units of the cube, [0, 1]^3, to densities in 1 / scene unit."""


FOG_BAR = (0.5, 2.0)
"""A cell is kept, however thin, if it is so many times as dense as the average: at first, and later."""
FOG_REFRESHMENTS = 3


def fog_bar(refreshed: int) -> float:
    """How many times as dense as the average a cell must be, at the refreshment of this number, from 1 on,
    to be kept however thin it is."""
    return FOG_BAR[0] if refreshed <= FOG_REFRESHMENTS else FOG_BAR[1]


@dataclass(frozen=True, kw_only=True)
class OccupancyConfig:
    cells: int = 64
    """Along each axis; a multiple of 4, so that the border of a contracted space's inner cube is one of
    cells.
    """
    every: int = 16
    """Steps between refreshments."""
    asked: int = 65536
    """Cells asked in one of them: half drawn from all, half from those that are occupied."""
    fade: float = 0.8
    """What is left of a remembered density when its cell is asked again."""
    opaque: float = 0.01
    """A cell is empty if a step through it would take less than this share of the light; while all is fog
    yet, see `FOG_BAR`."""

    def __post_init__(self):
        if self.cells < 4 or self.cells % 4 or self.cells > 512:
            raise ConfigError(
                f"model.occupancy.cells must be a multiple of 4 from 4 to 512, but is {self.cells}."
            )
        if self.every < 1 or self.asked < 2:
            raise ConfigError(
                "model.occupancy.every must be at least 1 and model.occupancy.asked at least 2, "
                f"but they are {self.every} and {self.asked}."
            )
        if not (0 < self.fade < 1 and 0 < self.opaque < 1):
            raise ConfigError(
                "model.occupancy.fade and model.occupancy.opaque must lie strictly between 0 and 1, "
                f"but they are {self.fade} and {self.opaque}."
            )


class Occupancy(nn.Module):
    density: Float[Tensor, "cells cells cells"]
    """What each cell remembers, in 1 / scene unit."""
    occupied: Bool[Tensor, "cells cells cells"]
    visible: Bool[Tensor, "cells cells cells"]
    """Cells that a training camera sees; the others stay empty, whatever the field says of them."""
    refreshed: Int[Tensor, ""]
    """How often the grid has been."""

    def __init__(self, config: OccupancyConfig, space: Space):
        super().__init__()
        self.config, self.space = config, space
        shape = (config.cells,) * 3
        self.register_buffer("density", torch.zeros(shape))
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("visible", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("refreshed", torch.zeros((), dtype=torch.int64))

    def hide(self, visible: Bool[Tensor, "cells cells cells"]) -> None:
        """Leave out the cells that are not visible, from now on."""
        self.visible.copy_(visible)
        self.occupied &= self.visible

    @torch.no_grad()
    def refresh(
        self, densities: Densities, lengths: Densities, generator: Generator, all_cells: bool = False
    ) -> None:
        """Ask the field for some cells, and decide anew which are empty.

        `lengths` gives the length of a step through each place, in scene units. `generator` is on the
        processor.
        """
        config, device = self.config, self.density.device
        cells, flat = config.cells, self.density.view(-1)
        asked = self._chosen(generator, all_cells).to(device)
        within = torch.rand(len(asked), 3, generator=generator).to(device)
        corner = torch.stack([asked // cells**2, asked // cells % cells, asked % cells], dim=-1)
        places = (corner + within) / cells
        found = torch.cat([densities(part).float() for part in places.split(2**15)])
        flat[asked] = torch.maximum(flat[asked] * config.fade, found)
        self._decide(lengths)

    def _chosen(self, generator: Generator, all_cells: bool) -> Int[Tensor, "points"]:
        """Numbers of cells to ask; visible ones only, and every one of them at most once."""
        seen = self.visible.view(-1).nonzero()[:, 0].cpu()
        if all_cells or len(seen) <= self.config.asked:
            return seen
        half = self.config.asked // 2
        chosen = seen[torch.randint(len(seen), (half,), generator=generator)]
        full = (self.occupied & self.visible).view(-1).nonzero()[:, 0].cpu()
        if len(full) > half:
            full = full[torch.randint(len(full), (half,), generator=generator)]
        return torch.cat([chosen, full]).unique()

    def _decide(self, lengths: Densities) -> None:
        """A cell is occupied if a step through it takes `opaque` of the light.

        While matter gathers from a thin fog, no step takes so much. So at first all cells stay that are not
        well below the average density, and then those that are well above it.
        """
        enough = -math.log1p(-self.config.opaque) / self._step_lengths(lengths)
        average = self.density[self.visible].mean() if self.visible.any() else self.density.new_zeros(())
        self.refreshed += 1
        bar = average * fog_bar(int(self.refreshed))
        self.occupied.copy_((self.density > enough.clamp(max=float(bar))) & self.visible)

    def _step_lengths(self, lengths: Densities) -> Float[Tensor, "cells cells cells"]:
        middle = (torch.arange(self.config.cells, device=self.density.device) + 0.5) / self.config.cells
        if not self.space.contracted:  # the same everywhere
            return lengths(middle[:1, None].expand(1, 3)).view(1, 1, 1)
        grid = torch.cartesian_prod(middle, middle, middle)
        return lengths(grid).view(self.density.shape)
