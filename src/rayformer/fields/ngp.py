"""Instant-NGP: a radiance field whose memory is a table, and whose networks are small.

Müller et al. 2022, https://arxiv.org/abs/2201.05989. Read from the top:

    NGPConfig        what a recipe may change
    HashField        the field: a place looked up in grids, then two small networks        sec. 3 and 5.4
    NGP              stretches of rays where there may be matter, asked and composited     app. C
    NGP.loss         Huber's loss on the colours of rays, and a little against haze

What makes it quick: most of a ray is empty, and an occupancy grid knows where (`parts/occupancy.py`); what
is known of a place lies in eight look-ups per level instead of a deep network (`encodings/hash_grid.py`);
and the samples of all rays lie packed one after the other, as many to a ray as it needs
(`kernels/marching.py`, `kernels/compositing.py`).

Ours, where the paper leaves it open or a laptop asks for it: 8 levels of 4 features instead of 16 of 2,
which halves the look-ups; unbounded scenes by contraction instead of cascades of grids; the networks work
on as many samples at once as a processor's caches hold.

Axes: rays; samples, packed over all rays; cells of the occupancy grid along each axis.
Units: lengths in scene units, density in 1 / scene unit, colour in [0, 1] as stored (sRGB).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.hash_grid import HashGrid, HashGridConfig
from rayformer.encodings.spherical_harmonics import SphericalHarmonics
from rayformer.fields.parts.mlp import tiles
from rayformer.fields.parts.occupancy import Occupancy, OccupancyConfig
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.rays import Rays
from rayformer.kernels.compositing import composite_packed
from rayformer.kernels.hash_grid import known_features
from rayformer.kernels.marching import Packed, Space, march, unit_place
from rayformer.losses.histogram import distortion_packed
from rayformer.losses.photometric import huber

FIRST_ROUND = 16
"""Samples of a ray that are asked in the first round of rendering; each further round asks twice as many."""
CLEAR = 2e-3
"""Share of a ray's light that no eye misses: less than one level of 255 in a picture."""


Besides = Callable[[Float[Tensor, "points width"], Float[Tensor, "points 3"]], Float[Tensor, "points"]]
"""What the density network says of places, and the places in units of the cube, to the density of matter that
is there beside the field's own."""
Veil = Callable[
    [Float[Tensor, "samples width"], Float[Tensor, "samples 3"], Int[Tensor, "samples"]],
    Float[Tensor, "samples"],
]
"""The same for samples that know their rays: matter that one ray meets and another one does not."""


@dataclass(frozen=True, kw_only=True)
class NGPConfig:
    grid: HashGridConfig = HashGridConfig()
    occupancy: OccupancyConfig = OccupancyConfig()
    density_width: int = 64
    """Channels of the one hidden layer before the density."""
    places: int = 16
    """What the density network says of a place: the logarithm of its density, and what colour goes by."""
    colour_width: int = 64
    """Channels of each hidden layer of the colour network."""
    colour_depth: int = 2
    """Its hidden layers."""
    directions: int = 4
    """Degree of the spherical harmonics that tell colour the viewing direction, 1 to 4; 1 tells nothing."""
    steps_across: int | None = None
    """Steps that a ray takes across the space's inner cube, from face to face. none: about as many as
    pixels cover it."""
    cone: float = 1 / 64
    """In contracted space a step is at least this share of the distance to the camera."""
    stop: float = 1e-4
    """Light below which a ray goes no further."""
    faint: float = 1e-4
    """Share of a ray's colour below which a sample is passed over."""
    fog: float = 0.5
    """How dense the field is at first: the optical depth of the space's inner cube from face to face."""
    exposure: bool = False
    """Learn for each training view how much brighter or darker each channel is than the scene (three
    numbers); views that were not trained on are rendered as the scene is."""
    first_stride: float = 4.0
    """At first so many steps are taken as one, then ever fewer; there is no detail yet to miss."""
    huber: float = 0.1
    """The colour error from which on the loss grows with the error, no more with its square."""
    distortion: float = 1e-2
    """Weight of the loss that draws what a ray sees together: into surfaces, out of haze (mip-NeRF 360, eq.
    15). Distances t count as t / (1 + t) of the inner cube's half side."""
    most_samples: int = 1024
    """Samples that a ray may have at most."""

    def __post_init__(self):
        layers = ("density_width", "places", "colour_width", "colour_depth")
        for name in (*layers, "steps_across", "most_samples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        for name in ("cone", "stop", "faint"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")
        for name in ("fog", "huber", "first_stride"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"model.{name} must be above 0, but is {getattr(self, name)}.")
        if not 0 <= self.distortion < math.inf:
            raise ConfigError(f"model.distortion must be 0 or more, but is {self.distortion}.")
        if not 1 <= self.directions <= 4:
            raise ConfigError(f"model.directions must be 1 to 4, but is {self.directions}.")


class HashField(nn.Module):
    """The field. What colour may know of a place is what the density network passes on."""

    def __init__(self, config: NGPConfig, thin: float, looks: int = 0):
        """`thin` is the density, in 1 / scene unit, that the field starts from; `looks` the numbers that
        colour is told of each ray beside its direction: the light of its photograph, say."""
        super().__init__()
        self.grid = HashGrid(config.grid.layout())
        self.directions = SphericalHarmonics(config.directions)
        self.to_place = network(self.grid.size, config.density_width, 1, config.places)
        self.to_colour = network(
            config.places + self.directions.size + looks, config.colour_width, config.colour_depth, 3
        )
        self.thin = thin

    def density(self, features: Float[Tensor, "points features"]) -> Float[Tensor, "points"]:
        """Density at places of which the grid's features are known; alone, without colour."""
        return self.density_of(self.places(features))

    def places(self, features: Float[Tensor, "points features"]) -> Float[Tensor, "points width"]:
        """What the density network says of places of which the grid's features are known."""
        return torch.cat([self.to_place(part) for part in tiles(features)])

    def density_of(self, places: Float[Tensor, "points width"]) -> Float[Tensor, "points"]:
        """The exponential of the first channel, in float32."""
        return self.thin * _BoundedExp.apply(places[:, 0].float())  # type: ignore[operator]

    def told(
        self, directions: Float[Tensor, "rays 3"], looks: Float[Tensor, "rays dims"] | None
    ) -> Float[Tensor, "rays inputs"]:
        """What colour is told of each ray: the harmonics of its unit direction, and its look."""
        harmonics = self.directions(directions)
        return harmonics if looks is None else torch.cat([harmonics, looks.to(harmonics.dtype)], dim=-1)

    def colour_of(
        self, places: Float[Tensor, "points width"], told: Float[Tensor, "points inputs"]
    ) -> Float[Tensor, "points 3"]:
        """The colour of places, each seen as it is `told`."""
        both = torch.cat([places, told.to(places.dtype)], dim=-1)
        return torch.cat([torch.sigmoid(self.to_colour(part).float()) for part in tiles(both)])

    def forward(
        self,
        features: Float[Tensor, "samples features"],
        told: Float[Tensor, "rays inputs"],
        ray: Int[Tensor, "samples"],
    ) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples 3"]]:
        """Density and colour at places of which the grid's features are known, each seen as its ray is
        `told`."""
        densities, colours = [features.new_empty(0)], [features.new_empty(0, 3)]
        for part, which in zip(tiles(features), tiles(ray), strict=True):
            place = self.to_place(part)
            densities.append(self.density_of(place))
            colours.append(self.colour_of(place, told[which]))
        return torch.cat(densities), torch.cat(colours)


def even(rays: Rays) -> Rays:
    """The same half-lines with directions of length 1, so that a step is a length in NDC too."""
    lengths = rays.directions.norm(dim=-1)
    return rays.replaced(
        directions=rays.directions / lengths[:, None], near=rays.near * lengths, far=rays.far * lengths
    )


def network(inputs: int, width: int, depth: int, outputs: int) -> nn.Sequential:
    """Linear layers with ReLU between them, without biases, as in the original."""
    sizes = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=False), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(width, outputs, bias=False))


class _BoundedExp(torch.autograd.Function):
    """exp(x), with the slope of exp(15) beyond 15: what is opaque already need not explode."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[override]
        x = x.clamp(max=30)
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * x.clamp(-15, 15).exp()


class NGP(nn.Module):
    """The field in `space`, and where in it there may be matter."""

    needed: Float[Tensor, ""]
    """Samples that a ray had on average when last looked at."""
    stride: Float[Tensor, ""]
    """How many steps make one, while the field is still a fog."""

    def __init__(self, config: NGPConfig, space: Space, views: int = 0, looks: int = 0):
        """`views` is the number of training views, for their exposures; `looks` the numbers that colour is
        told of each ray beside its direction."""
        super().__init__()
        self.config, self.space = config, space
        self.exposure = nn.Parameter(torch.zeros(views, 3)) if config.exposure else None
        self.field = HashField(config, thin=config.fog / (2 * space.half), looks=looks)
        self.occupancy = Occupancy(config.occupancy, space)
        if config.steps_across is None:
            raise ConfigError("model.steps_across must be a number here, where no photographs suggest one.")
        self.step = 2 * space.half / config.steps_across
        self.cone = config.cone if space.contracted else 0.0
        self.register_buffer("needed", torch.tensor(float(config.steps_across)))
        self.register_buffer("stride", torch.tensor(1.0))

    @property
    def samples_per_ray(self) -> int:
        return max(1, round(float(self.needed)))

    def before_step(
        self,
        step: int,
        generator: Generator,
        some_rays: Callable[[int], Rays],
        besides: Besides | None = None,
    ) -> None:
        """Refresh the occupancy grid when it is due, and count how many samples a ray needs now. With
        `besides`, there is that much matter more."""
        every = self.config.occupancy.every
        if step % every:
            return
        self.stride.fill_(max(1.0, self.config.first_stride / 2 ** (step // (2 * every))))
        if step > 0:
            densities = partial(self._density_at, besides=besides) if besides else self._density_at
            self.occupancy.refresh(densities, self._lengths, generator, all_cells=step <= 4 * every)
        probe = even(some_rays(1024).to(self.needed.device))
        self.needed.fill_(max(1.0, len(self._march(probe, None)) / len(probe)))

    def _density_at(
        self, places: Float[Tensor, "points 3"], besides: Besides | None = None
    ) -> Float[Tensor, "points"]:
        said = self.field.places(self.field.grid(places))
        density = self.field.density_of(said)
        return density if besides is None else density + besides(said, places)

    def _lengths(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """How long a step through each place is: for a camera at the middle, near enough."""
        local = (
            (places * 4 - 2).abs().amax(dim=-1) if self.space.contracted else torch.zeros_like(places[:, 0])
        )
        distance = torch.where(local > 1, 1 / (2 - local).clamp(min=1e-2), local) * self.space.half
        return (distance * self.cone).clamp(min=self.step)

    def _march(self, rays: Rays, generator: Generator | None, most: int | None = None) -> Packed:
        jitter = None
        if generator is not None:
            jitter = torch.rand(len(rays), generator=generator, device=rays.origins.device)
        stride = float(self.stride)
        return march(
            rays.origins, rays.directions, rays.near, rays.far, self.occupancy.occupied, self.space,
            self.step * stride, self.cone * stride, jitter, most or self.config.most_samples,
        )  # fmt: skip

    def _positions(self, rays: Rays, packed: Packed) -> Float[Tensor, "samples 3"]:
        """The middles of the stretches, in units of the cube."""
        middle = (packed.begin + packed.end) / 2
        return unit_place(
            rays.origins[packed.ray] + middle[:, None] * rays.directions[packed.ray], self.space
        )

    def forward(
        self, rays: Rays, background: Float[Tensor, "rays 3"], generator: Generator | None = None
    ) -> Rendered:
        """What is seen along each ray, over a background. Without a generator, no jitter."""
        return self.look(rays, generator)[0].over(background)

    def look(
        self, rays: Rays, generator: Generator | None, looks: Float[Tensor, "rays dims"] | None = None
    ) -> tuple[Rendered, Packed]:
        """What is seen along each ray before black, and the samples it is made of."""
        lengths = rays.directions.norm(dim=-1)
        rays = even(rays)
        packed, _, features = self.samples(rays, generator)
        density, colour = self.field(features, self.field.told(rays.view_directions, looks), packed.ray)
        colour, opacity, depth, weights = composite_packed(
            density, colour, packed.begin, packed.end, packed.starts, self.config.stop
        )
        return Rendered(colour=colour, weights=weights, opacity=opacity, depth=depth / lengths), packed

    def samples(
        self, rays: Rays, generator: Generator | None, veil: Veil | None = None
    ) -> tuple[Packed, Float[Tensor, "samples 3"], Float[Tensor, "samples features"]]:
        """The samples of `even` rays that are worth asking: their stretches, places in units of the cube and
        features.

        Density is asked everywhere first, without gradients, that of a `veil` too. What lies behind an opaque
        surface, or is too thin to be seen, needs neither colour nor gradient: a quarter of the samples at
        first, two fifths of those of a learned scene (measured on photographs).
        """
        packed = self._march(rays, generator)
        positions = self._positions(rays, packed)
        with torch.no_grad():
            features = self.field.grid(positions)
            said = self.field.places(features)
            density = self.field.density_of(said)
            if veil is not None:
                density = density + veil(said, positions, packed.ray)
            none = density.new_empty(len(density), 0)
            *_, weights = composite_packed(
                density, none, packed.begin, packed.end, packed.starts, self.config.stop
            )
            seen = weights > self.config.faint
        packed, positions, features = packed.only(seen), positions[seen], features[seen]
        features = known_features(features, positions, self.field.grid.table, self.field.grid.layout)
        return packed, positions, features

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Losses:
        """Huber's loss on the colours of rays, and what draws matter together and holds exposures."""
        return self.judged(rays, *self.look(rays, generator, looks), colours, background)

    def judged(
        self,
        rays: Rays,
        seen: Rendered,
        packed: Packed,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
    ) -> Losses:
        """The loss of what `look` has seen."""
        terms = {}
        if self.exposure is not None:
            if rays.view is None:
                raise AssertionError("rays must know their views where views have exposures")
            # A camera that brightens the scene does not brighten what was put behind it afterwards.
            seen = replace(seen, colour=seen.colour * self.exposure.exp()[rays.view])
            # On average, exposures are that of the scene.
            terms["exposure"] = 1e-2 * self.exposure.mean(dim=0).square().sum()
        if self.config.distortion > 0:
            terms["distortion"] = self.config.distortion * self.spread(seen.weights, packed)
        terms["colour"] = huber(seen.over(background).colour, colours, self.config.huber)
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def spread(self, weights: Float[Tensor, "samples"], packed: Packed) -> Float[Tensor, ""]:
        """How far apart lies what a ray sees, as a mean over rays (mip-NeRF 360, eq. 15)."""
        begin, end = (t / (t + self.space.half) for t in (packed.begin, packed.end))
        return distortion_packed(begin, end, weights, packed.starts, packed.ray)

    rays_at_once = 16384
    """Rays of a picture that are best rendered at once: enough to work on in the last round too."""

    def render(
        self,
        rays: Rays,
        background: Float[Tensor, "rays 3"],
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Rendered:
        """What is seen along each ray, over a background, looked for in rounds from near to far: a ray that
        has met a surface takes no part in the next.

        A sample of less than CLEAR of a ray's light lends it no colour, and a ray with less than that left
        has arrived; both are made up for by brightening what is seen, so that what is opaque stays opaque."""
        if torch.is_grad_enabled():
            return self.look(rays, None, looks)[0].over(background)
        count, device = len(rays), rays.origins.device
        lengths = rays.directions.norm(dim=-1)
        rays = even(rays)
        told = self.field.told(rays.view_directions, looks)
        colour, coloured = torch.zeros(count, 3, device=device), torch.zeros(count, device=device)
        opacity, depth = torch.zeros(count, device=device), torch.zeros(count, device=device)
        alive, near, samples = torch.arange(count, device=device), rays.near, FIRST_ROUND
        while len(alive):
            here = rays[alive].replaced(near=near)
            packed = self._march(here, None, samples)
            places = self.field.places(self.field.grid(self._positions(here, packed)))
            density = self.field.density_of(places)
            none = density.new_empty(len(density), 0)
            _, thick, deep, weights = composite_packed(
                density, none, packed.begin, packed.end, packed.starts, self.config.stop
            )
            light = 1 - opacity[alive]
            weights = weights * light[packed.ray]
            # Haze is made of samples that are all too thin to be seen alone: its thickest ones lend the
            # colour.
            most = torch.zeros_like(light).scatter_reduce(0, packed.ray, weights, "amax")
            bar = torch.where(light * thick > CLEAR, (most / 2).clamp(max=CLEAR), CLEAR)
            seen = (weights > bar[packed.ray]).nonzero()[:, 0]
            ray = alive[packed.ray[seen]]
            raw = self.field.colour_of(places[seen], told[ray])
            colour.index_add_(0, ray, weights[seen, None] * raw)
            coloured.index_add_(0, ray, weights[seen])
            opacity[alive] += light * thick
            depth[alive] += light * deep
            full = packed.starts.diff() == samples  # there may be more
            on = full & (opacity[alive] < 1 - CLEAR)
            near = packed.end[(packed.starts[1:] - 1)[on]] if len(packed) else near[:0]
            alive, samples = alive[on], 2 * samples
        opacity = torch.where(opacity > 1 - CLEAR, 1.0, opacity)
        colour = colour * (opacity / coloured.clamp(min=CLEAR))[:, None]
        weights = opacity.new_empty(0)
        return Rendered(colour=colour, weights=weights, opacity=opacity, depth=depth / lengths).over(
            background
        )

    def radiance(
        self,
        positions: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        looks: Float[Tensor, "points dims"] | None = None,
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density and colour, each place seen along its own unit direction. Outside a box, and in cells
        known to be empty, there is nothing."""
        places = unit_place(positions, self.space)
        every = torch.arange(len(places), device=places.device)
        density, colour = self.field(self.field.grid(places), self.field.told(directions, looks), every)
        inside = ((places >= 0) & (places < 1)).all(dim=-1)
        cells = self.config.occupancy.cells
        x, y, z = (places * cells).long().clamp(0, cells - 1).unbind(-1)
        return torch.where(inside & self.occupancy.occupied[x, y, z], density, 0), colour
