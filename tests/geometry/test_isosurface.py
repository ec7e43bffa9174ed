"""Surfaces of shapes that are known exactly."""

import math
import sys

import pytest
import torch

from rayformer.core.errors import MissingExtra
from rayformer.geometry import isosurface as module
from rayformer.geometry.isosurface import isosurface
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.similarity import Similarity

pytest.importorskip("skimage")

CENTRE = torch.tensor([0.1, -0.2, 0.05], dtype=torch.float64)
RADIUS = 0.6
BOX = torch.tensor([-1.0, -1.1, -0.9]), torch.tensor([1.2, 1.0, 1.0])
TURN = torch.linalg.qr(torch.randn(3, 3, generator=torch.manual_seed(1), dtype=torch.float64)).Q
MOVE = Similarity(2.5, TURN * torch.linalg.det(TURN).sign(), torch.tensor([3.0, -1, 4]).double())


def hard_ball(places):
    return 500.0 * ((places - CENTRE).norm(dim=-1) < RADIUS)


def soft_ball(places):
    """Density 20 on the surface, growing inwards as fast as a field does that was trained for minutes."""
    return (20 + 400 * (RADIUS - (places - CENTRE).norm(dim=-1))).clamp(min=0)


def lattice(resolution: int = 40) -> Lattice:
    return Lattice.over(*BOX, resolution)


def test_the_points_of_a_lattice_cover_its_box_in_the_order_of_their_numbers():
    grid = lattice(10)
    whole = grid.planes(0, grid.shape[0])
    assert len(whole) == math.prod(grid.shape)
    assert torch.equal(whole[0], grid.low)
    assert torch.allclose(whole[-1], grid.high)
    assert (grid.high >= BOX[1] - 1e-6).all()
    assert (grid.high < BOX[1] + grid.step).all()
    second = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    number = (1 * grid.shape[1] + 2) * grid.shape[2] + 3
    assert torch.allclose(whole[number], grid.at(second)[0])


@pytest.mark.parametrize("ball", [hard_ball, soft_ball])
@pytest.mark.parametrize("refinements", [0, 4])
def test_the_surface_of_a_ball_is_closed_round_and_of_its_size(ball, refinements):
    grid = lattice()
    mesh = isosurface(ball, grid, threshold=20.0, refinements=refinements).mesh
    off = ((mesh.vertices - CENTRE).norm(dim=-1) - RADIUS).abs() / grid.step
    assert mesh.is_closed
    assert off.max() < (0.1 if refinements else 0.5)  # in voxels
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)


def test_normals_point_outward():
    mesh = isosurface(soft_ball, lattice(), threshold=20.0).mesh
    outward = torch.nn.functional.normalize(mesh.vertices - CENTRE, dim=-1)
    assert ((mesh.normals * outward).sum(dim=-1) > 0.98).all()


def test_slabs_make_the_same_mesh_as_the_whole(monkeypatch):
    whole = isosurface(soft_ball, lattice(), 20.0).mesh
    monkeypatch.setattr(module, "POINTS_AT_ONCE", 5 * lattice().per_plane)
    slabs = isosurface(soft_ball, lattice(), 20.0).mesh
    assert (len(slabs.vertices), len(slabs.faces)) == (len(whole.vertices), len(whole.faces))
    assert slabs.is_closed
    assert slabs.volume == pytest.approx(whole.volume, rel=1e-6)


def test_no_slab_is_larger_than_it_may_be(monkeypatch):
    monkeypatch.setattr(module, "POINTS_AT_ONCE", 5 * lattice().per_plane)
    asked = []
    isosurface(lambda places: asked.append(len(places)) or soft_ball(places), lattice(), 20.0)
    assert max(asked) <= 5 * lattice().per_plane


def test_a_half_space_is_a_plane_and_with_a_lid_a_box():
    def below(places):
        return 500.0 * (places[:, 2] < 0.13)

    grid = lattice(20)
    plane = isosurface(below, grid, 20.0).mesh
    assert not plane.is_closed
    assert torch.allclose(plane.vertices[:, 2], torch.tensor(0.13).double(), atol=0.07 * grid.step)
    box = isosurface(below, grid, 20.0, close=True).mesh
    assert box.is_closed
    sides = grid.high - grid.low
    assert box.volume == pytest.approx(float(sides[0] * sides[1] * (0.13 - grid.low[2])), rel=0.02)


@pytest.mark.parametrize("value", [0.0, 500.0])
def test_where_nothing_changes_there_is_no_surface_and_its_range_is_told(value):
    surface = isosurface(lambda places: torch.full_like(places[:, 0], value), lattice(8), 20.0)
    assert len(surface.mesh.faces) == 0
    assert (surface.lowest, surface.highest) == (value, value)


def test_small_pieces_go_and_large_ones_stay():
    def two(places):
        small = (places - torch.tensor([-0.8, 0.7, 0.7]).double()).norm(dim=-1) < 0.15
        return torch.maximum(soft_ball(places), 500.0 * small)

    mesh = isosurface(two, lattice(), 20.0).mesh
    assert int(mesh.pieces().max()) == 1
    assert len(mesh.without_small(0.01).faces) == len(mesh.faces)
    largest = mesh.without_small(1.0)
    assert int(largest.pieces().max()) == 0
    assert largest.is_closed
    assert largest.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)


def test_a_mesh_that_is_moved_keeps_its_outside():
    mesh = isosurface(soft_ball, lattice(), 20.0).mesh
    moved = mesh.moved(MOVE)
    assert moved.volume == pytest.approx(mesh.volume * MOVE.scale**3)
    assert torch.allclose(moved.normals, mesh.normals @ MOVE.rotation.T)


def test_a_tetrahedron_without_a_face_is_open():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    whole = Mesh(corners, faces)
    assert whole.is_closed
    assert whole.volume == pytest.approx(1 / 6)
    assert not whole.only(torch.tensor([True, True, True, False])).is_closed
    flipped = Mesh(corners, torch.cat([faces[:3], faces[3:].flip(1)]))
    assert not flipped.is_closed


def test_a_missing_extra_is_named(monkeypatch, snapshot):
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(MissingExtra) as refusal:
        isosurface(soft_ball, lattice(8), 20.0)
    snapshot("without_skimage", str(refusal.value))
