"""What every reader returns: photographs and cameras as the data have them, before anything is chosen or
moved.

    Photo          one photograph with its camera
    Capture        all of them, and what else the format knows
    find_image     the file that a listing means; likewise find_mask
    images_in      the photographs of a folder
    sensible       distances that can be believed
    name_of        what a photograph is called
    absent_remark  one sentence about listed photographs that are not there

A reader converts poses to camera-to-world in OpenGL axes, pixel centres to +0.5, and changes nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.geometry.cameras import Camera

Split = Literal["train", "val", "test"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif")


@dataclass(frozen=True, eq=False)
class Photo:
    name: str
    """Path relative to the data, with forward slashes."""
    image: Path
    camera: Camera
    mask: Path | None = None
    split: Split | None = None
    """The part that the data give it; None leaves the choice to us."""
    distances: tuple[float, float] | None = None
    """How far the nearest and the farthest thing in it are, in the data's units, where the data know."""
    exposure: float | None = None
    """Shutter time times gain, in any unit that all photographs share, where the data know it."""
    light: str | None = None
    """The light that it was taken in, by name: one for every drive, day or walk, where the data know."""


@dataclass(frozen=True, eq=False)
class Capture:
    format: str
    photos: Sequence[Photo]
    points: Float[np.ndarray, "points 3"] | None = None
    point_colours: UInt8[np.ndarray, "points 3"] | None = None
    published_bounds: tuple[float, float] | None = None
    """Near and far that everybody uses with this data in its own coordinates, which are then left alone."""
    remarks: list[str] = field(default_factory=list)


def find_image(folder: Path, listed: str) -> Path | None:
    """The file that `listed` means, with or without its extension, or None."""
    path = folder / listed
    if path.is_file():
        return path
    candidates = (path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def find_mask(folder: Path, image: Path) -> Path | None:
    """The mask of a photograph in a folder of masks, named like it with .png for or after its extension, or
    None."""
    candidates = (folder / f"{image.stem}.png", folder / f"{image.name}.png", folder / image.name)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def images_in(folder: Path) -> list[Path]:
    """All photographs directly in a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def sensible(near: float | None, far: float | None) -> tuple[float, float] | None:
    """Distances of the nearest and farthest thing, or None where they are not known, positive, finite and in
    order."""
    if near is None or far is None or not 0 < near < far < math.inf:
        return None
    return near, far


def name_of(image: Path, folder: Path) -> str:
    """A photograph's path relative to its data; one that lies elsewhere is named as if it lay in images/."""
    image, folder = image.resolve(), folder.resolve()
    return image.relative_to(folder).as_posix() if image.is_relative_to(folder) else f"images/{image.name}"


def absent_remark(absent: Sequence[str], listed: int) -> list[str]:
    """One sentence about photographs that are listed but not there; none if all are."""
    if not absent:
        return []
    few = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
    return [f"{len(absent)} of {listed} listed photographs are absent and left out: {few}"]
