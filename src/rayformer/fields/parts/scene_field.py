"""What a scene's model of any kind shows to those who train it, render it and measure it.

SceneField      rays in, pictures and losses out
ChangingField   one with something in it that changes but is not learned
RoundedField    one that renders rays in rounds
PictureMaker    what makes a picture whole
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


@runtime_checkable
class PictureMaker(Protocol):
    """What makes a picture whole and not ray by ray: a network that sees its pixels beside each other."""

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """The picture that `camera` takes, in [0, 1], over `background`; and the distance along each pixel's
        ray in scene units, NaN where there is nothing or nothing is known. The same every time."""
        ...
