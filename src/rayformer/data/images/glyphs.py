"""The easier drawn data set: printed digits of any typeface, size, place, tilt and colour, with a few strokes
behind them. The smallest network learns something of them in less than a minute.

    DIGITS          the classes
    glyph_pictures  some pictures of every class, with their labels
    font_files      the typefaces, which matplotlib brings along
    _drawn          one picture, by chance

Colours, places and strokes are drawn alike for all digits: what tells them apart is form alone.
"""

import colorsys
import math
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from rayformer.core.errors import DataError

DIGITS = tuple("0123456789")
SIDE = 32
"""Pixels along each side of a picture."""
FINER = 3
"""How much finer it is drawn than it is kept."""
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmss10", "cmtt10", "cmti10",
)  # fmt: skip
"""By name and in this order, wherever they lie and whatever lies beside them."""
HEIGHTS = (19, 25)
"""Bounds of a digit's height, in pixels."""
TILT = 12.0
"""Largest angle to the upright, in degrees: a 6 is no 9."""
CONTRAST = 0.4
"""By how much, of 1, a digit is at least darker than what lies behind it, as in print. Were some of them
brighter, a transformer would need minutes before it saw anything."""
AWAY = 2
"""Largest distance of a digit's middle from the picture's, in pixels along each axis."""
GRAIN = 0.02
"""Standard deviation of the camera's noise, in shares of white."""
BRIGHTNESS = np.array([0.299, 0.587, 0.114])


def glyph_pictures(
    each: int, seed: int, side: int = SIDE
) -> tuple[UInt8[np.ndarray, "batch height width 3"], Int[np.ndarray, "batch"]]:
    """`each` pictures of every digit, digit after digit in turn, and the numbers of the classes. Pictures are
    a pure function of seed and number: more of them begin with the same ones. Raises DataError where
    matplotlib came without its typefaces."""
    labels = np.arange(each * len(DIGITS)) % len(DIGITS)
    pictures = [
        _drawn(DIGITS[label], side, np.random.default_rng([seed, number]))
        for number, label in enumerate(labels)
    ]
    return np.stack(pictures), labels


@cache
def font_files() -> tuple[Path, ...]:
    """The files of `FONTS`. Raises DataError for one that is not there."""
    import matplotlib  # 0.1 s that only those who draw pay

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = tuple(folder / f"{name}.ttf" for name in FONTS)
    for file in files:
        if not file.is_file():
            raise DataError(
                f"data.source: glyphs are drawn with typefaces that matplotlib brings, and {file} is not "
                "there.\nInstall matplotlib from its own package (pip install --force-reinstall matplotlib), "
                "or take shapes."
            )
    return files


def _drawn(digit: str, side: int, chance: np.random.Generator) -> UInt8[np.ndarray, "height width 3"]:
    paper, ink = _colours(chance)
    fine = FINER * side
    ground = Image.fromarray(_shaded(paper, fine, chance))
    _strokes(ground, paper, ink, chance)
    stamp = _stamp(digit, side, chance)
    high, wide = stamp.height, stamp.width
    away = AWAY * fine / SIDE
    left, top = (round((fine - size) / 2 + chance.uniform(-away, away)) for size in (wide, high))
    ground.paste(tuple(_bytes(ink).tolist()), (left, top, left + wide, top + high), stamp)
    seen = np.asarray(ground.resize((side, side), Image.Resampling.BOX), np.float64) / 255
    return _bytes(seen + chance.normal(0, GRAIN, seen.shape))


def _stamp(digit: str, side: int, chance: np.random.Generator) -> Image.Image:
    """The digit as a mask without margins, tilted and at the size at which it is drawn."""
    file = font_files()[chance.integers(len(FONTS))]
    height = round(chance.uniform(*HEIGHTS) * FINER * side / SIDE)
    stamp = _upright(file, digit).copy()
    stamp = stamp.resize((max(1, round(stamp.width * height / stamp.height)), height), Image.Resampling.BOX)
    angle = chance.uniform(-TILT, TILT)
    stamp = stamp.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    return stamp.crop(stamp.getbbox())


@cache
def _upright(file: Path, digit: str) -> Image.Image:
    """The digit as a large mask, 200 pixels to the line."""
    font = ImageFont.truetype(file, 200, layout_engine=ImageFont.Layout.BASIC)
    mask = Image.new("L", (400, 400))
    ImageDraw.Draw(mask).text((100, 100), digit, fill=255, font=font)
    return mask.crop(mask.getbbox())


def _strokes(
    ground: Image.Image,
    paper: Float[np.ndarray, "3"],
    ink: Float[np.ndarray, "3"],
    chance: np.random.Generator,
) -> None:
    """A few thin lines and arcs behind the digit, never of its own strength."""
    draw, side = ImageDraw.Draw(ground), ground.width
    for _ in range(chance.integers(3)):
        colour = tuple(_bytes(paper + chance.uniform(0.1, 0.4) * (ink - paper)).tolist())
        thick = round(chance.uniform(1, 2) * FINER)
        one, other = chance.uniform(0, side, 2), chance.uniform(0, side, 2)
        if chance.random() < 0.5:
            draw.line([*one, *other], fill=colour, width=thick)
        else:
            reach = chance.uniform(0.2, 0.5) * side
            draw.arc([*(one - reach), *(one + reach)], *(chance.uniform(0, 360, 2)), fill=colour, width=thick)


def _shaded(
    paper: Float[np.ndarray, "3"], side: int, chance: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Paper that lies in light from one side."""
    way, axis = chance.uniform(0, 2 * math.pi), np.linspace(-1, 1, side)
    light = math.cos(way) * axis[None, :] + math.sin(way) * axis[:, None]
    return _bytes(paper * (1 + chance.uniform(0, 0.12) * light[..., None]))


def _colours(chance: np.random.Generator) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Of the paper, which is pale, and of the ink: any two that differ enough in brightness."""
    while True:
        paper = _colour(chance, saturation=0.35, value=(0.65, 1.0))
        ink = _colour(chance, saturation=0.95, value=(0.0, 0.6))
        if (paper - ink) @ BRIGHTNESS > CONTRAST:
            return paper, ink


def _colour(
    chance: np.random.Generator, saturation: float, value: tuple[float, float]
) -> Float[np.ndarray, "3"]:
    """Of any hue, and no more saturated than that."""
    return np.array(
        colorsys.hsv_to_rgb(chance.random(), chance.uniform(0, saturation), chance.uniform(*value))
    )


def _bytes(values: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return (values.clip(0, 1) * 255).round().astype(np.uint8)
