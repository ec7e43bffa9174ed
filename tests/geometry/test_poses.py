"""Poses and similarities: rigid stays rigid, inverses undo, and averages are what photographers meant."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from rayformer.geometry.poses import (
    average_pose,
    average_up,
    focus_point,
    interpolate,
    is_rigid,
    look_at,
    rigid_fault,
)
from rayformer.geometry.similarity import Similarity


def drawn_poses(count: int, seed: int = 0) -> torch.Tensor:
    """Cameras around (1, 2, 3) that look nearly at it with the world's z up, and no roll."""
    centre = torch.tensor([1.0, 2, 3]).double()
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randn(count, 3, generator=generator).double() * torch.tensor([2.0, 2, 0.7])
    return torch.stack([look_at(centre + 1.5 * offset / offset.norm(), centre) for offset in offsets])


def drawn_similarity() -> Similarity:
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -1.2, 0.5]).as_matrix())
    return Similarity(0.37, turn, torch.tensor([1.0, -2, 0.5]).double())


def test_looking_at_a_point_is_rigid_and_has_the_point_ahead():
    for target, up in [((0, 0, 0), (0, 0, 1)), ((1, 2, 9), (0, 0, 1)), ((1, 2, 0), (0, 1, 0))]:
        pose = look_at((1, 2, 3), target, up)
        assert is_rigid(pose, 1e-12)
        ahead = torch.tensor(target).double() - pose[:3, 3]
        torch.testing.assert_close(-pose[:3, 2], ahead / ahead.norm())


def test_up_points_up_in_the_picture():
    pose = look_at((5, 0, 1), (0, 0, 0), (0, 0, 1))
    assert pose[2, 1] > 0.9
    assert pose[2, 0] == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pose: pose.__setitem__((0, 0), math.nan), "NaN"),
        (lambda pose: pose[:3, :3].mul_(1.1), "scales"),
        (lambda pose: pose[:3, 0].mul_(-1), "mirrors"),
        (lambda pose: pose[3, 3].fill_(2), "last row"),
        (lambda pose: pose[:3, 0].copy_((pose[:3, 0] + pose[:3, 1]) / 2**0.5), "shears"),
    ],
)
def test_what_is_not_rigid_is_told_apart(change, words):
    pose = look_at((1, 2, 3), (0, 0, 0))
    assert rigid_fault(pose) is None
    change(pose)
    assert words in rigid_fault(pose)


def test_the_focus_point_is_where_the_axes_meet():
    torch.testing.assert_close(focus_point(drawn_poses(7)), torch.tensor([1.0, 2, 3]).double())


def test_parallel_axes_focus_beside_the_mean_of_the_cameras():
    poses = torch.stack([look_at((0, 0, z), (0, 0, -9), (0, 1, 0)) for z in (0.0, 1, 2)])
    torch.testing.assert_close(focus_point(poses), torch.tensor([0.0, 0, 1]).double())


def test_up_is_found_though_every_camera_is_tilted_down():
    poses = torch.stack([look_at((math.cos(a), math.sin(a), 2), (0, 0, 0)) for a in (0.0, 1, 2)])
    torch.testing.assert_close(average_up(poses), torch.tensor([0.0, 0, 1]).double())


def test_up_of_a_straight_drive_is_the_mean_of_the_cameras_ups():
    poses = torch.stack([look_at((0, y, 0), (0, 9, 0)) for y in (0.0, 1, 2)])
    torch.testing.assert_close(average_up(poses), torch.tensor([0.0, 0, 1]).double())


def test_the_mean_of_one_pose_is_that_pose():
    pose = look_at((1, 2, 3), (4, 5, 6))
    torch.testing.assert_close(average_pose(pose[None]), pose)


def test_interpolating_starts_ends_and_turns_evenly():
    start, end = look_at((0, -4, 0), (0, 0, 0)), look_at((4, 0, 0), (0, 0, 0))
    torch.testing.assert_close(interpolate(start, end, 0.0), start)
    torch.testing.assert_close(interpolate(start, end, 1.0), end)
    half = interpolate(start, end, 0.5)
    assert is_rigid(half, 1e-12)
    assert (-half[:3, 2] @ -start[:3, 2]).item() == pytest.approx(math.cos(math.pi / 4))


def test_a_similarity_after_its_inverse_is_nothing():
    change, points = drawn_similarity(), torch.randn(20, 3, dtype=torch.float64)
    torch.testing.assert_close(change.inverse().points(change.points(points)), points)
    both = change.after(change.inverse())
    assert both.scale == pytest.approx(1)
    torch.testing.assert_close(both.points(points), points)
    assert Similarity.identity().is_identity
    assert not change.is_identity


def test_moving_a_pose_moves_what_the_camera_sees_along_with_it():
    change, pose = drawn_similarity(), look_at((1, 2, 3), (0, 0, 0))
    moved = change.pose(pose)
    assert is_rigid(moved, 1e-12)
    local = torch.tensor([[0.3, -0.2, -2.0]]).double()
    before = local @ pose[:3, :3].T + pose[:3, 3]
    after = change.scale * local @ moved[:3, :3].T + moved[:3, 3]
    torch.testing.assert_close(change.points(before), after)
