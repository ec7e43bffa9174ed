"""Blending without training: epipole consistency, smooth weights, nothing from who does not see."""

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.fields.lumigraph import HIDDEN, Lumigraph, LumigraphConfig, Splatting, blending_weights
from rayformer.fields.parts.scene_field import PictureMaker
from rayformer.fields.parts.sources import Source, Sources
from rayformer.geometry.cameras import Camera
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.mesh_depth import mesh_depth
from rayformer.geometry.poses import look_at
from rayformer.geometry.warp import places_of

GROUND = Mesh(
    torch.tensor([[-9.0, -9.0, 0.0], [9.0, -9.0, 0.0], [0.0, 12.0, 0.0]]), torch.tensor([[0, 1, 2]])
)


def camera(x: float, y: float) -> Camera:
    return Camera(24, 20, 26.0, 26.0, 12.0, 10.0, look_at((x, y, 3.0), (0.1 * x, 0.1 * y, 0.0)))


def painted(eye: Camera) -> torch.Tensor:
    """A smooth painting on the ground, as `eye` sees it."""
    places = places_of(eye, mesh_depth(eye, GROUND))
    waves = [
        (1.3 * places[..., 0]).sin(),
        (1.1 * places[..., 1]).cos(),
        (places[..., 0] + places[..., 1]).sin(),
    ]
    return torch.stack(waves).float() * 0.4 + 0.5


def ground(count: int, **changes) -> Sources:
    draw = torch.Generator().manual_seed(2)
    eyes = [camera(*(2 * torch.rand(2, generator=draw) - 1).tolist()) for _ in range(count)]
    views = [
        Source(eye, (painted(eye) * 255).round().byte(), mesh_depth(eye, GROUND), **changes) for eye in eyes
    ]
    return Sources(tuple(views), lambda eye: mesh_depth(eye, GROUND), 0.01)


def test_a_source_that_stands_where_the_camera_stands_is_all_of_the_picture():
    of = ground(6)
    blend = Lumigraph(LumigraphConfig(border=0), lambda: of).blend(of.views[3].camera)
    own = blend.look.rows.index(3)
    assert blend.weights[own].min() > 0.999
    assert (blend.colour.permute(2, 0, 1) - of.views[3].colours()).abs().max() < 2e-3


def test_as_the_camera_comes_to_a_source_its_weight_rises_to_one():
    of = ground(5)
    there, weights = of.views[0].camera, []
    for gap in (0.3, 0.1, 0.02, 1e-4):
        pose = there.pose.clone()
        pose[:3, 3] += gap * torch.tensor([0.5, -0.6, 0.3]).double()
        blend = Lumigraph(LumigraphConfig(blended=3), lambda: of).blend(there.at(pose))
        weights.append(blend.weights[blend.look.rows.index(0), 8:12, 10:14].mean().item())
    assert weights == sorted(weights)
    assert weights[-1] > 0.98


@pytest.mark.parametrize("make", [lambda of: Lumigraph(LumigraphConfig(), of), lambda of: Splatting(5, of)])
def test_a_painted_plane_is_given_back_from_a_new_place(make):
    of = ground(6)
    maker, new = make(lambda: of), camera(0.15, -0.2)
    blend = maker.blend(new)
    given = blend.weights.sum(dim=0) > 0
    assert given.float().mean() > 0.9
    error = (blend.colour.permute(2, 0, 1) - painted(new)).abs().amax(dim=0)
    assert error[given].mean() < 0.02
    assert torch.allclose(blend.weights.sum(dim=0)[given], torch.ones(1), atol=1e-5)
    assert isinstance(maker, PictureMaker)


def test_the_order_of_the_sources_changes_nothing():
    of, new = ground(5), camera(0.2, 0.3)
    turned = Sources(tuple(reversed(of.views)), of.depth_of, of.tolerance)
    one, other = (Lumigraph(LumigraphConfig(), lambda s=s: s).blend(new).colour for s in (of, turned))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_source_left_out_has_no_weight_and_those_kept_reach_it_smoothly():
    draw = torch.Generator().manual_seed(4)
    penalty = torch.rand(7, 5, 6, generator=draw) + 0.01
    weights = blending_weights(penalty, 4)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(5, 6))
    ranked = weights.gather(0, penalty.argsort(dim=0))
    assert ranked[:3].min() > 1e-4
    assert ranked[4].max() < 1e-2, "hardly anything, where it ties with the last of those kept"
    assert ranked[5:].max() == 0
    assert (ranked[1:] <= ranked[:-1] + 1e-6).all(), "less penalty, more weight"
    # Two sources change places as the fourth and the fifth: neither has any weight then.
    penalty[:, 0, 0] = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.5001, 0.8, 0.9])
    assert blending_weights(penalty, 4)[3, 0, 0] < 0.005


def test_weights_are_none_where_nobody_sees_and_few_sources_are_enough():
    nowhere = torch.full((3, 1, 2), torch.inf)
    assert blending_weights(nowhere, 4).abs().max() == 0
    nowhere[1, 0, 0] = HIDDEN
    assert blending_weights(nowhere, 4)[1, 0, 0] == pytest.approx(1)
    assert blending_weights(torch.tensor([[[0.2]], [[0.2]]]), 1).sum() == pytest.approx(1)


def test_a_hidden_source_is_heard_only_where_nobody_else_sees():
    penalty = torch.tensor([0.4, HIDDEN + 0.01])[:, None, None]
    weights = blending_weights(penalty, 2)
    assert weights[0].item() > 0.999


def test_pixels_that_show_nothing_are_no_points_to_send():
    of = ground(3)
    bare = [Source(view.camera, view.picture, torch.full_like(view.depth, torch.inf)) for view in of.views]
    nothing = Sources(tuple(bare), of.depth_of, 0.01, behind=torch.ones(3))
    assert Splatting(3, lambda: nothing).blend(camera(0.0, 0.1)).weights.abs().max() == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [("more_blended_than_candidates", {"candidates": 3, "blended": 4}), ("negative_border", {"border": -1})],
)
def test_options_that_cannot_work_are_refused(name, options, snapshot):
    with pytest.raises(ConfigError) as refusal:
        LumigraphConfig(**options)
    snapshot(name, str(refusal.value))
