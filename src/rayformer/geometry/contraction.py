"""All of space in a bounded one, and all of a ray in a bounded stretch: for scenes without walls.

    contract          a place into the ball (or cube) of radius 2; uncontract, back
    contract_scale    by which factor lengths near a place shrink on the way
    power_ladder      a distance bent so that far things take less of it; inverse_power_ladder, back
    ladder_distances  from shares of a ray to distances along it, even in the bent distance

Up to distance 1 from the middle nothing moves; what lies beyond is drawn in until infinity is at 2 (mip-NeRF
360, Barron et al. 2022, https://arxiv.org/abs/2111.12077, eq. 10). With the L2 norm directions stay; with the
maximum norm (nerfacto's) the image is a cube, which is what a grid has room for.

The ladder is Zip-NeRF's (Barron et al. 2023, https://arxiv.org/abs/2304.06706, supplement): one family that
holds the distance itself (power 1), its logarithm (0), its inverse (-1) and its inverse square (-2, nearly).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Norm = Literal["l2", "max"]


def contract(points: Float[Tensor, "points 3"], norm: Norm = "l2") -> Float[Tensor, "points 3"]:
    """Space into the open ball, or cube, of radius 2; the one of radius 1 stays as it is."""
    size = _size(points, norm).clamp(min=1)  # inside, the factor below is 1, and its gradient 0
    return points * ((2 - 1 / size) / size)


def uncontract(points: Float[Tensor, "points 3"], norm: Norm = "l2") -> Float[Tensor, "points 3"]:
    """The inverse of `contract`, for places inside radius 2; what is on the edge or beyond comes from far
    away."""
    size = _size(points, norm).clamp(min=1)
    room = (2 - size).clamp(min=torch.finfo(points.dtype).eps)
    return points / (size * room)


def contract_scale(points: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
    """The cube root of |det J| of the L2 contraction: how much smaller a small ball becomes, on average.

    Beyond 1 a ball of radius r shrinks by (2r - 1) / r^2 sideways, twice, and by 1 / r^2 along r.
    """
    size = _size(points, "l2")[..., 0].clamp(min=1)
    return (2 * size - 1) ** (2 / 3) / size.square()


def _size(points: Tensor, norm: Norm) -> Tensor:
    if norm == "max":
        return points.abs().amax(dim=-1, keepdim=True)
    # Not torch's norm, whose gradient at the middle has no direction; below 1 nobody asks for the root.
    return points.square().sum(dim=-1, keepdim=True).clamp(min=1).sqrt()


# ------------------------------------------------------------------------------------------ along a ray


def power_ladder(
    distance: Float[Tensor, "*batch"], power: float, scale: float | int = 1.0
) -> Float[Tensor, "*batch"]:
    """P(scale * distance, power) = |p - 1| / p ((x / |p - 1| + 1)^p - 1): rises with the distance, from 0,
    slope `scale` at first; for p < 0 it ends at |p - 1| / |p|."""
    x = distance * scale
    if power == 1:
        return x
    width = abs(power - 1)
    if power == 0:
        return width * torch.log1p(x / width)
    # expm1 and log1p: near 0 the plain form is the small difference of two numbers near 1.
    return width / power * torch.expm1(power * torch.log1p(x / width))


def inverse_power_ladder(
    value: Float[Tensor, "*batch"], power: float, scale: float | int = 1.0
) -> Float[Tensor, "*batch"]:
    """The distance whose `power_ladder` is `value`."""
    if power == 1:
        return value / scale
    width = abs(power - 1)
    if power == 0:
        return width / scale * torch.expm1(value / width)
    return width / scale * torch.expm1(torch.log1p(value * power / width) / power)


def ladder_distances(
    shares: Float[Tensor, "rays edges"],
    near: Float[Tensor, "rays"],
    far: Float[Tensor, "rays"],
    power: float,
    scale: float | int = 1.0,
) -> Float[Tensor, "rays edges"]:
    """Distances at the given shares, 0 to 1, of the way from near to far as the ladder measures it. `power` <
    0.

    Equal to inverse_power_ladder(lerp(P(near), P(far), shares)), whose last step float32 cannot take: at far
    = 10^6 the value is within 10^-9 of the ladder's end, beyond which lies infinity. Here (x / |p - 1| + 1)^p
    runs evenly from near's to far's, and what it is small by is not lost.
    """
    width = abs(power - 1)
    first, last = (((end * scale / width + 1) ** power)[:, None] for end in (near, far))
    base = (1 - shares) * first + shares * last
    distances = width / scale * torch.expm1(base.log() / power)
    return torch.minimum(torch.maximum(distances, near[:, None]), far[:, None])
