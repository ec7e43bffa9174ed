"""Moving pictures out: an MP4 that plays everywhere, or numbered PNGs.

    write_video     frames to FILE.mp4 (H.264), or to a folder of PNGs when the name has no suffix

Frames arrive one by one and leave one by one: a flight of any length needs the memory of one frame.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.runs.atomic import replacing
from rayformer.runs.pictures import Picture, save_png

STREAMABLE = {"movflags": "faststart"}
"""The index at the front of the file: a browser starts before it has all of it."""
QUALITY = 17
"""x264's constant rate factor: 0 loses nothing, 23 is its default, 17 is hard to tell from the original."""


def write_video(
    path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], fps: int | float = 30
) -> int:
    """Write `frames` at `fps` frames per second and return how many there were.

    `FILE.mp4` becomes H.264 in yuv420p, which every browser and phone plays; odd sizes get their last row
    or column twice, since that format has one colour for two by two pixels. A name without a suffix becomes
    a folder of `0000.png`, `0001.png` and so on, without loss.

    Raises ConfigError for another suffix, ShapeError where a frame has another size than the first,
    RunError where the disk refuses.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ""):
        raise ConfigError(
            f"--out {path}: a video is written as .mp4, or as PNGs into a folder (a name without a suffix), "
            f"but this ends in {path.suffix}"
        )
    frames = _of_one_size(frames)
    return _write_mp4(path, frames, fps) if path.suffix else _write_pngs(path, frames)


def _write_mp4(path: Path, frames: Iterator[np.ndarray], fps: int | float) -> int:
    import av  # 60 MB of codecs that only a video needs
    from av.video.reformatter import ColorRange, Colorspace

    first = next(frames, None)
    assert first is not None, "a video has at least one frame"
    height, width = first.shape[:2]
    count = 0
    options = {"crf": str(QUALITY)}
    with replacing(path) as temporary, av.open(str(temporary), "w", options=STREAMABLE) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        # Said in the file, so that no player has to guess which yuv this is and shift the colours.
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        for pixels in chain([first], frames):
            frame = av.VideoFrame.from_ndarray(_evened(pixels), format="rgb24")
            frame = frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    return count


def _write_pngs(folder: Path, frames: Iterator[np.ndarray]) -> int:
    count = 0
    for count, pixels in enumerate(frames, start=1):
        save_png(folder / f"{count - 1:04d}.png", Picture(pixels))
    return count


def _of_one_size(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    size = None
    for index, pixels in enumerate(frames):
        size = size or pixels.shape
        if pixels.shape != size:
            raise ShapeError(f"a video has one size, but frame {index} is {pixels.shape} after {size}")
        yield pixels


def _evened(
    pixels: UInt8[np.ndarray, "height width 3"],
) -> UInt8[np.ndarray, "height+height%2 width+width%2 3"]:
    rows, columns = pixels.shape[0] % 2, pixels.shape[1] % 2
    return np.ascontiguousarray(np.pad(pixels, ((0, rows), (0, columns), (0, 0)), mode="edge"))
