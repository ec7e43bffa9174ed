"""Cameras that are learned with the field: each training view may turn and shift a little.

    MovedCameras   a field and the corrections of its training views, as one model

Poses from structure from motion are off by a fraction of a pixel, those of a phone's own tracking by
several, and what is off is blurred. As in nerfstudio's SO3xR3, a correction is a rotation vector about the
camera's centre and a shift of it; both start at zero and are held to it softly, since moving all cameras
together changes nothing but the scene's place.

Only the loss moves rays. Pictures are rendered from the poses that are given; how much a held-out view
gains by a pose fitted to it is measured beside it (`recipes/parts/scene.py`).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.losses import Losses
from rayformer.fields.parts.scene_field import ChangingField, SceneField
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.rays import Rays

HOLD = (1e-2, 1e-3)
"""Weights of the squared shift, in scene units, and of the squared rotation, in radians (nerfstudio's)."""


class MovedCameras(nn.Module):
    """A SceneField whose training rays, by their `view`, are moved before they are rendered."""

    def __init__(self, field: nn.Module, views: int):
        super().__init__()
        self.field = field
        self.shift = nn.Parameter(torch.zeros(views, 3))
        self.turn = nn.Parameter(torch.zeros(views, 3))

    @property
    def inner(self) -> SceneField:
        return self.field  # type: ignore[return-value]  # a module that is a field too

    @property
    def samples_per_ray(self) -> int:
        return self.inner.samples_per_ray

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        if isinstance(self.field, ChangingField):
            self.field.before_step(step, generator, some_rays)

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """The field's own loss on moved rays, and what holds the cameras to their places."""
        losses = self.inner.loss(self.moved(rays), colours, background, generator)
        held = HOLD[0] * self.shift.square().sum(-1).mean() + HOLD[1] * self.turn.square().sum(-1).mean()
        return Losses(total=losses.total + held, terms={**losses.terms, "cameras": held})

    def moved(self, rays: Rays) -> Rays:
        """The rays as their views' cameras would cast them from where they are believed to stand."""
        if rays.view is None:
            raise AssertionError("training rays must know their views")
        return move_rays(rays, self.shift, self.turn, rays.view)

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        return self.inner.render(rays, background)

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        return self.inner.radiance(positions, directions)


def move_rays(
    rays: Rays, shift: Float[Tensor, "views 3"], turn: Float[Tensor, "views 3"], view: Int[Tensor, "rays"]
) -> Rays:
    """Rays shifted and turned about their origins, each by the correction of its view. Differentiable at
    zero.
    """
    return rays.replaced(
        origins=rays.origins + shift[view],
        directions=turned(rays.directions, turn[view]),
        view_directions=turned(rays.view_directions, turn[view]),
    )


def turned(vectors: Float[Tensor, "rays 3"], turn: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
    """Each vector turned about the axis `turn` by its length in radians (Rodrigues' formula)."""
    squared = turn.square().sum(dim=-1, keepdim=True)
    angle = (squared + 1e-20).sqrt()  # no root of zero, whose slope is infinite
    along = torch.linalg.cross(turn, vectors)
    sine = torch.sinc(angle / torch.pi)
    bend = torch.sinc(angle / (2 * torch.pi)).square() / 2
    return vectors + sine * along + bend * torch.linalg.cross(turn, along)
