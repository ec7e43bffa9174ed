"""The NeRF recipe from end to end: it learns, resumes to the same bits, renders without its photographs,
and refuses cleanly."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rayformer
from rayformer.core.config import from_plain
from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Plan
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.recipes.nerf import RECIPE, NeRFRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.run import Run
from tests.recipes.processes import assert_same_bits, command

TINY = NeRFRecipe(
    data=SceneConfig(width=24),
    model=NeRFConfig(width=16, depth=2, skip_after=None, coarse_samples=8, fine_samples=8),
    scene=SceneTraining(rays=64, test_views=1, shown_views=1, validation_rays=64, samples_at_once=384),
    plan=Plan(steps=20, log_every=1, evaluate_every=0, save_every=10, precision="32"),
)
WORDS = """
    --data.width 24 --model.width 16 --model.depth 2 --model.skip-after None --model.coarse-samples 8
    --model.fine-samples 8 --scene.rays 64 --scene.test-views 1 --scene.shown-views 1
    --scene.samples-at-once 384 --plan.log-every 1 --plan.evaluate-every 0 --plan.save-every 10
    --plan.precision 32 --device cpu
""".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return train("nerf", TINY, out=tmp_path_factory.mktemp("nerf") / "run", device="cpu").run


def test_the_smoke_size_learns_the_drawn_scene(tmp_path):
    outcome = train("nerf", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    log = [line for line in outcome.run.metrics() if "val/psnr_db" in line]
    assert outcome.result["psnr_db"] > 17
    assert outcome.result["psnr_db"] > log[0]["val/psnr_db"] - 0.5
    assert 0 < outcome.result["ssim"] < 1


def test_a_run_folder_holds_what_the_contract_names(trained):
    manifest = trained.manifest
    assert {
        "recipe",
        "config",
        "data",
        "seed",
        "versions",
        "device",
        "precision",
        "command",
        "started",
    } <= manifest.keys()
    assert manifest["data"]["fingerprint"]
    assert manifest["precision"] == {"name": "float32", "why": "asked for by plan.precision=32"}
    assert [step for step, _ in trained.checkpoints()] == [10, 20]
    assert {"psnr_db", "ssim", "steps", "train_s"} <= trained.result().keys()
    assert [name for name, _, _ in trained.pictures()] == ["held-out/0006"]
    assert "PSNR" in trained.pictures()[0][2]


def test_load_gives_the_trained_model_and_eval_the_same_numbers(trained):
    model = rayformer.load(trained.path)
    assert isinstance(model, NeRF)
    stored = read_checkpoint(trained)[0].tensors["model"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}


def test_rendering_needs_the_run_and_no_photographs(tmp_path):
    scene = Path(
        open_run(train("nerf", TINY, out=tmp_path / "first", device="cpu").run.path).config.data.source
    )
    from rayformer.data.scenes.read import read_scene

    photographs = tmp_path / "photographs"
    shutil.copytree(Path(read_scene(SceneConfig()).source), photographs)
    config = replace(TINY, data=replace(TINY.data, source=str(photographs)))
    run = train("nerf", config, out=tmp_path / "run", device="cpu").run
    shutil.rmtree(photographs)
    loaded = open_run(run.path, "cpu")
    view = loaded.recipe.render(loaded)
    rendering = view.picture(view.cameras("orbit", 4, (20, 12))[0])
    assert rendering.colour.shape == (12, 20, 3)
    assert rendering.depth.shape == (12, 20)
    assert str(scene) == "demo"


def test_a_run_on_a_drawn_scene_is_opened_without_drawing_it_again(trained, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the scene was read")

    monkeypatch.setattr("rayformer.recipes.parts.scene.read_scene", refuse)
    loaded = open_run(trained.path, "cpu")
    assert loaded.config.data.source == "demo"
    assert len(loaded.task.scene.split("train")) == 60
    with pytest.raises(AssertionError, match="was read"):
        open_run(trained.path, "cpu", source="demo")


def test_rays_that_processes_cannot_share_evenly_are_refused(trained):
    task = open_run(trained.path, "cpu").task
    with pytest.raises(ConfigError, match=r"scene\.rays must be divisible by the number of processes, 3"):
        task.batch("train", 0, 0, 3)
    shares = [task.batch("train", 0, rank, 4) for rank in range(4)]
    whole = task.batch("train", 0, 0, 1)
    together = torch.cat([share.whole.colours for share in shares])
    assert torch.equal(together, whole.whole.colours)


@pytest.mark.parametrize("path", ["orbit", "spiral", "test"])
def test_every_flight_has_the_frames_and_the_size_asked_for(path, trained):
    loaded = open_run(trained.path, "cpu")
    cameras = loaded.recipe.render(loaded).cameras(path, 7, (32, 18))
    assert [(camera.width, camera.height) for camera in cameras] == [(32, 18)] * 7


def test_an_unknown_flight_is_refused_with_the_known_ones(trained, snapshot):
    loaded = open_run(trained.path, "cpu")
    with pytest.raises(ConfigError) as error:
        loaded.recipe.render(loaded).cameras("orbits", 7, None)
    snapshot("unknown_flight", str(error.value))


# ---------------------------------------------------------------- the command line


def test_a_run_killed_at_step_fifteen_resumes_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert command("train", "nerf", *WORDS, "--plan.steps", "20", "--out", str(whole)).returncode == 0
    done = command("train", "nerf", *WORDS, "--plan.steps", "20", "--out", str(killed), kill_after=15)
    assert done.returncode == -signal.SIGKILL
    resumed = command("train", "--resume", str(killed), "--device", "cpu", "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step 10 of 20" in resumed.stderr
    assert_same_bits(Run.open(whole), Run.open(killed))
    assert json.loads(resumed.stdout)["result"]["psnr_db"] == Run.open(whole).result()["psnr_db"]


def test_two_processes_train_to_the_loss_of_one(tmp_path):
    two = tmp_path / "two"
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "rayformer",
    ]
    done = subprocess.run(
        [*launch, "train", "nerf", *WORDS, "--plan.steps", "5", "--out", str(two)],
        capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = Run.open(two).manifest
    assert manifest["processes"] == 2
    same = from_plain(NeRFRecipe, manifest["config"])
    one = train("nerf", same, out=tmp_path / "one", device="cpu").run
    losses = [
        [line["train/loss"] for line in run.metrics() if "train/loss" in line] for run in (one, Run.open(two))
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


# ---------------------------------------------------------------- refusals


def test_refused_data_leaves_no_run_folder_behind(tmp_path):
    (tmp_path / "photos").mkdir()
    config = replace(TINY, data=SceneConfig(source=str(tmp_path / "photos")))
    with pytest.raises(DataError):
        train("nerf", config, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_resume_on_changed_photographs_is_refused(tmp_path, snapshot):
    from rayformer.data.scenes.read import read_scene

    photographs = tmp_path / "photographs"
    shutil.copytree(Path(read_scene(SceneConfig()).source), photographs)
    config = replace(TINY, data=replace(TINY.data, source=str(photographs)), plan=replace(TINY.plan, steps=2))
    run = train("nerf", config, out=tmp_path / "run", device="cpu").run
    picture = next((photographs / "train").glob("*.png"))
    Image.fromarray(np.zeros((100, 100, 4), np.uint8)).save(picture)
    with pytest.raises(DataError, match="is not the data that"):
        train("nerf", config, resume=run.path, device="cpu")
    assert run.result()


# ---------------------------------------------------------------- memory


def test_rendering_a_large_picture_takes_no_more_memory_than_the_picture():
    """Measured in a process of its own: the peak grows by a few bytes per pixel, whatever the field needs."""
    program = (
        "import resource, torch\n"
        "from rayformer.data.scenes.scene import Scene\n"
        "from rayformer.fields.nerf import NeRF, NeRFConfig\n"
        "from rayformer.geometry.cameras import Camera\n"
        "from rayformer.geometry.similarity import Similarity\n"
        "from rayformer.recipes.parts.scene_view import Window, render_camera\n"
        "torch.set_num_threads(1)\n"
        "scene = Scene('', '', (), None, None, Similarity.identity(), None, 1.0, 2.0, False, (), '')\n"
        "field = NeRF(NeRFConfig(width=8, depth=1, skip_after=None, coarse_samples=4, fine_samples=0, "
        "position_octaves=2))\n"
        "def peak(width, height):\n"
        "    camera = Camera(width, height, 500.0, 500.0, width / 2, height / 2, torch.eye(4).double())\n"
        "    render_camera(field, camera, Window(scene), torch.device('cpu'))\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10\n"
        "small = peak(200, 200)\n"
        "print(peak(1600, 1200) - small)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True
    )
    picture_mib = 1600 * 1200 * 7 / 2**20
    assert float(done.stdout) < 2 * picture_mib + 30
