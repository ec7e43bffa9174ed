"""The drawn shape: a rope of three strands, tied into a trefoil knot.

    rope_knot   the rope as triangles, closed, from a formula

The grooves between the strands are sharp and narrow, and wind round the rope many times: a field that is too
smooth rounds them off, and one that is too coarse loses them. The knot touches itself nowhere.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.mesh import Mesh

STRANDS, TURNS = 3, 14
"""How often the strands go round the rope is TURNS / STRANDS, so that they meet again at the end."""
THICK, GROOVE = 0.46, 0.1
"""Radius of the rope between two strands, and how much more there is on top of one; the ring that the knot
winds round has radii 2 and 1."""


def rope_knot(along: int = 540, around: int = 36) -> Mesh:
    """The knot, of `along` rings of `around` vertices; y is up."""
    t = torch.arange(along, dtype=torch.float64) * (2 * math.pi / along)
    u = torch.arange(around, dtype=torch.float64) * (2 * math.pi / around)
    middle, first, second = _frame(t)
    phase = STRANDS * u[None, :] - TURNS * t[:, None]
    radius = THICK + GROOVE * (phase / 2).cos().abs()
    vertices = middle[:, None] + radius[..., None] * (
        u.cos()[None, :, None] * first[:, None] + u.sin()[None, :, None] * second[:, None]
    )
    return Mesh(vertices.flatten(0, 1), _rings(along, around))


def _frame(
    t: Float[Tensor, "points"],
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "points 3"], Float[Tensor, "points 3"]]:
    """The knot's middle line, and two unit vectors across it: its own normal and binormal, which come round
    to where they began because the line is curved everywhere."""
    ring = 2 + (3 * t).cos()
    ring_1, ring_2 = -3 * (3 * t).sin(), -9 * (3 * t).cos()
    turn, quarter = (2 * t).cos(), (2 * t).sin()
    place = torch.stack([ring * turn, (3 * t).sin(), ring * quarter], dim=-1)
    speed = torch.stack(
        [ring_1 * turn - 2 * ring * quarter, 3 * (3 * t).cos(), ring_1 * quarter + 2 * ring * turn], dim=-1
    )
    bend = torch.stack(
        [
            (ring_2 - 4 * ring) * turn - 4 * ring_1 * quarter,
            -9 * (3 * t).sin(),
            (ring_2 - 4 * ring) * quarter + 4 * ring_1 * turn,
        ],
        dim=-1,
    )
    binormal = torch.nn.functional.normalize(torch.linalg.cross(speed, bend), dim=-1)
    forward = torch.nn.functional.normalize(speed, dim=-1)
    return place, torch.linalg.cross(binormal, forward), binormal


def _rings(along: int, around: int) -> Tensor:
    """Two triangles for every vertex, to the next ring and the next place on it; rows of the vertices."""
    i, j = torch.meshgrid(torch.arange(along), torch.arange(around), indexing="ij")
    after, beside = (i + 1) % along, (j + 1) % around
    here, on, right, across = (a * around + b for a, b in ((i, j), (after, j), (i, beside), (after, beside)))
    return torch.stack([here, right, across, here, across, on], dim=-1).view(-1, 3)
