"""Losses of signed distances, and of their slopes.

    relative_error   how far off, as a share of how far away                 instant-ngp, sec. 5.2
    clipped_error    how far off, where that matters: near the surface       DeepSDF, eq. 4
    eikonal          a distance grows by one per length                      SIREN, eq. 6, first term
    normal_error     on the surface, the slope is the normal                 SIREN, eq. 6, second term
    off_surface      elsewhere, nothing is near zero                         SIREN, eq. 6, third term

Each gives one number per point; means and weights are the field's. Distances are negative inside.
instant-ngp: https://arxiv.org/abs/2201.05989; DeepSDF: https://arxiv.org/abs/1901.05103; SIREN:
https://arxiv.org/abs/2006.09661.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def relative_error(
    predicted: Float[Tensor, "points"], truth: Float[Tensor, "points"], floor: int | float
) -> Float[Tensor, "points"]:
    """|predicted - truth| / (|truth| + floor): the nearer to the surface, the more an error counts, until
    the distance is no larger than `floor`."""
    return (predicted - truth).abs() / (truth.abs() + floor)


def clipped_error(
    predicted: Float[Tensor, "points"], truth: Float[Tensor, "points"], reach: int | float
) -> Float[Tensor, "points"]:
    """The absolute error of both cut off at +-reach: beyond it, only the side must be right."""
    return (predicted.clamp(-reach, reach) - truth.clamp(-reach, reach)).abs()


def eikonal(slope: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
    """How far the length of the slope is from 1."""
    return (_length(slope) - 1).abs()


def normal_error(
    slope: Float[Tensor, "points 3"], normals: Float[Tensor, "points 3"]
) -> Float[Tensor, "points"]:
    """1 - cosine of the angle between the slope and a unit normal: 0 along it, 2 against it."""
    return 1 - F.cosine_similarity(slope, normals, dim=-1)


def off_surface(predicted: Float[Tensor, "points"], sharpness: int | float) -> Float[Tensor, "points"]:
    """exp(-sharpness |predicted|): 1 for a zero that should not be there, nothing far from zero."""
    return torch.exp(-sharpness * predicted.abs())


def _length(slope: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
    """The length, with a slope of its own at zero: a fresh network may be flat somewhere."""
    return (slope.square().sum(dim=-1) + 1e-12).sqrt()
