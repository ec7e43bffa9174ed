"""Zip-NeRF: hash grids that are asked about cones instead of points, and so do not alias.

Barron et al. 2023, https://arxiv.org/abs/2304.06706. Read from the top:

    ZipNeRFConfig    what a recipe may change; the defaults are those of the paper's unbounded scenes
    ConeGrid         features of a piece of a cone: six places, averaged, fine levels faded     sec. 3.1
    Proposal         a small grid that knows density only, and tells where to look              sec. 3.2
    Radiance         the grid that is looked at: density, and colour as seen along a ray
    ZipNeRF          two proposals, then the picture; everything in contracted space
    ZipNeRF.loss     colour, proposals that cover it, weight that keeps together, small tables   sec. 3.2, 4

How cones become points is in `parts/multisample.py`, how proposals are taught in `losses/histogram.py`, how
far things come near in `geometry/contraction.py`. Where paper and released code differ, the code made the
published numbers and is followed.

Axes: rays; edges along a ray and the samples, intervals, between them; taps, the places that stand for an
interval; points = rays x samples, laid flat for the networks; levels of a grid.
Units: lengths in scene units, density in 1 / scene unit, colour in [0, 1] as stored (sRGB). `shares` are
distances along a ray measured so that they run from 0 to 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.encodings.hash_grid import HashGrid
from rayformer.fields.parts.mlp import JointLinear
from rayformer.fields.parts.multisample import TAPS, downweight, hexagon
from rayformer.fields.parts.stepfun import invert_cdf, resample_intervals, schlick_bias
from rayformer.fields.parts.volume import Rendered, composite, sample_weights
from rayformer.geometry.contraction import contract, contract_scale, ladder_distances, power_ladder
from rayformer.geometry.rays import Rays
from rayformer.kernels.hash_grid import ZIPNERF_PRIMES, GridLayout
from rayformer.losses.histogram import distortion, interlevel
from rayformer.losses.photometric import charbonnier

BOX = 2.0
"""The grids fill the cube from -2 to 2, which holds all of contracted space."""
HORIZON = 1e6
"""Where rays end in unbounded scenes, in scene units."""
RAY_LADDER = (-1.5, 2.0)
"""Power and scale of the distance in which the rays of unbounded scenes are divided."""
DISTORTION_LADDER = (-0.25, 1e4)
"""The same for the distance in which weight is kept together: nearly the logarithm, from 10^-4 on."""
START = 1e-4
"""Features start within this of zero."""
GAIN = 10.0
"""A table holds a tenth of its features, so that Adam's steps, which have one size, move them ten times as
far."""
RGB_PADDING = 0.001
"""Colours may leave [0, 1] by this much, so that black and white are within a sigmoid's reach."""


@dataclass(frozen=True, kw_only=True)
class ZipNeRFConfig:
    unbounded: bool = True
    """All of space, contracted, and rays without end. Off: the cube from -2 to 2, between the data's near and
    far, as for Blender scenes."""
    samples: tuple[int, int, int] = (64, 64, 32)
    """Intervals along a ray in each round; the first two only find out where the third should look."""
    coarsest: int = 16
    """Cells across the box on the first level of each grid; every level has twice as many as the one
    before."""
    finest: tuple[int, int, int] = (512, 2048, 8192)
    """Cells across the box on the last level of each round's grid: the first level's times a power of two."""
    log2_rows: int = 21
    """No level stores more than two to this many rows; finer levels share them by hashing."""
    features: int = 4
    """Numbers that a place has on each level of the last grid: 1, 2, 4 or 8. Proposals have one."""
    scale_features: bool = True
    """Tell the network beside each level's features how much of them the cone's width has left."""
    width: int = 64
    """Channels of the one hidden layer before each density."""
    bottleneck: int = 256
    """Numbers that colour is told of a place."""
    view_width: int = 256
    """Channels of the three layers that make a colour of them."""
    direction_octaves: int = 4
    """Sine and cosine pairs of the viewing direction, beside the direction itself."""
    blur: tuple[float, float] = (0.03, 0.003)
    """Half widths of the boxes that the picture's histogram is blurred with before the first and the second
    proposal must cover it, in shares of the ray."""
    interlevel: float = 0.01
    """Weight of the proposals' loss."""
    distortion: float = 0.01
    """Weight of the loss that draws the weight along a ray together."""
    decay: float = 0.1
    """Weight of the mean squares of what the grids' levels store; 10 in the paper's Blender scenes."""
    trust_steps: int = 25_000
    """Steps after which proposals are believed wholly; fast at first, a tenth of them reaches half."""

    def __post_init__(self):
        for cells in self.finest:
            levels = math.log2(max(cells, 1) / max(self.coarsest, 1))
            if self.coarsest < 2 or levels < 0 or levels != int(levels):
                raise ConfigError(
                    f"model.finest must be model.coarsest={self.coarsest}, itself at least 2, times powers "
                    f"of two, but holds {cells}."
                )
        if min(self.samples) < 2:
            raise ConfigError(f"model.samples must be 2 or more in each round, but are {self.samples}.")
        for name in ("width", "bottleneck", "view_width", "trust_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if not 0 <= self.direction_octaves <= 24:
            raise ConfigError(f"model.direction_octaves must be 0 to 24, but is {self.direction_octaves}.")
        if min(self.blur) <= 0:
            raise ConfigError(f"model.blur holds shares of a ray above 0, but is {self.blur}.")
        for name in ("interlevel", "distortion", "decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"model.{name} is a weight, 0 or more and finite, but is {getattr(self, name)}."
                )
        for number in range(3):
            self.layout(number)

    def layout(self, number: int) -> GridLayout:
        """The grid of round `number`, 0 to 2."""
        levels = int(math.log2(self.finest[number] / self.coarsest)) + 1
        return GridLayout(
            resolutions=tuple(self.coarsest * 2**level for level in range(levels)),
            features=self.features if number == 2 else 1,
            log2_rows=self.log2_rows,
            primes=ZIPNERF_PRIMES,
            shift=-0.5,
        )


class ConeGrid(nn.Module):
    """Features of the blob that some places with their deviations stand for."""

    resolutions: Tensor

    def __init__(self, layout: GridLayout, scale_features: bool):
        super().__init__()
        self.layout = layout
        self.scale_features = scale_features
        self.grid = HashGrid(layout, START / GAIN)
        self.size = layout.size + (layout.levels if scale_features else 0)
        self.register_buffer("resolutions", torch.tensor(layout.resolutions).float(), persistent=False)

    def forward(
        self, places: Float[Tensor, "points taps 3"], deviations: Float[Tensor, "points taps"]
    ) -> Float[Tensor, "points features"]:
        """The mean over the taps of each level's features, faded where the blob is wider than its cells."""
        kept = downweight(deviations, self.resolutions.to(deviations.dtype))
        points, taps, levels = kept.shape
        found = self.grid(places.flatten(0, 1)).view(points, taps, levels, -1)
        features = ((GAIN / taps) * kept[..., None] * found).sum(dim=1).flatten(1)
        if not self.scale_features:
            return features
        # Faded features and features that are zero look alike. This tells them apart, in the features' own
        # size.
        with torch.no_grad():
            size = (GAIN**2 * self.mean_squares() + START**2).sqrt()
            scale = size * (2 * kept.mean(dim=1) - 1)
        return torch.cat([features, scale.to(features.dtype)], dim=-1)

    def mean_squares(self) -> Float[Tensor, "levels"]:
        """Of the numbers that each level stores."""
        starts = self.layout.starts
        rows = [last - first for first, last in pairwise(starts)]
        levels = [level.flatten() for level in self.grid.table.split(rows)]
        return torch.stack([level.dot(level) / len(level) for level in levels])


class Proposal(nn.Module):
    """Density alone, from a small grid: where along a ray the next round should look."""

    def __init__(self, config: ZipNeRFConfig, number: int):
        super().__init__()
        self.grid = ConeGrid(config.layout(number), config.scale_features)
        self.hidden = nn.Linear(self.grid.size, config.width)
        self.to_density = nn.Linear(config.width, 1)

    def forward(
        self, places: Float[Tensor, "points taps 3"], deviations: Float[Tensor, "points taps"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points width"]]:
        """Density > 0, and what it was read from."""
        hidden = F.relu_(self.hidden(self.grid(places, deviations)))
        raw = self.to_density(hidden)[:, 0].to(places.dtype) - 1
        # Beyond e^30 nothing is more opaque; the gradient goes on, so that the way back stays open.
        return torch.exp(raw + (raw.clamp(max=30) - raw).detach()), hidden


class Radiance(Proposal):
    """Density from a finer grid, and colour, which alone is told the viewing direction."""

    def __init__(self, config: ZipNeRFConfig):
        super().__init__(config, 2)
        self.encode = FourierEncoding(3, config.direction_octaves)
        width, angles = config.view_width, self.encode.size
        self.to_bottleneck = nn.Linear(config.width, config.bottleneck)
        self.first = JointLinear(config.bottleneck, angles, width)
        self.second = nn.Linear(width, width)
        self.third = JointLinear(width + config.bottleneck, angles, width)  # sees the input once more
        self.to_colour = nn.Linear(width, 3)

    def colour(
        self, hidden: Float[Tensor, "points width"], directions: Float[Tensor, "rays 3"]
    ) -> Float[Tensor, "points 3"]:
        """Colour of each point; a ray's direction serves all of its points."""
        place, way = self.to_bottleneck(hidden), self.encode(directions)
        seen = F.relu_(self.second(F.relu_(self.first(place, way))))
        seen = F.relu_(self.third(torch.cat([seen, place], dim=-1), way))
        raw = self.to_colour(seen).to(directions.dtype)
        return torch.sigmoid(raw) * (1 + 2 * RGB_PADDING) - RGB_PADDING


@dataclass(frozen=True, eq=False)
class Round:
    """What one grid found along each ray."""

    shares: Float[Tensor, "rays edges"]
    edges: Float[Tensor, "rays edges"]
    """The same fenceposts as distances, in scene units."""
    weights: Float[Tensor, "rays samples"]


class ZipNeRF(nn.Module):
    """Three grids, asked one after the other along each ray; each looks where the one before found matter."""

    def __init__(self, config: ZipNeRFConfig):
        super().__init__()
        self.config = config
        self.proposals = nn.ModuleList(Proposal(config, number) for number in range(2))
        self.radiant = Radiance(config)
        self.trust = 1.0
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    @property
    def samples_per_ray(self) -> int:
        """Network queries per ray, over all rounds; each asks its grid six times."""
        return sum(self.config.samples)

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        """How far proposals are believed in training: not at all at first, when they know nothing yet. A
        function of the step, so that no buffer need keep it."""
        self.trust = schlick_bias(min(step / self.config.trust_steps, 1.0), 10.0)

    def forward(
        self, rays: Rays, background: Float[Tensor, "rays 3"], generator: Generator | None = None
    ) -> tuple[Rendered, list[Round]]:
        """The picture, and what the rounds found, the last of which it is made of. Without a generator, no
        jitter."""
        config, count = self.config, len(rays)
        shares = torch.linspace(0, 1, 2).to(rays.near).expand(count, 2)
        weights = torch.ones_like(rays.near[:, None])
        trust = 1.0 if generator is None else self.trust
        rounds = []
        for samples, net in zip(config.samples, [*self.proposals, self.radiant], strict=True):
            shares = resample_intervals(shares, weights, samples, generator, trust)
            edges = self._distances(rays, shares)
            positions, deviations = hexagon(rays, edges, generator)
            places, spreads = self._in_box(positions.view(-1, 3), deviations.view(-1))
            density, hidden = net(places.view(-1, TAPS, 3), spreads.view(-1, TAPS))
            density, lengths = density.view(count, samples), edges.diff(dim=-1)
            weights, _ = sample_weights(density, lengths)
            rounds.append(Round(shares, edges, weights))
        colour = self.radiant.colour(hidden, rays.view_directions).view(count, -1, 3)
        middles = (edges[:, 1:] + edges[:, :-1]) / 2
        return composite(density, colour, middles, lengths).over(background), rounds

    def _distances(self, rays: Rays, shares: Tensor) -> Tensor:
        """From shares to scene units."""
        if self.config.unbounded:
            return ladder_distances(shares, rays.near, torch.full_like(rays.far, HORIZON), *RAY_LADDER)
        return rays.near[:, None] + shares * (rays.far - rays.near)[:, None]

    def _in_box(
        self, positions: Float[Tensor, "points 3"], deviations: Float[Tensor, "points"]
    ) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points"]]:
        """Places and deviations in units of the grids' box, in contracted space if space is."""
        if self.config.unbounded:
            deviations = deviations * contract_scale(positions.detach())
            positions = contract(positions)
        return (positions + BOX) / (2 * BOX), deviations / (2 * BOX)

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """The colour's error, and what keeps the geometry sane, each with its weight already in it."""
        config = self.config
        picture, (*proposed, found) = self(rays, background, generator)
        cover = [
            interlevel(found.shares, found.weights, round.shares, round.weights, blur)
            for round, blur in zip(proposed, config.blur, strict=True)
        ]
        bent = power_ladder(found.edges, *DISTORTION_LADDER)
        squares = [net.grid.mean_squares().sum() for net in [*self.proposals, self.radiant]]
        terms = {
            "colour": charbonnier(picture.colour, colours),
            "interlevel": config.interlevel * torch.stack(cover).sum(),
            "distortion": config.distortion * distortion(bent, found.weights).mean(),
            "decay": config.decay / 2 * torch.stack(squares).sum(),
        }
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        """The picture. Its mean depth is where half of the light comes from nearer: a mean of distances would
        be that of the sky, wherever a little of it shines through."""
        picture, (*_, found) = self(rays, background)
        half = torch.full_like(rays.near[:, None], 0.5)
        median = invert_cdf(found.edges, found.weights.clamp(min=1e-12), half)[:, 0]
        return replace(picture, depth=picture.opacity * median)

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density and colour at points, as cones of no width see them."""
        places, spreads = self._in_box(positions, torch.zeros_like(positions[:, 0]))
        density, hidden = self.radiant(places[:, None], spreads[:, None])
        return density, self.radiant.colour(hidden, directions)
