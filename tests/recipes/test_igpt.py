"""The recipe of Image GPT, from class folders to drawn pictures: both objectives learn colours, resume to the
same bits, keep their palette, draw and recognise, and say beforehand what would not fit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.seeds import generator
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.palette import PaletteConfig, read_palette
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.nets.igpt import IGPTConfig
from rayformer.recipes.igpt import DEFAULT, IGPTRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts import pixel_task
from rayformer.recipes.parts.pixel_exports import Ends, Sheet
from rayformer.recipes.parts.pixel_task import Drawing, PixelTraining
from rayformer.report.page import write_report
from rayformer.runs.run import Run

OBJECTIVES = ("autoregressive", "bert")
COLOURS = {"blue": (40, 60, 200), "green": (50, 180, 60), "red": (210, 40, 50)}
PLAN = Plan(
    steps=40,
    optim=Optim(rate=1e-2),
    clip=1.0,
    log_every=10,
    evaluate_every=0,
    save_every=20,
    precision="32",
)
SIDE = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Twelve pictures of every colour, with noise, below each a grey floor."""
    folder, draw = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for number in range(12):
            pixels = np.full((SIDE, SIDE, 3), colour) + draw.normal(0, 10, (SIDE, SIDE, 3))
            pixels[SIDE - 2 :] = 120
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def tiny(pictures: Path, objective="autoregressive", **changes) -> IGPTRecipe:
    config = replace(
        DEFAULT,
        data=ImagesConfig(source=str(pictures), validation=0.2),
        augment=replace(DEFAULT.augment, size=SIDE, area=(1.0, 1.0), aspect=(1.0, 1.0)),
        palette=PaletteConfig(colours=9, pixels=400),
        model=IGPTConfig(objective=objective, width=16, depth=2, heads=2),
        train=PixelTraining(batch=12, masks=3, shown=4),
        plan=PLAN,
        tune=PLAN,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train("igpt", tiny(pictures, name), out=folder / name, device="cpu").run for name in OBJECTIVES
    }


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pixels_are_learned_first_and_then_classes_too(runs, objective):
    stages = {name: run.result() for name, run in runs[objective].stages()}
    before, after = stages["pretrain"], stages["tune"]
    assert next(iter(before)) == "nats_per_pixel", "the first number picks the best checkpoint"
    assert before["nats_per_pixel"] < 0.8 * np.log(9)
    assert before["probe_top1"] > 0.9
    assert len(before["by_layer"]) == 3
    assert next(iter(after)) == "top1"
    assert after["top1"] > 0.9
    assert runs[objective].result()["top1"] == after["top1"]
    assert ("one_mask_top1" in after) == (objective == "bert")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_report_has_what_the_objective_can_show(runs, objective):
    names = {f"{stage}/{name}" for stage, run in runs[objective].stages() for name, _, _ in run.pictures()}
    shown = {"filled"} if objective == "bert" else {"drawn", "ended"}
    both = {"palette"} | shown
    assert names == {f"pretrain/{name}" for name in both | {"probe"}} | {
        f"tune/{name}" for name in both | {"classes/confusion", "classes/reliability"}
    }
    page = write_report(runs[objective].path).read_text(encoding="utf-8")
    assert "nats per pixel" in page.lower()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_resumed_training_gives_the_same_bits_in_both_stages(runs, objective, pictures, tmp_path):
    """Stopped in the first stage, where a run that was killed there would go on, and again in the second."""
    config = tiny(pictures, objective)
    half = replace(config, plan=replace(PLAN, steps=20), tune=replace(PLAN, steps=0))
    run = train("igpt", half, out=tmp_path / "run", device="cpu").run
    begun = run.stage("pretrain")
    for name in ("checkpoints", "metrics.jsonl"):
        shutil.rmtree(begun.path / name, ignore_errors=True)
        (run.path / name).rename(begun.path / name)
    (run.path / "result.json").unlink()
    train("igpt", replace(config, tune=replace(PLAN, steps=20)), resume=run.path, device="cpu")
    train("igpt", config, resume=run.path, device="cpu")
    for stage in ("pretrain", "tune"):
        first, second = (
            read_checkpoint(dict(one.stages())[stage])[0].tensors["model"] for one in (runs[objective], run)
        )
        assert all(torch.equal(first[key], second[key]) for key in first), stage


def test_both_losses_count_when_classes_are_learned(runs):
    loaded = open_run(runs["autoregressive"].path, device="cpu")
    task = loaded.task
    piece = task.batch("train", 0, 0, 1).split()[0]
    losses = task.loss(piece, 0, generator(0, "loss"))
    logits = task.model(piece.pixels)
    generative = F.cross_entropy(logits.flatten(0, 1), piece.pixels.flatten())
    named = F.cross_entropy(task.model.classify(task.model.features(piece.pixels)), piece.labels)
    torch.testing.assert_close(losses.total, generative + named)
    assert set(losses.terms) == {"nats_per_pixel", "cross_entropy"}


def test_tuning_begins_where_the_pixels_were_learned(pictures, tmp_path):
    config = tiny(pictures, plan=replace(PLAN, steps=2), tune=replace(PLAN, steps=1, optim=Optim(rate=1e-12)))
    run = train("igpt", config, out=tmp_path / "run", device="cpu").run
    before, after = (read_checkpoint(stage)[0].tensors["model"] for _, stage in sorted(run.stages()))
    assert set(after) - set(before) == {"head.weight"}
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-9, rtol=1e-5)


def test_what_berts_objective_hides_is_a_function_of_seed_and_step_alone(runs):
    task = open_run(runs["bert"].path, device="cpu").task
    piece = task.batch("train", 3, 0, 1).split()[0]
    losses = [task.loss(piece, 3, generator(0, "loss", step)).total.item() for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_measured_again_the_numbers_are_the_same(runs, objective):
    again = evaluate(runs[objective].path, device="cpu")
    for name, value in runs[objective].result().items():
        if isinstance(value, float) and name != "train_s":
            assert again[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_new_pictures_are_recognised_measured_and_ended(runs, objective, pictures, tmp_path):
    loaded = open_run(runs[objective].path, device="cpu")
    asked = [str(pictures / "red"), str(pictures / "green" / "3.png")]
    said = loaded.recipe.predict(loaded, asked, tmp_path / "out")
    assert len(said.values) == 13
    assert [answer["class"] for answer in said.values.values()].count("red") >= 11
    answer = said.values[asked[1]]
    assert answer["class"] == "green"
    assert sum(answer["top"].values()) == pytest.approx(1, abs=1e-5)
    assert Path(answer["picture"]) == tmp_path / "out" / "3.png"
    assert Path(answer["picture"]).is_file()
    assert json.dumps(said.values)
    strange = tmp_path / "noise.png"
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(strange)
    unlikely = loaded.recipe.predict(loaded, [str(strange)], None).values[str(strange)]
    assert unlikely["nats_per_pixel"] > 2 * answer["nats_per_pixel"]


def test_pictures_are_drawn_of_the_colours_that_were_seen(runs):
    loaded = open_run(runs["autoregressive"].path, device="cpu")
    task = loaded.task
    drawn = task.seen(task.draw(24, Drawing(), generator(0, "draw"))).astype(float)
    floor = drawn[:, SIDE - 2 :].reshape(-1, 3)
    assert np.abs(floor - 120).max(axis=1).mean() < 20, "the grey floor is drawn where it belongs"
    above = drawn[:, : SIDE - 2].mean(axis=(1, 2))
    far = np.abs(above[:, None] - np.array(list(COLOURS.values()))).max(axis=2).min(axis=1)
    assert (far < 45).mean() > 0.7, "one picture is of one colour"


def test_sheets_and_ends_are_exported(runs, pictures, tmp_path):
    loaded = open_run(runs["autoregressive"].path, device="cpu")
    exports = loaded.recipe.exports
    exports["drawn"].write(loaded, Sheet(count=5, columns=3), tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as image:
        assert image.size == (3 * 96 + 8, 2 * 96 + 4)
    again = Sheet(count=5, columns=3, draw=Drawing(temperature=0.5, top_k=2))
    exports["drawn"].write(loaded, again, tmp_path / "cold.png")
    assert (tmp_path / "drawn.png").read_bytes() != (tmp_path / "cold.png").read_bytes()
    named = Ends(pictures=str(pictures / "blue"), count=2)
    assert exports["ends"].write(loaded, named, tmp_path / "ends.png") == {"pictures": 2}
    exports["ends"].write(loaded, Ends(count=3), tmp_path / "held-out.png")


@pytest.mark.parametrize("format", ["drawn", "ends", "transformers"])
def test_a_network_of_berts_objective_is_not_asked_for_what_it_cannot(runs, format, tmp_path, snapshot):
    loaded = open_run(runs["bert"].path, device="cpu")
    export = loaded.recipe.exports[format]
    with pytest.raises(ConfigError) as refusal:
        export.write(loaded, export.options, tmp_path / "out")
    snapshot("bert_" + format, str(refusal.value))
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------- palettes, and where one begins


def test_a_run_keeps_its_palette_and_needs_its_pictures_no_more(pictures, runs, tmp_path):
    moved = tmp_path / "learned"
    for file in pictures.rglob("*.png"):
        (moved / file.parent.name).mkdir(parents=True, exist_ok=True)
        (moved / file.parent.name / file.name).write_bytes(file.read_bytes())
    config = tiny(moved, plan=replace(PLAN, steps=1), tune=replace(PLAN, steps=0))
    run = train("igpt", config, out=tmp_path / "run", device="cpu").run
    assert not run.stages(), "without tuning there is one stage, which is the run"
    palette = read_palette(run.assets / "palette.npy")
    assert len(palette) == 9
    moved.rename(tmp_path / "elsewhere")
    loaded = open_run(run.path, device="cpu")
    assert torch.equal(loaded.task.palette.colours, palette.colours)
    said = loaded.recipe.predict(loaded, [str(pictures / "red" / "0.png")], None)
    assert set(next(iter(said.values.values()))) == {"nats_per_pixel"}


def test_a_run_that_begins_from_another_takes_its_palette_and_may_only_be_tuned(runs, pictures, tmp_path):
    before = runs["autoregressive"]
    start = str(dict(before.stages())["pretrain"].path)
    config = tiny(pictures, plan=replace(PLAN, steps=0), palette=PaletteConfig(colours=4, pixels=400))
    run = train("igpt", config, out=tmp_path / "run", device="cpu", start=start).run
    first, second = (read_palette(one.assets / "palette.npy") for one in (before, run))
    assert torch.equal(first.colours, second.colours)
    assert run.result()["top1"] > 0.9


def test_weights_without_their_colours_are_refused_until_these_are_named(runs, pictures, tmp_path, snapshot):
    loaded = open_run(runs["autoregressive"].path, device="cpu")
    file = tmp_path / "model.safetensors"
    loaded.recipe.exports["safetensors"].write(loaded, loaded.recipe.exports["safetensors"].options, file)
    config = tiny(pictures, plan=replace(PLAN, steps=0), tune=replace(PLAN, steps=0))
    with pytest.raises(ConfigError) as refusal:
        train("igpt", config, out=tmp_path / "run", device="cpu", start=str(file))
    snapshot("no_palette", str(refusal.value))
    assert not (tmp_path / "run").exists()
    named = PaletteConfig(file=str(loaded.run.assets / "palette.npy"))
    begun = train("igpt", replace(config, palette=named), out=tmp_path / "run", device="cpu", start=str(file))
    torch.testing.assert_close(
        open_run(begun.run.path, device="cpu").model.embed.weight, loaded.model.embed.weight
    )


def test_a_folder_for_transformers_is_one_to_begin_from(runs, pictures, tmp_path):
    loaded = open_run(runs["autoregressive"].path, device="cpu")
    export = loaded.recipe.exports["transformers"]
    export.write(loaded, export.options, tmp_path / "folder")
    config = tiny(pictures, plan=replace(PLAN, steps=0), tune=replace(PLAN, steps=0))
    begun = train("igpt", config, out=tmp_path / "run", device="cpu", start=str(tmp_path / "folder"))
    model = open_run(begun.run.path, device="cpu").model
    torch.testing.assert_close(model.to_colours.weight, loaded.model.to_colours.weight)
    other = replace(config, model=replace(config.model, width=32))
    with pytest.raises(DataError, match="another architecture"):
        train("igpt", other, out=tmp_path / "wide", device="cpu", start=str(tmp_path / "folder"))


# ---------------------------------------------------------------------- what would not fit


@pytest.mark.parametrize("name", ["large", "larger_than_any"])
def test_a_sequence_longer_than_memory_is_refused_before_anything_is_read(
    name, monkeypatch, snapshot, tmp_path
):
    monkeypatch.setattr(pixel_task, "free_bytes", lambda device: 2**34 if name == "large" else 2**20)
    config = replace(
        DEFAULT,
        data=ImagesConfig(source=str(tmp_path / "nowhere")),
        augment=replace(DEFAULT.augment, size=224),
        plan=replace(DEFAULT.plan, precision="32"),
    )
    with pytest.raises(ConfigError) as refusal:
        train("igpt", config, out=tmp_path / "run", device="cpu")
    snapshot(name, str(refusal.value))
    assert not (tmp_path / "run").exists()


def test_what_is_advised_fits(monkeypatch):
    from rayformer.engine.precision import choose_precision

    here = torch.device("cpu")
    precision = choose_precision(here, "32")
    monkeypatch.setattr(pixel_task, "free_bytes", lambda device: 2**32)
    asked = (DEFAULT.model, 48, 512, PixelTraining(), precision, here)
    with pytest.raises(ConfigError) as refusal:
        pixel_task.refuse_too_long(*asked)
    words = str(refusal.value).replace(",", " ").rstrip(".").split()
    at_once, size = (int(words[words.index(f"--{name}") + 1]) for name in ("train.at-once", "augment.size"))

    def ask(side, at_once):
        options = PixelTraining(at_once=at_once)
        pixel_task.refuse_too_long(DEFAULT.model, side, 512, options, precision, here)

    ask(48, at_once)
    ask(size, 64)
    for worse in ((48, at_once + 1), (size + 1, 64)):
        with pytest.raises(ConfigError):
            ask(*worse)


def test_where_nobody_says_how_much_is_free_nothing_is_refused(monkeypatch):
    from rayformer.engine.precision import choose_precision

    here = torch.device("cpu")
    monkeypatch.setattr(pixel_task, "free_bytes", lambda device: None)
    pixel_task.refuse_too_long(DEFAULT.model, 2000, 512, PixelTraining(), choose_precision(here, "32"), here)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("batch", lambda: PixelTraining(batch=0)),
        ("hidden", lambda: PixelTraining(hidden=1.0)),
        ("shown", lambda: PixelTraining(shown=-1)),
        ("temperature", lambda: Drawing(temperature=0.0)),
        ("top_k", lambda: Drawing(top_k=0)),
        ("count", lambda: Sheet(count=0)),
    ],
)
def test_what_cannot_work_is_refused_by_name(name, make, snapshot):
    with pytest.raises(ConfigError) as refusal:
        make()
    snapshot(name, str(refusal.value))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_smoke_size_learns_what_digits_look_like(objective, tmp_path):
    from rayformer.recipes.igpt import SMOKE

    config = replace(SMOKE, model=replace(SMOKE.model, objective=objective))
    run = train("igpt", config, out=tmp_path / "run", device="cpu", smoke=True).run
    nats = dict(run.stages())["pretrain"].result()["nats_per_pixel"]
    assert nats < 0.6 * np.log(config.palette.colours)
