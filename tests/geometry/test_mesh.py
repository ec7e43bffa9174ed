"""Points drawn on triangles, and the solids that tests are made of."""

import math

import pytest
import torch

from rayformer.geometry.mesh import Mesh
from tests.geometry.solids import ball, box


@pytest.mark.parametrize("mesh", [box(), ball()], ids=["box", "ball"])
def test_the_solids_of_the_tests_are_closed_and_face_outward(mesh):
    assert mesh.is_closed
    assert mesh.volume > 0
    middles = mesh.vertices[mesh.faces].mean(dim=1)
    assert ((middles * mesh.face_normals).sum(dim=-1) > 0).all()


def test_a_ball_has_the_volume_and_area_of_one():
    mesh = ball(0.5, rings=48)
    assert mesh.volume == pytest.approx(math.pi / 6, rel=2e-3)
    assert float(mesh.areas.sum()) == pytest.approx(math.pi, rel=2e-3)


def test_points_drawn_on_a_mesh_lie_in_their_triangles():
    mesh = ball(0.5, rings=4)
    points, face = mesh.sample(500, torch.Generator().manual_seed(0))
    corners = mesh.vertices[mesh.faces[face]]
    shares = torch.linalg.solve(corners.mT, points)  # no triangle of the ball has the origin in its plane
    assert (shares > -1e-9).all()
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(500, dtype=torch.float64))


def test_points_are_drawn_evenly_by_area_however_the_area_is_cut():
    """A square of two triangles, one of them cut into a hundred: each half gets half of the points."""
    fan = torch.linspace(0, 1, 101, dtype=torch.float64)
    edge = torch.stack([fan, 1 - fan, torch.zeros_like(fan)], dim=-1)
    far = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    cut = torch.tensor([[101, n, n + 1] for n in range(100)])
    mesh = Mesh(torch.cat([edge, far]), torch.cat([cut, torch.tensor([[102, 100, 0]])]))
    points, _ = mesh.sample(20_000, torch.Generator().manual_seed(1))
    assert float((points[:, :2].sum(dim=1) < 1).double().mean()) == pytest.approx(0.5, abs=0.015)
    for axis in range(2):
        quarter = (points[:, axis] < 0.25).double().mean()
        assert float(quarter) == pytest.approx(0.25, abs=0.015)


def test_the_same_generator_draws_the_same_points():
    draws = [ball().sample(10, torch.Generator().manual_seed(2))[0] for _ in range(2)]
    assert torch.equal(*draws)
