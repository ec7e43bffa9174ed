"""The recipe of denoising autoencoders: layers restore what is spoiled, stand still once learned, serve
classes; a run is resumed to the same bits, says classes, restores pictures, and is begun from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Setting
from rayformer.nets.denoising_ae import DenoisingConfig, NoiseConfig
from rayformer.recipes.denoising_ae import DEFAULT, SMOKE, DenoisingRecipe, build
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.report.page import write_report
from rayformer.runs.run import Run

SIDE = 8
PLAN = Plan(steps=20, optim=Optim(rate=1e-2), log_every=10, evaluate_every=0, save_every=10, precision="32")


@pytest.fixture(scope="module")
def stripes(tmp_path_factory) -> Path:
    """Forty pictures each of stripes that lie and that stand, wherever and in whatever grey."""
    folder, draw = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for name in ("lying", "standing"):
        (folder / name).mkdir()
        for number in range(40):
            waves = np.sign(np.sin(np.arange(SIDE) * np.pi / 2 + draw.integers(4) * np.pi / 2 + 0.1))
            plain = np.broadcast_to(waves[:, None], (SIDE, SIDE))
            plain = plain.T if name == "standing" else plain
            grey = 128 + draw.uniform(40, 120) * plain + draw.normal(0, 5, (SIDE, SIDE))
            pixels = np.clip(grey, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(folder / name / f"{number}.png")
    return folder


def tiny(stripes: Path, **changes) -> DenoisingRecipe:
    config = DenoisingRecipe(
        data=ImagesConfig(source=str(stripes), validation=0.0),
        augment=replace(DEFAULT.augment, size=SIDE),
        model=DenoisingConfig(widths=(24, 16)),
        train=replace(DEFAULT.train, batch=16, shown=2),
        denoise=replace(PLAN, steps=120, save_every=60),
        plan=replace(PLAN, steps=80),
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def run(stripes, tmp_path_factory) -> Run:
    return train("denoising-ae", tiny(stripes), out=tmp_path_factory.mktemp("runs") / "run", device="cpu").run


def weights(run: Run) -> dict[str, torch.Tensor]:
    found = read_checkpoint(run)[0]
    assert found is not None
    return found.tensors["model"]


# ---------------------------------------------------------------------- what is learned


def test_layers_restore_what_is_spoiled_and_classes_are_learned_upon_them(run):
    result = run.result()
    assert next(iter(result)) == "top1", "the first number picks the best checkpoint"
    assert result["top1"] > 0.9
    for name in ("layer-1", "layer-2"):
        layer = run.stage(name).result()
        assert layer["restored_mse"] < 0.7 * layer["spoiled_mse"], name
        assert layer["unspoiled_mse"] < layer["restored_mse"] * 1.5, name


def test_fine_tuning_begins_from_the_layers_as_they_were_learned(stripes, tmp_path):
    config = tiny(stripes, denoise=replace(PLAN, steps=5), plan=replace(PLAN, steps=0))
    run = train("denoising-ae", config, out=tmp_path / "run", device="cpu").run
    whole = weights(run.stage("fine-tune"))
    for number in range(2):
        layer = weights(run.stage(f"layer-{number + 1}"))
        for kind in ("weight", "bias"):
            assert torch.equal(whole[f"layers.{number}.{kind}"], layer[f"encoder.{kind}"])
    assert not whole["head.weight"].any()


def test_a_layer_learns_from_clean_codes_of_layers_that_stand_still(stripes, tmp_path):
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    first, second, _ = build(tiny(stripes), setting).stages
    below = first.task({})
    task = second.task({"layer-1": below})
    piece = task.batch("train", 0, 0, 1).split()[0]
    codes = task.inputs(piece.images)
    torch.testing.assert_close(codes, below.model.encode(below.inputs(piece.images)))
    task.loss(piece, 0, torch.Generator().manual_seed(0)).total.backward()
    assert all(parameter.grad is not None for parameter in task.model.parameters())
    assert all(parameter.grad is None for parameter in below.model.parameters())
    assert not {id(one) for one in task.model.parameters()} & {id(one) for one in below.model.parameters()}


def test_noise_is_drawn_anew_in_every_step_and_depends_on_nothing_but_its_stream(stripes, tmp_path):
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    task = build(tiny(stripes), setting).stages[0].task({})
    piece = task.batch("train", 0, 0, 1).split()[0]
    once, again, other = (
        task.loss(piece, 0, torch.Generator().manual_seed(number)).total for number in (1, 1, 2)
    )
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_the_plain_network_is_one_stage_of_the_same_shape(run, stripes, tmp_path):
    config = tiny(stripes, pretrain=False, plan=replace(PLAN, steps=2))
    plain = train("denoising-ae", config, out=tmp_path / "run", device="cpu").run
    assert not plain.stages()
    one, other = weights(plain), weights(run.stage("fine-tune"))
    assert {name: value.shape for name, value in one.items()} == {
        name: value.shape for name, value in other.items()
    }


def test_layers_see_all_pictures_and_classes_as_many_as_have_labels(stripes, tmp_path):
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    chain = build(tiny(stripes, labels=3), setting)
    tasks = {}
    for stage in chain.stages:
        tasks[stage.name] = stage.task(tasks)
    parts = {name: task.data.split("train") for name, task in tasks.items()}
    assert parts["fine-tune"].counts(2).tolist() == [3, 3]
    assert parts["layer-1"].counts(2).tolist() == parts["layer-2"].counts(2).tolist() == [32, 32]
    first = [place for label in range(2) for place in np.flatnonzero(parts["layer-1"].labels == label)[:3]]
    assert parts["fine-tune"].rows.tolist() == sorted(parts["layer-1"].rows[first].tolist())
    tests = [task.data.split("test").rows.tolist() for task in tasks.values()]
    assert tests[0] == tests[1] == tests[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": NoiseConfig(kind="salt-and-pepper", share=0.2)},
        {"noise": NoiseConfig(kind="gaussian"), "model": DenoisingConfig(widths=(8,), affine=True)},
        {
            "noise": NoiseConfig(clean_weight=0.0),
            "model": DenoisingConfig(widths=(8,), tied=False, colour=True),
        },
        {"noise": NoiseConfig(kind="none"), "model": DenoisingConfig(widths=(8,))},
    ],
    ids=["salt-and-pepper", "gaussian-affine", "only-what-is-missing", "none"],
)
def test_every_noise_and_every_layer_trains_and_is_shown(changes, stripes, tmp_path):
    config = tiny(stripes, denoise=replace(PLAN, steps=10), plan=replace(PLAN, steps=2))
    run = train("denoising-ae", replace(config, **changes), out=tmp_path / "run", device="cpu").run
    layer = run.stage("layer-1").result()
    assert np.isfinite(layer["restored_mse"])
    assert (layer["spoiled_mse"] == 0) == (config.noise.kind == "none" or changes["noise"].kind == "none")
    assert {name for name, *_ in run.stage("layer-1").pictures()} == {"units", "restored"}


# ---------------------------------------------------------------------- a run goes on


def cut(run: Run, target: Path, stage: str, step: int) -> Path:
    """The run as it was when that stage had saved that step."""
    shutil.copytree(run.path, target)
    names = [name for name, _ in run.stages()]
    for later in names[names.index(stage) + 1 :]:
        shutil.rmtree(target / "stages" / later)
    (target / "result.json").unlink()
    (target / "stages" / stage / "result.json").unlink()
    kept = target / "stages" / stage / "checkpoints" / f"{step:06d}"
    assert kept.is_dir()
    for other in kept.parent.iterdir():
        if other != kept:
            shutil.rmtree(other)
    return target


@pytest.mark.parametrize(("stage", "step"), [("layer-1", 60), ("layer-2", 60), ("fine-tune", 70)])
def test_a_run_that_died_in_any_stage_goes_on_to_the_same_bits(stage, step, run, stripes, tmp_path):
    begun = Run(cut(run, tmp_path / "run", stage, step))
    train("denoising-ae", tiny(stripes), resume=begun.path, device="cpu")
    for name, whole in run.stages():
        first, second = weights(whole), weights(begun.stage(name))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    assert begun.result()["top1"] == run.result()["top1"]


def test_a_run_is_measured_anew_to_the_same_numbers(run):
    again, before = evaluate(run.path, device="cpu"), run.result()
    assert {name: before[name] for name in again} == again
    layer = evaluate(run.stage("layer-2").path, device="cpu")
    assert layer["restored_mse"] == pytest.approx(run.stage("layer-2").result()["restored_mse"], rel=1e-6)


# ---------------------------------------------------------------------- a finished run


def test_new_pictures_are_recognised_and_restored(run, stripes, tmp_path):
    loaded = open_run(run.path, device="cpu")
    asked = [str(stripes / "lying"), str(stripes / "standing" / "0.png")]
    said = loaded.recipe.predict(loaded, asked, tmp_path / "out")
    assert len(said.values) == 41
    assert said.values[asked[1]]["class"] == "standing"
    assert json.dumps(said.values)
    assert len(list((tmp_path / "out").iterdir())) == 41
    assert {path.name for path in (tmp_path / "out").glob("0-*")} == {"0-restored.png", "0-restored-2.png"}
    assert not loaded.recipe.predict(loaded, asked[1:], None).values.keys() - {asked[1]}


def test_one_layer_says_how_well_it_restores(run, stripes, tmp_path):
    loaded = open_run(run.stage("layer-1").path, device="cpu")
    path = str(stripes / "standing" / "0.png")
    said = loaded.recipe.predict(loaded, [path], tmp_path)
    assert said.values[path]["restored_psnr_db"] > said.values[path]["spoiled_psnr_db"]
    assert said.values == loaded.recipe.predict(loaded, [path], None).values, "noise by the picture's name"
    assert (tmp_path / "0-restored.png").exists()
    with pytest.raises(DataError, match="no such file"):
        loaded.recipe.predict(loaded, [str(tmp_path / "absent.png")], None)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="None of 1 pictures can be read"):
        loaded.recipe.predict(loaded, [str(tmp_path / "torn")], None)


@pytest.mark.parametrize("whole", [True, False])
def test_fine_tuning_begins_from_another_run_for_other_classes(whole, run, stripes, tmp_path, capsys):
    shutil.copytree(stripes, tmp_path / "three")
    shutil.copytree(stripes / "lying", tmp_path / "three" / "more")
    config = tiny(tmp_path / "three", pretrain=False, plan=replace(PLAN, steps=0))
    start = run.path if whole else run.stage("fine-tune").path
    begun = train("denoising-ae", config, out=tmp_path / "run", start=str(start), device="cpu").run
    given, taken = weights(run.stage("fine-tune")), weights(begun)
    assert all(torch.equal(taken[key], given[key]) for key in taken if key.startswith("layers."))
    assert taken["head.weight"].shape[0] == 3
    assert "left as they were: head.bias, head.weight" in capsys.readouterr().err


def test_a_layer_is_no_network(run, stripes, tmp_path):
    start = str(run.stage("layer-1").path)
    with pytest.raises(DataError, match="another architecture"):
        train("denoising-ae", tiny(stripes, pretrain=False), out=tmp_path / "run", start=start, device="cpu")


def test_layers_that_are_to_learn_anew_begin_from_nothing(run, stripes, tmp_path, snapshot):
    with pytest.raises(ConfigError) as error:
        train("denoising-ae", tiny(stripes), out=tmp_path / "run", start=str(run.path), device="cpu")
    snapshot("from_with_pretraining", str(error.value).replace(str(run.path), "RUN"))
    assert not (tmp_path / "run").exists()


def test_only_the_head_learns_where_that_is_asked_for(run, stripes, tmp_path):
    config = tiny(stripes, pretrain=False, train=replace(tiny(stripes).train, tune="head"))
    begun = train("denoising-ae", config, out=tmp_path / "run", start=str(run.path), device="cpu").run
    given, taken = weights(run.stage("fine-tune")), weights(begun)
    assert all(torch.equal(taken[key], given[key]) for key in taken if key.startswith("layers."))
    assert not torch.equal(taken["head.weight"], given["head.weight"])


def test_the_report_shows_units_and_restored_pictures_of_every_layer(run):
    assert write_report(run.path).stat().st_size > 10_000
    for name in ("layer-1", "layer-2"):
        assert {picture for picture, *_ in run.stage(name).pictures()} == {"units", "restored"}
    shown = {picture for picture, *_ in run.stage("fine-tune").pictures()}
    assert {"units", "classes/confusion", "classes/reliability"} <= shown
    assert any(name.startswith(("right/", "mistakes/")) for name in shown)


def test_exported_to_onnx_it_says_the_same(run, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    loaded = open_run(run.path, device="cpu")
    export = loaded.recipe.exports["onnx"]
    assert export.write(loaded, export.options, tmp_path / "model.onnx")["largest_difference"] < 1e-4


# ---------------------------------------------------------------------- refusals


def test_colours_beyond_black_and_white_are_refused(snapshot):
    with pytest.raises(ConfigError) as error:
        replace(DEFAULT, augment=replace(DEFAULT.augment, colours="imagenet"))
    snapshot("colours", str(error.value))


def test_no_labels_at_all_are_refused(snapshot):
    with pytest.raises(ConfigError) as error:
        replace(DEFAULT, labels=0)
    snapshot("labels", str(error.value))


@pytest.mark.slow
def test_the_smoke_size_learns_drawn_digits_and_restores_them(tmp_path):
    outcome = train("denoising-ae", SMOKE, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["top1"] > 0.85, "by chance it would be 0.1"
    layer = outcome.run.stage("layer-1").result()
    assert layer["restored_mse"] < 0.3 * layer["spoiled_mse"]
