"""The image-field recipe from end to end: every kind of signal learns, resumes to the same bits, is exported
at sizes it never had, and refuses cleanly."""

import wave
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import rayformer
from rayformer.core.errors import ConfigError, DataError
from rayformer.data.signals.signal import Shape, SignalConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.fields.image_field import ImageField, ImageFieldConfig
from rayformer.recipes.image_field import RECIPE, ImageFieldRecipe, as_fine_as_samples, groups
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.signal import SignalTraining
from rayformer.runs.run import Run

TINY = ImageFieldRecipe(
    data=SignalConfig(source="text", width=24),
    model=ImageFieldConfig(waves=16, width=16, grid=HashGridConfig(levels=2, coarsest=4, log2_rows=8)),
    signal=SignalTraining(points=100, rays=20, samples=16, points_at_once=64, validation_points=50),
    plan=Plan(steps=20, optim=Optim(rate=5e-3), log_every=1, evaluate_every=0, save_every=10, precision="32"),
)
SOURCES = {
    "picture": SignalConfig(source="text", width=24),
    "sound": SignalConfig(source="sound", seconds=0.1),
    "video": SignalConfig(source="video", width=16, frames=6),
    "tomogram": SignalConfig(source="phantom", width=24, angles=8),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """One small run of every kind of signal."""
    folder = tmp_path_factory.mktemp("signals")
    return {
        kind: train("image-field", replace(TINY, data=data), out=folder / kind, device="cpu").run
        for kind, data in SOURCES.items()
    }


@pytest.mark.slow
def test_the_smoke_size_learns_the_drawn_landscape(tmp_path):
    outcome = train("image-field", RECIPE.smoke, out=tmp_path / "run", device="cpu", smoke=True)
    assert outcome.result["psnr_db"] > 26


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_signal_is_learned_measured_and_shown(runs, kind):
    run, name = runs[kind], "snr_db" if kind == "sound" else "psnr_db"
    losses = [line["train/loss"] for line in run.metrics() if "train/loss" in line]
    assert np.mean(losses[-5:]) < 0.9 * losses[0]
    result = run.result()
    assert next(iter(result)) == name, "the first number picks the best checkpoint"
    assert f"train_{name}" in result
    wanted = {
        "picture": {"learned.png", "spectrum.png"},
        "sound": {"sound.png"},
        "tomogram": {"section.png", "shadows.png"},
    }
    pictures = {path.name for path in (run.path / "pictures").rglob("*.png")}
    assert wanted.get(kind, pictures) == pictures
    assert pictures


def test_back_projection_stands_beside_what_is_learned_of_a_section(runs):
    assert runs["tomogram"].result()["back_projection_psnr_db"] > 5


def test_the_integrals_of_a_known_density_are_its_shadows():
    """The field is told where it is asked in pixels; the section counts from its middle, y upwards."""
    from rayformer.data.signals.phantom import Ellipse, line_integrals
    from rayformer.recipes.parts.tomogram import integrals

    ellipse, size = Ellipse(1.0, 0.2, -0.3, 0.3, 0.5, 25.0), 32

    def density(places: torch.Tensor) -> torch.Tensor:
        from rayformer.data.signals.phantom import density as drawn

        x, y = ((places + 0.5 / size) * 2 - 1).double().numpy().T
        return torch.from_numpy(drawn([ellipse], x, -y))[:, None].float()

    angles, offsets = torch.rand(50) * 3.14, torch.rand(50) * 1.6 - 0.8
    found = integrals(density, angles, offsets, 4000, size)
    wanted = [
        line_integrals([ellipse], np.array([float(a)]), np.array([float(s)]))[0, 0]
        for a, s in zip(angles, offsets, strict=True)
    ]
    torch.testing.assert_close(found.double(), torch.tensor(wanted), atol=2e-3, rtol=0)


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("kind", SOURCES)
def test_a_batch_is_a_function_of_its_step_and_shares_make_the_whole(runs, kind):
    task = open_run(runs[kind].path, "cpu").task
    first, again = (
        torch.cat([part_of(piece) for piece in task.batch("train", 3, 0, 1).split()]) for _ in range(2)
    )
    assert torch.equal(first, again)
    shares = [part_of(piece) for rank in range(3) for piece in task.batch("train", 3, rank, 3).split()]
    assert torch.equal(torch.cat(shares), first)
    assert len({len(task.batch("train", 3, rank, 3).split()) for rank in range(3)}) == 1
    assert not torch.equal(
        first, torch.cat([part_of(piece) for piece in task.batch("train", 4, 0, 1).split()])
    )


def part_of(piece) -> torch.Tensor:
    return piece.places if hasattr(piece, "places") else torch.stack([piece.angles, piece.offsets], dim=1)


def test_as_many_points_as_there_are_takes_each_once(runs):
    task = open_run(runs["picture"].path, "cpu").task
    task.options = replace(task.options, points=12 * 12)
    batch = task.batch("train", 0, 0, 1)
    assert torch.equal(batch.whole.places, task.known.places)
    assert batch.counts == {"points": 144}


def test_no_pixel_that_is_learned_is_measured(runs):
    task = open_run(runs["picture"].path, "cpu").task
    learned, measured = (
        {tuple(place) for place in piece.places.tolist()} for piece in (task.known, task.held_out)
    )
    assert len(learned) == len(measured) == 144
    assert not learned & measured


# ---------------------------------------------------------------- what is left open


def test_what_is_left_open_follows_the_samples():
    picture = Shape(kind="picture", sizes=(300, 512), channels=3)
    model = as_fine_as_samples(ImageFieldConfig(), picture, held_out=True)
    assert model.sigma == pytest.approx(10.0), "the paper's, for the paper's size"
    assert model.grid.finest == 256
    assert as_fine_as_samples(ImageFieldConfig(), picture, held_out=False).sigma == pytest.approx(20.0)
    sound = Shape(kind="sound", sizes=(8000,), channels=1, rate=8000.0)
    assert as_fine_as_samples(ImageFieldConfig(), sound, held_out=True).omega == 3000
    kept = ImageFieldConfig(sigma=3.0, octaves=2.0, omega=7.0, grid=HashGridConfig(finest=99))
    assert as_fine_as_samples(kept, picture, held_out=True) == kept


def test_every_parameter_has_a_rate_and_the_table_is_sparse():
    shape = Shape(kind="picture", sizes=(9, 9), channels=3)
    config = as_fine_as_samples(replace(TINY.model, mapping="hash-grid"), shape, held_out=True)
    model = ImageField(config, 2, 3, "unit")
    table, network = groups("hash-grid")(model)
    assert table.parameters == ("mapping.table",)
    assert table.sparse
    assert table.rate > network.rate
    assert {*table.parameters, *network.parameters} == {name for name, _ in model.named_parameters()}


# ---------------------------------------------------------------- resuming, loading, measuring anew


@pytest.mark.parametrize("mapping", ["gaussian", "hash-grid"])
def test_a_run_that_broke_off_goes_on_to_the_same_bits(tmp_path, monkeypatch, mapping):
    config = replace(TINY, model=replace(TINY.model, mapping=mapping))
    whole = train("image-field", config, out=tmp_path / "whole", device="cpu").run
    log = Run.log

    def broken(self, step, **numbers):
        log(self, step, **numbers)
        if step == 15:
            raise OSError("the power is cut")

    with monkeypatch.context() as power:
        power.setattr(Run, "log", broken)
        with pytest.raises(OSError, match="the power is cut"):
            train("image-field", config, out=tmp_path / "parts", device="cpu")
    parts = train("image-field", config, resume=tmp_path / "parts", device="cpu").run
    first, second = (read_checkpoint(run)[0].tensors for run in (whole, parts))
    for file in first:
        assert all(torch.equal(first[file][name], second[file][name]) for name in first[file])
    assert parts.result()["psnr_db"] == whole.result()["psnr_db"]


def test_load_gives_the_field_and_eval_the_same_numbers(runs):
    assert isinstance(rayformer.load(runs["picture"].path), ImageField)
    again = evaluate(runs["picture"].path, device="cpu")
    assert again == {name: runs["picture"].result()[name] for name in again}


def test_a_field_is_measured_on_the_same_picture_at_another_size(runs):
    """It has no resolution: learned at 24 pixels, it is close at 256, too."""
    there = evaluate(runs["picture"].path, source="text-1", device="cpu")
    assert there["psnr_db"] > runs["picture"].result()["psnr_db"] - 3


def test_a_field_is_not_measured_on_another_kind_of_signal(runs, snapshot):
    with pytest.raises((ConfigError, DataError)) as refusal:
        evaluate(runs["video"].path, source="text", device="cpu")
    snapshot("measured_on_another_kind", str(refusal.value))


# ---------------------------------------------------------------- export


def export(run: Run, name: str, path, **options) -> dict:
    loaded = open_run(run.path, "cpu")
    kind = RECIPE.exports[name]
    return dict(kind.write(loaded, replace(kind.options, **options), path))


def pixels_in(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture, float)


@pytest.fixture
def no_data(monkeypatch):
    """Exports need the run and nothing else."""

    def refuse(*_, **__):
        raise AssertionError("the data were read")

    monkeypatch.setattr("rayformer.recipes.parts.signal.read_signal", refuse)


def test_a_picture_is_exported_at_any_size(runs, tmp_path, no_data):
    assert export(runs["picture"], "picture", tmp_path / "a.png") == {"width": 24, "height": 24}
    export(runs["picture"], "picture", tmp_path / "b.png", size="120x72")
    export(runs["picture"], "picture", tmp_path / "c.png", scale=3.0)
    a, b, c = (pixels_in(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    assert (a.shape, b.shape, c.shape) == ((24, 24, 3), (72, 120, 3), (72, 72, 3))
    # The middle pixel of three is the small picture's own.
    np.testing.assert_allclose(c[1::3, 1::3], a, atol=1)


def test_a_sound_is_exported_at_any_rate(runs, tmp_path, no_data):
    numbers = export(runs["sound"], "sound", tmp_path / "a.wav", rate=24000)
    assert numbers == {"samples": 2400, "rate": 24000, "seconds": pytest.approx(0.1)}
    export(runs["sound"], "sound", tmp_path / "b.wav")
    found = []
    for name in ("a.wav", "b.wav"):
        with wave.open(str(tmp_path / name)) as file:
            found.append(np.frombuffer(file.readframes(-1), "<i2").astype(int))
    assert np.abs(found[0][1::3] - found[1]).max() <= 1, "the middle one of three is the slow one's"


def test_a_video_is_exported_at_any_size_and_frame_rate(runs, tmp_path, no_data):
    import av

    numbers = export(runs["video"], "video", tmp_path / "a.mp4", size="48x32", fps=36.0)
    assert numbers == {"frames": 18, "width": 48, "height": 32, "fps": 36.0}
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 18
    export(runs["video"], "picture", tmp_path / "still.png", time=2 / 12)
    still = pixels_in(tmp_path / "still.png")
    from rayformer.recipes.parts.signal import sampled
    from rayformer.recipes.parts.signal_pictures import bytes_of

    loaded = open_run(runs["video"].path, "cpu")
    film = sampled(loaded.task.model, loaded.task.opened.shape, loaded.device)
    np.testing.assert_allclose(still, bytes_of(film[2]), atol=1)


def test_a_section_is_exported_as_a_picture_and_weights_as_safetensors(runs, tmp_path, no_data):
    export(runs["tomogram"], "picture", tmp_path / "a.png", scale=2.0)
    assert pixels_in(tmp_path / "a.png").shape == (48, 48, 3)
    assert export(runs["tomogram"], "safetensors", tmp_path / "a.safetensors")["step"] == 20


def test_what_cannot_be_exported_is_said(runs, tmp_path, snapshot):
    for name, kind, format, options in [
        ("sound_as_picture", "sound", "picture", {}),
        ("picture_as_video", "picture", "video", {}),
        ("after_the_end", "video", "picture", {"time": 9.0}),
        ("too_large", "picture", "picture", {"scale": 5000.0}),
    ]:
        with pytest.raises((ConfigError, DataError)) as refusal:
            export(runs[kind], format, tmp_path / "out", **options)
        snapshot(f"export_{name}", str(refusal.value).replace(str(runs[kind].path), "RUN"))


@pytest.mark.parametrize(
    ("name", "format", "changes"),
    [
        ("size", "picture", {"size": "640"}), ("scale", "picture", {"scale": 0.0}),
        ("both", "video", {"size": "64x64", "scale": 2.0}), ("fps", "video", {"fps": 0.0}),
        ("rate", "sound", {"rate": 0}), ("time", "picture", {"time": -1.0}),
    ],
)  # fmt: skip
def test_export_options_that_cannot_work_are_refused_by_name(name, format, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        replace(RECIPE.exports[format].options, **changes)
    snapshot(f"option_{name}", str(refusal.value))


@pytest.mark.parametrize("name", ["points", "rays", "samples", "points_at_once", "validation_points"])
def test_training_options_that_cannot_work_are_refused_by_name(name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        replace(SignalTraining(), **{name: 0})
    snapshot(f"training_{name}", str(refusal.value))


@pytest.mark.real
@pytest.mark.slow
def test_albert_is_learned_at_sixteen_bits(real_data, tmp_path):
    source = real_data("image_albert") / "albert_linear16.png"
    config = replace(
        RECIPE.smoke,
        data=SignalConfig(source=str(source), width=128),
        plan=replace(RECIPE.smoke.plan, steps=150, evaluate_every=0),
    )
    assert train("image-field", config, out=tmp_path / "run", device="cpu").result["psnr_db"] > 22
