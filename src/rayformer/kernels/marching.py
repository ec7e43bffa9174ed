"""Ray marching: which stretches of each ray may hold matter, as an occupancy grid knows them.

    Space       the cube that the grid divides: a box, or all of space contracted into one
    Packed      samples of all rays one after the other, as many to a ray as it needs
    march       rays and a grid in, stretches out
    march_twin  the same in plain torch, every step of every ray written out

A ray is cut by fenceposts t(s) at s = s(near) + jitter + 0, 1, 2 ...: evenly, `step` apart, and from t = step
/ cone on in proportion to the distance, as the pixels' footprint grows:

    t(s) = step s                         for s <= 1 / cone
           (step / cone) exp(cone s - 1)  beyond

A stretch between two posts is kept if its middle lies in an occupied cell. How many come out depends on the
data, so this is no operator of torch's: nothing is differentiated, and `torch.compile` goes round it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rayformer.core.errors import ShapeError
from rayformer.kernels.cuda import plainly


@dataclass(frozen=True)
class Space:
    centre: tuple[float, float, float]
    half: float
    """Half of the cube's side. If contracted: of the inner cube, within which nothing is bent."""
    contracted: bool = False
    """Whether the grid's cube stands for all of space: its inner half as it is, infinity on its faces.
    (mip-NeRF 360's contraction with the largest coordinate as the norm, so that it fills the cube.)"""


@dataclass(frozen=True, eq=False)
class Packed:
    starts: Int[Tensor, "edges"]
    """Samples [starts[i], starts[i + 1]) belong to ray i; one entry more than there are rays."""
    ray: Int[Tensor, "samples"]
    """Which ray each sample belongs to; rising."""
    begin: Float[Tensor, "samples"]
    """Where the stretch begins, in units of the ray's direction; likewise end."""
    end: Float[Tensor, "samples"]

    def __len__(self) -> int:
        return len(self.ray)

    def only(self, kept: Bool[Tensor, "samples"]) -> "Packed":
        """The samples that a mask keeps; every ray stays, perhaps without samples."""
        before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))
        return Packed(before[self.starts], self.ray[kept], self.begin[kept], self.end[kept])


@torch.no_grad()
def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, "rays"],
    far: Float[Tensor, "rays"],
    occupied: Bool[Tensor, "cells cells cells"],
    space: Space,
    step: float,
    cone: float = 0.0,
    jitter: Float[Tensor, "rays"] | None = None,
    limit: int = 1024,
) -> Packed:
    """The occupied stretches of each ray, near ones first, at most `limit` to a ray.

    `step` is in units of the directions; `cone` in 1 / 1 (0: equal steps everywhere); `jitter` in [0, 1)
    shifts a ray's posts, none of them leaves it at 0. The grid is indexed [x, y, z]; what lies outside a box
    is empty.
    """
    if space.contracted and not torch.isfinite(far).all():
        raise ShapeError("rays through contracted space must end somewhere: `far` must be finite")
    arguments = (origins, directions, near, far, occupied, space, step, cone, jitter, limit)
    if origins.device.type == "cpu":
        from rayformer.kernels.marching_numba import march as on_processor

        return on_processor(*arguments)
    if origins.device.type == "cuda" and not plainly():
        from rayformer.kernels.marching_triton import march as on_cuda

        return on_cuda(*arguments)
    return march_twin(*arguments)


@torch.no_grad()
def march_twin(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    near: Float[Tensor, "rays"],
    far: Float[Tensor, "rays"],
    occupied: Bool[Tensor, "cells cells cells"],
    space: Space,
    step: float,
    cone: float = 0.0,
    jitter: Float[Tensor, "rays"] | None = None,
    limit: int = 1024,
) -> Packed:
    """`march` in plain torch. Memory grows with the longest ray times the number of rays."""
    first = post_number(near, step, cone) + (0 if jitter is None else jitter)
    longest = (post_number(far, step, cone) - first).nan_to_num(0).max().item() if len(near) else 0
    count = torch.arange(max(0, int(longest) + 2), device=near.device)
    begin = post(first[:, None] + count, step, cone)
    end = post(first[:, None] + count + 1, step, cone)
    middle = (begin + end) / 2
    places = unit_place(origins[:, None] + middle[..., None] * directions[:, None], space)
    cells = occupied.shape[0]
    inside = ((places >= 0) & (places < 1)).all(dim=-1)
    x, y, z = (places * cells).long().clamp(0, cells - 1).unbind(-1)
    kept = inside & occupied[x, y, z] & (middle < far[:, None])
    kept &= kept.cumsum(dim=-1) <= limit
    starts = torch.nn.functional.pad(kept.sum(dim=-1).cumsum(0), (1, 0))
    return Packed(starts, kept.nonzero()[:, 0], begin[kept], end[kept])


def post(s: Float[Tensor, "*batch"], step: float, cone: float) -> Float[Tensor, "*batch"]:
    """Where the fencepost with number s stands."""
    if cone == 0:
        return step * s
    return torch.where(s * cone <= 1, step * s, step / cone * torch.exp((cone * s - 1).clamp(max=80)))


def post_number(t: Float[Tensor, "*batch"], step: float, cone: float) -> Float[Tensor, "*batch"]:
    """The inverse of `post`."""
    if cone == 0:
        return t / step
    beyond = (1 + torch.log((t * cone / step).clamp(min=1e-20))) / cone
    return torch.where(t * cone <= step, t / step, beyond)


def unit_place(points: Float[Tensor, "*batch 3"], space: Space) -> Float[Tensor, "*batch 3"]:
    """Places of space in units of the grid's cube: [0, 1] within it."""
    local = (points - torch.tensor(space.centre, dtype=points.dtype, device=points.device)) / space.half
    if not space.contracted:
        return (local + 1) / 2
    size = local.abs().amax(dim=-1, keepdim=True).clamp(min=1)
    return (local * (2 - 1 / size) / size + 2) / 4


def place_in_space(places: Float[Tensor, "*batch 3"], space: Space) -> Float[Tensor, "*batch 3"]:
    """The inverse of `unit_place`. What lies on the faces of a contracted cube is far, but kept finite."""
    if not space.contracted:
        local = 2 * places - 1
    else:
        bent = 4 * places - 2
        size = bent.abs().amax(dim=-1, keepdim=True).clamp(min=1)
        local = bent / (size * (2 - size).clamp(min=1e-6))
    return local * space.half + torch.tensor(space.centre, dtype=places.dtype, device=places.device)
