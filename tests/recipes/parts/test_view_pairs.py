"""Pairs of views: who is near to whom, what a step draws, and how the volume is carried on."""

import math
from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import generator
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.precision import Precision
from rayformer.engine.task import Batch, Setting, Task
from rayformer.fields.deepvoxels import DeepVoxels, DeepVoxelsConfig
from rayformer.geometry.poses import look_at
from rayformer.kernels.marching import Space
from rayformer.recipes.parts.view_pairs import PairTask, PairTraining, neighbours, shot_of

CONFIG = DeepVoxelsConfig(
    cells=8, features=4, extract_width=4, inpaint_width=4, draw_width=8, most=8, stride=2
)


@pytest.fixture(scope="module")
def scene():
    return read_scene(SceneConfig(width=16, views=7))


@pytest.fixture
def task(scene, tmp_path) -> PairTask:
    return drawn_task(scene, tmp_path)


def drawn_task(scene, folder, **options) -> PairTask:
    torch.manual_seed(0)
    cameras = [view.camera for view in scene.split("train")]
    model = DeepVoxels(CONFIG, Space((0.0, 0.0, 0.0), 1.5), cameras)
    setting = Setting(seed=3, device=torch.device("cpu"), assets=folder)
    return PairTask(model, scene, PairTraining(**options), Precision("float32", "", "cpu"), setting)


def ring(count, radius=3.0):
    eyes = [
        torch.tensor([radius * math.cos(turn), radius * math.sin(turn), 1.0], dtype=torch.float64)
        for turn in torch.linspace(0, 2 * math.pi, count + 1)[:-1].tolist()
    ]
    up = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    return torch.stack([look_at(eye, torch.zeros(3, dtype=torch.float64), up) for eye in eyes])


def test_on_a_ring_the_nearest_views_are_those_beside():
    near = neighbours(ring(9))
    assert near.shape == (9, 8)
    for view, row in enumerate(near[:, :4].tolist()):
        assert {(other - view) % 9 for other in row[:2]} == {1, 8}
        assert {(other - view) % 9 for other in row[2:]} == {2, 7}


def test_nobody_is_near_to_itself_not_even_as_its_double():
    poses = ring(4)
    near = neighbours(torch.cat([poses, poses[:1]]))
    assert all(view not in row for view, row in enumerate(near.tolist()))
    assert near[0, 0] == 4, "but a double is the nearest of all"


def test_who_is_near_does_not_depend_on_the_frame_or_its_scale():
    poses = ring(7) + 0.05 * torch.randn(7, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    moved = poses.clone()
    turn = look_at(*(torch.tensor(v, dtype=torch.float64) for v in ((1, 2, 3), (0, 0, 0), (0, 0, 1))))
    moved[:, :3, :3] = turn[:3, :3] @ poses[:, :3, :3]
    moved[:, :3, 3] = 40 * (poses[:, :3, 3] @ turn[:3, :3].T) + 5
    assert torch.equal(neighbours(moved), neighbours(poses))


def test_cameras_in_one_place_are_near_where_they_look_alike():
    poses = ring(8)
    poses[:, :3, 3] = 0
    assert {(other - 3) % 8 for other in neighbours(poses)[3, :2].tolist()} == {1, 7}


def test_the_task_is_what_the_engine_asks_for(task):
    assert isinstance(task, Task)
    assert isinstance(task.batch("train", 0, 0, 1), Batch)


def test_a_source_is_one_of_the_nearest_to_its_first_target_and_never_itself(scene, tmp_path):
    task = drawn_task(scene, tmp_path, sources=3, near=2)
    near = neighbours(torch.stack([view.camera.pose for view in scene.split("train")]))
    rows = [row for step in range(200) for row in task.drawn_rows(step)]
    assert all(source in near[target, :2] for source, target, _ in rows)
    assert {target for _, target, _ in rows} == {anywhere for *_, anywhere in rows} == set(range(7))


def test_a_batch_follows_from_the_seed_and_the_step_however_it_is_shared(scene, tmp_path):
    task, again = (drawn_task(scene, tmp_path, sources=4) for _ in range(2))
    whole = [piece.source.colours for piece in task.batch("train", 5, 0, 1).split()]
    shares = [piece.source.colours for rank in range(2) for piece in again.batch("train", 5, rank, 2).split()]
    assert len(whole) == 4
    assert all(torch.equal(one, other) for one, other in zip(whole, shares, strict=True))


def test_sources_must_be_shared_evenly(scene, tmp_path, snapshot):
    with pytest.raises(ConfigError) as caught:
        drawn_task(scene, tmp_path, sources=3).batch("train", 0, 0, 2)
    snapshot("sources_and_processes", str(caught.value))


def test_before_a_step_the_volume_takes_in_the_sources_of_the_step_before(scene, tmp_path):
    task = drawn_task(scene, tmp_path, sources=2)
    task.before_step(0, generator(0))
    assert (task.model.volume == 0).all(), "there was none before the first"
    expected = drawn_task(scene, tmp_path, sources=2)
    store = PixelStore(scene, "train")
    for source, _, _ in task.drawn_rows(7):
        expected.model.absorb(shot_of(store, source))
    task.before_step(8, generator(0))
    assert task.model.volume.abs().sum() > 0
    assert torch.equal(task.model.volume, expected.model.volume)


def test_the_volume_does_not_depend_on_the_losses_taken_in_between(task, scene, tmp_path):
    """Of no piece, of one, or of all: it is carried on by the sources and the weights alone."""
    idle = drawn_task(scene, tmp_path)
    for piece in task.batch("train", 0, 0, 1).split():
        task.loss(piece, 0, generator(0)).total.backward()
    task.before_step(1, generator(0))
    idle.before_step(1, generator(1))
    assert torch.equal(task.model.volume, idle.model.volume)


def test_views_of_different_sizes_are_trained_on_as_they_are(scene, tmp_path):
    views = [
        replace(view, camera=view.camera.scaled(16 + 2 * place, 16 + 2 * place))
        for place, view in enumerate(scene.split("train"))
    ]
    mixed = replace(scene, views=(*views, *scene.split("test")))
    task = drawn_task(mixed, tmp_path)
    sizes = set()
    for step in range(6):
        (piece,) = task.batch("train", step, 0, 1).split()
        sizes |= {shot.colours.shape[0] for shot in piece.targets}
        assert torch.isfinite(task.loss(piece, step, generator(0)).total)
        task.before_step(step + 1, generator(0))
    assert len(sizes) > 2


def test_the_glance_is_the_mean_over_held_out_views(scene, tmp_path):
    task = drawn_task(scene, tmp_path, glances=2)
    with torch.no_grad():
        (number,) = task.evaluate("val", generator(0)).values()
    assert 3 < number < 40
    assert len(task._glanced_at) == 2


@pytest.mark.parametrize("name", ["sources", "near", "glances"])
def test_none_of_something_is_refused_by_name(snapshot, name):
    with pytest.raises(ConfigError) as caught:
        PairTraining(**{name: 0})
    snapshot(f"no_{name}", str(caught.value))
