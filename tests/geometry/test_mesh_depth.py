"""How deep a mesh lies before a camera, with a lens and without."""

import math

import pytest
import torch

from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lens import Lens
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.mesh_depth import mesh_depth, mesh_raster, plane_grid, wide_pinhole
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import pixel_grid
from rayformer.geometry.warp import places_of

GROUND = Mesh(
    torch.tensor([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [0.0, 12.0, 0.0]]), torch.tensor([[0, 1, 2]])
)
LENSES = [Lens(), Lens(k1=0.12, k2=-0.03, p1=0.01)]


def camera(lens: Lens) -> Camera:
    return Camera(31, 24, 30.0, 28.0, 15.2, 12.4, look_at((3.0, 1.0, 2.0), (0.0, 0.0, 0.0)), lens)


@pytest.mark.parametrize("lens", LENSES)
def test_every_pixel_of_a_plane_leads_back_to_the_plane(lens):
    depth = mesh_depth(camera(lens), GROUND)
    seen = depth.isfinite()
    assert seen.float().mean() > 0.5
    places = places_of(camera(lens), depth)[seen]
    assert places[:, 2].abs().max() < 1e-5
    pixels, again = project(camera(lens), places)
    torch.testing.assert_close(pixels, pixel_grid(31, 24).view(24, 31, 2)[seen], atol=1e-6, rtol=0)
    torch.testing.assert_close(again.float(), depth[seen])


@pytest.mark.parametrize("lens", LENSES)
def test_a_ball_is_as_deep_as_the_formula_says(lens):
    turns = torch.linspace(0, 2 * math.pi, 129)[:-1]
    rises = torch.linspace(0, math.pi, 65)
    turn, rise = torch.meshgrid(turns, rises, indexing="ij")
    places = torch.stack([turn.cos() * rise.sin(), turn.sin() * rise.sin(), rise.cos()], dim=-1)
    number = torch.arange(128 * 65).view(128, 65)
    a, b = number[:, :-1], number.roll(-1, 0)[:, :-1]
    c, d = number[:, 1:], number.roll(-1, 0)[:, 1:]
    faces = torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)]).flatten(0, 1)
    mesh = Mesh(places.flatten(0, 1), faces.flatten(0, -2))
    eye = camera(lens)
    ray = torch.cat([plane_grid(eye), torch.ones(24, 31, 1)], dim=-1)
    middle = torch.tensor([0.0, 0.0, math.sqrt(14.0)], dtype=torch.float64)
    # |t ray - middle| = 1
    across = (ray * middle).sum(-1)
    square = across**2 - ray.square().sum(-1) * 13
    wanted = (across - square.clamp(min=0).sqrt()) / ray.square().sum(-1)
    depth, well_inside = mesh_depth(eye, mesh), square > 0.3
    assert well_inside.sum() > 40
    assert (depth - wanted)[well_inside].abs().max() < 0.02
    assert depth[square < -0.3].isinf().all()


def test_the_wide_pinhole_sees_all_that_the_lens_sees():
    eye = camera(LENSES[1])
    wide = wide_pinhole(eye, plane_grid(eye))
    pixels = plane_grid(eye) * wide.intrinsics[:2] + wide.intrinsics[2:]
    assert (pixels >= 0).all()
    assert (pixels <= torch.tensor([wide.width, wide.height])).all()
    assert (wide.fx, wide.fy) == (eye.fx, eye.fy)


@pytest.mark.parametrize("lens", LENSES)
def test_the_weights_of_a_triangle_lead_to_its_place(lens):
    raster = mesh_raster(camera(lens), GROUND)
    seen = raster.face >= 0
    corners = GROUND.vertices[GROUND.faces[raster.face[seen]]]
    there = (corners * raster.weights[seen][..., None]).sum(dim=1)
    torch.testing.assert_close(
        there, places_of(camera(lens), raster.depth)[seen].float(), atol=2e-4, rtol=0
    )  # fmt: skip
