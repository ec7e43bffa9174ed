"""Errors of poses are measured after everything that photographs cannot tell is taken away."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from rayformer.core.errors import ShapeError
from rayformer.geometry.poses import look_at
from rayformer.geometry.similarity import Similarity
from rayformer.metrics.poses import pose_errors


def ring(count: int = 12) -> torch.Tensor:
    angles = [2 * math.pi * number / count for number in range(count)]
    return torch.stack(
        [look_at((4 * math.cos(a), 4 * math.sin(a), math.sin(3 * a)), (0, 0, 0)) for a in angles]
    )


def test_a_similarity_of_all_cameras_is_no_error():
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix())
    move = Similarity(0.03, turn, torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64))
    errors = pose_errors(torch.stack([move.pose(pose) for pose in ring()]), ring())
    assert errors.rotation_degrees.max() < 1e-9
    assert errors.position_share.max() < 1e-12


@pytest.mark.parametrize("degrees", [1e-6, 0.3, 90, 180])
def test_a_camera_turned_on_the_spot_is_off_by_that_angle(degrees):
    found = ring()
    turn = torch.from_numpy(Rotation.from_rotvec([0, math.radians(degrees), 0]).as_matrix())
    found[4, :3, :3] = found[4, :3, :3] @ turn
    errors = pose_errors(found, ring())
    assert errors.rotation_degrees[4].item() == pytest.approx(degrees, rel=1e-6)
    assert errors.rotation_degrees[:4].max() < 1e-9


def test_a_displaced_camera_is_off_by_its_share_of_the_scene():
    found = ring(60)
    found[7, :3, 3] *= 1.1
    share = pose_errors(found, ring(60)).position_share
    assert share.argmax() == 7
    assert share[7].item() == pytest.approx(0.1, abs=0.01)
    assert share.median() < 0.005


def test_two_cameras_are_too_few(snapshot):
    with pytest.raises(ShapeError) as caught:
        pose_errors(ring(2), ring(2))
    snapshot("two_cameras", str(caught.value))
