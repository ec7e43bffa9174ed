"""Pictures that a run keeps: pixels with a caption, and the few ways we turn numbers into colours.

Picture           8-bit pixels and one sentence about them
save_png          a PNG written whole or not at all, the caption inside it
read_caption      the way back
depth_colours     depth: warm is near, cool is far, grey is nothing
error_colours     error: black is none, white is `top` and beyond
distance_colours  signed distance: red inside, blue outside, in bands, a black line at zero
side_by_side      several pictures in a row, each under its label
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from rayformer.core.errors import RunError, ShapeError
from rayformer.runs.atomic import replacing

BACKGROUND = 128
"""The grey of pixels without a depth."""
PAPER, INK = (255, 255, 255), (60, 60, 60)
READABLE = 200
"""Height, in pixels, below which a picture is enlarged before a label is written on it."""


@dataclass(frozen=True)
class Picture:
    """What a person looks at: sRGB pixels, row 0 on top, and a sentence about them."""

    pixels: UInt8[np.ndarray, "height width 3"]
    caption: str = ""


def save_png(path: Path, picture: Picture) -> None:
    """Write a picture with its caption as the PNG's Description. Raises RunError where the disk refuses."""
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("Description", picture.caption)
    with replacing(path) as temporary:
        Image.fromarray(picture.pixels).save(temporary, format="PNG", pnginfo=notes)


def read_caption(path: Path) -> str:
    """The caption inside a PNG, empty if it has none. Raises RunError where the file is no picture."""
    try:
        with Image.open(path) as image:
            return str(image.info.get("Description", ""))
    except OSError as error:
        raise RunError(
            f"{path} is not a picture that can be read.\nDelete it; the run does not need it."
        ) from error


def depth_colours(
    depth: Float[np.ndarray, "height width"], near: int | float, far: int | float
) -> UInt8[np.ndarray, "height width 3"]:
    """Depth between `near` (dark red) and `far` (dark blue); what is not finite is grey."""
    there = np.isfinite(depth)
    nearness = np.clip((far - np.where(there, depth, far)) / (far - near), 0, 1)
    return np.where(there[..., None], _mapped("turbo", nearness), np.uint8(BACKGROUND))


def error_colours(
    error: Float[np.ndarray, "height width"], top: int | float = 0.2
) -> UInt8[np.ndarray, "height width 3"]:
    """Absolute error: black for none, through violet and orange to pale yellow at `top` and beyond.

    The scale is fixed, so that pictures of one run, and of two, compare.
    """
    there: Bool[np.ndarray, "height width"] = np.isfinite(error)
    share = np.clip(np.abs(np.where(there, error, 0)) / top, 0, 1)
    return np.where(there[..., None], _mapped("inferno", share), np.uint8(BACKGROUND))


def distance_colours(
    distance: Float[np.ndarray, "height width"],
    pixel: int | float,
    band: int | float = 0.1,
    top: int | float = 1.0,
) -> UInt8[np.ndarray, "height width 3"]:
    """A slice through a signed distance: red inside, blue outside, darker to `top` and beyond; every other
    stretch of length `band` is shaded, and what lies within three quarters of a pixel's width, `pixel`, of
    zero is black.

    Where bands are evenly wide the distance grows as a distance does.
    """
    colour = _mapped("RdBu", np.clip(0.5 + 0.5 * np.sign(distance) * np.sqrt(np.abs(distance) / top), 0, 1))
    shade = np.where(np.floor(distance / band) % 2 == 0, 1.0, 0.9)
    line = np.abs(distance) < 0.75 * pixel
    return np.where(line[..., None], 0, np.rint(colour * shade[..., None])).astype(np.uint8)


def side_by_side(
    pictures: Sequence[Picture], labels: Sequence[str], caption: str = "", gap: int = 4
) -> Picture:
    """Pictures of one height in a row, `gap` pixels apart, each under its label.

    Small ones are enlarged, every pixel to a square of pixels, until they are `READABLE` high.
    Raises ShapeError where heights differ or labels and pictures do not pair up.
    """
    heights = [picture.pixels.shape[0] for picture in pictures]
    if len(set(heights)) != 1 or len(labels) != len(pictures):
        raise ShapeError(
            f"side_by_side wants pictures of one height and a label for each, "
            f"but got heights {heights} and labels {list(labels)}"
        )
    times = -(-READABLE // heights[0])
    images = [
        Image.fromarray(picture.pixels.repeat(times, axis=0).repeat(times, axis=1)) for picture in pictures
    ]
    size = max(12, min(28, max(image.width for image in images) // 16))
    strip = 2 * size
    canvas = Image.new(
        "RGB", (sum(image.width + gap for image in images) - gap, images[0].height + strip), PAPER
    )
    left = 0
    for image, label in zip(images, labels, strict=True):
        canvas.paste(_under_label(image, label, size, strip), (left, 0))
        left += image.width + gap
    return Picture(np.asarray(canvas), caption or ", ".join(labels))


def _under_label(image: Image.Image, label: str, size: int, strip: int) -> Image.Image:
    """The image below a strip of paper with `label` in its middle, in Pillow's own font, shrunk to fit."""
    font = ImageFont.load_default(size)
    if (wide := font.getlength(label)) > image.width:
        font = ImageFont.load_default(max(6, size * image.width / wide))
    panel = Image.new("RGB", (image.width, image.height + strip), PAPER)
    ImageDraw.Draw(panel).text((image.width / 2, strip / 2), label, fill=INK, font=font, anchor="mm")
    panel.paste(image, (0, strip))
    return panel


def _mapped(name: str, values: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    from matplotlib import colormaps  # slow to import, and most of a run draws nothing

    return colormaps[name](values, bytes=True)[..., :3]
