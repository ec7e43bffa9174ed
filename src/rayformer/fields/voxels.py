"""Voxels: a scene as numbers on a lattice, without a network, or nearly so.

    VoxelsConfig     what a recipe may change
    VoxelField       density and colour at places, in one of three ways
      TableColour      a colour for every voxel and every direction it is seen from: V[x, y, z, theta, phi]
      HarmonicColour   Plenoxels, Yu et al. 2022, https://arxiv.org/abs/2112.05131                     eq. 2
      NetworkColour    DVGO, Sun et al. 2022, https://arxiv.org/abs/2111.11215                         eq. 8
    Voxels           rays through it, coarse to fine, pruned
    Voxels.loss      squared error of colours, and what each paper adds

V[x, y, z, theta, phi] -> (RGB, density) can be written down as a table and trained: three numbers for each
of some dozen directions at every voxel. It is what one would do first and nobody does: 128^3 voxels with 72
directions take 1.8 GB, and a direction that no photograph looked along has learned nothing. Plenoxels says
the same with nine smooth functions of the direction, DVGO with a small network that all voxels share.

Density is a property of a place in all three: a table that had one for each direction could let a wall vanish
from one side.

Post-activation (DVGO, section 4.2): raw values are blended first and made positive after, so that a surface
can be sharper than a voxel. Plenoxels' ReLU does so too.

Axes: rays; samples, packed over all rays; side, voxels along an axis; rows, voxels that are kept.
Units: lengths in scene units, density in 1 / scene unit, colour in [0, 1] as stored (sRGB).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.encodings.spherical_harmonics import SphericalHarmonics
from rayformer.fields.parts.mlp import tiles
from rayformer.fields.parts.occupancy import fog_bar
from rayformer.fields.parts.volume import Rendered
from rayformer.fields.parts.voxel_grid import VoxelGrid, most_within
from rayformer.geometry.rays import Rays
from rayformer.kernels.compositing import composite_packed
from rayformer.kernels.marching import Packed, Space, march, unit_place
from rayformer.losses.photometric import squared_error
from rayformer.losses.smoothness import total_variation


@dataclass(frozen=True, kw_only=True)
class VoxelsConfig:
    kind: Literal["plenoxels", "dvgo", "table"] = "plenoxels"
    """How a voxel says its colour: spherical harmonics (Plenoxels), features for a shallow network (DVGO),
    or a table with an entry for every direction."""
    sides: tuple[int, ...] = (48, 72, 112, 160)
    """Voxels along each axis: coarse to fine."""
    grow_at: tuple[int, ...] = (100, 250, 500)
    """The steps at which the grid becomes finer, one less than there are sides."""
    density: Literal["auto", "relu", "softplus"] = "auto"
    """What makes density positive, after blending; auto takes relu for plenoxels and softplus otherwise."""
    harmonics: int = 3
    """plenoxels: degree of the spherical harmonics plus one; 3 gives 9 numbers for each colour channel."""
    features: int = 12
    """dvgo: numbers of a voxel that the network reads."""
    width: int = 64
    """dvgo: channels of the network's hidden layers; the paper has 128."""
    depth: int = 2
    """dvgo: its hidden layers."""
    bins: tuple[int, int] = (6, 12)
    """table: directions told apart, by their angle to the z axis and round it."""
    step: float = 0.5
    """How long a step along a ray is, in voxels."""
    cells: int = 96
    """Cells along each axis of the grid that says where to march; a multiple of 4."""
    every: int = 16
    """Steps between looks at where there may be matter."""
    opaque: float = 0.005
    """A cell is empty, and its voxels are let go when the grid grows, if one step through it would take less
    than this share of the light."""
    fog: float = 0.5
    """How dense the field is at first: the optical depth of the space's inner cube from face to face."""
    faint: float = 1e-4
    """Share of a ray's colour below which a sample is passed over."""
    smooth_density: float = 1e-4
    """Weight of the total variation of the raw density (Plenoxels, eq. 4), in units of one voxel's."""
    smooth_colour: float = 1e-3
    """Likewise of whatever else a voxel holds."""
    entropy: float = 1e-3
    """Weight of the entropy of a ray's opacity, which makes it all or nothing (DVGO, eq. 11)."""
    point_colour: float = 0.01
    """Weight of the error of each sample's own colour, by its share in the ray's (DVGO, eq. 10)."""
    cone: float = 1 / 128
    """In contracted space a step is at least this share of the distance to the camera."""

    def __post_init__(self):
        if len(self.grow_at) != len(self.sides) - 1 or any(b <= a for a, b in pairwise((0, *self.grow_at))):
            raise ConfigError(
                "model.grow_at must name one rising step fewer than model.sides has sizes, "
                f"but they are {self.grow_at} and {self.sides}."
            )
        if min(self.sides) < 4 or max(self.sides) > 1024 or any(b <= a for a, b in pairwise(self.sides)):
            raise ConfigError(f"model.sides must rise from 4 or more to 1024 at most, but are {self.sides}.")
        if not 1 <= self.harmonics <= 4:
            raise ConfigError(f"model.harmonics must be 1 to 4, but is {self.harmonics}.")
        for name in ("features", "width", "depth", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if min(self.bins) < 1 or math.prod(self.bins) > 4096:
            raise ConfigError(f"model.bins must be 1 or more, 4096 together at most, but are {self.bins}.")
        if self.cells < 4 or self.cells % 4 or self.cells > 512:
            raise ConfigError(f"model.cells must be a multiple of 4 from 4 to 512, but is {self.cells}.")
        for name in ("step", "fog"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"model.{name} must be above 0, but is {getattr(self, name)}.")
        for name in ("opaque", "faint", "cone"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")
        for name in ("smooth_density", "smooth_colour", "entropy", "point_colour"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"model.{name} must be 0 or more, but is {getattr(self, name)}.")

    @property
    def rectifies(self) -> bool:
        """Whether density goes through a ReLU."""
        return self.density == "relu" or (self.density == "auto" and self.kind == "plenoxels")

    @property
    def colour_channels(self) -> int:
        """Numbers in a row of the colour table."""
        return {"plenoxels": 3 * self.harmonics**2, "dvgo": self.features, "table": 3}[self.kind]

    @property
    def numbers(self) -> int:
        """Numbers of one voxel, its density included."""
        return 1 + self.colour_channels * (math.prod(self.bins) if self.kind == "table" else 1)


class HarmonicColour(nn.Module):
    """A colour as a few smooth functions of the direction, whose weights a voxel holds."""

    def __init__(self, degree: int):
        super().__init__()
        self.harmonics = SphericalHarmonics(degree)
        self.start, self.ways = 0.0, 1

    def told(self, directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays inputs"]:
        return self.harmonics(directions)

    def forward(
        self, values: Float[Tensor, "points channels"], told: Float[Tensor, "points inputs"]
    ) -> Float[Tensor, "points 3"]:
        """max(0, sum of weight times harmonic + 1/2), so that it starts grey."""
        return F.relu((values.view(len(values), 3, told.shape[1]) * told[:, None]).sum(dim=-1) + 0.5)


class NetworkColour(nn.Module):
    """A colour that a small network makes of a voxel's features and the direction."""

    def __init__(self, features: int, width: int, depth: int):
        super().__init__()
        self.directions = FourierEncoding(3, 4, include_input=True)
        self.start, self.ways = 0.0, 1
        sizes = [features + self.directions.size, *[width] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        last = nn.Linear(width, 3)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(*layers, last)

    def told(self, directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays inputs"]:
        return self.directions(directions)

    def forward(
        self, values: Float[Tensor, "points channels"], told: Float[Tensor, "points inputs"]
    ) -> Float[Tensor, "points 3"]:
        both = tiles(torch.cat([values, told], dim=-1))
        return torch.cat([torch.sigmoid(self.network(part).float()) for part in both])


class TableColour(nn.Module):
    """A colour that stands in the table, in the row of the direction's bin."""

    def __init__(self, bins: tuple[int, int]):
        super().__init__()
        self.bins = bins
        self.start, self.ways = 0.5, math.prod(bins)

    def told(self, directions: Float[Tensor, "rays 3"]) -> Int[Tensor, "rays"]:
        """The bin of each unit direction: equal steps of the angle to the z axis, and of that round it."""
        down, around = self.bins
        theta = torch.arccos(directions[:, 2].clamp(-1, 1)) / math.pi
        phi = torch.atan2(directions[:, 1], directions[:, 0]) / (2 * math.pi) % 1
        return (theta * down).long().clamp(0, down - 1) * around + (phi * around).long().clamp(0, around - 1)

    def forward(
        self, values: Float[Tensor, "points channels"], told: Int[Tensor, "points"]
    ) -> Float[Tensor, "points 3"]:
        return values


class VoxelField(nn.Module):
    """The field: what the voxels around a place say, blended."""

    def __init__(self, config: VoxelsConfig, space: Space):
        super().__init__()
        self.config = config
        self.colour = {
            "plenoxels": lambda: HarmonicColour(config.harmonics),
            "dvgo": lambda: NetworkColour(config.features, config.width, config.depth),
            "table": lambda: TableColour(config.bins),
        }[config.kind]()
        self.voxel = 2 * space.half / (config.sides[-1] - 1)
        """The side of the finest voxel in scene units: the unit of one over raw density."""
        thin = config.fog * self.voxel / (2 * space.half)
        self.shift = 0.0 if config.rectifies else math.log(math.expm1(thin))
        self.grid = VoxelGrid(
            config.sides[0],
            {
                "density": (1, thin if config.rectifies else 0.0),
                "colour": (config.colour_channels, self.colour.start),
            },
            {"colour": self.colour.ways},
        )

    def density(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """Density in 1 / scene unit at places of the unit cube."""
        return self.positive(self.grid("density", places)[:, 0])

    def positive(self, raw: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Raw density, blended already, as density."""
        return (F.relu(raw) if self.config.rectifies else F.softplus(raw + self.shift)) / self.voxel

    def told(self, directions: Float[Tensor, "rays 3"]) -> Tensor:
        """What colour goes by of each ray, made once for all of its samples."""
        return self.colour.told(directions)

    def colour_at(self, places: Float[Tensor, "points 3"], told: Tensor) -> Float[Tensor, "points 3"]:
        """The colour at places, each seen as it is told."""
        way = told if self.colour.ways > 1 else None
        return self.colour(self.grid("colour", places, way), told)


class Voxels(nn.Module):
    """The field in `space`, and where in it there may be matter."""

    occupied: Bool[Tensor, "cells cells cells"]
    visible: Bool[Tensor, "cells cells cells"]
    """Cells that a training camera sees; the others stay empty."""
    needed: Float[Tensor, ""]
    """Samples that a ray had on average when last looked at."""
    refreshed: Int[Tensor, ""]

    def __init__(self, config: VoxelsConfig, space: Space):
        super().__init__()
        self.config, self.space = config, space
        self.field = VoxelField(config, space)
        shape = (config.cells,) * 3
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("visible", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("needed", torch.tensor(2.0 * config.sides[0]))
        self.register_buffer("refreshed", torch.zeros((), dtype=torch.int64))

    @property
    def samples_per_ray(self) -> int:
        return max(1, round(float(self.needed)))

    @property
    def step(self) -> float:
        """In scene units."""
        return self.config.step * 2 * self.space.half / (self.field.grid.side - 1)

    def hide(self, visible: Bool[Tensor, "cells cells cells"]) -> None:
        """Leave out the cells that are not visible, and the voxels that touch no other, from now on."""
        self.visible.copy_(visible)
        self.occupied &= self.visible
        self.field.grid.prune(self._touching(self.occupied))

    # ------------------------------------------------------------------ coarse to fine

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        """Look where there may be matter when it is due; let go of voxels where there is none and make the
        rest finer when that is due."""
        growing = step in self.config.grow_at
        if step and (growing or step % self.config.every == 0):
            self._refresh()
        if growing:
            self.field.grid.prune(self._touching(self.occupied))
            self.field.grid.grow(self.config.sides[self.config.grow_at.index(step) + 1])
        if growing or step % self.config.every == 0:
            probe = some_rays(1024).to(self.needed.device)
            self.needed.fill_(max(1.0, len(self._march(probe, None)) / len(probe)))

    @torch.no_grad()
    def _refresh(self) -> None:
        """A cell is empty if a step through it would take next to nothing. While all is fog yet, no step
        takes much: at first all cells stay that are not well below the average."""
        grid = self.field.grid
        density = self.field.positive(grid.tables["density"][:, 0])
        enough = -math.log1p(-self.config.opaque) / self.step
        self.refreshed += 1
        bar = float(density.mean()) * fog_bar(int(self.refreshed))
        most = most_within(grid.dense(density, 0.0), self.config.cells)
        self.occupied.copy_((most > min(enough, bar)) & self.visible)

    def _touching(self, cells: Bool[Tensor, "cells cells cells"]) -> Bool[Tensor, "side side side"]:
        """The voxels that reach into one of `cells`, and one more around."""
        whole = F.max_pool3d(cells[None].float(), 3, 1, 1)[0]
        side = self.field.grid.side
        return most_within(whole, side) > 0 if side < self.config.cells else _nearest(whole, side) > 0

    # ------------------------------------------------------------------ rays

    def _march(self, rays: Rays, generator: Generator | None) -> Packed:
        jitter = None
        if generator is not None:
            jitter = torch.rand(len(rays), generator=generator, device=rays.origins.device)
        cone = self.config.cone if self.space.contracted else 0.0
        return march(
            rays.origins, rays.directions, rays.near, rays.far, self.occupied, self.space, self.step, cone,
            jitter, 2048,
        )  # fmt: skip

    def look(
        self, rays: Rays, generator: Generator | None
    ) -> tuple[Rendered, Float[Tensor, "points 3"], Float[Tensor, "points"], Int[Tensor, "points"]]:
        """What is seen along each ray before black; and of the samples that lend it colour that colour, the
        share and the ray.

        All samples have a density. Those that a ray hardly sees have no colour, which costs most.
        """
        packed = self._march(rays, generator)
        middle = (packed.begin + packed.end) / 2
        places = rays.origins[packed.ray] + middle[:, None] * rays.directions[packed.ray]
        places = unit_place(places, self.space)
        density = self.field.density(places)
        none = density.new_empty(len(density), 0)
        _, opacity, depth, weights = composite_packed(density, none, packed.begin, packed.end, packed.starts)
        seen = (weights.detach() > self.config.faint).nonzero()[:, 0]
        ray, share = packed.ray[seen], weights[seen]
        colour = self.field.colour_at(places[seen], self.field.told(rays.view_directions)[ray])
        whole = colour.new_zeros(len(rays), 3).index_add(0, ray, share[:, None] * colour)
        return Rendered(colour=whole, weights=weights, opacity=opacity, depth=depth), colour, share, ray

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """Squared error of the rays' colours, and what keeps voxels smooth and rays either open or shut."""
        config = self.config
        seen, colour, share, ray = self.look(rays, generator)
        terms = {"colour": squared_error(seen.over(background).colour, colours)}
        if config.entropy > 0:
            light = (1 - seen.opacity).clamp(1e-6, 1 - 1e-6)
            terms["entropy"] = (
                -config.entropy * (light * light.log() + (1 - light) * torch.log1p(-light)).mean()
            )
        if config.point_colour > 0:
            error = (colour - colours[ray]).square().mean(dim=-1)
            terms["point_colour"] = config.point_colour * (share.detach() * error).sum() / len(rays)
        weights = {"density": config.smooth_density, "colour": config.smooth_colour}
        for name, weight in weights.items():
            if weight > 0:
                terms[f"smooth_{name}"] = weight * self._variation(name, generator)
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def _variation(self, name: str, generator: Generator) -> Float[Tensor, ""]:
        """The total variation of one voxel in a hundred, 1,000 at least."""
        grid = self.field.grid
        table, ways = grid.tables[name], grid.ways.get(name, 1)
        rows = grid.neighbours(max(1000, len(table) // ways // 100), generator)
        # Unlike indexing, an embedding's gradient is summed in one order on processors.
        values = F.embedding(rows, table.view(-1, ways * table.shape[1]))
        return total_variation(values)

    rays_at_once = 8192
    """Rays of a picture that are best rendered at once."""

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        """What is seen along each ray, over a background."""
        return self.look(rays, None)[0].over(background)

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density and colour, each place seen along its own unit direction. Outside a box, and in cells
        known to be empty, there is nothing."""
        places = unit_place(positions, self.space)
        inside = ((places >= 0) & (places < 1)).all(dim=-1)
        x, y, z = (places * self.config.cells).long().clamp(0, self.config.cells - 1).unbind(-1)
        density = torch.where(inside & self.occupied[x, y, z], self.field.density(places), 0)
        return density, self.field.colour_at(places, self.field.told(directions)).clamp(0, 1)


def _nearest(values: Float[Tensor, "cells cells cells"], side: int) -> Float[Tensor, "side side side"]:
    """The value of the cell in which each corner of a lattice lies."""
    cells = len(values)
    index = (torch.arange(side, device=values.device) * cells // (side - 1)).clamp(max=cells - 1)
    return values[index][:, index][:, :, index]
