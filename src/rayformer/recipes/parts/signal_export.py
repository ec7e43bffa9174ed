"""A learned signal in forms that other programs read. A field has no resolution: any size may be asked for.

PictureOptions, write_picture_of   a picture, a section, or one moment of a video: PNG
SoundOptions, write_sound_of       a sound at any rate: WAV
VideoOptions, write_video_of       a video at any size and any number of frames per second: MP4
SIGNAL_EXPORTS                     these and the weights, by the name of the format
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.signals.signal import Kind, Shape, places_of
from rayformer.engine.task import Export
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.signal import asked, sampled
from rayformer.recipes.parts.signal_pictures import bytes_of
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import replacing
from rayformer.runs.pictures import Picture, save_png
from rayformer.runs.video import write_video

LARGEST = 16_384
"""Pixels along a side."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    size: str | None = None
    """WIDTHxHEIGHT in pixels, for instance 640x480. none: the size that was learned, times scale."""
    scale: float = 1.0
    """Pixels for every pixel that was learned."""
    time: float = 0.0
    """Of a video: the moment, in seconds; between frames too."""

    def __post_init__(self):
        _check_size(self.size, self.scale)
        if not 0 <= self.time < math.inf:
            raise ConfigError(f"time must be 0 seconds or more, but is {self.time:g}.")


@dataclass(frozen=True, kw_only=True)
class SoundOptions:
    rate: int | None = None
    """Samples per second; none takes the rate that was learned."""

    def __post_init__(self):
        if self.rate is not None and not 1 <= self.rate <= 1_000_000:
            raise ConfigError(f"rate must be 1 to 1000000 samples per second, but is {self.rate}.")


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    size: str | None = None
    """WIDTHxHEIGHT in pixels, for instance 640x480. none: the size that was learned, times scale."""
    scale: float = 1.0
    """Pixels for every pixel that was learned."""
    fps: float | None = None
    """Frames per second, of which as many are asked for as fill the time that was learned; none takes the
    rate that was learned."""

    def __post_init__(self):
        _check_size(self.size, self.scale)
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ConfigError(f"fps must be above 0 and at most 1000, but is {self.fps:g}.")


def _check_size(size: str | None, scale: float) -> None:
    if size is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
        raise ConfigError(f"size must be WIDTHxHEIGHT in pixels, for instance 640x480, but is {size!r}.")
    if not 0 < scale < math.inf:
        raise ConfigError(f"scale must be above 0, but is {scale:g}.")
    if size is not None and scale != 1:
        raise ConfigError(f"size and scale cannot both be given, but are {size} and {scale:g}.")


# ---------------------------------------------------------------------- the formats


def write_picture_of(loaded: Loaded, options: PictureOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError where the run holds a sound, and for a moment after the end of a video."""
    shape = _shape(loaded, "picture", "tomogram", "video")
    width, height = _size(shape, options.size, options.scale)
    if shape.kind == "video":
        at = options.time * _rate(shape)
        if at > shape.sizes[0] - 1:
            raise ConfigError(
                f"time is {options.time:g} s, but the last frame that was learned is at "
                f"{(shape.sizes[0] - 1) / _rate(shape):g} s."
            )
        pixels = _frame(loaded, shape, at, width, height)
    else:
        with torch.no_grad(), loaded.precision.autocast():
            pixels = bytes_of(sampled(loaded.task.model, shape, loaded.device, (height, width)))
    save_png(path, Picture(pixels, f"{loaded.name} at {width} x {height}, learned at {shape}"))
    return {"width": width, "height": height}


def write_sound_of(loaded: Loaded, options: SoundOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError where the run holds no sound."""
    from scipy.io import wavfile

    shape = _shape(loaded, "sound")
    rate = options.rate or round(_rate(shape))
    count = max(1, round(shape.sizes[0] * rate / _rate(shape)))
    with torch.no_grad(), loaded.precision.autocast():
        amplitudes = sampled(loaded.task.model, shape, loaded.device, (count,))[:, 0]
    with replacing(path) as temporary:
        wavfile.write(temporary, rate, (amplitudes.clip(-1, 1) * 32767).round().astype(np.int16))
    return {"samples": count, "rate": rate, "seconds": count / rate}


def write_video_of(loaded: Loaded, options: VideoOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError where the run holds no video."""
    shape = _shape(loaded, "video")
    width, height = _size(shape, options.size, options.scale)
    fps = options.fps or _rate(shape)
    count = max(1, round(shape.sizes[0] * fps / _rate(shape)))

    def frames() -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        for number in range(count):
            at = (number + 0.5) * shape.sizes[0] / count - 0.5
            yield _frame(loaded, shape, at, width, height)

    write_video(path, frames(), fps)
    return {"frames": count, "width": width, "height": height, "fps": fps}


def _frame(
    loaded: Loaded, shape: Shape, at: float, width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The moment of frame `at`, which may lie between two."""
    flat = Shape(kind="picture", sizes=shape.sizes[1:], channels=shape.channels)
    # A picture's coordinates are counted in its own longest side, the video's in the longest of its axes.
    places = places_of(flat, (height, width)) * (flat.longest / shape.longest)
    when = torch.full((len(places), 1), at / shape.longest)
    with torch.no_grad(), loaded.precision.autocast():
        values = asked(loaded.task.model, torch.cat([places, when], dim=-1), loaded.device)
    return bytes_of(values.view(height, width, -1).numpy())


# ---------------------------------------------------------------------- what they share


def _shape(loaded: Loaded, *kinds: Kind) -> Shape:
    shape: Shape = loaded.task.opened.shape
    if shape.kind not in kinds:
        own = {"sound": "sound", "video": "video or picture"}.get(shape.kind, "picture")
        raise ConfigError(
            f"{loaded.run.path} has learned a {shape.kind}, which is no {' and no '.join(kinds)}.\n"
            f"Export it with --to {own}."
        )
    return shape


def _rate(shape: Shape) -> float:
    assert shape.rate is not None, "sounds and videos have a rate"
    return shape.rate


def _size(shape: Shape, size: str | None, scale: float) -> tuple[int, int]:
    """Width and height of what is written."""
    if size is not None:
        width, height = (int(word) for word in size.split("x"))
    else:
        height, width = (max(1, round(side * scale)) for side in shape.sizes[-2:])
    if max(width, height) > LARGEST:
        raise DataError(
            f"{width} x {height} pixels are too many: at most {LARGEST} along a side are written."
        )
    return width, height


SIGNAL_EXPORTS = {
    "picture": Export(
        does="a picture of any size: a learned picture, a section, a moment of a video",
        options=PictureOptions(),
        write=write_picture_of,
        name="picture",
        suffixes=(".png",),
    ),
    "sound": Export(
        does="a learned sound at any rate, 16 bits",
        options=SoundOptions(),
        write=write_sound_of,
        name="sound",
        suffixes=(".wav",),
    ),
    "video": Export(
        does="a learned video at any size and frame rate",
        options=VideoOptions(),
        write=write_video_of,
        name="video",
        suffixes=(".mp4",),
    ),
    "safetensors": WEIGHTS,
}
