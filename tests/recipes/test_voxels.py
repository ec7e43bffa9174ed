"""The voxels recipe from end to end: it learns, resumes to the same bits across a growth, says its memory."""

from dataclasses import replace

import pytest

import rayformer
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Plan, Schedule
from rayformer.fields.voxels import Voxels, VoxelsConfig
from rayformer.recipes.open_run import evaluate, train
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.recipes.voxels import RECIPE, VoxelsRecipe, memory
from tests.recipes.processes import assert_same_bits

TINY = VoxelsRecipe(
    data=SceneConfig(width=24, background="random"),
    model=VoxelsConfig(sides=(12, 20), grow_at=(14,), cells=16, every=4),
    scene=SceneTraining(
        rays=64,
        samples=2048,
        samples_at_once=4096,
        test_views=1,
        shown_views=1,
        validation_rays=64,
        ndc="off",
    ),
    plan=Plan(
        steps=20,
        optim=RECIPE.default.plan.optim,
        schedule=Schedule(kind="constant"),  # which does not ask how long the run was meant to be
        log_every=1,
        evaluate_every=0,
        save_every=10,
        precision="32",
    ),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train("voxels", TINY, out=tmp_path_factory.mktemp("voxels") / "run", device="cpu").run


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("plenoxels", 22), ("dvgo", 20), ("table", 17.5)])
def test_the_smoke_size_learns_the_drawn_scene(kind, least, tmp_path):
    config = replace(RECIPE.smoke, model=replace(RECIPE.smoke.model, kind=kind))
    outcome = train("voxels", config, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["psnr_db"] > least


def test_load_gives_a_grown_field_and_eval_the_same_numbers(trained):
    model = rayformer.load(trained.path)
    assert isinstance(model, Voxels)
    assert model.field.grid.side == 20
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}


@pytest.mark.parametrize("first", [7, 13, 16])
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(trained, first, tmp_path):
    """Before, just before and after the grid has grown."""
    short = replace(TINY, plan=replace(TINY.plan, steps=first))
    run = train("voxels", short, out=tmp_path / "run", device="cpu").run
    train("voxels", TINY, resume=run.path, device="cpu")
    assert_same_bits(run, trained)


def test_the_memory_of_a_whole_grid_is_said_before_training(trained):
    (told,) = [remark for remark in trained.manifest["data"]["remarks"] if "numbers a voxel" in remark]
    assert told == memory(TINY.model)
    table = memory(VoxelsConfig(kind="table", sides=(64, 128), grow_at=(10,)))
    assert "217 numbers a voxel" in table
    assert "1.82 GB" in table
