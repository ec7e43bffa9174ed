"""The recipes that recognise pictures, from class folders to a report: all of them learn colours, resume to
the same bits, begin from other runs, say what new pictures are, and are exported."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Setting
from rayformer.nets.vit import SIZES, ViTConfig
from rayformer.recipes import index
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_groups, sized
from rayformer.recipes.vit import ViTRecipe
from rayformer.report.page import write_report
from rayformer.runs.run import Run

NAMES = ("vit", "swin", "convnext", "resnet-rs", "nfnet")
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (210, 40, 50)}
PLAN = Plan(
    steps=30,
    optim=Optim(name="adamw", rate=3e-3),
    log_every=5,
    evaluate_every=0,
    save_every=15,
    precision="32",
)
PLAIN = AugmentConfig(size=16, crop="shifted", padding=2, policy=PolicyConfig(kind="none"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Twelve pictures of every colour, with noise."""
    folder, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(12):
            noise = draw.normal(0, 20, (16, 16, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def tiny(name: str, pictures: Path, **changes):
    smoke = index.load(name).smoke
    return replace(
        smoke,
        data=ImagesConfig(source=str(pictures), validation=0.0),
        augment=PLAIN,
        model=replace(smoke.model, drop_path=0.1),  # layers draw by themselves, and must do so again
        train=ClassifierTraining(batch=12, mix=MixConfig(mixup=0.0, cutmix=0.0, smoothing=0.0), shown=3),
        plan=PLAN,
        **changes,
    )


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(name, tiny(name, pictures), out=folder / name, device="cpu").run for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_network_learns_colours(runs, name):
    result = runs[name].result()
    assert next(iter(result)) == "top1", "the first number picks the best checkpoint"
    assert result["top1"] > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_gives_the_same_bits(name, runs, pictures, tmp_path):
    half = replace(tiny(name, pictures), plan=replace(PLAN, steps=15))
    begun = train(name, half, out=tmp_path / "run", device="cpu").run
    train(name, tiny(name, pictures), resume=begun.path, device="cpu")
    first, second = (read_checkpoint(run)[0].tensors["model"] for run in (runs[name], begun))
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_new_pictures_are_recognised_one_by_one_and_in_folders(runs, pictures, name):
    loaded = open_run(runs[name].path, device="cpu")
    said = loaded.recipe.predict(loaded, [str(pictures / "red"), str(pictures / "green" / "3.png")], None)
    assert len(said.values) == 13
    classes = [answer["class"] for answer in said.values.values()]
    assert classes.count("red") >= 11
    assert classes[-1] == "green"
    answer = said.values[str(pictures / "green" / "3.png")]
    assert sum(answer["top"].values()) == pytest.approx(1, abs=1e-5)
    assert json.dumps(said.values)


def test_a_picture_of_a_folder_that_cannot_be_read_is_named_and_the_others_are_recognised(
    runs, pictures, tmp_path
):
    good = (pictures / "red" / "0.png").read_bytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "torn.png").write_bytes(good[: len(good) // 2])
    loaded = open_run(runs["vit"].path, device="cpu")
    said = loaded.recipe.predict(loaded, [str(tmp_path)], None)
    assert "class" in said.values[str(tmp_path / "good.png")]
    assert "torn" in said.values[str(tmp_path / "torn.png")]["problem"]
    with pytest.raises(DataError, match="torn"):
        loaded.recipe.predict(loaded, [str(tmp_path), str(tmp_path / "torn.png")], None)
    (tmp_path / "good.png").unlink()
    with pytest.raises(DataError, match="None of 1 pictures"):
        loaded.recipe.predict(loaded, [str(tmp_path)], None)


def test_a_place_to_begin_from_that_does_not_exist_is_refused_before_any_picture_is_read(tmp_path):
    with pytest.raises(DataError, match=r"absent\.pth: no such file"):
        train(
            "vit",
            tiny("vit", tmp_path / "no pictures"),
            out=tmp_path / "run",
            start="absent.pth",
            device="cpu",
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_run_for_other_classes_begins_from_all_but_the_head(runs, name, pictures, tmp_path, capsys):
    fewer = tmp_path / "two"
    for colour in ("green", "red"):
        (fewer / colour).mkdir(parents=True)
        for file in (pictures / colour).iterdir():
            (fewer / colour / file.name).write_bytes(file.read_bytes())
    config = replace(tiny(name, fewer), plan=replace(PLAN, steps=0))
    begun = train(name, config, out=tmp_path / "run", device="cpu", start=str(runs[name].path))
    given = read_checkpoint(runs[name])[0].tensors["model"]
    taken = open_run(begun.run.path, device="cpu").model.state_dict()
    body = [key for key in taken if not key.startswith("head.")]
    assert all(torch.equal(taken[key], given[key]) for key in body)
    assert taken["head.weight"].shape[0] == 2
    assert "left as they were: head.bias, head.weight" in capsys.readouterr().err


def test_weights_of_another_network_are_refused_with_a_list(runs, pictures, tmp_path):
    with pytest.raises(DataError, match="another architecture"):
        train("vit", tiny("vit", pictures), out=tmp_path / "run", start=str(runs["swin"].path), device="cpu")
    assert not (tmp_path / "run").exists()


def test_what_a_run_learned_is_measured_on_other_pictures_by_the_names_of_classes(runs, pictures, tmp_path):
    (tmp_path / "others" / "red").mkdir(parents=True)
    for file in (pictures / "red").iterdir():
        (tmp_path / "others" / "red" / file.name).write_bytes(file.read_bytes())
    assert evaluate(runs["vit"].path, str(tmp_path / "others"), device="cpu")["top1"] > 0.9


def test_new_pictures_are_recognised_when_those_that_were_learned_from_are_gone(runs, pictures, tmp_path):
    moved = tmp_path / "learned"
    for colour in COLOURS:
        (moved / colour).mkdir(parents=True)
        for file in (pictures / colour).iterdir():
            (moved / colour / file.name).write_bytes(file.read_bytes())
    config = replace(tiny("vit", moved), plan=replace(PLAN, steps=1))
    begun = train("vit", config, out=tmp_path / "run", device="cpu").run
    moved.rename(tmp_path / "elsewhere")
    loaded = open_run(begun.path, device="cpu")
    said = loaded.recipe.predict(loaded, [str(pictures / "red" / "0.png")], None)
    assert set(next(iter(said.values.values()))["top"]) == set(COLOURS)
    with pytest.raises(DataError, match="there is no folder or file"):
        evaluate(begun.path, device="cpu")
    assert "top1" in evaluate(begun.path, str(tmp_path / "elsewhere"), device="cpu")


def test_a_run_is_not_measured_on_classes_that_have_changed_since(pictures, tmp_path, snapshot):
    data = tmp_path / "data"
    for colour in COLOURS:
        (data / colour).mkdir(parents=True)
        for file in (pictures / colour).iterdir():
            (data / colour / file.name).write_bytes(file.read_bytes())
    config = replace(tiny("vit", data), plan=replace(PLAN, steps=1))
    begun = train("vit", config, out=tmp_path / "run", device="cpu").run
    (data / "green").rename(data / "lime")
    with pytest.raises(DataError) as caught:
        evaluate(begun.path, device="cpu")
    snapshot("classes_changed", str(caught.value))


def test_every_class_is_measured_by_itself_and_the_report_has_it(runs):
    run = runs["vit"]
    table = run.result()["by_class"]
    assert table == evaluate(run.path, device="cpu")["by_class"]
    assert list(table) == sorted(COLOURS)
    counts = [row["pictures"] for row in table.values()]
    right = sum(row["accuracy"] * row["pictures"] for row in table.values())
    assert right / sum(counts) == pytest.approx(run.result()["top1"])
    assert all(0 <= row["precision"] <= 1 for row in table.values())
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "By class" in page
    assert "<th>blue</th>" in page


def test_the_report_shows_confusion_reliability_and_where_the_network_looked(runs):
    names = {path.relative_to(runs["vit"].path).as_posix() for path in runs["vit"].path.rglob("*.png")}
    assert {"pictures/classes/confusion.png", "pictures/classes/reliability.png"} <= names
    assert any(name.startswith(("pictures/right/", "pictures/mistakes/")) for name in names)


@pytest.mark.parametrize("name", NAMES)
def test_exported_to_onnx_it_says_the_same(runs, name, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    loaded = open_run(runs[name].path, device="cpu")
    export = loaded.recipe.exports["onnx"]
    told = export.write(loaded, export.options, tmp_path / "model.onnx")
    assert told["largest_difference"] < 1e-4
    assert (tmp_path / "model.onnx").stat().st_size > 1000


# ---------------------------------------------------------------------- parts


def test_a_batch_is_a_pure_function_of_its_number(pictures, tmp_path):
    config = tiny("vit", pictures)
    batches = []
    for folder in ("one", "other"):
        setting = Setting(seed=3, device=torch.device("cpu"), assets=tmp_path / folder)
        setting.assets.mkdir()
        chain = index.load("vit").build(config, setting)
        batches.append(chain.stages[0].task({}).batch("train", 5, 0, 1).whole)
    assert torch.equal(batches[0].images, batches[1].images)
    assert torch.equal(batches[0].targets, batches[1].targets)


def test_pieces_are_the_batch_and_every_process_has_as_many(pictures, tmp_path):
    config = tiny("vit", pictures)
    config = replace(config, train=replace(config.train, batch=10, at_once=2))
    setting = Setting(seed=3, device=torch.device("cpu"), assets=tmp_path)
    task = index.load("vit").build(config, setting).stages[0].task({})
    whole = task.batch("train", 0, 0, 1)
    assert torch.equal(torch.cat([piece.images for piece in whole.split()]), whole.whole.images)
    assert [piece.weight for piece in whole.split()] == [2] * 5
    assert {len(task.batch("train", 0, rank, 3).split()) for rank in range(3)} == {2}


def test_rates_fall_from_the_head_down_and_norms_do_not_decay():
    from rayformer.nets.vit import ViT

    model = ViT(ViTConfig(image_size=16, patch_size=8, width=8, depth=3, heads=2), 2)
    groups = classifier_groups(model, 0.5)
    rates = {name: group.rate for group in groups for name in group.parameters}
    decays = {name: group.decay for group in groups for name in group.parameters}
    assert rates.keys() == dict(model.named_parameters()).keys()
    assert rates["head.weight"] == 1
    assert rates["blocks.2.mlp.to_hidden.weight"] == 0.5
    assert rates["blocks.0.mlp.to_hidden.weight"] == 0.125
    assert rates["embed.project.weight"] == 0.0625
    assert decays["blocks.0.norm_mlp.weight"] == decays["class_token"] == decays["head.bias"] == 0
    assert decays["head.weight"] is None
    assert {group.rate for group in classifier_groups(model, 1.0)} == {1.0}


@pytest.mark.parametrize("name", NAMES)
def test_the_published_networks_have_their_published_shape_whatever_the_default_model(name):
    default = index.load(name).default
    for size, published in sizes_of(name).items():
        taken = sized(default.model, sizes_of(name), size)
        same = {
            key: getattr(taken, key) for key in ("drop_path", "dropout", "image_size") if hasattr(taken, key)
        }
        assert replace(published, **same) == taken


def sizes_of(name: str):
    return importlib.import_module(f"rayformer.nets.{name.replace('-', '_')}").SIZES


def test_a_published_size_leaves_alone_how_a_network_is_trained():
    mine = ViTConfig(patch_size=8, width=48, heads=2, pool="mean")
    assert sized(mine, SIZES, None) is mine
    assert sized(mine, SIZES, "b") == replace(SIZES["b"], patch_size=16, pool="mean")
    with pytest.raises(ConfigError, match="size must be one of ti, s, b, l, h, but is 'x'"):
        sized(mine, SIZES, "x")


def test_fields_are_refused_by_name():
    for wrong, says in (
        ({"batch": 0}, "train.batch must be at least 1"),
        ({"layer_decay": 0.0}, "train.layer_decay must be above 0"),
        ({"shown": -1}, "train.shown must not be negative"),
    ):
        with pytest.raises(ConfigError, match=says):
            ClassifierTraining(**wrong)
    assert ViTRecipe().train.layer_decay == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "roadmap"])
def test_the_smoke_size_learns_drawn_digits(name, tmp_path):
    outcome = train(name, index.load(name).smoke, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["top1"] > 0.3, "by chance it would be 0.1"
