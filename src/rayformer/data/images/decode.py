"""Pictures from files or bytes, whatever they look like, as a person sees them.

    opened         the head read and the pixels not yet; what is no picture is refused in words
    orientation    how the camera was held; upright_size, width and height as a person sees them
    loaded         the pixels read; what is torn is refused in words
    rgb            pixels of any kind as RGB
    upright        turned as the camera was held
    decode         all of it

16-bit greys lose their low byte, palettes are looked up, CMYK is mixed, transparent pixels are seen before
white; of an animation the first frame counts. All rooms that read pictures read them through this file.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from rayformer.core.errors import DataError, MissingExtra

Source = str | Path | bytes | UInt8[np.ndarray, "height width channels"]
"""A file, what is in one, or pixels of one channel (grey) or three."""
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that turn a photograph by a quarter."""
COPY_AGAIN = "Copy it again from where it came, or leave that photograph out."
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def opened(source: Source, name: str | None = None) -> Image.Image:
    """The picture with its pixels still in the file; use it in a `with`. `name` is what errors call it.

    Raises DataError for what is no picture or claims to be enormous, MissingExtra for HEIC without its
    reader.
    """
    if isinstance(source, np.ndarray):
        return Image.fromarray(source[..., 0] if source.shape[2] == 1 else source)
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    if not isinstance(source, bytes) and str(source).lower().endswith((".heic", ".heif")):
        _learn_heif(name)
    try:
        try:
            picture = _open(source)
        except UnidentifiedImageError:
            if not _holds_heif(source):
                raise
            _learn_heif(name)
            picture = _open(source)
    except MissingExtra:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a picture that can be read.\n{COPY_AGAIN}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"{name}: claims to hold more than {most:,} pixels, as files do that are made to fill memory.\n"
            "Scale it down, or leave it out."
        ) from error
    except OSError as error:
        raise DataError(f"{name}: the picture cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a head full of nonsense makes readers stumble in a dozen ways
        raise DataError(f"{name}: not a picture that can be read ({error}).\n{COPY_AGAIN}") from error
    picture.filename = name  # type: ignore[attr-defined]  # by which `loaded` calls it
    return picture


def _open(source: str | Path | bytes) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _holds_heif(source: str | Path | bytes) -> bool:
    """By the first bytes: telephones send HEIC under the names of JPEGs."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with open(source, "rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def _learn_heif(name: str) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra("heic", f"{name}: reading HEIC photographs") from error
    pillow_heif.register_heif_opener()


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright."""
    if picture.format == "PNG" and "exif" not in picture.info:
        return 1  # here Pillow would decode the whole picture in search of it
    return picture.getexif().get(ORIENTATION, 1)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height as a person sees them."""
    width, height = picture.size
    return (height, width) if orientation(picture) in SIDEWAYS else (width, height)


def loaded(picture: Image.Image) -> Image.Image:
    """The picture with its pixels. Raises DataError where the file ends early or is torn."""
    try:
        picture.load()
    except Exception as error:  # Pillow raises a dozen kinds, as deep as the tear lies
        raise DataError(
            f"{_name(picture)}: the picture is torn and cannot be decoded ({error}).\n{COPY_AGAIN}"
        ) from error
    return picture


def _name(picture: Image.Image) -> str:
    return getattr(picture, "filename", "") or "the picture"


def transparent(picture: Image.Image) -> bool:
    """Whether some of its pixels may be."""
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def eight_bits(picture: Image.Image) -> UInt8[np.ndarray, "height width"]:
    """A grey of 16 bits without its low byte."""
    return (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)


def rgb(picture: Image.Image) -> Image.Image:
    """Any kind of pixels as RGB; transparent ones as they look before white.

    Raises DataError for kinds that have no agreed colours, such as floating point.
    """
    if picture.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray(eight_bits(picture)).convert("RGB")
    if transparent(picture):
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    if picture.mode == "RGB":
        return picture
    try:
        if picture.mode == "F":
            raise ValueError("floating point does not say which value is white")
        return picture.convert("RGB")
    except ValueError as error:
        raise DataError(
            f"{_name(picture)}: no colours can be made of its pixels ({error}).\n"
            "Save it with 8 or 16 bits to a channel, in RGB or grey."
        ) from error


def upright(picture: Image.Image, turns: int) -> Image.Image:
    """The picture turned out of the orientation `turns`."""
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(turns)
    if method is None:
        return picture
    turned = picture.transpose(method)
    turned.info = {}  # or what reads it next would turn it again
    return turned


def decode(source: Source, name: str | None = None) -> Image.Image:
    """All pixels in RGB, upright. Raises as `opened`, `loaded` and `rgb` do."""
    with opened(source, name) as picture:
        turns = orientation(picture)
        return upright(rgb(loaded(picture)), turns)
