"""From pixels to pixels: identity, a plane's homography, what is hidden, what is at infinity."""

import pytest
import torch

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.mesh_depth import mesh_depth
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import pixel_grid
from rayformer.geometry.warp import depth_of, distance_of, sampled, splatted, warp

LENSES = [Lens(), Lens(k1=0.12, k2=-0.03, p1=0.01)]


def camera(place: tuple[float, float, float], lens: Lens = LENSES[0]) -> Camera:
    return Camera(31, 24, 30.0, 28.0, 15.2, 12.4, look_at(place, (0.0, 0.0, 0.0)), lens)


def wall(size: float, z: float = 0.0) -> Mesh:
    return Mesh(
        torch.tensor([[-size, -size, z], [size, -size, z], [-size, size, z], [size, size, z]]),
        torch.tensor([[0, 1, 2], [1, 3, 2]]),
    )


@pytest.mark.parametrize("lens", LENSES)
def test_a_view_warped_into_itself_is_itself(lens):
    eye, draw = camera((3.0, 1.0, 2.0), lens), torch.Generator().manual_seed(1)
    depth = 1 + torch.rand(24, 31, generator=draw)
    depth[3:6, 4:9] = torch.inf
    found = warp(eye, depth, eye, depth, 0.01)
    assert found.seen.all()
    assert (found.places - pixel_grid(31, 24).view(24, 31, 2)).abs().max() < 1e-5
    picture = torch.rand(1, 3, 24, 31, generator=draw)
    torch.testing.assert_close(sampled(picture, found.places[None]), picture, atol=1e-5, rtol=0)


def test_a_plane_is_warped_by_its_homography():
    """x' ~ K' (R + t n^T / d) K^-1 x, written out with matrices that `warp` does not use."""
    target, source = camera((3.0, 1.0, 2.0)), camera((1.5, -2.0, 2.5))
    depth = mesh_depth(target, wall(30.0))
    found = warp(target, depth, source, mesh_depth(source, wall(30.0)), 0.01)
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0])).double()

    def outward(eye: Camera) -> tuple[torch.Tensor, torch.Tensor]:
        turn = flip @ eye.pose[:3, :3].T
        return turn, -turn @ eye.pose[:3, 3]

    (turn, shift), (other, moved) = outward(target), outward(source)
    normal = turn @ torch.tensor([0.0, 0.0, 1.0]).double()  # of the plane z = 0, in the target's coordinates
    away = normal @ shift
    lens = torch.tensor([[30.0, 0.0, 15.2], [0.0, 28.0, 12.4], [0.0, 0.0, 1.0]]).double()
    between = other @ turn.T
    homography = lens @ (between + torch.outer(moved - between @ shift, normal) / away) @ lens.inverse()
    pixels = pixel_grid(31, 24)
    wanted = torch.cat([pixels, torch.ones(len(pixels), 1)], dim=1) @ homography.T
    wanted = (wanted[:, :2] / wanted[:, 2:]).view(24, 31, 2)
    assert found.inside.float().mean() > 0.3
    assert (found.places - wanted)[found.inside].abs().max() < 1e-4  # the depth is float32
    assert torch.equal(found.seen, found.inside)


def test_what_stands_behind_something_is_not_seen():
    target, source = camera((0.1, 0.0, 4.0)), camera((0.2, 0.1, 3.5))
    before = wall(0.5, z=1.0)
    found = warp(target, mesh_depth(target, wall(9.0)), source, mesh_depth(source, before), 0.01)
    behind = mesh_depth(source, before).isfinite()
    column, row = found.places.floor().long().clamp(min=0).unbind(-1)
    hidden = behind[row.clamp(max=23), column.clamp(max=30)] & found.inside
    assert hidden.any()
    assert not found.seen.any(), "and where the source has nothing, the ground is not seen either"


def test_the_tolerance_is_a_share_of_the_smaller_depth():
    eye = camera((0.0, 0.0, 4.0))
    depth = torch.full((24, 31), 2.0)
    assert warp(eye, depth, eye, depth * 1.0099, 0.01).seen.all()
    assert not warp(eye, depth, eye, depth * 1.0101, 0.01).seen.any()
    assert not warp(eye, depth, eye, depth / 1.0101, 0.01).seen.any()


def test_what_is_at_infinity_feels_the_turn_and_not_the_shift():
    eye = camera((3.0, 1.0, 2.0))
    shifted = eye.pose.clone()
    shifted[:3, 3] += torch.tensor([5.0, -3.0, 1.0]).double()
    nothing = torch.full((24, 31), torch.inf)
    found = warp(eye, nothing, eye.at(shifted), nothing, 0.01)
    assert (found.places - pixel_grid(31, 24).view(24, 31, 2)).abs().max() < 1e-9
    assert found.seen.all()
    assert not warp(eye, nothing, eye.at(shifted), torch.ones(24, 31), 0.01).seen.any(), (
        "something is before it"
    )
    turned = camera((2.0, 2.5, 2.0))
    assert not warp(eye, nothing, turned, nothing, 0.01).seen.all()


def test_every_other_pixel_is_warped_as_among_all():
    target, source = camera((3.0, 1.0, 2.0), LENSES[1]), camera((2.0, 1.8, 2.0))
    depths = mesh_depth(target, wall(3.0)), mesh_depth(source, wall(3.0))
    whole, some = (warp(target, depths[0], source, depths[1], 0.01, every) for every in (1, 3))
    assert torch.equal(whole.seen[::3, ::3], some.seen)
    assert torch.equal(whole.places[::3, ::3], some.places)


def test_a_lens_does_not_fold_far_places_into_its_picture():
    """At r^2 = 1 / (3 |k1|) a barrel lens turns back; what lies beyond must not come in again."""
    source = camera((0.0, 0.0, 4.0), Lens(k1=-0.3))
    target = Camera.from_fov(200, 200, 150.0, source.pose)
    depth = torch.full((200, 200), 2.0)
    found = warp(target, depth, source, torch.full((24, 31), 2.0), 0.01)
    x = (torch.arange(200) + 0.5 - 100) / target.fx
    far = (x[None] ** 2 + x[:, None] ** 2) > 1.5
    assert found.inside.any()
    assert not found.inside[far].any()


def test_depth_and_distance_are_each_other_s_way_back():
    eye, depth = camera((3.0, 1.0, 2.0), LENSES[1]), torch.rand(24, 31) + 1
    torch.testing.assert_close(depth_of(eye, distance_of(eye, depth)), depth)
    assert (distance_of(eye, depth) >= depth).all()


def test_a_splatted_picture_of_one_view_is_the_picture_and_near_things_hide_far_ones():
    colours, pixels = torch.rand(12 * 9, 3), pixel_grid(12, 9)
    seen, depth, total = splatted(colours, pixels, torch.ones(108), 12, 9, 0.01)
    torch.testing.assert_close(seen.view(-1, 3), colours)
    assert (total == 1).all()
    two = torch.cat([colours, 1 - colours]), torch.cat([pixels, pixels])
    seen, depth, _ = splatted(*two, torch.cat([2 * torch.ones(108), torch.ones(108)]), 12, 9, 0.01)
    torch.testing.assert_close(seen.view(-1, 3), 1 - colours)
    assert (depth == 1).all()


def test_a_point_between_pixels_is_shared_and_holes_stay_empty():
    seen, depth, total = splatted(torch.ones(1, 3), torch.tensor([[3.75, 2.5]]), torch.ones(1), 8, 6, 0.01)
    assert total.nonzero().tolist() == [[2, 3], [2, 4]]
    assert (total[2, 3], total[2, 4]) == (0.75, 0.25)
    assert depth.isfinite().sum() == 2
    assert (seen[total > 0] == 1).all()
