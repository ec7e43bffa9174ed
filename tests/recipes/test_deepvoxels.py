"""The DeepVoxels recipe from end to end: it learns, resumes to the same bits, is opened without its
photographs, and refuses cleanly."""

from dataclasses import replace

import pytest
import torch

import rayformer
from rayformer.core.errors import ConfigError
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.fields.deepvoxels import DeepVoxels, DeepVoxelsConfig
from rayformer.recipes.deepvoxels import DEFAULT, RECIPE, DeepVoxelsRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.field_space import SpaceConfig
from rayformer.recipes.parts.view_pairs import PairTraining
from rayformer.runs.run import Run

TINY = DeepVoxelsRecipe(
    data=SceneConfig(width=24, views=6),
    model=DeepVoxelsConfig(
        cells=8, features=4, stride=2, extract_width=4, inpaint_width=4, draw_width=8, most=8, dropped=0.2
    ),
    scene=PairTraining(test_views=1, shown_views=1, sources=2),
    plan=Plan(
        steps=8, optim=Optim(rate=2e-3), log_every=1, evaluate_every=0, save_every=4, precision="32"
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return train("deepvoxels", TINY, out=tmp_path_factory.mktemp("deepvoxels") / "run", device="cpu").run


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_scene(tmp_path):
    """White pictures have 9.6 dB, the mean of all training pictures 16.5."""
    outcome = train("deepvoxels", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    losses = [line["train/loss"] for line in outcome.run.metrics() if "train/loss" in line]
    assert outcome.result["psnr_db"] > 18
    assert losses[-1] < 0.4 * losses[0]


def test_load_gives_the_trained_volume_and_eval_the_same_numbers(trained):
    model = rayformer.load(trained.path)
    assert isinstance(model, DeepVoxels)
    stored = read_checkpoint(trained)[0].tensors["model"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert model.volume.abs().sum() > 0
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}


def test_a_run_is_looked_at_without_its_photographs(trained, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a photograph was read")

    monkeypatch.setattr("rayformer.recipes.parts.scene.read_scene", refuse)
    monkeypatch.setattr("rayformer.data.scenes.pixels.load_view", refuse)
    loaded = open_run(trained.path, "cpu")
    view = loaded.recipe.render(loaded)
    seen = view.picture(view.cameras("orbit", 4, (20, 12))[0])
    assert seen.colour.shape == (12, 20, 3)
    assert (seen.depth[seen.depth == seen.depth] > 0).all()


@pytest.mark.parametrize("adversarial", [0.0, 0.005])
def test_a_run_that_broke_off_goes_on_to_the_same_bits(tmp_path, monkeypatch, adversarial):
    """The volume too, which changes between the steps."""
    config = replace(TINY, model=replace(TINY.model, adversarial=adversarial, critic_width=4))
    whole = train("deepvoxels", config, out=tmp_path / "whole", device="cpu").run
    log = Run.log

    def broken(self, step, **numbers):
        log(self, step, **numbers)
        if step == 6:
            raise OSError("the power is cut")

    with monkeypatch.context() as power:
        power.setattr(Run, "log", broken)
        with pytest.raises(OSError, match="the power is cut"):
            train("deepvoxels", config, out=tmp_path / "cut", device="cpu")
    resumed = train("deepvoxels", config, resume=tmp_path / "cut", device="cpu").run
    first, second = (read_checkpoint(run)[0].tensors for run in (whole, resumed))
    for file in first:
        assert first[file].keys() == second[file].keys()
        assert all(torch.equal(first[file][name], second[file][name]) for name in first[file])
    assert whole.result()["psnr_db"] == resumed.result()["psnr_db"]


def test_the_run_says_how_finely_pictures_are_drawn(trained):
    remarks = trained.manifest["data"]["remarks"]
    assert any(
        "drawn from 12 x 12 columns through 8^3 voxels, one for every 2 x 2 pixels" in text
        for text in remarks
    )


def test_exports_are_the_cameras_and_the_weights():
    assert sorted(RECIPE.exports) == ["cameras", "safetensors"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("contracted_space", {"space": SpaceConfig(kind="contracted")}),
        ("random_background", {"data": SceneConfig(background="random")}),
        ("several_sizes", {"data": SceneConfig(scales=(1, 2))}),
        ("accumulated", {"plan": Plan(accumulate=2)}),
        ("sharded", {"plan": Plan(shard=True)}),
    ],
)
def test_what_does_not_go_with_a_volume_is_refused(snapshot, name, changes):
    with pytest.raises(ConfigError) as caught:
        replace(DEFAULT, **changes)
    snapshot(name, str(caught.value))


def test_a_single_view_is_refused_before_anything_is_learned(tmp_path, snapshot):
    one = replace(TINY, data=replace(TINY.data, views=1))
    with pytest.raises(rayformer.core.errors.DataError) as caught:
        train("deepvoxels", one, out=tmp_path / "run", device="cpu")
    snapshot("one_view", str(caught.value))
