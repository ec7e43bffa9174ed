"""The tree of triangles against its readable twins, closed forms, and trimesh."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.kernels.triangles import Triangles, nearest_twin, winding_twin
from tests.geometry.solids import ball, box, box_distance, together

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=8, deadline=None)


def soup(seed: int, faces: int, size: float = 0.4):
    """Triangles of any shape anywhere, some of them of no area."""
    draw = torch.Generator().manual_seed(seed)
    middles = torch.rand(faces, 1, 3, generator=draw, dtype=torch.float64) * 2 - 1
    corners = middles + size * torch.randn(faces, 3, 3, generator=draw, dtype=torch.float64)
    corners[:: max(faces // 3, 2), 2] = corners[:: max(faces // 3, 2), 1]
    return corners, torch.rand(60, 3, generator=draw, dtype=torch.float64) * 3 - 1.5


def corners_of(mesh):
    return mesh.vertices[mesh.faces]


def places(count: int, seed: int = 0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("faces", [1, 2, 5, 64, 333])
@few
@drawn
def test_the_nearest_place_is_that_of_the_twin(faces, seed):
    corners, points = soup(seed, faces)
    ours, theirs = Triangles(corners).nearest(points), nearest_twin(corners, points)
    torch.testing.assert_close(ours.distance, theirs.distance, atol=1e-10, rtol=1e-8)
    torch.testing.assert_close((points - ours.place).norm(dim=1), ours.distance, atol=1e-10, rtol=1e-8)
    own = [
        nearest_twin(corners[face : face + 1], point[None]).distance[0]
        for face, point in zip(ours.face, points, strict=True)
    ]  # every place lies on the triangle that is named
    torch.testing.assert_close(torch.stack(own), ours.distance, atol=1e-10, rtol=1e-8)


@few
@drawn
def test_what_is_known_beforehand_shortens_the_search_and_changes_nothing(seed):
    corners, points = soup(seed, 200)
    tree = Triangles(corners)
    free = tree.nearest(points)
    for known in (free.distance, 3 * free.distance, 0.5 * free.distance):  # exact, far too much, wrong
        told = tree.nearest(points, known)
        torch.testing.assert_close(told.distance, free.distance)


@pytest.mark.parametrize("faces", [1, 5, 333])
@few
@drawn
def test_taken_one_by_one_the_solid_angles_are_those_of_the_twin(faces, seed):
    corners, points = soup(seed, faces)
    torch.testing.assert_close(
        Triangles(corners).winding(points, far=math.inf), winding_twin(corners, points), atol=1e-9, rtol=1e-9
    )


def test_dipoles_are_off_by_two_hundredths_at_most():
    corners, points = corners_of(ball(0.6)), places(2000)
    assert (Triangles(corners).winding(points) - winding_twin(corners, points)).abs().max() < 0.02


def test_the_distance_to_a_cube_is_the_closed_form():
    cube, points = Triangles(corners_of(box())), places(2000)
    distance = cube.nearest(points).distance
    torch.testing.assert_close(distance, box_distance(points).abs())


def test_a_closed_surface_goes_round_what_is_inside_once_and_round_the_rest_never():
    points = places(2000)
    winding = Triangles(corners_of(box())).winding(points, far=math.inf)
    torch.testing.assert_close(winding, (points.abs().amax(dim=1) < 0.5).double(), atol=1e-9, rtol=0)


def test_turned_inside_out_it_goes_round_the_other_way():
    corners, points = corners_of(ball()), places(300)
    torch.testing.assert_close(
        Triangles(corners.flip(1)).winding(points, far=math.inf),
        -Triangles(corners).winding(points, far=math.inf),
    )


def test_two_balls_in_each_other_count_twice_where_both_are():
    pair = together(ball(0.5), ball(0.5, (0.4, 0.0, 0.0)))
    winding = Triangles(corners_of(pair)).winding(
        torch.tensor([[0.2, 0, 0], [-0.3, 0, 0], [0, 0.9, 0]]).double()
    )
    torch.testing.assert_close(winding, torch.tensor([2.0, 1.0, 0.0]).double(), atol=0.02, rtol=0)


def test_a_cube_without_a_face_goes_five_sixths_round_its_middle():
    """Each face is seen from the middle under one sixth of all directions; the lid is where half is left."""
    lidless = Triangles(corners_of(box())[2:])
    axis = int(corners_of(box())[0].var(dim=0).argmin())  # the missing face is square to this axis
    along = torch.zeros(3, 3, dtype=torch.float64)
    along[:, axis] = torch.tensor([0.0, -2.0, 2.0])
    middle, beyond, behind = lidless.winding(along, far=math.inf)
    assert float(middle) == pytest.approx(5 / 6, abs=1e-9)
    assert abs(float(beyond)) < 0.06
    assert abs(float(behind)) < 0.06
    way = torch.zeros(41, 3, dtype=torch.float64)
    way[:, axis] = torch.linspace(0, -1, 41)
    falling = lidless.winding(way, far=math.inf)
    assert (falling.diff() < 0).all(), "it falls off smoothly through the hole"
    assert float(falling[20]) == pytest.approx(0.5, abs=1e-6), "and is one half in the plane of the hole"


def test_solids_apart_or_touching_do_not_pass_through_themselves_and_crossed_ones_do():
    assert Triangles(corners_of(ball())).crossings() == 0
    assert Triangles(corners_of(together(box(), box((0.6, -0.5, -0.5), (1.6, 0.5, 0.5))))).crossings() == 0
    assert Triangles(corners_of(together(box(), box((0.5, -0.5, -0.5), (1.5, 0.5, 0.5))))).crossings() == 0
    crossed = together(box(), box((0.1, 0.13, 0.17), (1.1, 1.13, 1.17)))
    # Of each box three edges and three diagonals of its sides come out of the other, through one triangle.
    assert Triangles(corners_of(crossed)).crossings() == 12


def test_a_needle_through_a_triangle_crosses_it_with_two_edges():
    sheet = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]]).double()
    needle = torch.tensor([[0.0, 0, -1], [0.01, 0, 1], [-0.01, 0, 1]]).double()
    assert Triangles(torch.stack([sheet, needle])).crossings() == 2
    assert Triangles(torch.stack([sheet, needle + torch.tensor([0, 0, 1.5]).double()])).crossings() == 0
    assert Triangles(torch.stack([sheet, needle + torch.tensor([3.0, 0, 0]).double()])).crossings() == 0


@few
@drawn
def test_trimesh_finds_the_same_distances(seed):
    trimesh = pytest.importorskip("trimesh")
    mesh, points = ball(0.7, rings=6), places(40, seed)
    theirs = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    _, distance, _ = trimesh.proximity.closest_point_naive(theirs, points.numpy())
    torch.testing.assert_close(
        Triangles(corners_of(mesh)).nearest(points).distance, torch.from_numpy(distance)
    )


def test_bits_are_the_same_on_any_number_of_threads(threads):
    tree, points = Triangles(corners_of(ball())), places(3000)
    found = []
    for number in (1, 2):
        threads(number)
        found.append((tree.nearest(points).distance, tree.winding(points)))
    assert all(torch.equal(one, same) for one, same in zip(*found, strict=True))


def test_no_points_have_no_distances():
    tree = Triangles(corners_of(box()))
    assert tree.nearest(places(0)).place.shape == (0, 3)
    assert tree.winding(places(0)).shape == (0,)
