"""Cameras, lenses and rays: projecting undoes casting, whatever the lens, the pose and the size."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lens import Lens, distort, folds, undistort
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays, cast, pixel_grid

FOX = Lens(0.0578421, -0.0805099, 0.0, -0.000980296, 0.00015575)
STRONG = Lens(-0.28, 0.07, -0.005, 0.003, -0.002)


def camera(lens: Lens = Lens(), width: int = 54, height: int = 96) -> Camera:
    pose = look_at((1.0, -3.0, 2.0), (0.2, 0.1, -0.3))
    return Camera(width, height, 1.27 * width, 1.26 * width, 0.51 * width, 0.49 * height, pose, lens)


@pytest.mark.parametrize("lens", [Lens(), FOX, STRONG], ids=["pinhole", "fox", "strong"])
def test_projecting_a_point_of_a_ray_gives_the_ray_s_pixel(lens):
    view = camera(lens, 540, 960)
    rays = camera_rays(view, dtype=torch.float64)
    distances = 0.5 + 5 * torch.rand(len(rays), 1, dtype=torch.float64, generator=torch.manual_seed(0))
    pixels, depth = project(view, rays.points(distances)[:, 0])
    assert (pixels - pixel_grid(540, 960)).abs().max() < 1e-6
    assert (depth > 0).all()


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(*[st.floats(-limit, limit) for limit in (0.15, 0.05, 0.02, 0.01, 0.01)]),
    st.floats(0.1, 0.9),
)
def test_undistorting_undoes_distorting(coefficients, reach):
    points = torch.rand(200, 2, dtype=torch.float64, generator=torch.manual_seed(1)) * 2 * reach - reach
    terms = torch.tensor(coefficients, dtype=torch.float64)[None]
    there = distort(points, terms)
    assert (undistort(there, terms) - points).abs().max() < 1e-12


def test_the_lens_agrees_with_a_calculation_by_hand():
    # r² = 0.25, s = 1 + 0.025 + 0.0125 + 0.0015625; x' = 0.3 s + 2(0.01)(0.12) + 0.02(0.25 + 0.18), ...
    terms = Lens(k1=0.1, k2=0.2, k3=0.1, p1=0.01, p2=0.02).coefficients[None]
    stretched = distort(torch.tensor([[0.3, 0.4]], dtype=torch.float64), terms)
    expected = torch.tensor([[0.3 * 1.0390625 + 0.011, 0.4 * 1.0390625 + 0.0105]], dtype=torch.float64)
    torch.testing.assert_close(stretched, expected)


def test_a_lens_that_folds_the_image_is_found_out():
    corner = torch.tensor([[0.9, 0.9]], dtype=torch.float64)
    assert folds(corner, Lens(k1=-0.5).coefficients[None]).all()
    assert not folds(corner, STRONG.coefficients[None]).any()
    assert not folds(corner, Lens().coefficients[None]).any()


def test_single_precision_inverts_the_lens_to_a_thousandth_of_a_pixel():
    view = camera(STRONG, 135, 240)
    plane = (pixel_grid(135, 240) - view.intrinsics[2:]) / view.intrinsics[:2]
    exact = undistort(plane, STRONG.coefficients[None])
    single = undistort(plane.float(), STRONG.coefficients[None].float())
    assert (exact - single).abs().max() * 4 * view.fx < 1e-3


def test_the_middle_ray_runs_along_the_optical_axis_and_the_top_row_looks_up():
    pose = look_at((0, -4, 0), (0, 0, 0))
    view = Camera.from_fov(64, 48, 60, pose)
    rays = camera_rays(view, torch.tensor([[32.0, 24.0], [32.0, 0.5], [63.5, 24.0]]), dtype=torch.float64)
    torch.testing.assert_close(rays.directions[0], view.direction)
    assert rays.directions[1, 2] > 0.4, "row 0 is the top of the picture"
    assert rays.directions[2, 0] > 0.4, "columns run to the right"


def test_directions_have_length_one_and_near_and_far_are_those_asked_for():
    rays = camera_rays(camera(FOX), near=2, far=6)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones(len(rays)))
    assert rays.origins.dtype == torch.float32
    assert (rays.near == 2).all()
    assert (rays.far == 6).all()
    assert camera_rays(camera()).far[0] == math.inf


def test_a_batch_over_many_cameras_equals_each_camera_by_itself():
    views = [camera(FOX), camera(STRONG), camera()]
    views[1] = views[1].at(look_at((3, 3, 3), (0, 0, 0)))
    pixels = torch.tensor([[3.5, 7.5], [20.0, 90.1], [53.5, 0.5]], dtype=torch.float64)
    origins, directions, radii = cast(
        pixels,
        torch.stack([view.intrinsics for view in views]),
        torch.stack([view.lens.coefficients for view in views]),
        torch.stack([view.pose for view in views]),
    )
    for row, view in enumerate(views):
        alone = camera_rays(view, pixels[row : row + 1], dtype=torch.float64)
        torch.testing.assert_close(origins[row], alone.origins[0])
        torch.testing.assert_close(directions[row], alone.directions[0])
        torch.testing.assert_close(radii[row], alone.radii[0])


@pytest.mark.parametrize("lens", [Lens(), FOX, STRONG], ids=["pinhole", "fox", "strong"])
def test_a_radius_is_the_mean_distance_to_the_neighbouring_pixels_rays(lens):
    """mip-NeRF's rule, by casting the neighbours: half a pixel to either side, at distance 1 along the ray's
    own depth, times 2 / sqrt(12)."""
    view, step = camera(lens), 1e-4
    pixels = torch.tensor([[5.5, 3.5], [30.0, 50.0], [50.5, 90.5]], dtype=torch.float64)
    on_plane = lambda place: (  # noqa: E731
        (rays := camera_rays(view, place, dtype=torch.float64)).directions
        / (rays.directions @ view.direction)[:, None]
    )
    apart = [
        (on_plane(pixels + step * axis) - on_plane(pixels - step * axis)).norm(dim=-1) / (2 * step)
        for axis in torch.eye(2, dtype=torch.float64)
    ]
    rays = camera_rays(view, pixels, dtype=torch.float64)
    slant = rays.directions @ view.direction
    torch.testing.assert_close(rays.radii, sum(apart) / 2 * slant * 2 / math.sqrt(12))


def test_radii_go_with_their_rays_and_halve_with_the_pixels():
    small, large = camera(), camera().scaled(*(2 * side for side in (camera().width, camera().height)))
    place = torch.tensor([[5.5, 3.5], [30.0, 50.0]])
    rays = camera_rays(small, place)
    torch.testing.assert_close(camera_rays(large, 2 * place).radii, rays.radii / 2)
    assert torch.equal(rays[1:].radii, rays.radii[1:])
    assert rays.to(torch.float64).radii.dtype == torch.float64


def test_scaling_the_picture_moves_no_ray():
    view = camera(FOX, 540, 960)
    half = view.scaled(270, 480)
    place = torch.tensor([[101.0, 203.0]])
    torch.testing.assert_close(camera_rays(half, place / 2).directions, camera_rays(view, place).directions)


def test_framing_for_another_shape_keeps_the_vertical_angle_and_square_pixels():
    framed = camera(FOX, 540, 960).framed((640, 360))
    assert framed.fov_y_degrees == pytest.approx(camera(FOX, 540, 960).fov_y_degrees)
    assert framed.fx == framed.fy
    assert framed.lens.is_pinhole


def test_rays_can_be_cut_and_picked():
    rays = camera_rays(camera(), near=1, far=2)
    assert len(rays[10:30]) == 20
    picked = rays[torch.tensor([3, 1])]
    assert torch.equal(picked.directions[1], rays.directions[1])
    assert rays.to(torch.float64).near.dtype == torch.float64


def test_rays_keep_the_number_of_their_view_through_cutting_and_moving_and_not_through_rounding():
    rays = camera_rays(camera(), near=1.0, far=2.0)
    assert rays.view is None
    assert rays[:3].view is None
    assert rays.to("cpu").view is None
    known = rays.replaced(view=torch.arange(len(rays)) % 4)
    assert known[5:9].view.tolist() == [1, 2, 3, 0]
    assert known[torch.tensor([6, 2])].view.tolist() == [2, 2]
    assert known.to(torch.float64).view.dtype == torch.int64, "a number of a view is no length"
    assert torch.equal(known.to("cpu").view, known.view)


def test_replacing_parts_of_rays_leaves_the_others_and_the_rays_themselves():
    rays = camera_rays(camera(), near=1.0, far=2.0)
    moved = rays.replaced(origins=rays.origins + 1)
    assert torch.equal(moved.origins, rays.origins + 1)
    assert moved.directions is rays.directions
    assert moved.radii is rays.radii
    assert moved.replaced(radii=None).radii is None
    assert moved.radii is not None
