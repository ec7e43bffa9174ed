"""What a photograph has of its own: the light, the camera, the film. A few numbers per training view.

    ViewCodes    the numbers, learned with the field
    in_one_look  a field that is told looks, told the same one of every ray: a plain SceneField

Generative latent optimisation (Bojanowski et al. 2018, https://arxiv.org/abs/1707.05776), as NeRF in the wild
has it (Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268, section 4.1): no network looks at the
photograph to find its code; the code is a parameter, and gradient descent finds it.

Axes: rays; views, the training views in the order of the scene; features, the numbers of a code.
"""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.losses import Losses
from rayformer.fields.parts.scene_field import RoundedField, SceneField, ToldField
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.rays import Rays


class ViewCodes(nn.Module):
    """A code for each training view. Views that no ray of a batch is of get no gradient from it."""

    def __init__(self, views: int, size: int, deviation: float):
        """Codes start as normal numbers of this deviation. Small: all views begin alike, and stay so where
        nothing tells them apart, so that their mean is a sensible code. Large: they are told apart from the
        first step on."""
        super().__init__()
        self.code = nn.Parameter(deviation * torch.randn(views, size))

    @property
    def size(self) -> int:
        return self.code.shape[1]

    def forward(self, rays: Rays) -> Float[Tensor, "rays features"]:
        """The code of each ray's view."""
        return self.code[self.views_of(rays)]

    def of(self, view: int) -> Float[Tensor, "features"]:
        return self.code[view]

    def usual(self) -> Float[Tensor, "features"]:
        """The mean over all views."""
        return self.code.mean(dim=0)

    @staticmethod
    def views_of(rays: Rays) -> Int[Tensor, "rays"]:
        """Which training view each ray is of."""
        if rays.view is None:
            raise AssertionError("rays must know their views where views have codes of their own")
        return rays.view


def in_one_look(field: ToldField, look: Float[Tensor, "features"]) -> SceneField:
    """`field` as it looks where it is told `look` of every ray; nothing is copied. Differentiable in the
    look."""
    return _RoundedInOneLook(field, look) if isinstance(field, RoundedField) else _InOneLook(field, look)


class _InOneLook:
    def __init__(self, field: ToldField, look: Float[Tensor, "features"]):
        self.field, self.look = field, look

    @property
    def samples_per_ray(self) -> int:
        return self.field.samples_per_ray

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        raise AssertionError("a field under one look is there to be rendered; all its looks are trained")

    def render(self, rays: Rays, background: Float[Tensor, "rays 3"]) -> Rendered:
        return self.field.render(rays, background, self.look.expand(len(rays), -1))

    def radiance(
        self, positions: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        return self.field.radiance(positions, directions, self.look.expand(len(positions), -1))


class _RoundedInOneLook(_InOneLook):
    def __init__(self, field: ToldField, look: Float[Tensor, "features"]):
        super().__init__(field, look)
        assert isinstance(field, RoundedField), "only what renders in rounds says how many rays it wants"
        self.rays_at_once = field.rays_at_once
