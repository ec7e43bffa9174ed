"""DeepVoxels: into the volume and out again, what may change it, and what its parts promise."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.fields.deepvoxels import (
    NEAREST,
    DeepVoxels,
    DeepVoxelsConfig,
    IntegrationNet,
    OcclusionNet,
    Shot,
    absolute_error,
    frustum,
    lifting,
)
from rayformer.fields.parts.resampling import corners, gather
from rayformer.fields.parts.scene_field import PictureMaker, SceneField
from rayformer.fields.parts.unet import coordinates
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lens import Lens
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays
from rayformer.kernels.marching import Space

SPACE = Space((0.2, -0.1, 0.3), 0.8)
TINY = DeepVoxelsConfig(
    cells=8, features=4, extract_width=4, inpaint_width=4, occlude_width=4, draw_width=8, most=8, stride=2
)
CPU = torch.device("cpu")


def camera(place=(2.5, 0.4, 1.1), size=(24, 20), fov=45, at=SPACE.centre) -> Camera:
    eye, target = (torch.tensor(value, dtype=torch.float64) for value in (place, at))
    return Camera.from_fov(*size, fov, look_at(eye, target, torch.tensor([0.0, 0, 1]).double()))


def shot(view: Camera, seed=0) -> Shot:
    source = torch.Generator().manual_seed(seed)
    return Shot(view, torch.rand(view.height, view.width, 3, generator=source))


def tiny(**changes) -> DeepVoxels:
    torch.manual_seed(0)
    return DeepVoxels(replace(TINY, **changes), SPACE, [camera()])


def filled(**changes) -> DeepVoxels:
    """With something in its volume."""
    model = tiny(**changes)
    for seed, place in enumerate([(2.5, 0.4, 1.1), (-1.0, 2.0, 1.0)]):
        model.absorb(shot(camera(place), seed))
    return model


def middles(cells=8):
    axis = ((2 * torch.arange(cells) + 1) / cells - 1) * SPACE.half
    return torch.cartesian_prod(axis, axis, axis) + torch.tensor(SPACE.centre)


# ---------------------------------------------------------------- into the volume


def test_a_voxel_gets_the_feature_that_the_picture_has_where_it_appears():
    """Features that are linear over the picture, so that between two pixels there is no doubt."""
    view = camera()
    pixels, _ = project(view, middles())
    y, x = torch.meshgrid(torch.arange(10) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    table = torch.stack([2 * x, 2 * y], dim=-1).view(-1, 2)  # a feature for every second pixel
    at, seen = lifting(view, SPACE, 8, (10, 12), CPU)
    inner = ((pixels > 1) & (pixels < torch.tensor([23.0, 19.0]))).all(dim=-1)
    assert inner.sum() > 100
    assert seen[inner].all()
    torch.testing.assert_close(gather(table, at)[inner], pixels[inner], atol=1e-4, rtol=1e-5)


def test_lifting_a_plane_and_looking_at_it_gives_the_picture_back():
    """The plane through the cube's middle, across the camera's axis: what was lifted onto it is what the
    camera sees there."""
    cells, view = 32, camera((0.2, -0.1, 3.3), at=SPACE.centre, fov=20)
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    picture = torch.stack([torch.sin(x / 4), torch.cos(y / 5)], dim=-1)
    at, _ = lifting(view, SPACE, cells, (20, 24), CPU)
    lifted = gather(picture.view(-1, 2), at)
    rays = camera_rays(view)
    depth = (rays.directions @ view.direction.float())[:, None]
    plane = rays.origins + rays.directions / depth * 3.0
    places = (plane - torch.tensor(SPACE.centre)) / SPACE.half * (cells / 2) + cells / 2
    seen = gather(lifted, corners(places, [cells] * 3)).view(20, 24, 2)
    assert (seen - picture)[3:-3, 3:-3].abs().max() < 0.02


def test_what_a_view_does_not_see_stays_as_it_was():
    model = filled()
    beside = camera((2.5, 0.4, 1.1), at=(0.2, 1.3, 0.3), fov=30)
    _, seen = lifting(beside, SPACE, 8, (10, 12), CPU)
    seen = seen.view(8, 8, 8)
    assert seen.any()
    assert not seen.all()
    before = model.volume.clone()
    model.absorb(shot(beside, 5))
    assert torch.equal(model.volume[~seen], before[~seen])
    assert not torch.equal(model.volume[seen], before[seen])


def test_a_camera_that_looks_away_changes_nothing():
    model = filled()
    before = model.volume.clone()
    away = camera((2.5, 0.4, 1.1), at=(9.0, 0.4, 1.1))
    model.absorb(shot(away))
    assert torch.equal(model.volume, before)


def test_the_unit_follows_its_four_equations():
    """A volume of one voxel, where a convolution is the product with the middle of its kernel."""
    torch.manual_seed(0)
    unit = IntegrationNet(2)
    lifted, volume = torch.randn(1, 2, 1, 1, 1), torch.randn(1, 2, 1, 1, 1)
    where = torch.zeros(3)
    gates, biases = unit.gates.weight[..., 1, 1, 1], unit.gates.bias
    z, r = torch.sigmoid(gates @ torch.cat([lifted.flatten(), volume.flatten(), where]) + biases)
    kernel = unit.candidate[0].weight[..., 1, 1, 1]
    looked_at = torch.cat([lifted.flatten(), r * volume.flatten(), where])
    s = kernel @ looked_at + unit.candidate[0].bias
    s = torch.relu((s - s.mean()) / (s.var(unbiased=False) + 1e-5).sqrt())
    new = unit(lifted, volume, torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
    torch.testing.assert_close(new.flatten(), (1 - z) * volume.flatten() + z * s)


@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_the_volume_never_grows_beyond_what_a_normalised_candidate_can_be(gain):
    """Also with weights that would multiply it in every step."""
    model, together = tiny(), 4 * 8**3
    with torch.no_grad():
        model.integrate.candidate[0].weight.mul_(gain)
    for seed in range(12):
        model.absorb(shot(camera((2.5 * math.cos(seed), 2.5 * math.sin(seed), 1.0)), seed))
        assert model.volume.min() >= 0
        assert 0 < model.volume.max() <= math.sqrt(together)


# ---------------------------------------------------------------- out of the volume


@pytest.mark.parametrize("size", [(24, 20), (23, 17)])
@pytest.mark.parametrize("lens", [Lens(), Lens(k1=0.1, k2=-0.05)])
def test_a_column_of_the_frustum_lies_over_the_middle_of_its_pixels(size, lens):
    view = replace(camera(size=size), lens=lens)
    seen = frustum(view, SPACE, 8, 6, 2, CPU)
    assert seen.size == (-(-size[1] // 2), -(-size[0] // 2))
    points = (seen.places - 4) / 4 * SPACE.half + torch.tensor(SPACE.centre)
    pixels, depth = project(view, points)
    y, x = torch.meshgrid(torch.arange(seen.size[0]), torch.arange(seen.size[1]), indexing="ij")
    wanted = (torch.stack([x, y], dim=-1) * 2 + 1.0).view(1, -1, 2).expand(6, -1, -1)
    torch.testing.assert_close(pixels.view(6, -1, 2), wanted, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(depth.view(6, -1), seen.depths[:, None].expand(6, depth.numel() // 6))


def test_resampling_a_linear_volume_to_a_frustum_is_exact():
    cells = 8
    index = torch.cartesian_prod(*[torch.arange(cells) + 0.5] * 3)
    slope = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.2, 1.0]])
    seen = frustum(camera(), SPACE, cells, 16, 2, CPU)
    inner = ((seen.places > 0.5) & (seen.places < cells - 0.5)).all(dim=-1)
    assert inner.sum() > 100
    found = gather(index @ slope, corners(seen.places, [cells] * 3))
    torch.testing.assert_close(found[inner], (seen.places @ slope)[inner], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("distance", [10.0, 2.5, 0.9, 0.4, 0.0])
def test_planes_go_through_the_ball_around_the_cube_and_never_behind_the_camera(distance):
    place = (SPACE.centre[0] + distance, *SPACE.centre[1:])
    view = camera(place, at=(SPACE.centre[0] - 9, *SPACE.centre[1:]))
    depths = frustum(view, SPACE, 8, 20, 2, CPU).depths
    reach = math.sqrt(3) * SPACE.half
    first = max(distance - reach, NEAREST * SPACE.half)
    assert first < depths[0] < depths[-1] < first + 2 * reach
    torch.testing.assert_close(depths.diff(), torch.full((19,), 2 * reach / 20))
    if distance <= reach:
        assert depths[0] > 0


@pytest.mark.parametrize("width", [4, 5])
def test_what_is_seen_of_a_column_adds_up_to_one(width):
    torch.manual_seed(0)
    columns = torch.randn(1, 3, 9, 6, 7, generator=torch.Generator().manual_seed(0))
    seen = OcclusionNet(3, width, 8)(columns)
    assert (seen > 0).all()
    torch.testing.assert_close(seen.sum(dim=0), torch.ones(6, 7))


@pytest.mark.parametrize("place", [(2.5, 0.4, 1.1), (0.2, -0.1, 0.4), (0.6, 0.3, 0.3)])
def test_the_depth_lies_in_the_frustum_wherever_the_camera_stands(place):
    model, view = filled(), camera(place, at=(-0.5, -0.4, 0.2))
    drawing = model.drawn(model.filled(model.volume), view)
    depths = frustum(view, SPACE, 8, model.planes, model.stride, CPU).depths
    assert depths[0] <= drawing.depth.min()
    assert drawing.depth.max() <= depths[-1]
    assert drawing.colour.shape == (20, 24, 3)
    assert drawing.colour.min() >= 0
    assert drawing.colour.max() <= 1


def test_a_seen_plane_is_the_depth_and_the_features_of_it():
    """With all visibility in one plane, a column is what stands there."""
    model, view = filled(), camera()
    voxels = model.filled(model.volume)
    with torch.no_grad():
        seen = torch.zeros(model.planes, 10, 12)
        seen[5] = 1
        model.occlude.forward = lambda features: seen
        canvas = {}
        model.render.register_forward_hook(lambda net, given, out: canvas.update(flat=given[0]))
        drawing = model.drawn(voxels, view)
    planes = frustum(view, SPACE, 8, model.planes, 2, CPU)
    columns = gather(voxels, corners(planes.places, [8] * 3)).view(model.planes, 10, 12, -1)
    torch.testing.assert_close(canvas["flat"][0].permute(1, 2, 0), columns[5])
    torch.testing.assert_close(drawing.depth, planes.depths[5].expand(10, 12))


# ---------------------------------------------------------------- the memory


def test_the_volume_is_a_buffer_and_no_parameter():
    model = tiny()
    assert "volume" in dict(model.named_buffers())
    assert "volume" not in dict(model.named_parameters())
    assert "volume" in model.state_dict()
    assert not model.volume.requires_grad


def test_a_loss_leaves_the_volume_as_it_is_and_absorbing_leaves_the_weights():
    model = filled()
    volume, weights = model.volume.clone(), [value.clone() for value in model.parameters()]
    model.loss(shot(camera()), [shot(camera((0.0, 2.5, 1.0)), 1)]).total.backward()
    assert torch.equal(model.volume, volume)
    model.absorb(shot(camera()))
    assert not torch.equal(model.volume, volume)
    assert not model.volume.requires_grad
    assert all(torch.equal(value, before) for value, before in zip(model.parameters(), weights, strict=True))


def test_every_network_learns_from_a_step():
    model = filled()
    model.loss(shot(camera()), [shot(camera((0.0, 2.5, 1.0)), 1)]).total.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_a_view_taken_in_moves_the_picture_of_another():
    """There is a way from the source through the volume to every target."""
    model, target = filled(), camera((0.0, 2.5, 1.0))
    source = shot(camera())
    colours = source.colours.requires_grad_()
    volume = model.taken_in(Shot(source.camera, colours), model.volume)
    model.drawn(model.filled(volume), target).colour.sum().backward()
    assert colours.grad is not None
    assert colours.grad.abs().sum() > 0


def test_lifted_features_are_dropped_only_with_a_generator():
    model = filled(dropped=0.5)
    view = shot(camera())
    assert torch.equal(model.taken_in(view, model.volume), model.taken_in(view, model.volume))
    dropped = model.taken_in(view, model.volume, torch.Generator().manual_seed(0))
    assert not torch.equal(dropped, model.taken_in(view, model.volume))


# ---------------------------------------------------------------- losses


def test_the_error_counts_what_a_mask_leaves():
    one, other = torch.zeros(2, 3, 3), torch.ones(2, 3, 3)
    other[0] = 0.5
    counted = torch.zeros(2, 3, dtype=torch.bool)
    assert absolute_error(one, other) == 0.75
    assert absolute_error(one, other, counted) == 0, "and nothing where it leaves nothing"
    counted[0, 1] = True
    assert absolute_error(one, other, counted) == 0.5


def test_the_loss_is_the_mean_error_of_the_targets_drawn_from_the_renewed_volume():
    model = filled()
    source, targets = shot(camera()), [shot(camera((0.0, 2.5, 1.0)), 1), shot(camera((0.5, -2.5, 1.0)), 2)]
    voxels = model.filled(model.taken_in(source, model.volume))
    errors = [(model.drawn(voxels, one.camera).colour - one.colours).abs().mean() for one in targets]
    torch.testing.assert_close(model.loss(source, targets).total, sum(errors) / 2)


def test_the_critic_and_the_drawing_networks_learn_from_their_own_losses_alone():
    model = filled(adversarial=0.005, critic_width=4)
    losses = model.loss(shot(camera()), [shot(camera((0.0, 2.5, 1.0)), 1)], torch.Generator().manual_seed(0))
    parameters = dict(model.named_parameters())
    for term, owner in [("absolute", False), ("fooling", False), ("telling", True)]:
        gradients = torch.autograd.grad(
            losses.terms[term], list(parameters.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(parameters, gradients, strict=True):
            moved = gradient is not None and bool(gradient.abs().sum() > 0)
            assert moved == (name.startswith("critic.") == owner), (term, name)
    weighed = losses.terms["absolute"] + 0.005 * losses.terms["fooling"] + losses.terms["telling"]
    torch.testing.assert_close(losses.total, weighed)


def test_without_a_critic_there_is_none():
    assert tiny().critic is None
    assert set(filled().loss(shot(camera()), [shot(camera())]).terms) == {"absolute"}


# ---------------------------------------------------------------- pictures


def test_it_makes_pictures_whole_and_is_no_field_of_rays():
    assert isinstance(tiny(), PictureMaker)
    assert not isinstance(tiny(), SceneField)


def test_a_picture_is_the_drawing_with_distances_along_rays():
    view = camera(size=(23, 17))
    model = DeepVoxels(TINY, SPACE, [view])
    model.absorb(shot(view))
    colour, distance = model.picture(view, torch.ones(3))
    drawing = model.drawn(model.filled(model.volume), view)
    torch.testing.assert_close(colour, drawing.colour)
    along = camera_rays(view).directions @ view.direction.float()
    depth = (distance.view(-1) * along).view(17, 23)
    assert torch.isfinite(depth).any()
    there = torch.isfinite(depth)
    assert depth[there].min() >= drawing.depth.min() - 1e-4
    assert depth[there].max() <= drawing.depth.max() + 1e-4


def test_there_is_no_distance_where_a_ray_misses_the_cube():
    model, view = filled(), camera(fov=90)
    _, distance = model.picture(view, torch.ones(3))
    assert torch.isnan(distance[0, 0])
    assert torch.isfinite(distance[10, 12])
    away = camera(at=(9.0, 0.4, 1.1))
    assert torch.isnan(model.picture(away, torch.ones(3))[1]).all()


def test_a_picture_of_another_size_is_drawn_at_the_scale_that_was_learned():
    model, view = filled(), camera()
    drawn, sizes = model.drawn, []
    model.drawn = lambda voxels, asked: sizes.append((asked.width, asked.height)) or drawn(voxels, asked)
    whole, far = model.picture(view, torch.ones(3))
    half, near = model.picture(view.scaled(12, 10), torch.ones(3))
    assert sizes == [(24, 20)] * 2
    small = F.interpolate(whole.permute(2, 0, 1)[None], (10, 12), mode="area")[0].permute(1, 2, 0)
    assert half.shape == (10, 12, 3)
    assert (half - small).abs().mean() < 0.05
    there = torch.isfinite(near) & torch.isfinite(far[::2, ::2])
    assert (near - far[::2, ::2])[there].abs().max() < 0.5
    large = model.picture(view.scaled(48, 40), torch.ones(3))[0]
    assert large.shape == (40, 48, 3)
    assert sizes[-1] == (24, 20)


def test_focal_lengths_between_those_of_training_are_drawn_as_they_are():
    torch.manual_seed(0)
    model = DeepVoxels(TINY, SPACE, [camera(), camera(size=(48, 40))])
    drawn, sizes = model.drawn, []
    model.drawn = lambda voxels, asked: sizes.append(asked.width) or drawn(voxels, asked)
    for width, height in ((24, 20), (36, 30), (48, 40), (96, 80)):
        model.picture(camera(size=(width, height)), torch.ones(3))
    assert sizes[:3] == [24, 36, 48]
    assert sizes[3] == pytest.approx(48, abs=1)


def test_a_picture_is_the_same_every_time():
    model, view = filled(dropped=0.5), camera()
    one, other = model.picture(view, torch.ones(3)), model.picture(view, torch.zeros(3))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1].nan_to_num(), other[1].nan_to_num())


# ---------------------------------------------------------------- learning


@pytest.mark.slow
def test_a_volume_and_its_networks_learn_two_views():
    """Alike but for a tint, which only the place of the camera tells: who does not look at the volume is off
    by 0.083 at best."""
    model = tiny(features=8, most=16)
    views = [camera((2.5, 0.4, 1.1)), camera((0.4, 2.5, 1.1))]
    shots = []
    for view, tint in zip(views, (0.2, 0.7), strict=True):
        colours = coordinates((20, 24), CPU)[0].permute(1, 2, 0)
        shots.append(Shot(view, torch.cat([0.5 + 0.4 * colours, torch.full((20, 24, 1), tint)], dim=-1)))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    errors = []
    for step in range(80):
        optimiser.zero_grad()
        losses = model.loss(shots[step % 2], shots)
        losses.total.backward()
        optimiser.step()
        model.absorb(shots[step % 2])
        errors.append(losses.total.item())
    assert max(errors[-4:]) < 0.06


# ---------------------------------------------------------------- sizes and refusals


def test_the_stride_leaves_at_most_sixty_four_columns():
    def stride(*sizes, given=None):
        return replace(TINY, stride=given).stride_of([camera(size=size) for size in sizes])

    assert [stride((width, 40)) for width in (20, 64, 65, 128, 129, 512)] == [1, 1, 2, 2, 4, 8]
    assert stride((30, 100)) == 2
    assert stride((30, 30), (200, 100)) == 4
    assert stride((512, 512), given=2) == 2


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no_cells", {"cells": 0}),
        ("one_plane", {"planes": 1}),
        ("stride_of_three", {"stride": 3}),
        ("all_dropped", {"dropped": 1.0}),
        ("negative_critic", {"adversarial": -1.0}),
    ],
)
def test_what_cannot_work_is_refused_by_name(snapshot, name, changes):
    with pytest.raises(ConfigError) as caught:
        replace(TINY, **changes)
    snapshot(name, str(caught.value))
