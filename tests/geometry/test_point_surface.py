"""A surface through points: the sphere that they were drawn on, outward, and no more than cameras see."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from rayformer.core.errors import DataError
from rayformer.geometry.cameras import Camera
from rayformer.geometry.point_surface import Sightings, crossings, likely_sightings, point_surface
from rayformer.geometry.poses import look_at


def ball(count: int, noise: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(0)
    points = draw.normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * (1 + noise * draw.normal(size=(count, 1)))


def around(count: int) -> list[Camera]:
    draw = np.random.default_rng(1)
    places = draw.normal(size=(count, 3))
    places = 4 * places / np.linalg.norm(places, axis=1, keepdims=True)
    return [Camera.from_fov(200, 200, 40.0, look_at(place.tolist(), (0.0, 0.0, 0.0))) for place in places]


def exact(points: np.ndarray, eyes: np.ndarray) -> Sightings:
    """Who sees what of a ball."""
    facing = np.einsum("pi,vpi->vp", points, eyes[:, None] - points[None]) > 0.1
    views, seen = facing.nonzero()
    return Sightings(seen, views)


@pytest.mark.parametrize("guessed", [False, True])
def test_points_of_a_ball_give_back_the_ball(guessed):
    points, cameras = ball(1500, noise=0.002), around(16)
    eyes = np.stack([camera.position.numpy() for camera in cameras])
    seen = likely_sightings(cameras, points) if guessed else exact(points, eyes)
    mesh = point_surface(points, eyes, seen)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi, rel=0.02), "positive, so it faces outward"
    radius = mesh.vertices.norm(dim=1)
    assert radius.min() > 0.98
    assert radius.max() < 1.02
    assert mesh.areas.sum() == pytest.approx(4 * np.pi, rel=0.03)


def test_of_two_balls_the_gap_between_them_is_empty():
    points = np.concatenate([ball(700), ball(700) + np.array([2.6, 0, 0])])
    cameras = around(24)
    eyes = np.stack([1.5 * camera.position.numpy() + np.array([1.3, 0, 0]) for camera in cameras])
    one, other = exact(points[:700], eyes), exact(points[:700], eyes - np.array([2.6, 0, 0]))
    seen = Sightings(
        np.concatenate([one.points, other.points + 700]), np.concatenate([one.views, other.views])
    )
    mesh = point_surface(points, eyes, seen)
    assert mesh.volume == pytest.approx(2 * 4 / 3 * np.pi, rel=0.06)
    middles = mesh.vertices[mesh.faces].mean(dim=1)
    assert not ((middles[:, 0] > 1.15) & (middles[:, 0] < 1.45)).any()


def test_a_wall_seen_from_one_side_is_an_open_surface_that_faces_the_cameras():
    draw = np.random.default_rng(5)
    points = np.concatenate([draw.uniform(-3, 3, (500, 2)), draw.normal(0, 2e-3, (500, 1))], axis=1)
    eyes = np.concatenate([draw.uniform(-1, 1, (8, 2)), np.full((8, 1), 3.0)], axis=1)
    views, seen = np.ones((8, 500)).nonzero()
    mesh = point_surface(points, eyes, Sightings(seen, views))
    measured = (mesh.vertices.abs() < 3.1).all(dim=1)[mesh.faces].all(dim=1)
    a, b, c = mesh.vertices[mesh.faces[measured]].unbind(1)
    assert (b - a).cross(c - a, dim=-1)[:, 2].sum() / 2 == pytest.approx(36, rel=0.1)
    assert mesh.vertices[mesh.faces[measured]][..., 2].abs().max() < 0.02
    assert not measured.all(), "beyond what was measured it is continued"


def test_a_hidden_point_is_seldom_taken_for_seen():
    points, cameras = ball(4000), around(6)
    seen = likely_sightings(cameras, points)
    eyes = np.stack([camera.position.numpy() for camera in cameras])[seen.views]
    facing = np.einsum("pi,pi->p", points[seen.points], eyes - points[seen.points])
    # A point just beyond the rim is taken for seen; the far side is not.
    assert (facing < -0.4).mean() < 0.2
    truly = exact(points, np.stack([camera.position.numpy() for camera in cameras]))
    both = set(zip(seen.points, seen.views, strict=True)) & set(zip(truly.points, truly.views, strict=True))
    assert len(both) / len(truly.points) > 0.9


def test_a_way_leaves_every_tetrahedron_that_a_fine_search_along_it_finds():
    draw = np.random.default_rng(3)
    points = draw.normal(size=(60, 3))
    space = Delaunay(points)
    which, eyes = np.arange(0, 60, 7), draw.normal(size=(9, 3)) * 0.5
    stand, left, behind = crossings(space, which, eyes)
    walked = set((left // 4).tolist()) | set(stand[stand >= 0].tolist())
    for row, eye in zip(which, eyes, strict=True):
        share = np.linspace(1e-3, 1, 4000)[:, None]
        found = space.find_simplex(points[row] * (1 - share) + eye * share)
        assert set(found[found >= 0].tolist()) <= walked
    assert (space.find_simplex(eyes) == stand).all()
    assert len(behind) == len(which)


def test_too_few_points_and_those_in_a_line_are_refused(snapshot):
    eyes = np.array([[0.0, 0, 4], [1, 0, 4]])
    nothing = Sightings(np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(DataError) as few:
        point_surface(ball(12), eyes, nothing)
    snapshot("few_points", str(few.value))
    with pytest.raises(DataError) as line:
        point_surface(ball(40) * np.array([1, 0, 0]), eyes, Sightings(np.arange(40), np.zeros(40, np.int64)))
    snapshot("points_in_a_line", str(line.value))
