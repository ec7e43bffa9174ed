"""What a scene's model of any kind shows to those who train it, render it and measure it.

SceneField      rays in, pictures and losses out
ChangingField   one with something in it that changes but is not learned
RoundedField    one that renders rays in rounds
ToldField       one whose colours go by what they are told of each ray
AppearingField  one whose colours go by the photograph: one light, one code
PictureMaker    what makes a picture whole
LitPictures     one whose lights are known by name, and that can be exposed as one likes
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.losses import Losses
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays


@runtime_checkable
class SceneField(Protocol):
    """Rays in, pictures and losses out. How it samples a ray, and how often, is its own affair.

    Rays may come in pieces of any length: no result depends on which rays share a call. (Values drawn from
    `generator` do, as they must: a piece gets a generator of its own.)
    """

    @property
    def samples_per_ray(self) -> int:
        """How often a ray asks the network, over all passes: its cost in time and memory."""
        ...

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """How far the rays are from `colours`, as a mean over them, with all that is random in training."""
        ...

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        """The best picture the field has of these rays, over `background`; the same every time."""
        ...

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density in 1 / unit, and colour in [0, 1], at places in the space that rays are given in, each seen
        along its own unit direction; the same every time."""
        ...


@runtime_checkable
class ChangingField(SceneField, Protocol):
    """A field with something in it that changes while it trains but is not learned: where space is empty,
    say."""

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        """Change it, before step number `step`. `some_rays(n)` gives n random rays of the training views, the
        same in every process; `generator` is on the processor. What changes must be kept in buffers."""
        ...


@runtime_checkable
class RoundedField(SceneField, Protocol):
    """A field that renders rays in rounds, from near to far, and sees to the memory of each round itself."""

    rays_at_once: int
    """Rays that it would best be given at once."""


class ToldField(SceneField, Protocol):
    """A field whose colours, and nothing else of it, go by numbers that it is told of each ray, its `looks`:
    the light of a photograph, say. What surrounds such a field makes the numbers."""

    def render(
        self,
        rays: Rays,
        background: Float[Tensor, "rays 3"],
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Rendered: ...

    def radiance(
        self,
        positions: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        looks: Float[Tensor, "points dims"] | None = None,
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]: ...


@runtime_checkable
class AppearingField(SceneField, Protocol):
    """A field whose colours depend on the photograph: on its light, its camera, its film. Each training view
    has a code for that, learned with the field. As a SceneField it shows the scene in its usual light; new
    photographs have no code until one is fitted to them (`recipes/parts/light.py`)."""

    @property
    def code_size(self) -> int:
        """Numbers in a code; 0 where this field was asked to learn none."""
        ...

    def code_of(self, view: int) -> Float[Tensor, "features"]:
        """The code of a training view, by its place among them."""
        ...

    def usual_code(self) -> Float[Tensor, "features"]:
        """The mean of all training views' codes: what is rendered where no photograph is meant."""
        ...

    def in_light(self, code: Float[Tensor, "features"]) -> SceneField:
        """The same field, not a copy, under one code for all rays. Differentiable in the code."""
        ...


@runtime_checkable
class PictureMaker(Protocol):
    """What makes a picture whole and not ray by ray: a network that sees its pixels beside each other."""

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """The picture that `camera` takes, in [0, 1], over `background`; and the distance along each pixel's
        ray in scene units, NaN where there is nothing or nothing is known. The same every time."""
        ...


@runtime_checkable
class LitPictures(PictureMaker, Protocol):
    """What makes pictures in lights that have names, at any exposure: several fields shown as one."""

    def code_named(self, name: str) -> Float[Tensor, "features"]:
        """The code of a light, or of a training photograph. Raises ConfigError where there is none such."""
        ...

    def in_light(self, code: Float[Tensor, "features"]) -> PictureMaker:
        """The same, not a copy, in the light of a code."""
        ...

    def at(self, exposure: float) -> PictureMaker:
        """The same, not a copy, at an exposure in the data's units. Raises ConfigError where none is
        known."""
        ...
