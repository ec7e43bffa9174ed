"""NDC: straight rays stay straight, the near plane is t' = 0 and infinity is t' = 1."""

import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.geometry.cameras import Camera
from rayformer.geometry.ndc import ndc_rays
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import Rays, camera_rays

WIDTH, HEIGHT, FOCAL = 40, 30, 50.0


def forward_rays() -> Rays:
    pose = look_at((0.2, -0.1, 0.05), (0.0, 0.1, -5), (0, 1, 0))
    view = Camera(WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, pose)
    return camera_rays(view, near=1, far=100, dtype=torch.float64)


def warp(points: torch.Tensor, near: float = 1.0) -> torch.Tensor:
    """Appendix C as one 4 x 4 projection matrix with the far plane at infinity: a second way to say it."""
    matrix = torch.tensor(
        [
            [2 * FOCAL / WIDTH, 0, 0, 0],
            [0, 2 * FOCAL / HEIGHT, 0, 0],
            [0, 0, -1, -2 * near],
            [0, 0, -1, 0],
        ],
        dtype=torch.float64,
    )
    image = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1) @ matrix.T
    return image[:, :3] / image[:, 3:]


def test_points_of_a_ray_stay_on_its_ndc_ray_in_order():
    rays = forward_rays()
    bent = ndc_rays(rays, FOCAL, FOCAL, WIDTH, HEIGHT)
    last = torch.zeros(len(rays), dtype=torch.float64)
    for distance in (1.5, 2.0, 4.0, 30.0):
        place = warp(rays.points(torch.full((len(rays), 1), distance, dtype=torch.float64))[:, 0])
        t = (place - bent.origins)[:, 2] / bent.directions[:, 2]
        torch.testing.assert_close(bent.points(t[:, None])[:, 0], place)
        assert (t > last).all()
        assert (t < 1).all()
        last = t


def test_t_is_zero_on_the_near_plane_and_one_at_infinity():
    rays = forward_rays()
    bent = ndc_rays(rays, FOCAL, FOCAL, WIDTH, HEIGHT)
    torch.testing.assert_close(bent.origins[:, 2], -torch.ones(len(rays)).double())
    distant = warp(rays.points(torch.full((len(rays), 1), 1e9, dtype=torch.float64))[:, 0])
    torch.testing.assert_close(bent.points(torch.ones(len(rays), 1).double())[:, 0], distant)
    assert (bent.near == 0).all()
    assert (bent.far == 1).all()


def test_equal_steps_of_t_are_equal_steps_of_disparity():
    bent = ndc_rays(forward_rays()[:1], FOCAL, FOCAL, WIDTH, HEIGHT)
    z = bent.points(torch.linspace(0, 0.9, 10).double()[None])[0, :, 2]
    disparity = (1 - z) / 2  # of z' = 1 + 2 near / z, which is 1 - 2 disparity
    steps = disparity.diff()
    torch.testing.assert_close(steps, steps[:1].expand(9))


def test_viewing_directions_stay_those_of_the_world():
    rays = forward_rays()
    assert torch.equal(ndc_rays(rays, FOCAL, FOCAL, WIDTH, HEIGHT).view_directions, rays.view_directions)


def test_a_ray_that_runs_back_is_refused(snapshot):
    back = Rays(*[torch.ones(1, 3)] * 3, torch.zeros(1), torch.ones(1))
    with pytest.raises(DataError) as refusal:
        ndc_rays(back, FOCAL, FOCAL, WIDTH, HEIGHT)
    snapshot("backwards", str(refusal.value))
