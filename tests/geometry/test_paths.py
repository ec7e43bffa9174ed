"""Camera paths: they look where they should, pass where they must, move smoothly, and refuse broken files."""

import json
import math

import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.geometry.paths import keyframes, orbit, spiral, through
from rayformer.geometry.poses import is_rigid, look_at


def ring(start: float, stop: float, count: int = 12) -> torch.Tensor:
    """Cameras on an arc of radius 2 at height 1 around the origin."""
    angles = torch.linspace(start, stop, count + 1)[:-1].tolist()
    return torch.stack([look_at((2 * math.cos(a), 2 * math.sin(a), 1), (0, 0, 0)) for a in angles])


def longest_step(path: list[torch.Tensor]) -> float:
    places = torch.stack(path)[:, :3, 3]
    return (places - places.roll(1, dims=0)).norm(dim=-1).max().item()


def test_an_orbit_keeps_the_cameras_height_and_distance_and_looks_at_the_centre():
    path = orbit(ring(0, 2 * math.pi), 30)
    places = torch.stack(path)[:, :3, 3]
    torch.testing.assert_close(places[:, 2], torch.ones(30).double())
    torch.testing.assert_close(places[:, :2].norm(dim=-1), torch.full((30,), 2.0).double())
    for pose in path:
        assert is_rigid(pose, 1e-9)
        torch.testing.assert_close(pose[:3, 2], pose[:3, 3] / pose[:3, 3].norm())
    assert longest_step(path) == pytest.approx(2 * 2 * math.sin(math.pi / 30)), (
        "even steps, and the ends meet"
    )


def test_an_orbit_stays_on_the_side_that_was_photographed():
    path = orbit(ring(-1, 1, 20), 40, centre=torch.zeros(3))
    azimuths = [math.atan2(pose[1, 3].item(), pose[0, 3].item()) for pose in path]
    assert min(azimuths) == pytest.approx(-1, abs=0.01)
    assert max(azimuths) == pytest.approx(0.9, abs=0.01)
    assert longest_step(path) < 0.4


def test_a_spiral_loops_around_the_mean_camera_and_keeps_one_point_in_the_middle():
    generator = torch.manual_seed(0)
    places = torch.randn(20, 3, generator=generator) * torch.tensor([0.4, 0.3, 0.05])
    poses = torch.stack([look_at(place, place - torch.tensor([0, 0, 5.0]), (0, 1, 0)) for place in places])
    path = spiral(poses, 60, near=2.0, far=10.0)
    assert longest_step(path) < 0.25
    mean = poses[:, :3, 3].mean(dim=0)
    target = mean - torch.tensor([0, 0, 1 / (0.25 / 2 + 0.75 / 10)])
    for pose in path:
        assert is_rigid(pose, 1e-9)
        ahead = target - pose[:3, 3]
        torch.testing.assert_close(-pose[:3, 2], ahead / ahead.norm())


def test_a_path_through_poses_passes_them_and_turns_without_jerks():
    poses = ring(0, 4, 5)
    for pose, given in zip(through(poses, 5), poses, strict=True):
        torch.testing.assert_close(pose, given)
    path = torch.stack(through(poses, 401))
    assert all(is_rigid(pose, 1e-9) for pose in path)
    for column in (2, 3):  # speed of view and place changes by little from frame to frame
        speed = path[:, :3, column].diff(dim=0)
        assert speed.diff(dim=0).norm(dim=-1).max() < 0.05 * speed.norm(dim=-1).max()


def test_one_pose_is_a_still():
    pose = ring(0, 1, 1)
    assert all(torch.equal(still, pose[0]) for still in through(pose, 4))


def plan(**changes) -> dict:
    stops = [
        {"time": time, "pose": look_at((4, time, 1), (0, 0, 0)).tolist(), "fov_y_degrees": 40 + 10 * time}
        for time in (0.0, 1.0, 3.0)
    ]
    return {"fps": 10, "width": 64, "height": 48, "keyframes": stops} | changes


def test_keyframes_are_met_at_their_times(tmp_path):
    (tmp_path / "path.json").write_text(json.dumps(plan()))
    path = keyframes(tmp_path / "path.json", size=(1, 1))
    assert path.fps == 10
    assert len(path.cameras) == 31
    for time in (0, 1, 3):
        camera = path.cameras[10 * time]
        torch.testing.assert_close(camera.pose, look_at((4, time, 1), (0, 0, 0)))
        assert camera.fov_y_degrees == pytest.approx(40 + 10 * time)
        assert (camera.width, camera.height) == (64, 48)


def test_a_file_may_leave_size_and_speed_to_the_caller(tmp_path):
    (tmp_path / "path.json").write_text(json.dumps({"keyframes": plan()["keyframes"][:1]}))
    path = keyframes(tmp_path / "path.json", size=(32, 24), frames=5)
    assert len(path.cameras) == 5
    assert (path.cameras[0].width, path.fps) == (32, 24)


def shorn() -> dict:
    broken = plan()
    broken["keyframes"][1]["pose"][0][0] = 3.0
    return broken


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("broken_json", '{"fps": 24,\n "keyframes": [}'),
        ("a_list", "[]"),
        ("no_keyframes", '{"fps": 24}'),
        ("half_a_pixel", json.dumps(plan(width=0.5))),
        ("not_an_object", '{"keyframes": [3]}'),
        ("no_time", '{"keyframes": [{"pose": 1}]}'),
        ("no_pose", '{"keyframes": [{"time": 0, "fov_y_degrees": 30}]}'),
        ("scaled_pose", json.dumps(shorn())),
        ("times_fall", json.dumps(plan(keyframes=plan()["keyframes"][::-1]))),
        ("negative_fps", json.dumps(plan(fps=-1))),
    ],
)
def test_a_broken_path_file_is_refused_by_name(name, text, tmp_path, snapshot):
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(DataError) as refusal:
        keyframes(tmp_path / "path.json", size=(8, 8))
    snapshot(name, str(refusal.value))


def test_an_absent_path_file_is_said(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        keyframes(tmp_path / "nowhere.json", size=(8, 8))
    snapshot("absent", str(refusal.value))
