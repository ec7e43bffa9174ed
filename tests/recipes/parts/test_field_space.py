"""Where a grid field lies, for cameras round a ball whose pictures are drawn exactly, and for cameras that
see nothing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.scene import Scene, View
from rayformer.engine.task import Setting
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays
from rayformer.geometry.similarity import Similarity
from rayformer.kernels.marching import Space, place_in_space, unit_place
from rayformer.recipes.parts.field_space import CELLS, SpaceConfig, fitted_scene, open_space

CENTRE, RADIUS = torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64), 0.5
SIZE = 40


def round_about(count=14, distance=3.0) -> list[torch.Tensor]:
    """Places spread evenly over a sphere."""
    place = torch.arange(count, dtype=torch.float64) + 0.5
    z, turn = 1 - 2 * place / count, math.pi * (1 + 5**0.5) * place
    ring = (1 - z**2).sqrt()
    return list(distance * torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=-1))


def towards_the_middle(place):
    up = (0.0, 0.0, 1.0) if abs(place[2]) < 2.5 else (1.0, 0.0, 0.0)
    return look_at(place, (0.0, 0.0, 0.0), up)


def scene(folder: Path, poses=None, drawn=True, background=(1.0, 1.0, 1.0), focal=40.0, **changes) -> Scene:
    """Views of a ball before nothing: alpha is 255 where a ray meets it."""
    poses = [towards_the_middle(place) for place in round_about()] if poses is None else poses
    views = []
    for number, pose in enumerate(poses):
        camera = Camera(SIZE, SIZE, focal, focal, SIZE / 2, SIZE / 2, pose)
        rays = camera_rays(camera, dtype=torch.float64)
        to = CENTRE - rays.origins
        along = (to * rays.directions).sum(dim=-1)
        hit = (along > 0) & ((to - along[:, None] * rays.directions).norm(dim=-1) < RADIUS)
        alpha = 255 * hit.view(SIZE, SIZE, 1).numpy().astype(np.uint8) if drawn else np.zeros((SIZE, SIZE, 1))
        pixels = np.concatenate([np.full((SIZE, SIZE, 3), 90), alpha], axis=-1).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        views.append(View(path.name, camera, camera, path, None, "train", None, None))
    given = Scene(
        str(folder),
        "drawn",
        tuple(views),
        None,
        None,
        Similarity.identity(),
        background,
        1.0,
        5.0,
        False,
        (),
        "",
    )
    return replace(given, **changes)


def setting(folder: Path, training=True) -> Setting:
    return Setting(seed=0, device=torch.device("cpu"), assets=folder, training=training)


def opened(folder, given=None, config=None, ndc=False, cells=48):
    given = scene(folder) if given is None else given
    return open_space(given, config or SpaceConfig(), ndc, cells, setting(folder))


def ball(count=2000) -> torch.Tensor:
    """Places all over the ball's surface and in it."""
    source = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(count, 3, generator=source), dim=-1)
    radii = torch.rand(count, 1, generator=source) ** (1 / 3)
    return CENTRE.float() + RADIUS * directions * radii.clamp(min=0.5)


def open_at(place, points) -> torch.Tensor:
    """Whether points lie in open cells."""
    where = unit_place(points, place.space)
    inside = ((where >= 0) & (where < 1)).all(dim=-1)
    cells = place.open_cells.shape[0]
    x, y, z = (where * cells).long().clamp(0, cells - 1).unbind(-1)
    return inside & place.open_cells[x, y, z]


def test_what_few_cameras_look_at_does_not_hold_the_box_open(tmp_path, monkeypatch):
    """Through longer lenses the corners of the first guess are in few pictures, which show nothing there."""
    given = scene(tmp_path, [towards_the_middle(place) for place in round_about(24)], focal=55.0)
    place = opened(tmp_path, given)
    assert open_at(place, ball()).all()
    monkeypatch.setattr("rayformer.recipes.parts.field_space.OFTEN", 0)
    assert place.space.half < 0.95 * opened(tmp_path, given).space.half


def test_the_box_is_fitted_to_what_pictures_leave_and_holds_all_of_it(tmp_path):
    poses = [towards_the_middle(place) for place in round_about(24)]
    place = opened(tmp_path, scene(tmp_path, poses))
    assert not place.space.contracted
    assert RADIUS < place.space.half < 0.9, "without pictures it would be 2"
    assert (torch.tensor(place.space.centre) - CENTRE).abs().max() < 0.2
    assert open_at(place, ball()).all()
    share = place.open_cells.float().mean().item()
    assert share < 2 * 4 / 3 * math.pi * RADIUS**3 / (2 * place.space.half) ** 3 + 0.1
    assert f"{2 * place.space.half:.3g} across" in place.remark


@pytest.mark.parametrize("cells", [4, 32, 64])
def test_whatever_the_grid_of_the_field_no_open_place_is_lost(cells, tmp_path):
    place = opened(tmp_path, cells=cells)
    assert place.open_cells.shape == (cells,) * 3
    assert open_at(place, ball()).all()


@pytest.mark.parametrize("kind", ["box", "contracted"])
def test_carving_never_takes_what_some_camera_sees_from_near(kind, tmp_path):
    """One camera stands close by the ball: to it a cell is as wide as many pixels."""
    poses = [towards_the_middle(place) for place in round_about()]
    poses.append(look_at(CENTRE + torch.tensor([0.0, -0.75, 0.0]), CENTRE + torch.tensor([0.3, 0.0, 0.3])))
    place = opened(tmp_path, scene(tmp_path, poses), SpaceConfig(kind=kind, half=2.0))
    assert open_at(place, ball()).all()
    empty = torch.tensor([[1.3, 1.0, -0.9], [-0.8, 0.7, -0.6]])
    assert not open_at(place, empty).any()


def test_without_carving_only_sight_counts(tmp_path):
    place = opened(tmp_path, config=SpaceConfig(carve=False))
    assert place.space.half == 2.0
    assert open_at(place, torch.tensor([[-0.8, 0.7, -0.6]])).all()


def test_a_half_that_is_given_is_kept(tmp_path):
    assert opened(tmp_path, config=SpaceConfig(half=1.5)).space.half == 1.5


def test_what_no_camera_sees_is_shut_and_what_one_sees_is_open(tmp_path):
    poses = [look_at((x, -3.0, 0.0), (0.0, 0.0, 0.0)) for x in (-0.2, 0.2)]
    given = scene(tmp_path, poses, background=None)
    place = opened(tmp_path, given, SpaceConfig(kind="box", half=2.0))
    assert open_at(place, torch.tensor([[0.0, -1.0, 0.0], [0.9, 1.0, 0.9]])).all()
    assert not open_at(place, torch.tensor([[1.8, -1.8, 1.8], [-1.8, -1.8, -1.8]])).any()


def test_photographs_get_all_of_space_and_rays_that_reach_far(tmp_path):
    given = scene(tmp_path, background=None)
    place = opened(tmp_path, given)
    assert place.space.contracted
    assert place.space.half == pytest.approx(3.0, rel=0.01), "as far as the cameras"
    far = fitted_scene(given, place.space, SpaceConfig(reach=10.0))
    assert far.far == pytest.approx(10 * place.space.half)
    view = replace(given.views[0], near=1.0, far=4.0)
    bounded = fitted_scene(replace(given, views=(view,)), place.space, SpaceConfig(reach=10.0))
    assert bounded.views[0].far == bounded.far
    box = opened(tmp_path, given, SpaceConfig(kind="box"))
    assert fitted_scene(given, box.space, SpaceConfig()) is given


def test_cameras_in_one_place_have_a_space_too(tmp_path):
    poses = [look_at((0.0, 0.0, 0.0), aim) for aim in round_about(8)]
    place = opened(tmp_path, scene(tmp_path, poses, background=None))
    assert place.space.half == pytest.approx(1.0), "where what they see begins"
    assert 0 < place.footprint < math.inf


def test_a_pixel_is_as_wide_as_the_middle_is_far_over_the_focal_length(tmp_path):
    place = opened(tmp_path, scene(tmp_path, background=None))
    assert place.footprint == pytest.approx(3.0 / 40, rel=0.02)


def test_in_ndc_the_field_fills_the_box_of_it(tmp_path):
    place = opened(tmp_path, ndc=True)
    assert place.space == Space((0.0, 0.0, 0.0), 1.25)
    assert place.open_cells.all()
    assert place.footprint == pytest.approx(2 / SIZE)


def test_what_was_found_is_read_back_when_a_run_is_opened(tmp_path):
    given = scene(tmp_path)
    found = opened(tmp_path, given)
    for view in given.views:
        view.image.unlink()
    again = open_space(given, SpaceConfig(), False, 48, setting(tmp_path, training=False))
    assert again.space == found.space
    assert (again.footprint, again.remark) == (found.footprint, found.remark)
    assert again.open_cells is None


def test_the_middles_of_cells_are_where_their_numbers_say():
    """Cell [i, j, k] of the grid, as `unit_place` numbers places, in both kinds of space."""
    for space in (Space((1.0, 2.0, 3.0), 2.0), Space((1.0, 2.0, 3.0), 2.0, contracted=True)):
        axis = (torch.arange(CELLS) + 0.5) / CELLS
        places = torch.cartesian_prod(axis, axis, axis)
        torch.testing.assert_close(
            unit_place(place_in_space(places, space), space), places, atol=1e-5, rtol=0
        )


def test_cameras_that_look_away_are_refused(tmp_path, snapshot):
    poses = [look_at(place, 2 * place) for place in round_about(6)]
    with pytest.raises(DataError) as refusal:
        opened(tmp_path, scene(tmp_path, poses), SpaceConfig(half=1.0))
    snapshot("cameras_look_away", str(refusal.value))


def test_pictures_that_are_all_transparent_are_refused(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        opened(tmp_path, scene(tmp_path, drawn=False))
    snapshot("all_transparent", str(refusal.value))


@pytest.mark.parametrize("harm", ["absent", "torn"])
def test_a_run_that_lost_its_space_is_refused(harm, tmp_path, snapshot):
    if harm == "torn":
        (tmp_path / "space.json").write_text('{"centre": [0')
    with pytest.raises(RunError) as refusal:
        open_space(scene(tmp_path), SpaceConfig(), False, 48, setting(tmp_path, training=False))
    snapshot(f"space_{harm}", str(refusal.value))


@pytest.mark.parametrize(("name", "changes"), {"no_half": {"half": 0.0}, "no_reach": {"reach": -1.0}}.items())
def test_what_cannot_be_a_space_is_refused(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        SpaceConfig(**changes)
    snapshot(name, str(refusal.value))
