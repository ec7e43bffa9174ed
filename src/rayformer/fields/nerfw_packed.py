"""NeRF in the wild on Instant-NGP: the same codes, head and loss on packed samples.

    NeRFWPacked        every ray meets the scene's matter and what passes by in one composite
    NeRFWPacked.loss   eq. 13 of Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268

A hash grid knows where its samples are worth asking, and must not lose those in which there is nothing but
what passes by. So the density that is asked for first, without gradients, is that of both kinds of matter,
each ray's by its own photograph. The occupancy grid belongs to no photograph: a cell is asked for the scene's
density, and for the most that passes through it in a few photographs, drawn anew at each refreshment; what
it remembers fades slowly enough for the others to have their turn. A thing that the draw misses is
forgotten only where the scene itself is empty, and there a ray without samples teaches nothing wrong.

The density network's few words on a place do not say where it is. What passes by is tied to a place in one
photograph, so the head is told the place as well, as slow waves.

Axes: rays; samples, packed over all rays.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.fields.ngp import NGP, NGPConfig, even
from rayformer.fields.parts.appearance import ViewCodes
from rayformer.fields.parts.in_the_wild import (
    Encounter,
    TransientHead,
    WildConfig,
    WildField,
    doubted_error,
    encounter,
    meet,
)
from rayformer.geometry.rays import Rays
from rayformer.kernels.compositing import composite_packed
from rayformer.kernels.marching import Packed, Space
from rayformer.losses.photometric import huber_of_rays

OCTAVES = 4
"""Waves by which the head knows a place: the fastest has eight periods across the cube."""
ASKED = 4
"""Photographs of which a cell is asked what passes through it."""


class NeRFWPacked(WildField):
    """A WildField on Instant-NGP."""

    trunk: NGP

    def __init__(self, config: WildConfig, trunk: NGPConfig, space: Space, views: int):
        ngp = NGP(trunk, space, views, looks=config.appearance_size if config.appearance else 0)
        waves, head = FourierEncoding(3, OCTAVES, pi=True), None
        if config.transient:
            width, depth = config.transient_width or 64, config.transient_depth or 2
            head = TransientHead(trunk.places + waves.size, views, config.transient_size, width, depth)
        super().__init__(ngp, config, views, head)
        self.waves = waves
        self.rays_at_once = ngp.rays_at_once

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        """Refresh the occupancy grid when it is due, with what passes by in a few photographs."""
        if self.head is None:
            return self.trunk.before_step(step, generator, some_rays)
        codes = self.head.codes.code
        drawn = torch.randint(len(codes), (ASKED,), generator=generator).to(codes.device)

        def most(
            said: Float[Tensor, "points width"], places: Float[Tensor, "points 3"]
        ) -> Float[Tensor, "points"]:
            densities = [self._veil(said, places, view.expand(len(places))) for view in drawn]
            return torch.stack(densities).amax(dim=0)

        return self.trunk.before_step(step, generator, some_rays, most)

    def _veil(
        self,
        said: Float[Tensor, "samples width"],
        places: Float[Tensor, "samples 3"],
        view: Int[Tensor, "samples"],
    ) -> Float[Tensor, "samples"]:
        return self._passing(said, places, view)[0]

    def _passing(
        self,
        said: Float[Tensor, "samples width"],
        places: Float[Tensor, "samples 3"],
        view: Int[Tensor, "samples"],
    ) -> tuple[Float[Tensor, "samples"], Float[Tensor, "samples 3"], Float[Tensor, "samples"]]:
        """What passes through places (in units of the cube), each in the photograph of a view."""
        where = torch.cat([said, self.waves(2 * places - 1).to(said.dtype)], dim=-1)
        return self.transient(where, self.transient.codes.code[view])

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        """The doubted error (eq. 13), of the trunk's kind, which is not squared where it is large; and the
        trunk's own loss against haze, in the proportion that it has there to the error of a colour without
        doubt. Without what passes by, the loss of the trunk."""
        if self.head is None:
            return self.trunk.loss(rays, colours, background, generator, self.looks(rays))
        seen, packed, weights = self._meets(rays, generator)
        error = huber_of_rays(seen.colour(background), colours, self.trunk.config.huber)
        terms = doubted_error(seen, error, self.config.beta_min, self.config.transient_weight)
        if self.trunk.config.distortion > 0:
            share = self.trunk.config.distortion / (2 * self.config.beta_min**2)
            terms["distortion"] = share * self.trunk.spread(weights, packed)
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def meets(self, rays: Rays) -> Encounter:
        return self._meets(rays, None)[0]

    def _meets(
        self, rays: Rays, generator: Generator | None
    ) -> tuple[Encounter, Packed, Float[Tensor, "samples"]]:
        """What rays meet, the samples worth asking, and their weights."""
        field, rays, view = self.trunk.field, even(rays), ViewCodes.views_of(rays)
        packed, places, features = self.trunk.samples(
            rays, generator, lambda said, places, ray: self._veil(said, places, view[ray])
        )
        said = field.places(features)
        told = field.told(rays.view_directions, self.looks(rays))
        density, colour = field.density_of(said), field.colour_of(said, told[packed.ray])
        passing, its_colour, doubt = self._passing(said, places, view[packed.ray])
        channels = meet(density, colour, passing, its_colour, doubt)
        light, opacity, _, weights = composite_packed(
            density + passing, channels, packed.begin, packed.end, packed.starts, self.trunk.config.stop
        )
        # The mean over the samples that a ray would have across the cube, were nothing known to be empty.
        sums = passing.new_zeros(len(rays)).index_add(0, packed.ray, passing)
        across = 2 * self.trunk.space.half / self.trunk.step
        return encounter(light, opacity, sums / across), packed, weights
