"""What NeRF in the wild adds to a field, whichever its trunk: codes of light, and what passes by.

Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268. Read from the top:

    WildConfig     what a recipe may change; both halves can be switched off
    TransientHead  density, colour and doubt of what is there in one photograph only        sec. 4.2
    Encounter      what a ray meets: light of the scene, light of what passes by, doubt
    meet           the two kinds of matter composited with one transmittance                eq. 8 and 10
    doubted_error  the loss: an error counts less where it is doubted                       eq. 13
    WildField      codes, head and trunk together; each kind of trunk completes it

Two choices of ours. *The composite.* Where both kinds of matter fill an interval, the paper gives each the
share 1 - exp(-its own depth), together more light than there is: twice as much where both are opaque. Here
the interval takes 1 - exp(-both depths), which is exact, and each kind takes its part of that by its part of
the depth. Thin intervals are the same in both. *The doubt.* beta_min is added to the composited beta of a
ray, as in nerf_pl, and not to that of each sample, as in the paper: a ray that nothing passes has no
transient weight at all, and its beta would be 0.

Axes: rays; samples along a ray, or packed over all rays; features, the numbers of a code.
Units: densities in 1 / scene unit, beta in units of colour.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.fields.parts.appearance import ViewCodes, in_one_look
from rayformer.fields.parts.mlp import JointLinear
from rayformer.fields.parts.scene_field import SceneField, ToldField
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.rays import Rays

ALIKE, APART = 0.1, 1.0
"""Deviation of new codes. Photographs begin in nearly one light; what passes by is told apart at once."""
THIN = -3.0
"""Where the raw density of what passes by starts: softplus of it is a twentieth per scene unit."""
CHANNELS = 8
"""What is composited of each sample: light of the scene (3), of what passes by (3), its doubt, its share."""


@dataclass(frozen=True, kw_only=True)
class WildConfig:
    appearance: bool = True
    """Learn a code for the light of each training photograph, which colours go by and density does not: the
    A in the paper's NeRF-A and NeRF-W."""
    appearance_size: int = 48
    """Numbers in such a code."""
    transient: bool = True
    """Learn what is there in one photograph only, and how far its colours are to be doubted; pictures are
    rendered without: the U in the paper's NeRF-U, and the rest of NeRF-W."""
    transient_size: int = 16
    """Numbers in a photograph's code for it."""
    transient_width: int | None = None
    """Channels of each hidden layer that finds it; none: 128 on the trunk nerf, as the paper has it, 64 on
    ngp."""
    transient_depth: int | None = None
    """Those layers; none: 4 on the trunk nerf, as the paper has it, 2 on ngp."""
    beta_min: float = 0.1
    """The doubt of a ray that nothing passes, in units of colour: nerf_pl's value; the paper has 0.03 for
    internet photographs."""
    transient_weight: float = 0.01
    """What the mean density of what passes by along a ray costs."""

    def __post_init__(self):
        for name in ("appearance_size", "transient_size", "transient_width", "transient_depth"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if not 0 < self.beta_min < float("inf"):
            raise ConfigError(
                "model.beta_min must be above 0, for the error is divided by its square, "
                f"but is {self.beta_min}."
            )
        if not 0 <= self.transient_weight < float("inf"):
            raise ConfigError(f"model.transient_weight must be 0 or more, but is {self.transient_weight}.")


class TransientHead(nn.Module):
    """Density, colour and doubt of what is there in one photograph only, from a trunk's word on a place and
    the photograph's code, which is learned here too."""

    def __init__(self, inputs: int, views: int, code: int, width: int, depth: int):
        """`views` is the number of training views, `code` the numbers that each of them has."""
        super().__init__()
        self.codes = ViewCodes(views, code, APART)
        self.meet = JointLinear(inputs, code, width)
        self.rest = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.read = nn.Linear(width, 5)
        with torch.no_grad():
            self.read.bias[0] = THIN

    def forward(
        self, place: Float[Tensor, "points inputs"], codes: Float[Tensor, "rays features"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"], Float[Tensor, "points"]]:
        """Density >= 0, colour in [0, 1] and doubt >= 0 at each place. A code serves as many places, one
        after the other, as it takes."""
        hidden = F.relu(self.meet(place, codes))
        for layer in self.rest:
            hidden = F.relu_(layer(hidden))
        density, colour, doubt = self.read(hidden).float().split((1, 3, 1), dim=-1)
        return F.softplus(density)[:, 0], torch.sigmoid(colour), F.softplus(doubt)[:, 0]


@dataclass(frozen=True, eq=False)
class Encounter:
    """What a ray of a training photograph meets. Light is before black."""

    scene: Float[Tensor, "rays 3"]
    """The light of the scene's own matter, as far as nothing is before it."""
    passing: Float[Tensor, "rays 3"]
    """The light of what passes by."""
    doubt: Float[Tensor, "rays"]
    """beta without beta_min: the deviation that a colour may have from what is rendered."""
    hidden: Float[Tensor, "rays"]
    """The share of the ray's light that what passes by takes."""
    opacity: Float[Tensor, "rays"]
    """What both kinds of matter take together."""
    density: Float[Tensor, "rays"]
    """The mean density, in 1 / scene unit, of what passes by along the ray."""

    def colour(self, background: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
        """What is seen, over a background."""
        return self.scene + self.passing + (1 - self.opacity)[:, None] * background


def meet(
    depth: Float[Tensor, "*shape"],
    colour: Float[Tensor, "*shape 3"],
    passing_depth: Float[Tensor, "*shape"],
    passing_colour: Float[Tensor, "*shape 3"],
    doubt: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape channels"]:
    """What is to be composited of samples in which both kinds of matter are, by the sum of their optical
    depths: see CHANNELS."""
    share = (passing_depth / (depth + passing_depth).clamp(min=1e-10))[..., None]
    return torch.cat([(1 - share) * colour, share * passing_colour, share * doubt[..., None], share], dim=-1)


def encounter(
    composited: Float[Tensor, "rays channels"],
    opacity: Float[Tensor, "rays"],
    density: Float[Tensor, "rays"],
) -> Encounter:
    """The composited channels of `meet` by their names."""
    scene, passing, doubt, hidden = composited.split((3, 3, 1, 1), dim=-1)
    return Encounter(scene, passing, doubt[:, 0], hidden[:, 0], opacity, density)


def doubted_error(
    seen: Encounter, error: Float[Tensor, "rays"], beta_min: float, weight: float
) -> dict[str, Float[Tensor, ""]]:
    """The terms of equation 13 as means over rays, with beta = doubt + beta_min: half the `error` of each
    ray's colour over beta^2, log beta, and `weight` times the density of what passes by.

    The error is squared, or as the trunk has it. As in nerf_pl it is a mean over the three channels, where
    the paper takes their sum; the constant 3 that nerf_pl adds to keep its logarithm positive is left out, so
    the total may be negative.
    """
    beta = seen.doubt + beta_min
    return {
        "colour": (error / (2 * beta.square())).mean(),
        "log_beta": beta.log().mean(),
        "passing": weight * seen.density.mean(),
    }


class WildField(nn.Module, ABC):
    """A trunk that is told the light of photographs, and a head for what passes before them.

    Pictures are the trunk's own: without what passes by, in the usual light or in one that is asked for. A
    kind of trunk completes the class by saying how a training ray meets both kinds of matter.
    """

    def __init__(self, trunk: nn.Module, config: WildConfig, views: int, head: TransientHead | None):
        """`views` is the number of training views; `head` is None where nothing is looked for that passes
        by."""
        super().__init__()
        self.trunk, self.config, self.head = trunk, config, head
        self.lights = ViewCodes(views, config.appearance_size, ALIKE) if config.appearance else None

    @property
    def transient(self) -> TransientHead:
        """The head, where there is one."""
        assert self.head is not None, "nothing that passes by is looked for; see WildConfig.transient"
        return self.head

    @property
    def plain(self) -> ToldField:
        """The trunk as a field."""
        return self.trunk  # type: ignore[return-value]  # a module that is a field too

    @property
    def samples_per_ray(self) -> int:
        return self.plain.samples_per_ray

    # ------------------------------------------------------------------ in one light

    @property
    def code_size(self) -> int:
        return self.lights.size if self.lights is not None else 0

    def code_of(self, view: int) -> Float[Tensor, "features"]:
        assert self.lights is not None, "without appearance there are no codes; see code_size"
        return self.lights.of(view)

    def usual_code(self) -> Float[Tensor, "features"]:
        assert self.lights is not None, "without appearance there are no codes; see code_size"
        return self.lights.usual()

    def in_light(self, code: Float[Tensor, "features"]) -> SceneField:
        return in_one_look(self.plain, code)

    @property
    def _usually(self) -> SceneField:
        return self.plain if self.lights is None else self.in_light(self.usual_code())

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        """The scene in its usual light, without what passes by."""
        return self._usually.render(rays, background)

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """The scene's own density, and its colour in the usual light."""
        return self._usually.radiance(positions, directions)

    # ------------------------------------------------------------------ as photographs have it

    def looks(self, rays: Rays) -> Float[Tensor, "rays features"] | None:
        """The light of each ray's photograph."""
        return None if self.lights is None else self.lights(rays)

    @abstractmethod
    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """How far the photographs are from what their rays meet."""

    @abstractmethod
    def meets(self, rays: Rays) -> Encounter:
        """What rays of training photographs meet; the same every time. Only with a head."""
