"""A pixel's cone as places that a grid can be asked at: six in each interval, and how wide each one is.

    hexagon            six places on a spiral through the piece of a cone between two distances   Zip-NeRF,
    sec. 3.1
    six_distances      how far along the ray they lie                                             eq. 2
    downweight         how much of a feature is left where the cone is wider than the cells       eq. 4

Barron et al. 2023, https://arxiv.org/abs/2304.06706. A grid knows points and no volumes. So the cone's piece
is replaced by six points with its mean and variance along the ray, and, taken together, its variance across
it: two turns of three points each, half a turn apart.

Axes: rays; samples = intervals of a ray; taps = the six places of one interval.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.geometry.rays import Rays

TAPS = 6
TURNS = (0, 2, 4, 3, 5, 1)
"""Sixths of a turn at which the six places lie, from near to far."""


def hexagon(
    rays: Rays, edges: Float[Tensor, "rays edges"], generator: Generator | None = None
) -> tuple[Float[Tensor, "rays samples taps 3"], Float[Tensor, "rays samples taps"]]:
    """The six places in each interval between `edges`, and the standard deviation of a blob around each.

    With a generator every interval turns its hexagon by an angle of its own and mirrors it or not; without
    one, every other interval is mirrored and turned by a twelfth, so that neighbours look elsewhere. Rays
    must have radii.
    """
    assert rays.radii is not None, (
        "a cone needs the radius of its pixel: rays of a camera have one, in NDC none does"
    )
    distances = six_distances(edges[:, :-1], edges[:, 1:])
    turns = torch.tensor(TURNS, dtype=edges.dtype, device=edges.device) * (math.pi / 3)
    shape = (*distances.shape[:2], 1)
    if generator is None:
        odd = torch.arange(shape[1], device=edges.device)[None, :, None] % 2 == 1
        mirror, offset = torch.where(odd, -1.0, 1.0), odd * (math.pi / 6)
    else:
        draw = torch.rand((2, *shape), generator=generator, dtype=edges.dtype, device=edges.device)
        mirror, offset = torch.where(draw[0] < 0.5, -1.0, 1.0), draw[1] * (2 * math.pi)
    angles = (turns * mirror + offset).to(edges.dtype)
    away = rays.radii[:, None, None] * distances / math.sqrt(2)
    across, upward = _perpendicular(rays.directions)
    positions = (
        rays.origins[:, None, None]
        + distances[..., None] * rays.directions[:, None, None]
        + (away * angles.cos())[..., None] * across[:, None, None]
        + (away * angles.sin())[..., None] * upward[:, None, None]
    )
    return positions, away / 2


def six_distances(
    begin: Float[Tensor, "rays samples"], end: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples 6"]:
    """Six distances in each interval whose mean and variance are those of a cone's volume in it.

    The volume grows with the distance squared, so the mean lies beyond the middle, and near the eye the last
    place a little beyond the end. With m the middle and d half the
    width: t_j = begin + d / (d^2 + 3 m^2) (end^2 + 2 m^2 + 3 / sqrt 7 (2 j / 5 - 1) sqrt((d^2 - m^2)^2 + 4
    m^4)).
    """
    middle, half = (begin + end) / 2, (end - begin) / 2
    steps = torch.linspace(-1, 1, TAPS, dtype=begin.dtype, device=begin.device) * (3 / math.sqrt(7))
    centre = end.square() + 2 * middle.square()
    # d^2 - m^2 is -(begin * end), and hypot spares the fourth powers.
    reach = torch.hypot(begin * end, 2 * middle.square())
    tiny = torch.finfo(begin.dtype).tiny  # an interval of no length at the eye itself
    share = half / (half.square() + 3 * middle.square()).clamp(min=tiny)
    return begin[..., None] + share[..., None] * (centre[..., None] + steps * reach[..., None])


def _perpendicular(
    directions: Float[Tensor, "rays 3"],
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"]]:
    """Two unit vectors across each unit direction and each other: direction x (0, 0, 1), and that x
    direction.

    A ray straight up or down takes (1, 0, 0) instead, for the first product would be nothing.
    """
    upright = directions[:, 2:].abs() > 0.999
    up = torch.where(upright, directions.new_tensor([1.0, 0, 0]), directions.new_tensor([0, 0, 1.0]))
    across = torch.linalg.cross(directions, up)
    across = across / across.norm(dim=-1, keepdim=True)
    return across, torch.linalg.cross(across, directions)


def downweight(
    deviations: Float[Tensor, "points taps"], resolutions: Float[Tensor, "levels"]
) -> Float[Tensor, "points taps levels"]:
    """The share of a cell's length in a Gaussian blob of the given deviation: 1 for a point, 0 for a wide
    blob.

    erf(1 / sqrt(8 s^2 N^2)), deviations s in units of the box and N cells along it, with erf(x) taken as
    sqrt(1 - exp(-4 x^2 / pi)), which it is to within 0.7 %.
    """
    cells = deviations[..., None] * (resolutions * math.sqrt(2 * math.pi))
    return (-torch.expm1(-1 / cells.square())).sqrt()
