"""Volume rendering: what light along a ray passes, takes on, and arrives as.

    Rendered           what is seen along each ray
    interval_lengths   how much of a ray each sample stands for
    composite          densities and colours into what is seen             NeRF, eq. 3
    sample_weights     the same for densities alone

A sample stands for the interval that begins at it: density constant over it, so that it lets through
exp(-density * length). The product over the intervals is then exact for a density constant along the ray,
at any number of samples. Pure functions of tensors; they know no field.

Axes: rays; samples along a ray, from near to far.
Units: lengths and distances in scene units, density in 1 / scene unit.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rendered:
    colour: Float[Tensor, "rays 3"]
    weights: Float[Tensor, "..."]
    """The share of each sample in the colour; with what is left for the background they sum to one over a
    ray. Rays by samples, or, from a field that packs its samples, one row for all."""
    opacity: Float[Tensor, "rays"]
    """The sum of the weights: 0 for empty space, 1 where nothing behind shines through."""
    depth: Float[Tensor, "rays"]
    """The weighted sum of distances, as NeRF has it: what is missing from opacity is missing from depth."""

    @property
    def mean_depth(self) -> Float[Tensor, "rays"]:
        """The distance at which light on average comes from matter; 0 where there is none."""
        return self.depth / self.opacity.clamp(min=1e-10)

    @property
    def disparity(self) -> Float[Tensor, "rays"]:
        """One over the mean depth, at most 1e10 (NeRF's convention)."""
        return 1 / self.mean_depth.clamp(min=1e-10)

    def over(self, background: Float[Tensor, "rays 3"]) -> "Rendered":
        """The same in front of a background, which fills whatever is not opaque."""
        return replace(self, colour=self.colour + (1 - self.opacity)[:, None] * background)


def interval_lengths(
    distances: Float[Tensor, "rays samples"], directions: Float[Tensor, "rays 3"], last: float = 1e10
) -> Float[Tensor, "rays samples"]:
    """From each sample to the next, times the length of the direction (which is not 1 in NDC).

    The last sample has no next; NeRF gives it `last` = 1e10, so that any density there at all is opaque:
    the end of the ray is a wall. A short `last` lets a background shine through matter that begins just
    before far.
    """
    ends = torch.full_like(distances[:, :1], last)
    return torch.cat([distances.diff(dim=-1), ends], dim=-1) * directions.norm(dim=-1, keepdim=True)


def composite(
    density: Float[Tensor, "rays samples"],
    colour: Float[Tensor, "rays samples 3"],
    distances: Float[Tensor, "rays samples"],
    lengths: Float[Tensor, "rays samples"],
) -> Rendered:
    """What is seen along each ray, in front of black. Density >= 0; lengths >= 0 and finite, 1e10 included.

    Computed in float32 whatever comes (float64 stays), and without a matrix product, which autocast would
    round to bf16.

    The light that reaches sample i is exp(-(sum of density * length before i)): a running sum in the
    logarithm, where NeRF multiplies up (1 - alpha + 1e-10). The two are equal, but the gradient of a
    running product divides by its factors, and behind an opaque sample one of them is zero (1e-10 is there
    for that); the gradient of a running sum is a running sum. Nor is the shift below a subtraction: behind
    an infinite depth, inf - inf would be no number.
    """
    colour, distances = _at_least_float32(colour), _at_least_float32(distances)
    weights, opacity = sample_weights(density, lengths)
    return Rendered(
        colour=(weights[..., None] * colour).sum(dim=-2),
        weights=weights,
        opacity=opacity,
        depth=(weights * distances).sum(dim=-1),
    )


def sample_weights(
    density: Float[Tensor, "rays samples"], lengths: Float[Tensor, "rays samples"]
) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays"]]:
    """Weights and opacity, as `composite` has them, where there are no colours to mix."""
    depths = _at_least_float32(density) * _at_least_float32(lengths)  # optical: light is halved each log 2
    behind = depths.cumsum(dim=-1)
    before = torch.cat([torch.zeros_like(behind[:, :1]), behind[:, :-1]], dim=-1)
    weights = -torch.expm1(-depths) * torch.exp(-before)
    return weights, -torch.expm1(-behind[:, -1])  # the sum of the weights, never more than 1 by rounding


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
