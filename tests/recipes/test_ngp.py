"""The Instant-NGP recipe from end to end: it learns, resumes to the same bits, is opened without its
photographs, moves cameras back, and refuses cleanly."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import rayformer
from rayformer.core.config import from_plain
from rayformer.core.errors import ConfigError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.ngp import NGP, NGPConfig
from rayformer.fields.parts.moved_cameras import MovedCameras
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.kernels.marching import Space
from rayformer.recipes.ngp import DEFAULT, RECIPE, NGPRecipe, as_fine_as_pixels, groups
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.field_space import FieldSpace, SpaceConfig
from rayformer.recipes.parts.scene import SceneTask, SceneTraining
from rayformer.runs.run import Run
from tests.recipes.processes import assert_same_bits, command

TINY = NGPRecipe(
    data=SceneConfig(width=24, background="random"),
    model=NGPConfig(
        grid=HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=9),
        occupancy=OccupancyConfig(cells=16, asked=1024, every=4),
        density_width=16,
        places=8,
        colour_width=16,
        steps_across=48,
    ),
    scene=SceneTraining(
        rays=64,
        samples=1024,
        samples_at_once=4096,
        test_views=1,
        shown_views=1,
        validation_rays=64,
        ndc="off",
    ),
    plan=Plan(
        steps=20,
        optim=Optim(rate=3e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.05),
        log_every=1,
        evaluate_every=0,
        save_every=10,
        precision="32",
    ),
)
WORDS = """
    --data.width 24 --model.grid.levels 3 --model.grid.features 2 --model.grid.coarsest 8
    --model.grid.finest 32 --model.grid.log2-rows 9 --model.occupancy.cells 16 --model.occupancy.asked 1024
    --model.occupancy.every 4 --model.density-width 16 --model.places 8 --model.colour-width 16
    --model.steps-across 48 --scene.rays 64 --scene.samples-at-once 4096 --scene.test-views 1
    --scene.shown-views 1 --scene.validation-rays 64 --plan.log-every 1 --plan.evaluate-every 0
    --plan.save-every 10 --plan.precision 32 --device cpu
""".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return train("ngp", TINY, out=tmp_path_factory.mktemp("ngp") / "run", device="cpu").run


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_scene(tmp_path):
    outcome = train("ngp", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    log = [line["val/psnr_db"] for line in outcome.run.metrics() if "val/psnr_db" in line]
    assert outcome.result["psnr_db"] > 23
    assert outcome.result["psnr_db"] > log[0] - 0.5


def test_as_rays_need_fewer_samples_a_step_takes_more_of_them(trained):
    rates = [line for line in trained.metrics() if "rays_per_s" in line]
    per_step = [line["rays_per_s"] / line["steps_per_s"] for line in rates]
    assert per_step[0] == pytest.approx(1024 // 48), "nothing is known of the space before the first step"
    assert per_step[-1] > 2 * per_step[0]
    samples = [line["samples_per_s"] / line["steps_per_s"] for line in rates]
    assert all(0.7 * 1024 < count < 1.3 * 1024 for count in samples[1:])


def test_the_samples_of_a_step_are_bounded_by_sixteen_times_the_rays_and_shared_evenly(trained):
    task = open_run(trained.path, "cpu").task
    task.field.needed.fill_(1.0)
    assert task.batch("train", 0, 0, 1).counts["rays"] == min(1024, 16 * 64)
    task.field.needed.fill_(3.0)
    shares = [task.batch("train", 5, rank, 3) for rank in range(3)]
    assert [share.counts["rays"] for share in shares] == [1024 // 3 // 3] * 3
    task.field.needed.fill_(1e9)
    assert task.batch("train", 0, 0, 2).counts["rays"] == 1, "one for each process at least"
    task.options = replace(task.options, samples=None)
    assert task.batch("train", 0, 0, 1).counts["rays"] == 64


def test_load_gives_the_trained_field_and_eval_the_same_numbers(trained):
    model = rayformer.load(trained.path)
    assert isinstance(model, NGP)
    stored = read_checkpoint(trained)[0].tensors["model"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}


def test_the_space_is_kept_with_the_run_and_read_when_it_is_opened(trained, monkeypatch):
    kept = json.loads((trained.assets / "space.json").read_text())

    def refuse(*_, **__):
        raise AssertionError("a photograph was read")

    monkeypatch.setattr("rayformer.recipes.parts.field_space.load_view", refuse)
    monkeypatch.setattr("rayformer.recipes.parts.scene.read_scene", refuse)
    loaded = open_run(trained.path, "cpu")
    assert loaded.model.space == Space(tuple(kept["centre"]), kept["half"], kept["contracted"])
    assert not loaded.model.occupancy.visible.all(), "what no camera sees stays shut"
    view = loaded.recipe.render(loaded)
    assert view.picture(view.cameras("orbit", 4, (20, 12))[0]).colour.shape == (12, 20, 3)


def test_a_step_moves_the_rows_that_it_met_and_no_others(tmp_path):
    """The table is sparse: rows of places that no ray ever came through stay as they began."""
    started = train(
        "ngp", replace(TINY, plan=replace(TINY.plan, steps=1)), out=tmp_path / "one", device="cpu"
    ).run
    one = read_checkpoint(started)[0].tensors
    begun = open_run(started.path, "cpu")
    fresh = begun.chain.stages[0].task({}).model.field.grid.table.detach()
    moved = (one["model"]["field.grid.table"] != fresh).any(dim=-1)
    assert 0 < moved.float().mean() < 0.95
    assert torch.equal((one["optimizer"]["field.grid.table.exp_avg_sq"] > 0).any(dim=-1), moved)


# ---------------------------------------------------------------- what is left open, and groups


def test_what_is_left_open_follows_the_pixels():
    def given(half, footprint, contracted=False, **changes):
        place = FieldSpace(Space((0.0, 0.0, 0.0), half, contracted), None, footprint, "")
        return as_fine_as_pixels(replace(NGPConfig(), **changes), place)

    assert given(1.0, 2 / 300).grid.finest == 600
    assert given(1.0, 2 / 300).steps_across == 400
    assert given(1.0, 2 / 300, contracted=True).grid.finest == 1200
    assert given(1.0, 2 / 300, contracted=True).steps_across == 256
    assert given(1.0, 1e-9).grid.finest == 4096
    assert given(1.0, 1e-9).steps_across == 1024
    assert (given(1.0, 1.0).grid.finest, given(1.0, 1.0).steps_across) == (128, 64)
    kept = given(1.0, 2 / 300, steps_across=77, grid=HashGridConfig(finest=99))
    assert (kept.grid.finest, kept.steps_across) == (99, 77)


def test_the_table_is_sparse_and_without_decay_and_cameras_have_a_rate_of_their_own():
    from rayformer.recipes.parts.scene import scene_groups

    ngp = NGP(replace(TINY.model, exposure=True), Space((0.0, 0.0, 0.0), 1.0), views=3)
    table, networks = groups([name for name, _ in ngp.named_parameters()])
    assert table.parameters == ("field.grid.table",)
    assert (table.sparse, table.decay) == (True, 0.0)
    assert "exposure" in networks.parameters
    assert not networks.sparse
    moved = MovedCameras(ngp, 3)
    options = SceneTraining(move_cameras=True, camera_rate=0.02)
    table, networks, cameras = scene_groups(options, groups)(moved)
    assert cameras.parameters == ("shift", "turn")
    assert (cameras.rate, cameras.decay, cameras.sparse) == (0.02, 0.0, False)
    named = {name for group in (table, networks, cameras) for name in group.parameters}
    assert named == {name for name, _ in moved.named_parameters()}


# ---------------------------------------------------------------- the command line


@pytest.mark.slow
def test_a_run_killed_at_step_fifteen_resumes_to_the_same_bits(tmp_path):
    words = [*WORDS, "--scene.samples", "1024", "--plan.steps", "20"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = command("train", "ngp", *words, "--out", str(whole))
    assert done.returncode == 0, done.stderr
    done = command("train", "ngp", *words, "--out", str(killed), kill_after=15)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumed = command("train", "--resume", str(killed), "--device", "cpu", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step 10 of 20" in resumed.stderr
    assert_same_bits(Run.open(whole), Run.open(killed))
    assert json.loads(resumed.stdout)["result"]["psnr_db"] == Run.open(whole).result()["psnr_db"]


@pytest.mark.slow
def test_two_processes_train_to_the_loss_of_one(tmp_path):
    """Each ray is a piece of its own, so that it is jittered alike however many processes there are."""
    two = tmp_path / "two"
    launch = "-m torch.distributed.run --standalone --nproc-per-node 2 -m rayformer".split()
    words = [*WORDS, "--scene.samples", "none", "--scene.rays", "16", "--scene.samples-at-once", "1"]
    done = subprocess.run(
        [sys.executable, *launch, "train", "ngp", *words, "--plan.steps", "6", "--out", str(two)],
        capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = Run.open(two).manifest
    assert manifest["processes"] == 2
    same = from_plain(NGPRecipe, manifest["config"])
    one = train("ngp", same, out=tmp_path / "one", device="cpu").run
    losses = [
        [line["train/loss"] for line in run.metrics() if "train/loss" in line] for run in (one, Run.open(two))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


# ---------------------------------------------------------------- cameras


@pytest.fixture
def few_fitting_steps(monkeypatch):
    monkeypatch.setattr("rayformer.recipes.parts.scene.FIT_STEPS", 3)


def test_a_run_that_broke_off_goes_on_to_the_same_bits_with_all_that_it_may_learn(
    tmp_path, few_fitting_steps, monkeypatch
):
    """Rays by samples, exposures, moved cameras: a checkpoint holds all that a step depends on."""
    config = replace(
        TINY,
        model=replace(TINY.model, exposure=True),
        scene=replace(TINY.scene, move_cameras=True, samples_at_once=700),
    )
    whole = train("ngp", config, out=tmp_path / "whole", device="cpu").run
    log = Run.log

    def broken(self, step, **numbers):
        log(self, step, **numbers)
        if step == 15:
            raise OSError("the power is cut")

    with monkeypatch.context() as power:
        power.setattr(Run, "log", broken)
        with pytest.raises(OSError, match="the power is cut"):
            train("ngp", config, out=tmp_path / "parts", device="cpu")
    parts = train("ngp", config, resume=tmp_path / "parts", device="cpu").run
    assert_same_bits(whole, parts)
    assert parts.result()["psnr_db"] == whole.result()["psnr_db"]


def test_moved_cameras_are_measured_at_their_given_poses_and_at_fitted_ones(tmp_path, few_fitting_steps):
    config = replace(TINY, scene=replace(TINY.scene, move_cameras=True))
    run = train("ngp", config, out=tmp_path / "run", device="cpu").run
    result = run.result()
    assert {"psnr_db", "fitted_pose_psnr_db"} <= result.keys()
    assert next(iter(result)) == "psnr_db", "the first number picks the best checkpoint"
    assert isinstance(rayformer.load(run.path), MovedCameras)
    again = evaluate(run.path, device="cpu")
    assert again == {name: result[name] for name in again}


def turned_away(scene, degrees: float, far: float):
    """The scene with every training camera turned and shifted at random, and those turns."""
    draw = np.random.default_rng(0)
    views, turns = [], []
    for view in scene.views:
        if view.split == "train":
            turn = np.radians(degrees) * _unit(draw.normal(size=3))
            pose = view.camera.pose.clone()
            pose[:3, :3] = torch.from_numpy(Rotation.from_rotvec(turn).as_matrix()) @ pose[:3, :3]
            pose[:3, 3] += torch.from_numpy(far * _unit(draw.normal(size=3)))
            view = replace(view, camera=view.camera.at(pose))
            turns.append(turn)
        views.append(view)
    return replace(scene, views=tuple(views)), np.array(turns)


def _unit(vector):
    return vector / np.linalg.norm(vector)


def pose_errors(scene, exact, model=None):
    """How far the training cameras stand from where they stood, and look from where they looked, in degrees;
    up to what moves all of them alike, which no picture tells."""
    given = [view.camera.pose for view in scene.split("train")]
    wanted = [view.camera.pose for view in exact.split("train")]
    shifts = torch.zeros(len(given), 3) if model is None else model.shift.detach()
    turns = torch.zeros(len(given), 3) if model is None else model.turn.detach()
    here = np.stack([(pose[:3, 3] + shift).numpy() for pose, shift in zip(given, shifts, strict=True)])
    there = np.stack([pose[:3, 3].numpy() for pose in wanted])
    corrected = [
        Rotation.from_rotvec(turn.numpy()) * Rotation.from_matrix(pose[:3, :3].numpy())
        for pose, turn in zip(given, turns, strict=True)
    ]
    exactly = [Rotation.from_matrix(pose[:3, :3].numpy()) for pose in wanted]
    # One rigid motion, found from places and directions, takes one set of cameras to the other.
    align, _ = Rotation.align_vectors(
        np.concatenate([there - there.mean(0), *(rotation.as_matrix().T for rotation in exactly)]),
        np.concatenate([here - here.mean(0), *(rotation.as_matrix().T for rotation in corrected)]),
    )
    apart = align.apply(here - here.mean(0)) - (there - there.mean(0))
    angles = [(align * a * b.inv()).magnitude() for a, b in zip(corrected, exactly, strict=True)]
    return float(np.sqrt((apart**2).sum(-1).mean())), float(np.degrees(np.sqrt(np.square(angles).mean())))


@pytest.mark.slow
def test_cameras_that_were_turned_and_shifted_on_purpose_are_learned_back(tmp_path, monkeypatch):
    """Two degrees and a twentieth of a unit off, without order; most of it is found again."""
    exact = read_scene(SceneConfig(width=50, background="random"))
    scene, _ = turned_away(exact, 2.0, 0.05)
    monkeypatch.setattr("rayformer.recipes.parts.scene.read_scene", lambda config: scene)
    smoke = RECIPE.smoke
    config = replace(
        smoke,
        space=SpaceConfig(carve=False, half=1.5),
        scene=replace(smoke.scene, move_cameras=True, camera_rate=0.1),
        plan=replace(smoke.plan, steps=600, evaluate_every=0, precision="32"),
    )
    run = train("ngp", config, out=tmp_path / "moved", device="cpu").run
    moved = rayformer.load(run.path)
    away, turned = pose_errors(scene, exact)
    still_away, still_turned = pose_errors(scene, exact, moved)
    assert turned == pytest.approx(2.0, rel=0.2)
    assert still_turned < 0.5 * turned
    assert still_away < 0.8 * away
    assert run.result()["fitted_pose_psnr_db"] > run.result()["psnr_db"]


def test_cameras_cannot_be_moved_in_ndc(trained, snapshot):
    loaded = open_run(trained.path, "cpu")
    options = replace(TINY.scene, ndc="on", move_cameras=True)
    with pytest.raises(ConfigError) as refusal:
        SceneTask(loaded.model, loaded.task.scene, options, False, loaded_setting(loaded))
    snapshot("recipe_moved_in_ndc", str(refusal.value))


def loaded_setting(loaded):
    from rayformer.engine.task import Setting

    return Setting(seed=0, device=torch.device("cpu"), assets=loaded.run.assets, training=False)


@pytest.mark.parametrize(
    ("name", "changes"), {"no_samples": {"samples": 0}, "still_cameras": {"camera_rate": 0.0}}.items()
)
def test_training_options_that_cannot_work_are_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        SceneTraining(**changes)
    snapshot(f"recipe_{name}", str(refusal.value))


def test_an_optimiser_that_moves_rows_nobody_met_is_refused(tmp_path, snapshot):
    plan = replace(TINY.plan, optim=replace(TINY.plan.optim, name="adamw"))
    with pytest.raises(ConfigError) as refusal:
        train("ngp", replace(TINY, plan=plan), out=tmp_path / "run", device="cpu")
    snapshot("recipe_adamw", str(refusal.value))
    assert not (tmp_path / "run").exists()


def test_the_default_takes_pictures_over_random_colours():
    """Else what is as white as the background need not be there."""
    assert DEFAULT.data.background == RECIPE.smoke.data.background == "random"
