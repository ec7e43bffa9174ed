"""From photographs or a video to the frames that cameras are looked for in: upright, of sensible size, sharp.

Frame            one of them: its file, where it came from, what is known of its lens
Frames           all of them, and what was left out
gather_frames    a folder of photographs, or a video, into a folder of frames
decoded          the frames of a video, one after the other; upright_colours, one of them in RGB

of photographs   all are taken that can be read; copies of one another count once
of a video       the sharpest of each of `count` equal stretches of time, unless it shows what the one before
                 it shows already
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from rayformer.core.errors import DataError
from rayformer.data.images.decode import ORIENTATION
from rayformer.data.scenes.capture import IMAGE_SUFFIXES, images_in
from rayformer.data.scenes.images import picture_size, read_picture

FEWEST = 3
"""Photographs that a scene needs, whoever finds its cameras."""
LOOKED_AT = 640
"""Longest side at which the frames of a video are compared, in pixels."""
THUMBNAIL = 64
STILL = 1.0
"""Grey levels of 255 by which two frames of a video must differ on the mean to count as two: at thumbnail
size a compressed still changes by less, a camera in a hand by several."""
FILM_DIAGONAL_MM = 43.27
"""Of the 36 x 24 mm that `FocalLengthIn35mmFilm` speaks of."""
EXIF_IFD, FOCAL, FOCAL_35MM, MAKE, MODEL = 0x8769, 0x920A, 0xA405, 0x010F, 0x0110

Report = Callable[[str, int, int], None]
"""What is going on, how many are done, and of how many."""


@dataclass(frozen=True)
class Frame:
    name: str
    """Its file in the folder of frames."""
    source: str
    """What a person knows it by: the photograph's name, or the time in the video."""
    width: int
    height: int
    focal: float | None = None
    """Focal length in pixels, where the photograph states it."""
    lens: tuple = ()
    """What it says of camera and zoom; frames of one size and lens share intrinsics."""


@dataclass(frozen=True)
class Frames:
    frames: tuple[Frame, ...]
    ordered: bool
    """Whether neighbours in the list were taken one after the other, as in a video."""
    remarks: tuple[str, ...]


def gather_frames(source: Path, folder: Path, longest: int, count: int, report: Report) -> Frames:
    """Put frames of at most `longest` pixels a side into `folder`; of a video about `count`.

    Raises DataError for a place that is absent, empty or no video, and for fewer than three different frames;
    MissingExtra for HEIC photographs without their reader.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        return _from_photographs(source, folder, longest, report)
    if not source.exists():
        raise DataError(
            f"{source}: there is no such folder or file. Give a folder of photographs, or a video."
        )
    if source.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(
            f"{source} is a single photograph. Depth is seen from several places:\n"
            f"at least {FEWEST} photographs of one scene are needed, 20 or more are better.\n"
            "Give the folder that holds them, or a video."
        )
    return _from_video(source, folder, longest, count, report)


# ------------------------------------------------------------------------------------------ photographs


def _from_photographs(source: Path, folder: Path, longest: int, report: Report) -> Frames:
    place, photographs = _photographs_of(source)
    remarks = [] if place == source else [f"the photographs are those in {place}"]
    frames, unreadable, copies, seen, names = [], [], [], set(), set()
    for done, path in enumerate(photographs):
        report("photographs", done, len(photographs))
        digest = hashlib.blake2b(path.read_bytes()).digest()
        if digest in seen:
            copies.append(path.name)
            continue
        seen.add(digest)
        try:
            frames.append(_prepared(path, folder, _free_name(path, names), longest))
        except DataError as error:
            unreadable.append(f"{path.name} ({_reason(error, path)})")
    report("photographs", len(photographs), len(photographs))
    if unreadable:
        remarks.append(
            f"{len(unreadable)} of {len(photographs)} files cannot be read, left out: {few(unreadable)}"
        )
    if copies:
        remarks.append(f"{len(copies)} of {len(photographs)} files repeat another, left out: {few(copies)}")
    if len(frames) < FEWEST:
        raise DataError(
            f"{place}: {len(frames)} photograph{'s' * (len(frames) != 1)} that can be used"
            f"{''.join(f'; {remark}' for remark in remarks)}.\n"
            f"At least {FEWEST} of one scene from different places are needed, 20 or more are better."
        )
    return Frames(tuple(frames), ordered=False, remarks=tuple(remarks))


def _photographs_of(source: Path) -> tuple[Path, list[Path]]:
    """Where the photographs are, in the folder or in its images/, and which, as a person would count them."""
    for place in (source, source / "images"):
        if place.is_dir() and (found := images_in(place)):
            return place, sorted(found, key=_by_number)
    inside = sorted(path.name + "/" * path.is_dir() for path in source.iterdir())
    there = f"It holds {few(inside, 6)}." if inside else "It is empty."
    raise DataError(
        f"{source}: no photographs. {there}\n"
        f"Give a folder with files that end in {', '.join(IMAGE_SUFFIXES)}, or one video file."
    )


def _by_number(path: Path) -> list[Any]:
    """img2 before img10: numbers in names count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [int(part) if odd else part for part, odd in zip(parts, [False, True] * len(parts), strict=False)]


def _free_name(path: Path, taken: set[str]) -> str:
    """The photograph's name without what other programs stumble over, and unlike all before it."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem) or "photo"
    name = next(
        name
        for name in (stem, *(f"{stem}_{again}" for again in range(2, 10**6)))
        if name.lower() not in taken
    )
    taken.add(name.lower())
    return name


def _prepared(path: Path, folder: Path, name: str, longest: int) -> Frame:
    """The photograph upright and small enough; byte for byte where it is so already."""
    width, height = picture_size(path)
    pixels = read_picture(path)  # whole, so that a torn file is met here and not later
    lens, focal = _lens(path, (width**2 + height**2) ** 0.5)
    scale = min(1.0, longest / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale == 1 and _as_it_is(path):
        name += path.suffix.lower()
        shutil.copyfile(path, folder / name)
    else:
        lossless = path.suffix.lower() == ".png" or pixels.shape[2] == 4
        name += ".png" if lossless else ".jpg"
        _save(pixels, size, folder / name)
    # The size it had belongs to the lens: pictures of another camera may have the same shape.
    return Frame(name, path.name, *size, focal=focal and focal * scale, lens=(width, height, *lens))


def _as_it_is(path: Path) -> bool:
    with Image.open(path) as picture:
        plain = picture.format in ("JPEG", "PNG") and picture.mode in ("RGB", "RGBA", "L")
        return plain and picture.getexif().get(ORIENTATION, 1) == 1


def _lens(path: Path, diagonal: float) -> tuple[tuple, float | None]:
    """What the photograph says of camera and zoom, and the focal length in pixels where it says that."""
    with Image.open(path) as picture:
        exif = picture.getexif()
    inner = exif.get_ifd(EXIF_IFD)
    told = (exif.get(MAKE), exif.get(MODEL), inner.get(FOCAL), inner.get(FOCAL_35MM))
    film = inner.get(FOCAL_35MM)
    focal = film / FILM_DIAGONAL_MM * diagonal if isinstance(film, int) and 5 <= film <= 2000 else None
    return tuple(map(str, told)), focal


def _save(pixels: UInt8[np.ndarray, "height width channels"], size: tuple[int, int], path: Path) -> None:
    picture = Image.fromarray(pixels)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX)  # each pixel the mean of the area it covers
    if path.suffix == ".png":
        picture.save(path)
    else:
        picture.save(path, quality=95, subsampling=0)


def _reason(error: DataError, path: Path) -> str:
    return str(error).partition("\n")[0].removeprefix(f"{path}: ").rstrip(".")


# ------------------------------------------------------------------------------------------ a video


@dataclass(frozen=True)
class _Glance:
    """What is kept of every frame of a video while the best are chosen."""

    number: int
    seconds: float
    sharpness: float
    thumbnail: Float[np.ndarray, "height width"]


def _from_video(source: Path, folder: Path, longest: int, count: int, report: Report) -> Frames:
    remarks: list[str] = []
    glances = list(_glances(source, remarks, report))
    if not glances:
        raise DataError(
            f"{source}: not one frame of the video can be decoded.\nExport it again, as MP4 with H.264."
        )
    sharpest = _sharpest(glances, count)
    chosen = _moving(sharpest)
    if len(chosen) < FEWEST:
        what = "frames, of which only" if len(glances) > 1 else "frame, so that"
        shown = "1 shows something new" if len(chosen) == 1 else f"{len(chosen)} show something new"
        raise DataError(
            f"{source}: a video of {len(glances)} {what} {shown}; the camera stands still.\n"
            f"At least {FEWEST} pictures from different places are needed:\n"
            "walk slowly around what you film, or give photographs."
        )
    if len(chosen) < len(sharpest):
        remarks.append(
            f"{len(sharpest) - len(chosen)} of {len(sharpest)} frames show what the one before shows, "
            "left out"
        )
    remarks.insert(0, f"{len(chosen)} of the {len(glances)} frames of the video are taken")
    wanted = {glance.number: f"frame_{place:04d}.jpg" for place, glance in enumerate(chosen, start=1)}
    seconds = {glance.number: glance.seconds for glance in chosen}
    frames = []
    for number, frame in decoded(source, []):
        if number in wanted:
            pixels = upright_colours(frame)
            scale = min(1.0, longest / max(pixels.shape[:2]))
            size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
            _save(pixels, size, folder / wanted[number])
            frames.append(Frame(wanted[number], f"{seconds[number]:.2f} s", *size))
            report("frames", len(frames), len(wanted))
            if len(frames) == len(wanted):
                break
    return Frames(tuple(frames), ordered=True, remarks=tuple(remarks))


def decoded(source: Path, remarks: list[str]) -> Iterator[tuple[int, Any]]:
    """The frames of the first video stream, numbered; a file that is torn ends where it is torn, which is
    remarked. Raises DataError for a file that is no video at all."""
    import av  # 60 MB of codecs that photographs do not need

    number = -1
    try:
        with av.open(str(source)) as container:
            if not container.streams.video:
                raise DataError(
                    f"{source}: holds sound but no pictures. Give a video, or a folder of photographs."
                )
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                yield number, frame
    except (av.FFmpegError, OSError) as error:
        if number < 0:
            raise DataError(
                f"{source}: not a video that can be read ({getattr(error, 'strerror', None) or error}).\n"
                "Give a video (MP4, MOV, WebM ...) that plays to its end, or a folder of photographs."
            ) from error
        remarks.append(f"the video is torn after frame {number + 1}; what stands before is used")


def _glances(source: Path, remarks: list[str], report: Report) -> Iterator[_Glance]:
    for number, frame in decoded(source, remarks):
        if number % 50 == 0:
            report("looking through the video", number, 0)
        scale = min(1.0, LOOKED_AT / max(frame.width, frame.height))
        size = {"width": max(3, round(frame.width * scale)), "height": max(3, round(frame.height * scale))}
        grey = frame.reformat(format="gray", **size).to_ndarray().astype(np.float32)
        seconds = frame.time if frame.time is not None else number / 30
        yield _Glance(number, float(seconds), sharpness(grey), _thumbnail(grey))
    report("looking through the video", 1, 1)


def sharpness(grey: Float[np.ndarray, "height width"]) -> float:
    """The variance of the Laplacian: blur takes away what differs from its neighbours."""
    beside = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((beside - 4 * grey[1:-1, 1:-1]).var())


def _thumbnail(grey: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "_ _"]:
    scale = THUMBNAIL / max(grey.shape)
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


def _sharpest(glances: list[_Glance], count: int) -> list[_Glance]:
    """Of each of `count` equal stretches of time, the sharpest frame."""
    start, end = glances[0].seconds, glances[-1].seconds
    best: dict[int, _Glance] = {}
    for glance in glances:
        share = (glance.seconds - start) / (end - start) if end > start else 0.0
        window = min(count - 1, int(share * count))
        if window not in best or glance.sharpness > best[window].sharpness:
            best[window] = glance
    return [best[window] for window in sorted(best)]


def _moving(glances: list[_Glance]) -> list[_Glance]:
    """Without the frames that look like the last one kept."""
    kept: list[_Glance] = []
    for glance in glances:
        if not kept or np.abs(glance.thumbnail - kept[-1].thumbnail).mean() >= STILL:
            kept.append(glance)
    return kept


def upright_colours(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in RGB and upright. A video that does not say which yuv it is in is taken as players take
    it, by its size."""
    from av.video.reformatter import Colorspace

    hd = frame.colorspace == 1 or (frame.colorspace not in (5, 6) and frame.height >= 720)
    space = Colorspace.ITU709 if hd else Colorspace.ITU601
    pixels = frame.reformat(format="rgb24", src_colorspace=space).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def few(names: list[str], most: int = 3) -> str:
    """The first names, and dots for the rest."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
