"""Signals from files, at full precision: pictures of 8 and 16 bits, sounds, videos.

    read_picture_values    colours in [0, 1], three channels; 16 bits keep all 16
    read_sound             amplitudes in [-1, 1], one channel, and samples per second
    read_video             frames from a video, and how many per second
    read_frames            the same from a folder of pictures
    scaled_down            fewer pixels across, each the mean of the area it covers

Transparent pixels are seen before white, grey becomes three equal channels, several channels of sound are
averaged. Colours stay as stored.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import images_in
from rayformer.data.scenes.frames import decoded, upright_colours
from rayformer.data.scenes.images import area_weights, read_picture

MOST = 2**28
"""Numbers that a signal may have: 1 GiB of them."""
FOLDER_RATE = 24.0
"""Frames per second of a folder, which does not say."""


def read_picture_values(path: Path) -> Float[np.ndarray, "height width 3"]:
    """Raises DataError for a file that is no picture, or is torn; MissingExtra for HEIC without its
    reader."""
    values = _deep(path)
    if values is None:
        values = read_picture(path).astype(np.float32) / 255
    if values.shape[-1] == 1:
        return np.repeat(values, 3, axis=-1)
    colours, alpha = values[..., :3], values[..., 3:]
    return colours * alpha + 1 - alpha if alpha.size else colours


def _deep(path: Path) -> Float[np.ndarray, "height width channels"] | None:
    """The values of a file of more than 8 bits, or None. Pillow reads deep greys, and drops the lower half of
    deep colours, which are left to the decoder of videos."""
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith("I"):
                return np.clip(np.asarray(picture).astype(np.float32) / 65535, 0, 1)[..., None]
            if picture.format != "PNG" or _png_bits(path) < 16:
                return None
    except (UnidentifiedImageError, OSError):
        return None  # which the other reader says better
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        deep = "rgba64le" if "a" in frame.format.name else "rgb48le"
        return frame.reformat(format=deep).to_ndarray().astype(np.float32) / 65535


def _png_bits(path: Path) -> int:
    """Bits of a channel: byte 24 of the file."""
    with path.open("rb") as file:
        return file.read(25)[24]


def read_sound(path: Path) -> tuple[Float[np.ndarray, "points"], float]:
    """Raises DataError for a file that is no sound, or holds none."""
    values, rate = _wav(path) if path.suffix.lower() == ".wav" else _any_sound(path)
    if not np.isfinite(values).all():
        raise DataError(
            f"{path}: the sound has samples that are no numbers. Write it again, or leave it out."
        )
    if not len(values):
        raise DataError(f"{path}: the sound has no samples. Copy it again from where it came.")
    return values.astype(np.float32), float(rate)


def _wav(path: Path) -> tuple[np.ndarray, float]:
    from scipy.io import wavfile

    try:
        rate, samples = wavfile.read(path)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path}: not a WAV file that can be read ({error}).\nCopy it again from where it came."
        ) from error
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return samples.reshape(len(samples), -1).mean(axis=1) if samples.size else samples.reshape(-1), float(
        rate
    )


def _any_sound(path: Path) -> tuple[np.ndarray, float]:
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", layout=stream.codec_context.layout)
            parts = [
                part.to_ndarray()
                for frame in (*container.decode(stream), None)
                for part in resampler.resample(frame)
            ]
            rate = float(stream.codec_context.sample_rate)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DataError(
            f"{path}: not a sound that can be read ({error}).\nCopy it again from where it came."
        ) from error
    return np.concatenate(parts, axis=1).mean(axis=0) if parts else np.zeros(0), rate


def read_video(
    path: Path, width: int | None, most: int | None, remarks: list[str]
) -> tuple[Float[np.ndarray, "frames height width 3"], float]:
    """The first `most` frames, each at most `width` pixels across. Raises DataError for a file that is no
    video, and for more numbers than memory should hold."""
    import av

    frames = (upright_colours(frame).astype(np.float32) / 255 for _, frame in decoded(path, remarks))
    values = _stacked(path, frames, width, most)
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
    return values, float(rate or FOLDER_RATE)


def read_frames(
    folder: Path, width: int | None, most: int | None
) -> tuple[Float[np.ndarray, "frames height width 3"], float]:
    """The pictures of a folder, by name. Raises DataError where their sizes differ."""
    frames = (read_picture_values(path) for path in images_in(folder))
    return _stacked(folder, frames, width, most), FOLDER_RATE


def _stacked(
    path: Path, frames: Iterator[np.ndarray], width: int | None, most: int | None
) -> Float[np.ndarray, "frames height width 3"]:
    kept: list[np.ndarray] = []
    for frame in frames:
        if most is not None and len(kept) == most:
            break
        kept.append(scaled_down(frame, width))
        if kept[-1].shape != kept[0].shape:
            sizes = " and ".join(f"{one.shape[1]} x {one.shape[0]}" for one in (kept[0], kept[-1]))
            raise DataError(
                f"{path}: the frames of a video have one size, but there are {sizes} pixels (frame "
                f"{len(kept) - 1}).\nLeave the others out."
            )
        if len(kept) * kept[0].size > MOST:
            size = f"{kept[0].shape[1]} x {kept[0].shape[0]}"
            raise DataError(
                f"{path}: {len(kept)} frames of {size} pixels are more than {MOST:,} numbers.\n"
                "Take smaller frames with data.width, or fewer with data.frames."
            )
    return np.stack(kept)


def scaled_down(
    values: Float[np.ndarray, "height width channels"], width: int | None
) -> Float[np.ndarray, "_ _ channels"]:
    """At most `width` pixels across, of the same shape."""
    rows, columns = values.shape[:2]
    if width is None or width >= columns:
        return values.astype(np.float32)
    height = max(1, round(rows * width / columns))
    scaled: Tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    scaled = torch.einsum("ah,hwc->awc", area_weights(rows, height), scaled)
    return torch.einsum("bw,awc->abc", area_weights(columns, width), scaled).numpy()
