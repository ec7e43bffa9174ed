"""The Zip-NeRF recipe: the smoke size learns, sizes are measured by name, NDC is refused."""

from dataclasses import replace

import pytest
import torch

import rayformer
from rayformer.core.errors import ConfigError
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Plan
from rayformer.fields.zipnerf import ZipNeRF, ZipNeRFConfig
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.recipes.zipnerf import RECIPE, ZipNeRFRecipe
from rayformer.runs.run import Run

TINY = ZipNeRFRecipe(
    data=SceneConfig(width=24, scales=(1, 2, 4), near=2.5, far=5.5),
    model=ZipNeRFConfig(
        samples=(8, 6, 4), finest=(16, 32, 32), log2_rows=10, features=2, width=8, bottleneck=8, view_width=8
    ),
    scene=SceneTraining(rays=64, ndc="off", test_views=2, shown_views=1, validation_rays=64),
    plan=Plan(steps=6, log_every=2, evaluate_every=0, save_every=3, precision="32"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    return train("zipnerf", TINY, out=tmp_path_factory.mktemp("zipnerf") / "run", device="cpu").run


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_scene(tmp_path):
    outcome = train("zipnerf", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    log = [line["val/psnr_db"] for line in outcome.run.metrics() if "val/psnr_db" in line]
    assert outcome.result["psnr_db"] > 20
    assert outcome.result["psnr_db"] > log[0] - 0.5


def test_every_size_is_measured_by_its_name_and_the_whole_is_their_mean(trained):
    result = trained.result()
    sizes = [result[f"{name}_psnr_db"] for name in ("full", "half", "quarter")]
    assert result["psnr_db"] == pytest.approx(sum(sizes) / 3)
    assert "eighth_psnr_db" not in result
    assert len({round(size, 6) for size in sizes}) == 3
    assert 0 < result["ssim"] < 1, "of the whole pictures: a window does not fit into the small ones"
    assert [name for name, _, _ in trained.pictures()] == ["held-out/0003"]


def test_load_gives_the_trained_field_and_eval_the_same_numbers(trained):
    assert isinstance(rayformer.load(trained.path), ZipNeRF)
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}


def test_a_step_takes_as_many_rays_of_each_size(trained):
    task = open_run(trained.path, "cpu").task
    _, _, rows = task.store.rays(task.store.draw(6000, torch.Generator().manual_seed(0)))
    scales = torch.tensor([view.scale for view in task.store.views])[rows]
    for scale in (1, 2, 4):
        assert (scales == scale).double().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_pixels_of_smaller_pictures_are_wider(trained):
    task = open_run(trained.path, "cpu").task
    rays = task.batch("train", 0, 0, 1).whole.rays
    assert rays.radii.max() / rays.radii.min() > 3


def test_a_camera_looks_at_the_trained_field(trained):
    loaded = open_run(trained.path, "cpu")
    view = loaded.recipe.render(loaded)
    rendering = view.picture(view.cameras("orbit", 4, (20, 12))[0])
    assert rendering.colour.shape == (12, 20, 3)
    density, colour = view.field.radiance(torch.zeros(2, 3), torch.eye(3)[:2])
    assert density.shape == (2,)
    assert colour.shape == (2, 3)


@pytest.mark.parametrize("ndc", ["auto", "on"])
def test_ndc_is_refused_with_the_reason(ndc, snapshot):
    with pytest.raises(ConfigError) as error:
        replace(TINY, scene=SceneTraining(ndc=ndc))
    snapshot(f"ndc_{ndc}", str(error.value))
