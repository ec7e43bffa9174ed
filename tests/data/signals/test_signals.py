"""From files to signals: at full precision, at the right places, refused in words."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rayformer.core.errors import ConfigError, DataError, MissingExtra
from rayformer.data.signals import drawn, files
from rayformer.data.signals.read import NAMES, read_signal
from rayformer.data.signals.signal import Shape, SignalConfig, parity, places_of
from rayformer.runs.video import write_video
from tests.data.signals.signal_files import write_deep_colours, write_picture, write_wav


def read(source, **options):
    return read_signal(SignalConfig(source=str(source), **options))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


# ---------------------------------------------------------------- pictures


def test_bytes_become_exact_shares_of_255(tmp_path):
    pixels = (noise(6, 9, 3) * 255).astype(np.uint8)
    signal = read(write_picture(tmp_path / "a.png", pixels))
    assert signal.shape == Shape(kind="picture", sizes=(6, 9), channels=3)
    np.testing.assert_array_equal(signal.values, (pixels / np.float32(255)).astype(np.float32))
    assert "PNG picture" in signal.remarks[0]


def test_sixteen_bits_of_grey_keep_all_sixteen(tmp_path):
    deep = (noise(8, 8) * 65535).astype(np.uint16)
    signal = read(write_picture(tmp_path / "deep.png", deep))
    np.testing.assert_allclose(signal.values[..., 0], deep / 65535, atol=1e-7)
    assert (signal.values == signal.values[..., :1]).all()


def test_sixteen_bits_of_colour_keep_all_sixteen(tmp_path):
    values = (noise(8, 8, 3) * 65535).round() / 65535
    signal = read(write_deep_colours(tmp_path / "deep.png", values))
    np.testing.assert_allclose(signal.values, values, atol=1e-7)


def test_what_is_transparent_is_seen_before_white(tmp_path):
    pixels = np.zeros((6, 6, 4), np.uint8)
    pixels[..., 3] = np.arange(6, dtype=np.uint8) * 51
    signal = read(write_picture(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(signal.values[0, :, 0], 1 - np.arange(6) / 5, atol=1e-6)


def test_scaling_down_keeps_the_mean_and_the_shape(tmp_path):
    pixels = (noise(30, 60, 3) * 255).astype(np.uint8)
    path = write_picture(tmp_path / "a.png", pixels)
    small = read(path, width=20)
    assert small.shape.sizes == (10, 20)
    assert small.values.mean() == pytest.approx(pixels.mean() / 255, abs=1e-5)
    np.testing.assert_allclose(small.values[0, 0], pixels[:3, :3].mean(axis=(0, 1)) / 255, atol=1e-5)
    assert read(path, width=500).shape.sizes == (30, 60), "nothing is scaled up"


# ---------------------------------------------------------------- sounds


@pytest.mark.parametrize("channels", [1, 2])
def test_wav_becomes_the_mean_of_its_channels(tmp_path, channels):
    samples = 1.6 * noise(200, channels) - 0.8
    signal = read(write_wav(tmp_path / "a.wav", samples, rate=11025))
    np.testing.assert_allclose(signal.values[:, 0], samples.mean(axis=1), atol=1e-4)
    assert signal.shape.rate == 11025


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "float32"])
def test_every_kind_of_wav_sample_is_scaled_to_one(tmp_path, kind):
    from scipy.io import wavfile

    wanted = np.linspace(-1, 0.99, 100)
    if kind == "uint8":
        samples = (wanted * 128 + 128).round().clip(0, 255).astype(kind)
    elif kind == "float32":
        samples = wanted.astype(kind)
    else:
        samples = (wanted * -float(np.iinfo(kind).min)).round().astype(kind)
    wavfile.write(tmp_path / "a.wav", 8000, samples)
    found = read(tmp_path / "a.wav").values[:, 0]
    np.testing.assert_allclose(found, wanted, atol=0.005 if kind == "uint8" else 1e-4)


def test_flac_is_read_without_loss(tmp_path):
    import av

    samples = (1.8 * noise(4000) - 0.9).astype(np.float32)
    steps = (samples * 32767).round().astype(np.int16)
    with av.open(str(tmp_path / "a.flac"), "w") as container:
        stream = container.add_stream("flac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(steps[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    signal = read(tmp_path / "a.flac")
    np.testing.assert_allclose(signal.values[:, 0], steps / 32768, atol=1e-6)
    assert signal.shape.rate == 16000


def test_a_sound_is_cut_where_it_was_asked_for(tmp_path):
    samples = np.arange(800) / 1000
    path = write_wav(tmp_path / "a.wav", samples, rate=100)
    part = read(path, start=2.0, seconds=3.0)
    np.testing.assert_allclose(part.values[:, 0], samples[200:500], atol=1e-4)
    assert "taken from 2 s to 5 s of 8 s" in part.remarks


# ---------------------------------------------------------------- videos


def test_a_video_and_a_folder_of_its_frames_are_one_signal(tmp_path):
    frames = (drawn.juggling(size=32, frames=6) * 255).round().astype(np.uint8)
    write_video(tmp_path / "a.mp4", iter(frames), fps=10)
    write_video(tmp_path / "frames", iter(frames))
    film, folder = read(tmp_path / "a.mp4"), read(tmp_path / "frames")
    assert film.shape.sizes == folder.shape.sizes == (6, 32, 32)
    assert film.shape.rate == 10
    np.testing.assert_allclose(folder.values, frames / 255, atol=1e-6)
    assert np.abs(film.values - folder.values).mean() < 0.02, "H.264 at this quality loses little"
    assert read(tmp_path / "frames", frames=3, width=16).shape.sizes == (3, 16, 16)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", [name for name in NAMES if name not in drawn.SHIPPED])
def test_a_drawn_signal_is_the_same_every_time_and_within_its_range(name):
    one, again = read(name), read(name)
    assert one.fingerprint == again.fingerprint
    assert np.isfinite(one.values).all()
    assert one.values.max() <= 1
    assert one.values.min() >= (-1 if one.shape.kind == "sound" else -1e-6)
    assert one.values.std() > 0.05, "there is something to see"


def test_numbers_after_a_name_give_other_drawings_of_its_kind():
    prints = {read(name).fingerprint for name in ("text", "text-1", "text-2", "text-3")}
    assert len(prints) == 3, "text is text-1"


def test_tones_are_what_the_drawn_sum_of_sines_is_made_of():
    signal = read("sines")
    power = np.abs(np.fft.rfft(signal.values[:, 0])) / (len(signal.values) / 2)
    np.testing.assert_allclose(power[list(signal.tones)], 1 / 6, atol=1e-6)
    power[list(signal.tones)] = 0
    assert power.max() < 1e-6
    assert read("sines", seconds=0.5).tones == (), "half of it has other frequencies"


def test_the_phantoms_size_and_angles_are_those_asked_for():
    signal = read("phantom", width=32, angles=5)
    assert signal.shape.sizes == (32, 32)
    assert signal.shadows.integrals.shape == (5, 32)


# ---------------------------------------------------------------- coordinates


def test_places_are_equal_steps_from_nought_without_the_end():
    places = places_of(Shape(kind="picture", sizes=(2, 4), channels=3))
    assert places[:4, 0].tolist() == [0, 0.25, 0.5, 0.75]
    assert places[:, 1].tolist() == [0] * 4 + [0.25] * 4, "pixels are square"
    film = places_of(Shape(kind="video", sizes=(3, 2, 4), channels=3))
    assert film[-1].tolist() == [0.75, 0.25, 0.5], "x, y, t"


@settings(deadline=None)
@given(old=st.integers(2, 9), times=st.integers(1, 4))
def test_pixels_of_another_size_lie_where_those_of_a_scaled_picture_do(old, times):
    """The mean place of the small pixels in a large one is the large one's."""
    shape = Shape(kind="sound", sizes=(old,), channels=1, rate=1.0)
    fine = places_of(shape, (old * times,)).view(old, times).mean(dim=1)
    torch.testing.assert_close(fine, places_of(shape)[:, 0], atol=1e-6, rtol=0)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(2, 7), min_size=1, max_size=3))
def test_what_is_learned_and_what_is_held_out_never_meet(sizes):
    kind = {1: "sound", 2: "picture", 3: "video"}[len(sizes)]
    shape = Shape(kind=kind, sizes=tuple(sizes), channels=1, rate=1.0)
    even, odd = (parity(shape, odd).view(*sizes).numpy() for odd in (False, True))
    assert not (even & odd).any()
    assert even.sum() == np.prod([(size + 1) // 2 for size in sizes])
    assert odd.sum() == np.prod([size // 2 for size in sizes])
    assert even[(0,) * len(sizes)]


# ---------------------------------------------------------------- what cannot be read


def refusal_of(kind, source, **options):
    with pytest.raises(kind) as refusal:
        read(source, **options)
    return str(refusal.value)


def test_what_is_no_signal_is_refused_in_words(tmp_path, snapshot):
    (tmp_path / "notes.txt").write_text("not a signal")
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "notes.txt").write_text("not a signal")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "torn.wav").write_bytes(b"RIFF and no more")
    (tmp_path / "torn.flac").write_bytes(b"fLaC and no more")
    for name in ("notes.txt", "empty", "words", "torn.png", "absent.png"):
        snapshot(
            f"no_signal_{name.split('.')[0]}_{name.split('.')[-1]}", refusal_of(DataError, tmp_path / name)
        )
    for name in ("torn.wav", "torn.flac"):
        assert f"{name}: not a" in refusal_of(DataError, tmp_path / name)
    snapshot("unknown_name", refusal_of(DataError, "texts"))
    snapshot("drawing_nought", refusal_of(DataError, "text-0"))


def test_too_little_of_a_signal_is_refused_in_words(tmp_path, snapshot):
    pixel = write_picture(tmp_path / "pixel.png", np.zeros((1, 1, 3), np.uint8))
    snapshot("one_pixel", refusal_of(DataError, pixel))
    snapshot("too_narrow", refusal_of(DataError, "demo", width=2))
    snapshot("no_samples", refusal_of(DataError, write_wav(tmp_path / "silent.wav", np.zeros(0))))
    snapshot("few_samples", refusal_of(DataError, write_wav(tmp_path / "click.wav", np.zeros(3))))
    snapshot("after_the_end", refusal_of(DataError, "sound", start=9.0))
    (tmp_path / "one").mkdir()
    write_picture(tmp_path / "one" / "a.png", np.zeros((8, 8, 3), np.uint8))
    snapshot("one_picture", refusal_of(DataError, tmp_path / "one"))
    write_video(tmp_path / "still.mp4", iter(np.zeros((1, 32, 32, 3), np.uint8)))
    snapshot("one_frame", refusal_of(DataError, tmp_path / "still.mp4"))


def test_frames_of_two_sizes_are_refused(tmp_path, snapshot):
    for name, side in (("a", 8), ("b", 9)):
        write_picture(tmp_path / f"{name}.png", np.zeros((side, 8, 3), np.uint8))
    snapshot("two_sizes", refusal_of(DataError, tmp_path))


def test_a_video_beyond_memory_is_refused_before_it_is_there(tmp_path, monkeypatch, snapshot):
    monkeypatch.setattr(files, "MOST", 32 * 32 * 3 * 2)
    write_video(tmp_path / "a.mp4", iter(np.zeros((4, 32, 32, 3), np.uint8)))
    snapshot("too_long", refusal_of(DataError, tmp_path / "a.mp4"))


def test_options_of_another_kind_are_refused(snapshot):
    snapshot("width_of_a_sound", refusal_of(ConfigError, "sound", width=100))
    snapshot("seconds_of_a_picture", refusal_of(ConfigError, "text", seconds=1.0))
    snapshot("frames_of_a_section", refusal_of(ConfigError, "phantom", frames=3))


def test_a_photograph_of_an_absent_package_names_the_extra(monkeypatch, snapshot):
    monkeypatch.setattr(drawn, "find_spec", lambda name: None)
    snapshot("absent_package", refusal_of(MissingExtra, "astronaut"))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "width": {"width": 0}, "frames": {"frames": 0}, "angles": {"angles": 1}, "start": {"start": -1.0},
        "seconds": {"seconds": 0.0},
    }.items(),
)  # fmt: skip
def test_options_that_cannot_work_are_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        replace(SignalConfig(), **changes)
    snapshot(f"config_{name}", str(refusal.value))


def test_a_picture_of_a_palette_is_looked_up(tmp_path):
    Image.fromarray((noise(8, 8, 3) * 255).astype(np.uint8)).quantize(7).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        wanted = np.asarray(picture.convert("RGB")) / 255
    np.testing.assert_allclose(read(tmp_path / "a.png").values, wanted, atol=1e-6)
