"""Where rays meet a surface that is known by its signed distance: a step as long as the distance to it cannot
pass through it (Hart 1996, https://doi.org/10.1007/s003710050084).

    trace         how far along each ray the surface is met
    box_stretch   the stretch of each ray within a cube about the origin
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Distance = Callable[[Tensor], Tensor]
"""Places (points, 3) -> signed distance (points), negative inside."""


def trace(
    distance: Distance,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, "rays"],
    far: Float[Tensor, "rays"],
    *,
    close: float = 1e-3,
    caution: float = 1.0,
    steps: int = 128,
) -> Float[Tensor, "rays"]:
    """Along unit `directions`, how far each ray comes until it is within `close` of the surface; infinity
    where it leaves its stretch from `near` to `far`, or has taken `steps` steps without either.

    A learned distance may be larger than the true one: `caution` below 1 shortens every step.
    """
    along = near.clone()
    met = torch.full_like(near, torch.inf)
    under_way = (near < far).nonzero().squeeze(-1)
    for _ in range(steps):
        if not len(under_way):
            break
        here = origins[under_way] + along[under_way, None] * directions[under_way]
        gap = distance(here).to(near.dtype)
        arrived = gap < close
        met[under_way[arrived]] = along[under_way[arrived]]
        along[under_way] += caution * gap
        under_way = under_way[~arrived & (along[under_way] < far[under_way])]
    return met


def box_stretch(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], half: float
) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
    """Where each ray enters and leaves the cube from -half to half, not before its origin; where it misses
    it, the first is not below the second."""
    one, other = (-half - origins) / directions, (half - origins) / directions
    # A ray along a face's plane divides by zero: within the cube that bounds nothing, outside everything.
    inside = origins.abs() <= half
    never = torch.full_like(one, torch.inf)
    flat = directions == 0
    low = torch.where(flat, torch.where(inside, -never, never), torch.minimum(one, other))
    high = torch.where(flat, torch.where(inside, never, -never), torch.maximum(one, other))
    return low.amax(dim=-1).clamp(min=0), high.amin(dim=-1)
