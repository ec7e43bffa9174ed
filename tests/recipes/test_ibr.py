"""Image-based rendering from end to end: it learns, resumes to the same bits, finds its proxy again, and says
what is missing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rayformer
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.fields.ibr import FreeView, FVSConfig
from rayformer.fields.lumigraph import LumigraphConfig
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.recipes.ibr import RECIPE, IBRConfig, IBRRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.leave_one_out import PatchTraining
from rayformer.recipes.parts.proxy import ProxyConfig
from rayformer.runs.ply import write_points
from rayformer.runs.run import Run

SIZE = 24
TINY = IBRRecipe(
    field=NGPConfig(
        grid=HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=9),
        occupancy=OccupancyConfig(cells=16, asked=1024, every=4),
        density_width=16,
        places=8,
        colour_width=16,
        steps_across=48,
    ),
    model=IBRConfig(
        sources=3, tolerance=0.05, fvs=FVSConfig(features=(4, 4, 4), merge=(4, 6), convolutions=1)
    ),
    scene=PatchTraining(patch=16, patches=2, test_views=1, shown_views=1, validation_views=1),
    plan=Plan(
        steps=8, optim=Optim(rate=5e-3), log_every=1, evaluate_every=4, save_every=4, precision="32"
    ),
)  # fmt: skip


def ground_colour(places: np.ndarray) -> np.ndarray:
    x, y = places[..., 0], places[..., 1]
    return np.stack([np.sin(1.3 * x), np.cos(1.1 * y), np.sin(x + y)], axis=-1) * 0.4 + 0.5


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Path:
    """Photographs of a painted ground, z = 0, from above, with points on it."""
    from rayformer.geometry.cameras import Camera
    from rayformer.geometry.poses import look_at
    from rayformer.geometry.rays import camera_rays

    folder, draw, frames = tmp_path_factory.mktemp("ground"), np.random.default_rng(0), []
    for number in range(10):
        x, y = draw.uniform(-0.8, 0.8, 2)
        camera = Camera(
            SIZE, SIZE, 26.0, 26.0, SIZE / 2, SIZE / 2, look_at((x, y, 3.0), (0.3 * x, 0.3 * y, 0.0))
        )
        rays = camera_rays(camera)
        ways = -rays.origins[:, 2:] / rays.directions[:, 2:]
        colour = ground_colour((rays.origins + ways * rays.directions).numpy())
        pixels = (colour.reshape(SIZE, SIZE, 3) * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        frames.append({"file_path": f"{number}.png", "transform_matrix": camera.pose.tolist()})
    lens = {"w": SIZE, "h": SIZE, "fl_x": 26.0, "fl_y": 26.0, "cx": SIZE / 2, "cy": SIZE / 2}
    text = json.dumps({**lens, "ply_file_path": "points.ply", "frames": frames})
    (folder / "transforms.json").write_text(text)
    places = np.concatenate([draw.uniform(-2.5, 2.5, (500, 2)), draw.normal(0, 1e-3, (500, 1))], axis=1)
    write_points(folder / "points.ply", places, (ground_colour(places) * 255).round().astype(np.uint8))
    return folder


def of(ground: Path, **changes) -> IBRRecipe:
    return replace(TINY, data=SceneConfig(source=str(ground)), **changes)


@pytest.fixture(scope="module")
def trained(ground, tmp_path_factory) -> Run:
    return train("ibr", of(ground), out=tmp_path_factory.mktemp("ibr") / "run", device="cpu").run


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_scene(tmp_path):
    outcome = train("ibr", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["psnr_db"] > 20
    assert {stage for stage, _ in outcome.run.stages()} == {"proxy", "ibr"}
    assert list((tmp_path / "run").rglob("made-of/*.png"))


@pytest.mark.parametrize("method", ["lumigraph", "splat"])
def test_without_training_a_painted_ground_is_given_back(method, ground, tmp_path):
    model = replace(TINY.model, method=method, lumigraph=LumigraphConfig(border=2))
    outcome = train("ibr", of(ground, model=model), out=tmp_path / "run", device="cpu")
    assert outcome.result["steps"] == 0
    task = open_run(tmp_path / "run", "cpu").task
    camera, truth, _ = PixelStore(task.scene, "test").view(1)
    blend = task.field.blend(camera)
    given = blend.weights.sum(dim=0) > 0.999
    assert given.float().mean() > 0.8, "only in the corners nobody looks"
    assert (blend.colour - truth)[given].abs().mean() < (0.005 if method == "lumigraph" else 0.03)
    assert evaluate(tmp_path / "run", device="cpu")["psnr_db"] == outcome.result["psnr_db"]


def test_points_are_taken_where_there_are_some_and_the_surface_is_kept(trained, monkeypatch):
    assert (trained.assets / "proxy.safetensors").exists()
    assert (trained.assets / "depths.safetensors").exists()
    assert not list(trained.stages())

    def refuse(*_, **__):
        raise AssertionError("the surface was made anew")

    monkeypatch.setattr("rayformer.recipes.parts.proxy.point_surface", refuse)
    loaded = open_run(trained.path, "cpu")
    depths = [view.depth for view in loaded.task.sources.views]
    eyes = [view.camera for view in loaded.task.sources.views]
    scale = loaded.task.scene.normalisation.scale
    for depth, eye in zip(depths, eyes, strict=True):
        middle = depth[8:16, 8:16] / scale
        assert middle.isfinite().all()
        assert middle.min() > 2.7, "the ground is three below"
        assert middle.max() < 3.4
        assert eye.width == SIZE


def test_load_gives_the_network_and_eval_the_same_numbers(trained):
    assert isinstance(rayformer.load(trained.path), FreeView)
    again = evaluate(trained.path, device="cpu")
    assert again == {name: trained.result()[name] for name in again}
    view = open_run(trained.path, "cpu").recipe.render(open_run(trained.path, "cpu"))
    picture = view.picture(view.cameras("test", 3, (20, 12))[1])
    assert picture.colour.shape == (12, 20, 3)
    assert np.isfinite(picture.depth).mean() > 0.5


def test_the_pictures_show_what_they_were_made_of(trained):
    names = {path.parent.name for path in trained.path.rglob("pictures/**/*.png")}
    assert names == {"held-out", "made-of"}


def test_an_interrupted_run_resumes_to_the_same_bits(ground, tmp_path, trained):
    short = of(ground, plan=replace(TINY.plan, steps=4))
    begun = train("ibr", short, out=tmp_path / "half", device="cpu").run
    resumed = train("ibr", of(ground), resume=begun.path, device="cpu").run
    first, second = (read_checkpoint(run)[0].tensors for run in (trained, resumed))
    for file in first:
        assert all(torch.equal(first[file][name], second[file][name]) for name in first[file])


def test_a_step_is_a_window_of_a_photograph_seen_by_the_others(trained):
    task = open_run(trained.path, "cpu").task
    batch = task.batch("train", 3, 0, 1)
    assert len(batch.split()) == 2
    for piece in batch.split():
        assert piece.truth.shape == (3, 16, 16)
        own = [view.camera for view in task.sources.views]
        target = next(row for row, eye in enumerate(own) if torch.equal(eye.pose, piece.look.camera.pose))
        assert target not in piece.look.rows
        # What the others show of it is nearly it.
        shown = piece.look.warped(0)[:, piece.look.warps[0].seen]
        assert (shown - piece.truth[:, piece.look.warps[0].seen]).abs().mean() < 0.06
    shares = [task.batch("train", 3, rank, 2).split()[0] for rank in range(2)]
    assert all(torch.equal(a.truth, b.truth) for a, b in zip(shares, batch.split(), strict=True))
    with pytest.raises(ConfigError, match=r"scene\.patches must be divisible"):
        task.batch("train", 0, 0, 3)


def test_a_field_is_trained_first_where_there_are_no_points_and_another_run_s_field_serves_too(
    ground, tmp_path
):
    bare = tmp_path / "bare"
    bare.mkdir()
    for photo in ground.glob("*.png"):
        (bare / photo.name).write_bytes(photo.read_bytes())
    text = json.loads((ground / "transforms.json").read_text())
    del text["ply_file_path"]
    (bare / "transforms.json").write_text(json.dumps(text))
    proxy = ProxyConfig(steps=6)
    one = train("ibr", of(bare, proxy=proxy), out=tmp_path / "one", device="cpu")
    assert {name for name, _ in one.run.stages()} == {"proxy", "ibr"}
    assert one.result["psnr_db"] > 8
    named = ProxyConfig(field=tmp_path / "one" / "stages" / "proxy")
    two = train("ibr", of(ground, proxy=named), out=tmp_path / "two", device="cpu")
    assert not list(two.run.stages())
    eye = open_run(two.run.path, "cpu").task.scene.views[0].camera
    ours, theirs = (open_run(run.path, "cpu").task.sources.depth_of(eye) for run in (two.run, one.run))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


# ---------------------------------------------------------------- what is refused


def refused(error: type, recipe: IBRRecipe, out: Path) -> str:
    with pytest.raises(error) as refusal:
        train("ibr", recipe, out=out, device="cpu")
    assert not out.exists(), "nothing is left behind"
    return str(refusal.value)


def test_points_asked_for_where_there_are_none_are_refused_with_what_to_run(tmp_path, snapshot):
    recipe = replace(TINY, data=SceneConfig(width=SIZE), proxy=ProxyConfig(source="points"))
    text = refused(DataError, recipe, tmp_path / "run")
    snapshot("no_points", text.replace(text.split(":")[0], "DATA"))


def test_a_run_without_a_field_of_its_own_is_refused(ground, trained, tmp_path, snapshot):
    text = refused(ConfigError, of(ground, proxy=ProxyConfig(field=trained.path)), tmp_path / "run")
    snapshot("no_field", text.replace(str(trained.path), "RUN"))
    text = refused(RunError, of(ground, proxy=ProxyConfig(field=tmp_path / "gone")), tmp_path / "run")
    snapshot("field_gone", text)


def test_photographs_that_are_gone_are_named(ground, trained, tmp_path, snapshot):
    view = open_run(trained.path, "cpu")
    photo = view.task.scene.split("train")[2].image
    away = photo.rename(tmp_path / photo.name)
    try:
        scene_view = view.recipe.render(view)
        with pytest.raises(DataError) as refusal:
            scene_view.picture(scene_view.cameras("orbit", 2)[0])
    finally:
        away.rename(photo)
    snapshot("photograph_gone", str(refusal.value).replace(str(photo.parent), "DATA"))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("points_and_field", lambda: ProxyConfig(source="points", field=Path("run"))),
        ("no_proxy_steps", lambda: ProxyConfig(steps=0)),
        ("no_sources", lambda: IBRConfig(sources=0)),
        ("tolerance", lambda: IBRConfig(tolerance=1.5)),
        ("small_patch", lambda: PatchTraining(patch=8)),
        ("no_patches", lambda: PatchTraining(patches=0)),
    ],
)
def test_options_that_cannot_work_are_refused(name, build, snapshot):
    with pytest.raises(ConfigError) as refusal:
        build()
    snapshot(name, str(refusal.value))
