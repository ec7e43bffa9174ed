"""Where to put a scene, how large, which way up, and how far to look: answers from its cameras alone.

    arrangement     how the cameras stand to each other
    normalisation   the move that puts them where fields expect them
    bounds          near and far where nobody knows them

The three arrangements, and what becomes of each:

    around          cameras look at one thing: it goes to the origin, up to +z, the farthest camera to
    distance 1 forward-facing  cameras stand side by side and look the same way: the mean camera goes to the
    origin and looks
                    along -z with y up; the nearest thing comes to distance 4/3, so that NDC's plane at 1 cuts
                    nothing
    along           anything else, a drive for instance: the mean of the cameras goes to the origin, up to +z,
    the
                    farthest camera to distance 1
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.poses import average_pose, average_up, focus_point, horizon
from rayformer.geometry.similarity import Similarity

Arrangement = Literal["around", "forward-facing", "along"]

WIDEST_FACING = 35.0
"""Degrees: 95 cameras in 100 that face forward look within this angle of the mean direction."""
NEAREST_FACING = 4 / 3
"""Where the nearest thing of a forward-facing scene goes, in scene units: LLFF's margin of 0.75 before it."""
ROOM = (0.9, 1.1)
"""Where distances are known, rays begin a tenth before the nearest thing and end a tenth behind the farthest.
"""


def arrangement(poses: Float[Tensor, "views 4 4"]) -> Arrangement:
    """How the cameras stand, from the directions they look in and from whether these meet ahead of them."""
    positions, directions = poses[:, :3, 3], -poses[:, :3, 2]
    mean = directions.mean(dim=0)
    mean = mean / mean.norm().clamp(min=1e-12)
    angles = torch.rad2deg(torch.arccos((directions @ mean).clamp(-1, 1)))
    offsets = positions - positions.mean(dim=0)
    along = (offsets @ mean).std()
    beside = (offsets - (offsets @ mean)[:, None] * mean).norm(dim=-1).std() + offsets.norm(dim=-1).mean() / 2
    if torch.quantile(angles, 0.95) < WIDEST_FACING and along < beside:
        return "forward-facing"
    ahead = ((focus_point(poses) - positions) * directions).sum(dim=-1) > 0
    turning = 1 - torch.linalg.eigvalsh(directions.T @ directions / len(poses))[-1]
    return "around" if ahead.double().mean() >= 0.9 and turning > 0.01 else "along"


def normalisation(
    poses: Float[Tensor, "views 4 4"], kind: Arrangement, nearest: float | None = None
) -> Similarity:
    """The similarity described above for each kind; `nearest` is the distance of the nearest thing, where it
    is known."""
    if kind == "forward-facing":
        mean = average_pose(poses)
        rotation, centre = mean[:3, :3].T, mean[:3, 3]
        scale = NEAREST_FACING / (nearest or _guess_nearest(poses))
    else:
        east, north = horizon(up := average_up(poses))
        rotation = torch.stack([east, north, up])
        centre = focus_point(poses) if kind == "around" else poses[:, :3, 3].mean(dim=0)
        farthest = (poses[:, :3, 3] - centre).norm(dim=-1).max().item()
        # Cameras that turn in one place have no size of their own, but for rounding; the data's stays.
        scale = 1 / farthest if farthest > 1e-9 * (1 + poses[:, :3, 3].abs().max().item()) else 1.0
    return Similarity(scale, rotation, -scale * rotation @ centre)


def _guess_nearest(poses: Float[Tensor, "views 4 4"]) -> float:
    """Nobody holds a camera so near to a thing that half of the way between cameras changes its picture
    wholly."""
    positions = poses[:, :3, 3]
    return 2 * (positions - positions.mean(dim=0)).norm(dim=-1).max().item()


def bounds(poses: Float[Tensor, "views 4 4"], kind: Arrangement) -> tuple[float, float]:
    """Near and far in scene units for normalised poses of data that know no distances: a rule, not a
    measurement.

        around          a fifth of the nearest camera's distance to the middle, and 2.5 of the farthest's
        forward-facing  3/4 of the guess for the nearest thing, and twenty of it
        along           1/50 of the way from the middle of the drive to its end, and four of it
    """
    if kind == "forward-facing":
        return 0.75 * NEAREST_FACING, 20 * NEAREST_FACING
    if kind == "along":
        return 0.02, 4.0
    distances = poses[:, :3, 3].norm(dim=-1)
    return 0.2 * distances.min().item(), 2.5 * distances.max().item()
