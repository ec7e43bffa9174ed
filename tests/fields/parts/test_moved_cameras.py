"""Cameras that are learned: what a correction does to rays, and that none does nothing."""

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from rayformer.core.losses import Losses
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.fields.parts.moved_cameras import HOLD, MovedCameras, move_rays, turned
from rayformer.fields.parts.scene_field import ChangingField, SceneField
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import Rays, camera_rays


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_rays(count=12, views=3) -> Rays:
    source = generator()
    origins = torch.tensor([0.0, 0.0, 4.0]) + 0.2 * torch.randn(count, 3, generator=source)
    directions = F.normalize(0.5 * torch.randn(count, 3, generator=source) - origins, dim=-1)
    ends = torch.full((count,), 2.0), torch.full((count,), 6.0)
    view = torch.arange(count) % views
    return Rays(origins, directions, directions, *ends, view=view)


def small_nerf() -> NeRF:
    torch.manual_seed(0)
    return NeRF(NeRFConfig(width=16, depth=2, skip_after=None, coarse_samples=8, fine_samples=0))


@pytest.mark.parametrize("length", [1e-12, 1e-3, 0.5, 3.0, 7.0])
def test_turning_is_scipys_rotation_by_the_vector(length):
    source = generator()
    axes = length * F.normalize(torch.randn(20, 3, dtype=torch.float64, generator=source), dim=-1)
    vectors = torch.randn(20, 3, dtype=torch.float64, generator=source)
    wanted = Rotation.from_rotvec(axes.numpy()).apply(vectors.numpy())
    torch.testing.assert_close(turned(vectors, axes), torch.from_numpy(wanted))


def test_turning_keeps_lengths_in_single_precision_too():
    vectors = F.normalize(torch.randn(1000, 3, generator=generator()), dim=-1)
    turns = 0.1 * torch.randn(1000, 3, generator=generator(1))
    torch.testing.assert_close(turned(vectors, turns).norm(dim=-1), torch.ones(1000), atol=1e-6, rtol=0)


def test_the_slope_of_no_turn_is_finite_and_the_cross_product():
    """d turned(v, w) / dw at 0 is w x v."""
    vectors = torch.randn(5, 3, dtype=torch.float64, generator=generator())
    pull = torch.randn(5, 3, dtype=torch.float64, generator=generator(1))
    zero = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(turned(vectors, zero), zero, pull)
    torch.testing.assert_close(slope, torch.linalg.cross(vectors, pull))
    assert torch.autograd.gradcheck(turned, (vectors, zero + 0.1 * pull))


def test_a_camera_that_is_turned_and_shifted_casts_the_moved_rays():
    pose = look_at((3.0, 1.0, 0.5), (0.0, 0.1, 0.0))
    camera = Camera(width=6, height=4, fx=7.0, fy=7.0, cx=3.0, cy=2.0, pose=pose)
    shift, turn = torch.tensor([[0.1, -0.2, 0.05]]), torch.tensor([[0.02, 0.3, -0.1]])
    elsewhere = pose.clone()
    elsewhere[:3, :3] = torch.from_numpy(Rotation.from_rotvec(turn[0].numpy()).as_matrix()) @ pose[:3, :3]
    elsewhere[:3, 3] += shift[0]
    rays = camera_rays(camera, near=1.0, far=5.0)
    moved = move_rays(rays, shift, turn, torch.zeros(24, dtype=torch.int64))
    wanted = camera_rays(camera.at(elsewhere))
    torch.testing.assert_close(moved.origins, wanted.origins)
    torch.testing.assert_close(moved.directions, wanted.directions)
    torch.testing.assert_close(moved.view_directions, wanted.view_directions)
    assert torch.equal(moved.near, rays.near)


def test_each_ray_is_moved_by_its_own_view():
    rays = drawn_rays(9)
    cameras = MovedCameras(small_nerf(), 3)
    with torch.no_grad():
        cameras.shift[1] = torch.tensor([1.0, 0.0, 0.0])
    moved = cameras.moved(rays).origins - rays.origins
    wanted = torch.zeros(9, 3)
    wanted[1::3, 0] = 1
    torch.testing.assert_close(moved, wanted)


def test_cameras_that_have_not_moved_change_nothing():
    field, rays, colours = small_nerf(), drawn_rays(), torch.rand(12, 3, generator=generator())
    cameras = MovedCameras(field, 3)
    moved = cameras.moved(rays)
    assert torch.equal(moved.origins, rays.origins)
    assert torch.equal(moved.directions, rays.directions)
    with_cameras = cameras.loss(rays, colours, torch.ones(12, 3), generator(5))
    alone = field.loss(rays, colours, torch.ones(12, 3), generator(5))
    assert with_cameras.total == alone.total
    assert with_cameras.terms == {**alone.terms, "cameras": 0}
    assert torch.equal(
        cameras.render(rays, torch.ones(12, 3)).colour, field.render(rays, torch.ones(12, 3)).colour
    )


def test_pictures_and_radiance_are_those_of_the_given_poses_wherever_the_cameras_went():
    field, rays = small_nerf(), drawn_rays()
    cameras = MovedCameras(field, 3)
    with torch.no_grad():
        cameras.shift.fill_(0.5)
        cameras.turn.fill_(0.5)
    white = torch.ones(12, 3)
    assert torch.equal(cameras.render(rays, white).colour, field.render(rays, white).colour)
    here, there = (form.radiance(rays.origins, rays.directions) for form in (cameras, field))
    assert all(map(torch.equal, here, there))


def test_the_loss_pulls_at_the_cameras_that_were_looked_through_and_holds_all_to_their_places():
    cameras, rays = MovedCameras(small_nerf(), 4), drawn_rays(views=3)
    cameras.loss(rays, torch.zeros(12, 3), torch.ones(12, 3), generator()).total.backward()
    for correction in (cameras.shift, cameras.turn):
        assert torch.isfinite(correction.grad).all()
        assert (correction.grad[:3] != 0).any(dim=-1).all()
        assert (correction.grad[3] == 0).all()
    with torch.no_grad():
        cameras.shift.fill_(0.1)
        cameras.turn.fill_(0.2)
    held = cameras.loss(rays, torch.zeros(12, 3), torch.ones(12, 3), generator()).terms["cameras"]
    assert held.item() == pytest.approx(HOLD[0] * 3 * 0.01 + HOLD[1] * 3 * 0.04)


def test_it_is_a_scene_field_and_passes_on_what_changes_before_a_step():
    class Changing(torch.nn.Module):
        samples_per_ray = 5
        steps: tuple = ()

        def before_step(self, step, generator, some_rays):
            self.steps += (step,)

        def loss(self, rays, colours, background, generator) -> Losses:
            raise AssertionError("not asked")

        render = radiance = loss

    still, changing = MovedCameras(small_nerf(), 1), MovedCameras(Changing(), 1)
    for cameras in (still, changing):
        assert isinstance(cameras, SceneField)
        assert isinstance(cameras, ChangingField)
        cameras.before_step(3, generator(), drawn_rays)
    assert changing.field.steps == (3,)
    assert changing.samples_per_ray == 5


def test_rays_that_know_no_view_cannot_be_moved():
    with pytest.raises(AssertionError, match="must know their views"):
        MovedCameras(small_nerf(), 1).moved(drawn_rays().replaced(view=None))
