"""NeRF in the wild: a scene from photographs of many lights, with passers-by in them.

Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268. The paper's own trunk is NeRF's perceptron,
asked in two passes; what it adds to that is in `parts/in_the_wild.py`, and `nerfw_packed.py` adds the same
to Instant-NGP. Read from the top:

    NeRFW        both passes are told the light of the photograph; the second one meets what passes by
    NeRFW.loss   eq. 13

The first pass only tells the second one where to look, but it cannot learn where without the light: it sees
the same photographs. The paper gives it the code; nerf_pl does not (kwea123/nerf_pl#130).

Axes: rays; samples along a ray, from near to far.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.fields.nerf import NeRF, NeRFConfig, render
from rayformer.fields.parts.in_the_wild import (
    Encounter,
    TransientHead,
    WildConfig,
    WildField,
    doubted_error,
    encounter,
    meet,
)
from rayformer.fields.parts.stepfun import resample, stratified
from rayformer.fields.parts.volume import Rendered, interval_lengths, sample_weights
from rayformer.geometry.rays import Rays
from rayformer.losses.photometric import squared_error


class NeRFW(WildField):
    """A WildField on NeRF's two passes."""

    trunk: NeRF

    def __init__(self, config: WildConfig, trunk: NeRFConfig, views: int):
        """Raises ConfigError where something that passes by is looked for and there is no second pass."""
        if config.transient and trunk.fine_samples == 0:
            raise ConfigError(
                "model.transient needs the second pass of the trunk, but model.nerf.fine_samples is 0.\n"
                "Give it samples, or switch model.transient off."
            )
        nerf = NeRF(trunk, looks=config.appearance_size if config.appearance else 0)
        head = None
        if config.transient:
            width, depth = config.transient_width or 128, config.transient_depth or 4
            head = TransientHead(trunk.width, views, config.transient_size, width, depth)
        super().__init__(nerf, config, views, head)

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """Half the squared error of the first pass, and the doubted error of the second (eq. 13). Without
        what passes by, the loss of the trunk."""
        if self.head is None:
            return self.trunk.loss(rays, colours, background, generator, self.looks(rays))
        first, seen = self._passes(rays, background, generator)
        terms = {"coarse": squared_error(first.colour, colours) / 2}
        error = (seen.colour(background) - colours).square().mean(dim=-1)
        terms |= doubted_error(seen, error, self.config.beta_min, self.config.transient_weight)
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def meets(self, rays: Rays) -> Encounter:
        return self._passes(rays, torch.zeros_like(rays.origins), None)[1]

    def _passes(
        self, rays: Rays, background: Float[Tensor, "rays 3"], generator: Generator | None
    ) -> tuple[Rendered, Encounter]:
        """What the first pass sees, and what the second meets where the first found the scene's matter."""
        trunk, config, looks = self.trunk, self.trunk.config, self.looks(rays)
        distances = stratified(rays.near, rays.far, config.coarse_samples, generator)
        first = render(trunk.coarse, rays, distances, config.last_interval, generator, looks)
        distances = resample(distances, first.weights, config.fine_samples, generator)
        return first.over(background), self._meets(rays, distances, generator, looks)

    def _meets(
        self,
        rays: Rays,
        distances: Float[Tensor, "rays samples"],
        generator: Generator | None,
        looks: Float[Tensor, "rays features"] | None,
    ) -> Encounter:
        fine = self.trunk.fine
        assert fine is not None, "see __init__"
        positions = rays.points(distances)
        place = fine.places(positions)
        density, colour = fine.of_places(place, positions, rays.view_directions, generator, looks)
        shape = distances.shape
        passing, its_colour, doubt = self.transient(place, self.transient.codes(rays))
        lengths = interval_lengths(distances, rays.directions, self.trunk.config.last_interval)
        # The end of the ray may be a wall of the scene's; what passes by is no wall, however thin it is.
        bounded = torch.cat([lengths[:, :-1], torch.zeros_like(lengths[:, :1])], dim=-1)
        depth, passing_depth = density * lengths, passing.view(shape) * bounded
        channels = meet(depth, colour, passing_depth, its_colour.view(*shape, 3), doubt.view(shape))
        weights, opacity = sample_weights(depth + passing_depth, torch.ones_like(lengths))
        mean = passing.view(shape).mean(dim=-1)
        return encounter((weights[..., None] * channels).sum(dim=-2), opacity, mean)
