"""Things that can be done to a picture, each with one number that says how much.

    OPERATIONS   by name: (picture, amount, canvas) -> picture of the same size
    Canvas       how pixels are taken between others, and what lies outside the picture

    shear, translate, rotate              where pixels are; by a slope, pixels, degrees counter-clockwise
    autocontrast, equalise, invert        brightness, by the picture itself
    solarise, solarise-add, posterise     brightness, by a threshold, an addition, bits that are kept
    colour, contrast, brightness,         away from grey, the mean, black, a blurred copy: 1 leaves it as it
    sharpness                             is, 0 takes everything away, above 1 exaggerates
    hue                                   round the circle of colours, in turns

Amounts are those of Cubuk et al. 2018 (AutoAugment, https://arxiv.org/abs/1805.09501, table 6); sizes that
policies give them are in `randaugment.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps


@dataclass(frozen=True)
class Canvas:
    resampling: Image.Resampling
    fill: tuple[int, ...]
    """One value for each channel, 0 to 255."""


Operation = Callable[[Image.Image, float, Canvas], Image.Image]


def _moved(picture: Image.Image, matrix: tuple[float, ...], canvas: Canvas) -> Image.Image:
    """`matrix` (a, b, c, d, e, f): the new pixel (x, y) is taken from (ax + by + c, dx + ey + f)."""
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        matrix,
        canvas.resampling,
        fillcolor=_colour(picture, canvas),
    )


def _colour(picture: Image.Image, canvas: Canvas) -> tuple[int, ...] | int:
    return canvas.fill if len(picture.getbands()) == len(canvas.fill) else canvas.fill[0]


def shear_x(picture: Image.Image, slope: float, canvas: Canvas) -> Image.Image:
    return _moved(picture, (1.0, slope, 0.0, 0.0, 1.0, 0.0), canvas)


def shear_y(picture: Image.Image, slope: float, canvas: Canvas) -> Image.Image:
    return _moved(picture, (1.0, 0.0, 0.0, slope, 1.0, 0.0), canvas)


def translate_x(picture: Image.Image, pixels: float, canvas: Canvas) -> Image.Image:
    """To the left."""
    return _moved(picture, (1.0, 0.0, pixels, 0.0, 1.0, 0.0), canvas)


def translate_y(picture: Image.Image, pixels: float, canvas: Canvas) -> Image.Image:
    """Upwards."""
    return _moved(picture, (1.0, 0.0, 0.0, 0.0, 1.0, pixels), canvas)


def rotate(picture: Image.Image, degrees: float, canvas: Canvas) -> Image.Image:
    return picture.rotate(degrees, canvas.resampling, fillcolor=_colour(picture, canvas))


def autocontrast(picture: Image.Image, amount: float, canvas: Canvas) -> Image.Image:
    return ImageOps.autocontrast(picture)


def equalise(picture: Image.Image, amount: float, canvas: Canvas) -> Image.Image:
    return ImageOps.equalize(picture)


def invert(picture: Image.Image, amount: float, canvas: Canvas) -> Image.Image:
    return ImageOps.invert(picture)


def solarise(picture: Image.Image, threshold: float, canvas: Canvas) -> Image.Image:
    """What is at least that bright is inverted."""
    return ImageOps.solarize(picture, threshold)  # type: ignore[arg-type]  # fractions are compared, too


def solarise_add(picture: Image.Image, addition: float, canvas: Canvas) -> Image.Image:
    """What is darker than 128 becomes brighter."""
    table = [min(255, value + int(addition)) if value < 128 else value for value in range(256)]
    return picture.point(table * len(picture.getbands()))


def posterise(picture: Image.Image, bits: float, canvas: Canvas) -> Image.Image:
    """Only the first `bits` of the 8 are kept; none are left at 0 and below."""
    if bits >= 8:
        return picture
    if bits < 1:  # which Pillow does not do any more
        return picture.point(lambda value: 0)
    return ImageOps.posterize(picture, int(bits))


def colour(picture: Image.Image, factor: float, canvas: Canvas | None = None) -> Image.Image:
    return ImageEnhance.Color(picture).enhance(factor)


def contrast(picture: Image.Image, factor: float, canvas: Canvas | None = None) -> Image.Image:
    return ImageEnhance.Contrast(picture).enhance(factor)


def brightness(picture: Image.Image, factor: float, canvas: Canvas | None = None) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(factor)


def sharpness(picture: Image.Image, factor: float, canvas: Canvas) -> Image.Image:
    return ImageEnhance.Sharpness(picture).enhance(factor)


def hue(picture: Image.Image, turns: float) -> Image.Image:
    """Greys have none, and stay."""
    if len(picture.getbands()) == 1:
        return picture
    angle, strength, value = picture.convert("HSV").split()
    step = int(turns * 255)
    angle = angle.point([(place + step) % 256 for place in range(256)])
    return Image.merge("HSV", (angle, strength, value)).convert(picture.mode)


OPERATIONS: Mapping[str, Operation] = {
    "shear-x": shear_x,
    "shear-y": shear_y,
    "translate-x": translate_x,
    "translate-y": translate_y,
    "rotate": rotate,
    "autocontrast": autocontrast,
    "equalise": equalise,
    "invert": invert,
    "solarise": solarise,
    "solarise-add": solarise_add,
    "posterise": posterise,
    "colour": colour,
    "contrast": contrast,
    "brightness": brightness,
    "sharpness": sharpness,
}
