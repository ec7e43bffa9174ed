"""Which part of a picture is seen, and at what size.

    Box           a part of a picture
    random_box    any part, of an area and an aspect within bounds        Szegedy et al. 2015, sec. 6
    resized       a part of a picture at the size wanted, decoded no larger than it need be
    centred       the middle of a picture, its shorter side scaled first: what evaluation sees
    shifted       a small picture moved by a few pixels, black where it came from    He et al. 2015, sec. 4.2
    flipped       left and right exchanged, or not

Scaling down takes the mean of what a new pixel covers (antialiased), by Pillow's filters, so that a picture
is the same here, in torchvision and in timm. Boxes are those of the upright picture, even where the file
holds it turned; then only the small result is turned.
"""

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image
from torch import Generator

from rayformer.data.images.decode import SIDEWAYS, loaded, orientation, rgb, upright, upright_size
from rayformer.data.images.draws import happens, uniform, whole

Filter = Literal["bicubic", "bilinear"]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
TRIES = 10
MOST_SCALED = 16
"""How many times as many pixels as are wanted may be made and thrown away."""


@dataclass(frozen=True)
class Box:
    left: int
    top: int
    width: int
    height: int


def random_box(
    width: int,
    height: int,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: Generator | None,
) -> Box:
    """A part with a share of the area and a width / height drawn from within the bounds, the latter evenly in
    its logarithm. After ten parts that do not fit, and without a generator, the middle, as large as the
    bounds of the aspect allow."""
    if generator is not None:
        for _ in range(TRIES):
            pixels = width * height * uniform(*area, generator)
            shape = math.exp(uniform(math.log(aspect[0]), math.log(aspect[1]), generator))
            wide, high = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
            if 0 < wide <= width and 0 < high <= height:
                top = whole(height - high + 1, generator)
                return Box(whole(width - wide + 1, generator), top, wide, high)
    narrow, broad = aspect
    wide = min(width, max(1, round(height * broad)))
    high = min(height, max(1, round(width / narrow)))
    return Box((width - wide) // 2, (height - high) // 2, wide, high)


def resized(picture: Image.Image, box: Box, size: int, kind: Filter, spare: float = math.inf) -> Image.Image:
    """That part as RGB of `size` x `size` pixels. `picture` may still lie in its file.

    A JPEG that still does is decoded at a half, a quarter or an eighth where the part keeps `spare` pixels
    for each one wanted, along both axes: the reader leaves the fine waves out and is several times as fast.
    Raises DataError where the file is torn.
    """
    turns, stored = orientation(picture), picture.size
    left, top, wide, high = _as_stored(box, turns, *upright_size(picture))
    times = min(wide, high) / size / spare
    if times >= 2:
        picture.draft(None, (round(stored[0] / times), round(stored[1] / times)))
    loaded(picture)
    if picture.size == stored:
        part = rgb(picture.crop((left, top, left + wide, top + high)))
        return upright(part.resize((size, size), FILTERS[kind]), turns)
    across, down = picture.width / stored[0], picture.height / stored[1]
    edges = (left * across, top * down, (left + wide) * across, (top + high) * down)
    edges = (*edges[:2], min(edges[2], picture.width), min(edges[3], picture.height))
    return upright(rgb(picture).resize((size, size), FILTERS[kind], box=edges), turns)


def _as_stored(box: Box, turns: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height where the file has what an upright picture of that size has in the box."""
    left, top, wide, high = box.left, box.top, box.width, box.height
    if turns in SIDEWAYS:
        left, top, wide, high, width, height = top, left, high, wide, height, width
    if turns in (2, 3, 7, 8):
        left = width - left - wide
    if turns in (3, 4, 6, 7):
        top = height - top - high
    return left, top, wide, high


def centred(picture: Image.Image, size: int, share: float, kind: Filter, squash: bool = False) -> Image.Image:
    """The middle, `size` x `size` pixels, of the picture scaled until that is `share` of its shorter side;
    with `squash`, of both sides. RGB, upright, always decoded whole. Raises DataError for a torn file."""
    turns = orientation(picture)
    picture = upright(rgb(loaded(picture)), turns)
    short = math.floor(size / share)
    width, height = (
        (short, short) if squash else (max(short, short * side // min(picture.size)) for side in picture.size)
    )
    left, top = round((width - size) / 2), round((height - size) / 2)
    if width * height <= MOST_SCALED * size**2:
        scaled = (
            picture if picture.size == (width, height) else picture.resize((width, height), FILTERS[kind])
        )
        return scaled.crop((left, top, left + size, top + size))
    # A strip would become huge: only the part that is seen is made. It differs by rounding.
    across, down = picture.width / width, picture.height / height
    edges = (left * across, top * down, (left + size) * across, (top + size) * down)
    return picture.resize((size, size), FILTERS[kind], box=edges)


def shifted(picture: Image.Image, padding: int, generator: Generator | None) -> Image.Image:
    """The picture moved by up to `padding` pixels each way; what comes in from outside is black."""
    if generator is None:
        return picture
    top, left = (whole(2 * padding + 1, generator) - padding for _ in range(2))
    return picture.crop((left, top, left + picture.width, top + picture.height))


def flipped(picture: Image.Image, chance: float, generator: Generator | None) -> Image.Image:
    if generator is None or not happens(chance, generator):
        return picture
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
