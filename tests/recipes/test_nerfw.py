"""NeRF in the wild from end to end: on both trunks it learns what was not harmed, resumes to the same bits,
and refuses what shows one light only."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import rayformer
from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.nerf import NeRFConfig
from rayformer.fields.nerfw import NeRFW
from rayformer.fields.nerfw_packed import NeRFWPacked
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.recipes.nerfw import DEFAULT, RECIPE, NeRFWModel, NeRFWRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.run import Run
from tests.data.scenes import scene_folders as folders
from tests.recipes.test_ngp import assert_same_bits

TINY = NeRFWRecipe(
    data=SceneConfig(width=24, background="random", perturb="both"),
    model=NeRFWModel(
        appearance_size=6,
        transient_size=4,
        transient_width=16,
        transient_depth=2,
        ngp=NGPConfig(
            grid=HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=9),
            occupancy=OccupancyConfig(cells=16, asked=1024, every=4),
            density_width=16,
            places=8,
            colour_width=16,
            steps_across=48,
        ),
        nerf=NeRFConfig(
            width=16, depth=2, skip_after=None, position_octaves=4, coarse_samples=8, fine_samples=8
        ),
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
        steps=16,
        optim=Optim(rate=3e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.05),
        log_every=1,
        evaluate_every=0,
        save_every=8,
        precision="32",
        prefetch=0,
    ),
)


def with_model(**changes) -> NeRFWRecipe:
    return replace(TINY, model=replace(TINY.model, **changes))


@pytest.fixture(scope="module", params=["ngp", "nerf"])
def trained(request, tmp_path_factory) -> Run:
    config = with_model(trunk=request.param)
    return train("nerfw", config, out=tmp_path_factory.mktemp("nerfw") / "run", device="cpu").run


def test_a_run_is_measured_in_fitted_light_and_beside_it_in_the_usual_one(trained):
    result = trained.result()
    assert {"psnr_db", "ssim", "usual_psnr_db", "usual_ssim"} <= result.keys()
    assert next(iter(result)) == "psnr_db"
    again = evaluate(trained.path, device="cpu")
    assert again == {name: result[name] for name in again}
    assert any("fitted to their left halves" in text for text in trained.manifest["data"]["remarks"])


def test_a_run_shows_one_view_in_several_lights_and_photographs_kind_by_kind(trained):
    shown = {name: caption for name, _, caption in trained.pictures()}
    assert "lights/one-view" in shown
    apart = [caption for name, caption in shown.items() if name.startswith("photographs/")]
    assert len(apart) == 3
    assert all("what passes by hides" in caption for caption in apart)


def test_load_gives_the_field_of_its_trunk(trained):
    model = rayformer.load(trained.path)
    trunk = trained.manifest["config"]["model"]["trunk"]
    assert type(model) is {"ngp": NeRFWPacked, "nerf": NeRFW}[trunk]
    stored = read_checkpoint(trained)[0].tensors["model"]
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_a_flight_changes_its_light_and_nothing_else(trained):
    loaded = open_run(trained.path, "cpu")
    view = loaded.recipe.render(loaded)
    names = [one.name for one in loaded.task.scene.split("train")[:2]]
    camera = view.cameras("still", 1, (20, 12))[0]
    first, last = (lit.picture(camera) for lit in view.in_lights(names, 2))
    np.testing.assert_array_equal(first.depth, last.depth)
    assert (first.colour != last.colour).any()


def test_a_run_that_broke_off_goes_on_to_the_same_bits(trained, tmp_path, monkeypatch):
    config = with_model(trunk=trained.manifest["config"]["model"]["trunk"])
    log = Run.log

    def broken(self, step, **numbers):
        log(self, step, **numbers)
        if step == 12:
            raise OSError("the power is cut")

    with monkeypatch.context() as power:
        power.setattr(Run, "log", broken)
        with pytest.raises(OSError, match="the power is cut"):
            train("nerfw", config, out=tmp_path / "parts", device="cpu")
    parts = train("nerfw", config, resume=tmp_path / "parts", device="cpu").run
    assert_same_bits(trained, parts)
    assert parts.result()["psnr_db"] == trained.result()["psnr_db"]


def test_photographs_of_different_sizes_are_learned_from(tmp_path):
    cameras = [
        camera.scaled(48, 36) if number % 2 else camera
        for number, camera in enumerate(folders.ring(6, width=32, height=24))
    ]
    folders.transforms(tmp_path / "photos", cameras)
    for number, picture in enumerate(folders.pictures(cameras)):
        folders.save(tmp_path / "photos" / folders.name(number), picture)
    data = SceneConfig(source=str(tmp_path / "photos"), holdout_every=3, background="random")
    run = train("nerfw", replace(TINY, data=data), out=tmp_path / "run", device="cpu").run
    assert np.isfinite(run.result()["psnr_db"])


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "parts", "views"), [("one_photo", ("train", "test"), 1), ("none_held_out", ("train",), None)]
)
def test_a_collection_that_shows_one_light_or_holds_nothing_back_is_refused(
    name, parts, views, tmp_path, snapshot
):
    folders.blender(tmp_path / "photos", folders.ring(6, width=32, height=24), parts)
    data = SceneConfig(source=str(tmp_path / "photos"), views=views)
    with pytest.raises(DataError) as refusal:
        train("nerfw", replace(TINY, data=data), out=tmp_path / "run", device="cpu")
    snapshot(f"recipe_{name}", str(refusal.value))
    assert not (tmp_path / "run").exists()


def test_a_single_photograph_is_refused(tmp_path, snapshot):
    camera = folders.ring(1, width=32, height=24)
    folders.transforms(tmp_path / "photos", camera)
    folders.save(tmp_path / "photos" / folders.name(0), folders.pictures(camera)[0])
    with pytest.raises(DataError) as refusal:
        train("nerfw", replace(TINY, data=SceneConfig(source=str(tmp_path / "photos"))), out=tmp_path / "run")
    snapshot("recipe_single", str(refusal.value))


def test_exposures_beside_codes_are_refused(snapshot):
    with pytest.raises(ConfigError) as refusal:
        NeRFWModel(ngp=NGPConfig(exposure=True))
    snapshot("recipe_exposure", str(refusal.value))


# ---------------------------------------------------------------- learning


@pytest.mark.slow
def test_the_smoke_size_learns_the_scene_behind_the_harm(tmp_path):
    outcome = train("nerfw", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["psnr_db"] > 20


@pytest.mark.slow
@pytest.mark.timeout(900)  # two trainings
def test_light_and_passers_by_are_told_from_the_scene_better_than_by_the_trunk_alone(tmp_path):
    """Whole held-out views, which nobody harmed, in the mean light of all."""
    smoke = RECIPE.smoke
    longer = replace(
        smoke,
        scene=replace(smoke.scene, held_out_light="usual", test_views=4),
        plan=replace(smoke.plan, steps=800, evaluate_every=0),
    )
    alone = replace(smoke.model, appearance=False, transient=False)
    wild, plain = (
        train("nerfw", config, out=tmp_path / str(number), device="cpu").result["psnr_db"]
        for number, config in enumerate([longer, replace(longer, model=alone)])
    )
    assert wild > plain + 1.5


def test_the_default_harms_nobodys_photographs():
    assert DEFAULT.data.perturb == "none"
