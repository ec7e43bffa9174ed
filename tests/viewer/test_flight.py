"""Keyframes in a list, and the file that `rayformer render --path` reads: there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rayformer.geometry.cameras import Camera
from rayformer.geometry.paths import keyframes
from rayformer.geometry.similarity import Similarity
from rayformer.viewer.flight import Flight, Stop
from rayformer.viewer.frames import Frame


def poses(count: int, seed: int) -> list[torch.Tensor]:
    generator = np.random.default_rng(seed)
    result = []
    for turn in Rotation.random(count, rng=generator).as_matrix():
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3], pose[:3, 3] = torch.from_numpy(turn), torch.from_numpy(generator.normal(size=3))
        result.append(pose)
    return result


def flight(count: int, seed: int = 0) -> Flight:
    made = Flight()
    for number, pose in enumerate(poses(count, seed)):
        made = made.added(Stop(pose, 40.0 + number, 1.0 + number))
    return made


def normalisation(seed: int) -> Similarity:
    generator = np.random.default_rng(seed)
    turn = torch.from_numpy(Rotation.random(rng=generator).as_matrix())
    return Similarity(float(generator.uniform(0.01, 50)), turn, torch.from_numpy(generator.normal(size=3)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
def test_what_is_saved_is_flown_by_render_through_the_same_poses(seed, count, tmp_path_factory):
    made, move = flight(count, seed), normalisation(seed)
    path = tmp_path_factory.mktemp("paths") / "flight.json"
    path.write_text(made.text(move))
    read = keyframes(path, (64, 48))
    # As SceneView.cameras reads it: from the data's coordinates into the scene's.
    cameras = [camera.at(move.pose(camera.pose)) for camera in read.cameras]
    times = np.linspace(0, made.seconds, len(cameras))
    for camera, (pose, angle) in zip(cameras, made.at(times), strict=True):
        torch.testing.assert_close(camera.pose, pose, atol=1e-9, rtol=1e-9)
        assert camera.fov_y_degrees == pytest.approx(angle)


def test_the_file_is_in_the_coordinates_of_the_data(tmp_path):
    made, move = flight(2), normalisation(4)
    (tmp_path / "flight.json").write_text(made.text(move))
    first = keyframes(tmp_path / "flight.json", (64, 48)).cameras[0]
    assert not torch.allclose(first.pose, made.stops[0].pose)
    torch.testing.assert_close(move.pose(first.pose), made.stops[0].pose)


def test_stops_are_added_behind_the_chosen_one_moved_replaced_and_removed():
    def names(made: Flight) -> list[float]:
        return [stop.fov_y_degrees for stop in made.stops]

    made = flight(3)
    new = Stop(made.stops[0].pose, 99.0)
    assert names(made) == [40, 41, 42]
    assert names(made.added(new, after=0)) == [40, 99, 41, 42]
    assert names(made.replaced(1, new)) == [40, 99, 42]
    assert names(made.without(1)) == [40, 42]
    assert names(made.moved(0, 1)) == [41, 40, 42]
    assert names(made.moved(0, -1)) == names(made) == names(made.moved(2, 5))


def test_times_add_up_and_the_first_stop_is_at_the_start():
    made = flight(4)
    assert [stop.time for stop in made.keyframes] == [0.0, 2.0, 5.0, 9.0]
    assert made.seconds == 9.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), unit=st.floats(1e-3, 1e4))
def test_a_pose_goes_into_the_window_and_back(seed, unit):
    frame = Frame.for_unit(unit)
    (pose,) = poses(1, seed)
    torch.testing.assert_close(frame.from_window(*frame.to_window(pose)), pose)
    assert 0.05 <= unit * frame.scale <= 20


def test_a_browser_that_looks_along_minus_z_with_y_up_is_our_camera_at_rest():
    # In the window's axes, y down and z forward, that is half a turn around x.
    camera = Frame(1.0).camera(np.array([0.0, 1, 0, 0]), np.zeros(3), np.radians(60), (800, 600), 300)
    assert (camera.width, camera.height) == (400, 300)
    torch.testing.assert_close(camera.pose, torch.eye(4, dtype=torch.float64))
    assert camera.fov_y_degrees == pytest.approx(60)
    assert isinstance(camera, Camera)
