"""The recipe of the road: any step of it learns, is resumed to the same bits, and can be opened again."""

from dataclasses import replace

import pytest
import torch

from rayformer.data.images.labelled import ImagesConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.nets.roadmap import STEPS
from rayformer.recipes.open_run import open_run, train
from rayformer.recipes.roadmap import SMOKE, RoadmapRecipe


def tiny(step: str, steps: int = 6) -> RoadmapRecipe:
    return replace(
        SMOKE,
        data=ImagesConfig(source="glyphs-2", validation=0.0),
        model=replace(STEPS[step], depths=(1, 1), width=8, small_images=True),
        train=replace(SMOKE.train, batch=10, shown=0),
        plan=Plan(steps=steps, optim=Optim(name="adamw", rate=3e-3), evaluate_every=0, precision="32"),
    )


@pytest.fixture(autouse=True)
def _few_pictures(monkeypatch, tmp_path_factory):
    from rayformer.data.images import drawn

    monkeypatch.setattr(drawn, "HELD_OUT", 1)
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path_factory.getbasetemp() / "digits"))


@pytest.mark.parametrize("step", ["ResNet-50", "depthwise", "separate halving"])
def test_a_step_of_the_road_is_trained_and_opened_again(step, tmp_path):
    run = train("roadmap", tiny(step), out=tmp_path / "run", device="cpu").run
    loaded = open_run(run.path, device="cpu")
    assert loaded.model.config == tiny(step).model
    assert loaded.step == 6
    assert 0 <= run.result()["top1"] <= 1


def test_a_resumed_training_gives_the_same_bits(tmp_path):
    whole = train("roadmap", tiny("GELU"), out=tmp_path / "whole", device="cpu").run
    half = train("roadmap", tiny("GELU", steps=3), out=tmp_path / "half", device="cpu").run
    train("roadmap", tiny("GELU"), resume=half.path, device="cpu")
    one, other = (read_checkpoint(run)[0].tensors["model"] for run in (whole, half))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
