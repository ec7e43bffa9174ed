"""NeRF: a scene as one function from (position, direction) to (density, colour).

Mildenhall et al. 2020, https://arxiv.org/abs/2003.08934. Read from the top:

    NeRFConfig        what a recipe may change; the defaults are the paper's
    RadianceMLP       the field: (position, direction) -> (density, colour)          fig. 7
      ViewColour      its last part, the only one that is told the direction
    NeRF              two passes along each ray: look everywhere, then look again
                      where the first pass found matter                              sec. 4, 5.2
    NeRF.loss         squared colour error of both passes                            eq. 6
    render            any field along any rays: query, then composite                eq. 3

Where the paper and its released code differ, the code made the published numbers and is followed. So the
field is asked *at* the sampled distances, not in the middle between them, and the density found there
stands for the stretch up to the next.

Axes: rays; samples along a ray, from near to far; points = rays x samples, laid flat for the network.
Units: lengths in scene units, density in 1 / scene unit, colour in [0, 1] as stored (sRGB).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.fields.parts.mlp import JointLinear, SkipMLP, initialise
from rayformer.fields.parts.stepfun import resample, stratified
from rayformer.fields.parts.volume import Rendered, composite, interval_lengths
from rayformer.geometry.rays import Rays
from rayformer.losses.photometric import squared_error


@dataclass(frozen=True, kw_only=True)
class NeRFConfig:
    position_octaves: int = 10
    """Sine and cosine pairs per position axis, each twice as fast as the last; 0: raw positions only."""
    direction_octaves: int = 4
    """The same for the viewing direction, which only colour may see."""
    include_input: bool = True
    """Raw coordinates beside their waves, as the released code has it and the paper does not."""
    pi: bool = False
    """Waves of frequency 2^k pi, as the paper writes, instead of 2^k, as the released code has it."""
    width: int = 256
    """Channels of each hidden layer; the colour layer has half as many."""
    depth: int = 8
    """Hidden layers before the density."""
    skip_after: int | None = 4
    """The layer, counted from 0, whose output the encoded position joins once more; none: no layer."""
    view_dependence: bool = True
    """Let colour see the viewing direction. Without, it is read off where density is, as in the code."""
    density: Literal["relu", "softplus"] = "relu"
    """What makes density positive. softplus never dies: it cures runs that collapse to plain background."""
    density_noise: float = 0.0
    """Deviation of the noise on the raw density in training, in 1 / scene unit; 1 in the paper's photos."""
    initial: Literal["glorot", "torch"] = "glorot"
    """How weights start: as the original's, or as PyTorch's own, with which density starts nearly flat."""
    coarse_samples: int = 64
    """Samples of the first pass, one in each of equal intervals."""
    fine_samples: int = 128
    """Samples added where the first pass found matter; the second field reads both. 0: one pass."""
    last_interval: float = 1e10
    """How far the last sample reaches, in units of the direction; 1e10 makes the end of the ray a wall."""

    def __post_init__(self):
        for name, least in {"position_octaves": 0, "direction_octaves": 0, "width": 2, "depth": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"model.{name} must be {least} or more, but is {getattr(self, name)}.")
        if max(self.position_octaves, self.direction_octaves) > 24:
            name = "position_octaves" if self.position_octaves > 24 else "direction_octaves"
            raise ConfigError(
                f"model.{name} must be at most 24, beyond which float32 cannot tell the phases apart, "
                f"but is {getattr(self, name)}."
            )
        if not self.include_input and min(self.position_octaves, self.direction_octaves) == 0:
            raise ConfigError(
                "model.include_input=false leaves nothing of a coordinate with 0 octaves.\n"
                "Give model.position_octaves and model.direction_octaves at least 1, or include the input."
            )
        if self.skip_after is not None and not 0 <= self.skip_after < self.depth - 1:
            raise ConfigError(
                f"model.skip_after must name a layer that another one follows, 0 to {self.depth - 2} for "
                f"model.depth={self.depth}, but is {self.skip_after}. Write none for no skip."
            )
        if self.coarse_samples < 3 and self.fine_samples > 0:
            raise ConfigError(
                "model.coarse_samples must be 3 or more, so that the fine pass has an interval to look into, "
                f"but is {self.coarse_samples}. Or set model.fine_samples=0."
            )
        if self.coarse_samples < 1 or self.fine_samples < 0:
            raise ConfigError(
                "A ray needs model.coarse_samples of 1 or more and model.fine_samples of 0 or more, "
                f"but they are {self.coarse_samples} and {self.fine_samples}."
            )
        if not (self.density_noise >= 0 and 0 < self.last_interval < float("inf")):
            raise ConfigError(
                "model.density_noise must be 0 or more, and model.last_interval positive and finite, "
                f"but they are {self.density_noise} and {self.last_interval}."
            )


class RadianceMLP(nn.Module):
    """The field. Density is a property of a place; colour also of where it is seen from."""

    def __init__(self, config: NeRFConfig, looks: int = 0):
        """`looks` is how many numbers colour is told of each ray beside its direction: the light of its
        photograph, say. Raises ConfigError for such numbers without view dependence."""
        super().__init__()
        if looks and not config.view_dependence:
            raise ConfigError(
                "model.view_dependence=false leaves no layer that could be told the look of a photograph.\n"
                "Let colour see the direction, or train without codes for photographs."
            )
        self.config = config
        self.encode = FourierEncoding(
            3, config.position_octaves, include_input=config.include_input, pi=config.pi
        )
        self.trunk = SkipMLP(self.encode.size, config.width, config.depth, config.skip_after)
        self.to_density = nn.Linear(config.width, 1)
        self.to_colour = ViewColour(config, looks) if config.view_dependence else PlainColour(config)
        initialise(self, config.initial)
        self._start_alive()

    @torch.no_grad()
    def _start_alive(self) -> None:
        """Turn the sign of the density layer if it would see less than half of the space around the origin.

        Where ReLU makes the density zero everywhere, nothing is seen and no gradient flows: the picture stays
        background for good. So, or nearly so, start one in twenty of the original's fields, and a third of
        those with PyTorch's own weights. A weight is as likely as its negative: this draws from the same
        distribution, and only leaves out the bad half of it.
        """
        axis = torch.linspace(-1.5, 1.5, 8, device=self.to_density.weight.device)
        if self.to_density(self.trunk(self.encode(torch.cartesian_prod(axis, axis, axis)))).median() < 0:
            self.to_density.weight.neg_()
            self.to_density.bias.neg_()

    def forward(
        self,
        positions: Float[Tensor, "rays samples 3"],
        directions: Float[Tensor, "rays 3"],
        generator: Generator | None = None,
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"]]:
        """Density >= 0 and colour in [0, 1] at each position, seen along the unit direction of its ray.

        With a generator, the raw density gets the noise of training.
        """
        return self.of_places(self.places(positions), positions, directions, generator, looks)

    def places(self, positions: Float[Tensor, "rays samples 3"]) -> Float[Tensor, "points width"]:
        """What the trunk says of each position, laid flat."""
        return self.trunk(self.encode(positions.flatten(0, 1)))

    def of_places(
        self,
        place: Float[Tensor, "points width"],
        positions: Float[Tensor, "rays samples 3"],
        directions: Float[Tensor, "rays 3"],
        generator: Generator | None = None,
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"]]:
        """Density and colour of positions of which the trunk's word is known."""
        # What follows the last products is cheap, and too fine for bf16: exponentials, and sums of them.
        raw = self.to_density(place).to(positions.dtype).view(positions.shape[:2])
        colour = torch.sigmoid(self.to_colour(place, directions, looks).to(positions.dtype))
        colour = colour.view(positions.shape)
        return self._positive(raw, generator), colour

    def _positive(self, raw: Tensor, generator: Generator | None) -> Tensor:
        if generator is not None and self.config.density_noise > 0:
            noise = torch.randn(raw.shape, generator=generator, dtype=raw.dtype, device=raw.device)
            raw = raw + self.config.density_noise * noise
        return F.relu(raw) if self.config.density == "relu" else F.softplus(raw)


class ViewColour(nn.Module):
    """Raw colour of a place as seen along a direction: the only part of the field that is told of one."""

    def __init__(self, config: NeRFConfig, looks: int = 0):
        super().__init__()
        self.encode = FourierEncoding(
            3, config.direction_octaves, include_input=config.include_input, pi=config.pi
        )
        self.to_feature = nn.Linear(config.width, config.width)  # no ReLU behind it, as in the original
        self.meet = JointLinear(config.width, self.encode.size + looks, config.width // 2)
        self.to_colour = nn.Linear(config.width // 2, 3)

    def forward(
        self,
        place: Float[Tensor, "points width"],
        directions: Float[Tensor, "rays 3"],
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Float[Tensor, "points 3"]:
        told = self.encode(directions)
        if looks is not None:
            told = torch.cat([told, looks.to(told.dtype)], dim=-1)
        return self.to_colour(F.relu(self.meet(self.to_feature(place), told)))


class PlainColour(nn.Module):
    """Raw colour of a place, the same from everywhere."""

    def __init__(self, config: NeRFConfig):
        super().__init__()
        self.to_colour = nn.Linear(config.width, 3)

    def forward(
        self,
        place: Float[Tensor, "points width"],
        directions: Float[Tensor, "rays 3"],
        looks: None = None,
    ) -> Float[Tensor, "points 3"]:
        return self.to_colour(place)


class NeRF(nn.Module):
    """Two fields of the same shape: the coarse one only tells the fine one where to look.

    With fine_samples=0 there is one field and one pass: the paper's "no hierarchy", at equal cost with
    coarse_samples=256, for 64 + (64 + 128) is what the two passes ask.
    """

    def __init__(self, config: NeRFConfig, looks: int = 0):
        """`looks` is how many numbers colour is told of each ray beside its direction."""
        super().__init__()
        self.config = config
        self.coarse = RadianceMLP(config, looks)
        self.fine = RadianceMLP(config, looks) if config.fine_samples > 0 else None

    @property
    def samples_per_ray(self) -> int:
        """Network queries per ray, over both passes."""
        coarse, fine = self.config.coarse_samples, self.config.fine_samples
        return coarse + (coarse + fine if fine > 0 else 0)

    def forward(
        self,
        rays: Rays,
        background: Float[Tensor, "rays 3"],
        generator: Generator | None = None,
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> dict[str, Rendered]:
        """The pictures of the passes, "coarse" then "fine". Without a generator, no jitter and no noise."""
        config, last = self.config, self.config.last_interval
        distances = stratified(rays.near, rays.far, config.coarse_samples, generator)
        pictures = {"coarse": render(self.coarse, rays, distances, last, generator, looks).over(background)}
        if self.fine is not None:
            distances = resample(distances, pictures["coarse"].weights, config.fine_samples, generator)
            fine = render(self.fine, rays, distances, last, generator, looks)
            pictures["fine"] = fine.over(background)
        return pictures

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Losses:
        """Squared error of each pass; their sum is descended (eq. 6)."""
        pictures = self(rays, background, generator, looks)
        terms = {name: squared_error(picture.colour, colours) for name, picture in pictures.items()}
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def render(
        self,
        rays: Rays,
        background: Float[Tensor, "rays 3"],
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Rendered:
        """The picture of the last pass; its depth is in units of `rays.directions` (scene units, or NDC)."""
        return list(self(rays, background, looks=looks).values())[-1]

    def radiance(
        self,
        positions: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        looks: Float[Tensor, "points dims"] | None = None,
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density and colour in the field of the last pass, each place seen along its own unit direction."""
        field = self.coarse if self.fine is None else self.fine
        density, colour = field(positions[:, None], directions, looks=looks)
        return density[:, 0], colour[:, 0]


def render(
    field: RadianceMLP,
    rays: Rays,
    distances: Float[Tensor, "rays samples"],
    last_interval: float,
    generator: Generator | None = None,
    looks: Float[Tensor, "rays dims"] | None = None,
) -> Rendered:
    """Query `field` at `distances` along each ray and composite (eq. 3)."""
    density, colour = field(rays.points(distances), rays.view_directions, generator, looks)
    return composite(density, colour, distances, interval_lengths(distances, rays.directions, last_interval))
