"""Poses: where a camera stands and how it is turned, as 4 x 4 camera-to-world matrices in OpenGL axes.

    is_rigid        whether a matrix is a rotation and a translation, and nothing more
    rigid_fault     the same as a sentence for an error text
    look_at         the pose of a camera at one place that looks at another
    average_up      the direction that photographers agreed to call up
    horizon         two directions at right angles to up and to each other
    average_pose    the mean place, turned the mean way
    focus_point     the place that all optical axes pass most nearly
    interpolate     part of the way from one pose to another, turning evenly

Everything is float64: poses are few, and errors in them move every ray.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

RIGID_TOLERANCE = 1e-3
"""How far R^T R may be from the identity: four decimals pass, a scaled or mirrored matrix does not."""


def is_rigid(pose: Float[Tensor, "4 4"], tolerance: float = RIGID_TOLERANCE) -> bool:
    """Whether `pose` is finite and turns without scaling, shearing or mirroring; its last row is 0 0 0 1."""
    return rigid_fault(pose, tolerance) is None


def rigid_fault(pose: Float[Tensor, "4 4"], tolerance: float = RIGID_TOLERANCE) -> str | None:
    """What keeps `pose` from being a rigid motion, in words that complete "the pose ...", or None."""
    pose = pose.double()
    if not torch.isfinite(pose).all():
        return "holds NaN or infinity"
    rotation, last = pose[:3, :3], pose[3]
    if (last - torch.tensor([0.0, 0, 0, 1]).double()).abs().max() > tolerance:
        return f"has the last row {[round(value, 4) for value in last.tolist()]} instead of 0 0 0 1"
    lengths = rotation.norm(dim=0)
    if (lengths - 1).abs().max() > tolerance:
        return f"scales its axes by {[round(value, 4) for value in lengths.tolist()]} instead of 1"
    off = (rotation.T @ rotation - torch.eye(3).double()).abs().max().item()
    if off > tolerance:
        return f"shears: its axes are not at right angles (off by {off:.2g})"
    if torch.linalg.det(rotation) < 0:
        return "mirrors: its determinant is -1 instead of 1"
    return None


def look_at(
    position: Sequence[float | int] | Float[Tensor, "3"],
    target: Sequence[float | int] | Float[Tensor, "3"],
    up: Sequence[float | int] | Float[Tensor, "3"] = (0.0, 0.0, 1.0),
) -> Float[Tensor, "4 4"]:
    """The pose of a camera at `position` that has `target` in the middle of its picture and `up` upwards.

    Where the view runs along `up` itself, another world axis stands in for it.
    """
    position, target, up = _vector(position), _vector(target), _vector(up)
    back = position - target
    back = back / back.norm()
    right = torch.linalg.cross(up / up.norm(), back)
    if right.norm() < 1e-9:
        right = torch.linalg.cross(torch.eye(3).double()[back.abs().argmin()], back)
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3] = torch.stack([right, torch.linalg.cross(back, right), back, position], dim=1)
    return pose


def average_up(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "3"]:
    """The unit vector that the cameras agree on as up.

    People turn cameras to the side and tilt them, but seldom roll them, so that the true up stands at right
    angles to every camera's x axis: the direction in which the x axes vary least. Its sign is that of the
    mean y axis. Where the x axes do not settle it (all parallel, as on a straight drive), it is the mean y
    axis itself.
    """
    poses = poses.double()
    mean = poses[:, :3, 1].mean(dim=0)
    right = poses[:, :3, 0]
    spread, axes = torch.linalg.eigh(right.T @ right / len(poses))
    if spread[1] < 0.01:  # under six degrees of turning: the least direction is noise
        return mean / mean.norm()
    least = axes[:, 0]
    return least * (1 if least @ mean >= 0 else -1)


def horizon(up: Float[Tensor, "3"]) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Unit vectors that span the plane below the unit vector `up`; they are x and y where up is z."""
    aside = torch.eye(3).double()[0 if abs(up[0]) < 0.9 else 1]
    east = aside - (aside @ up) * up
    east = east / east.norm()
    return east, torch.linalg.cross(up, east)


def average_pose(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "4 4"]:
    """The mean position with the mean view and, as far as possible, the mean up."""
    poses = poses.double()
    position, back, up = (poses[:, :3, column].mean(dim=0) for column in (3, 2, 1))
    return look_at(position, position - back, up)


def focus_point(poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "3"]:
    """The point with the least sum of squared distances to all optical axes.

    Where the axes are all parallel no point is better than another along them; then the nearest to the
    cameras' mean is taken.
    """
    poses = poses.double()
    positions, back = poses[:, :3, 3], poses[:, :3, 2]
    across = torch.eye(3).double() - back[:, :, None] * back[:, None, :]  # what is left beside each axis
    mean = positions.mean(dim=0)
    pull = (across @ (positions - mean)[..., None]).sum(dim=0)
    return mean + (torch.linalg.pinv(across.sum(dim=0), rtol=1e-9, hermitian=True) @ pull).squeeze(-1)


def interpolate(start: Float[Tensor, "4 4"], end: Float[Tensor, "4 4"], share: float) -> Float[Tensor, "4 4"]:
    """The pose `share` of the way from `start` (0) to `end` (1), moving and turning evenly (slerp)."""
    from scipy.spatial.transform import Rotation

    start, end = start.double(), end.double()
    turn = Rotation.from_matrix((start[:3, :3].T @ end[:3, :3]).numpy()).as_rotvec()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = start[:3, :3] @ torch.from_numpy(Rotation.from_rotvec(share * turn).as_matrix())
    pose[:3, 3] = torch.lerp(start[:3, 3], end[:3, 3], share)
    return pose


def _vector(values: Sequence[float | int] | Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)
