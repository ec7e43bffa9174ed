"""How far cameras that were found stand from where they are known to have stood.

    PoseErrors    an angle and a distance for every camera
    pose_errors   the errors after the similarity that brings the found cameras onto the known ones

Photographs alone tell neither where a scene lies, nor which way it is turned, nor how large it is: that much
is taken away before anything is measured.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import ShapeError
from rayformer.geometry.similarity import Similarity


@dataclass(frozen=True, eq=False)
class PoseErrors:
    rotation_degrees: Float[Tensor, "views"]
    """Angle between the found and the known camera."""
    position_share: Float[Tensor, "views"]
    """Distance between them, as a share of the distance of the farthest known camera from the mean one."""


def pose_errors(found: Float[Tensor, "views 4 4"], known: Float[Tensor, "views 4 4"]) -> PoseErrors:
    """The errors of each pose, both camera-to-world, listed in the same order. Raises ShapeError for fewer
    than three, which any similarity fits."""
    if len(found) < 3:
        raise ShapeError(f"pose_errors aligns at least three cameras with each other, but got {len(found)}")
    found, known = found.double(), known.double()
    move = Similarity.fit(found[:, :3, 3], known[:, :3, 3])
    moved = torch.stack([move.pose(pose) for pose in found])
    turn = moved[:, :3, :3].transpose(1, 2) @ known[:, :3, :3]
    # From the chord and not from the trace, whose arc cosine loses half of the digits near zero.
    chord = (turn - torch.eye(3, dtype=torch.float64)).flatten(1).norm(dim=-1)
    angle = 2 * torch.arcsin((chord / 8**0.5).clamp(max=1))
    positions = known[:, :3, 3]
    size = (positions - positions.mean(dim=0)).norm(dim=-1).max()
    return PoseErrors(torch.rad2deg(angle), (moved[:, :3, 3] - positions).norm(dim=-1) / size)
