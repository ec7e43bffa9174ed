"""Photographs from files into arrays of bytes, whatever the file looks like.

    picture_size   width and height, from the file's head alone
    has_alpha      whether any of its pixels may be transparent, likewise
    read_picture   all pixels: uint8, three channels or four
    read_mask      which pixels count
    cut_out        the others made transparent
    area_scale     each new pixel is the mean of the area that it covers
    area_weights   the shares that old pixels have in new ones, along one axis
    resample       what a camera without a lens would have seen

16-bit greys lose their low byte, grey becomes colour, palettes are looked up. Means are taken of the stored
(sRGB) values, as all published numbers in this field are, and of colour times alpha where there is alpha, so
that what is invisible does not leak.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.images.decode import (
    SIDEWAYS,
    eight_bits,
    loaded,
    opened,
    orientation,
    transparent,
    upright,
)
from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import distort
from rayformer.geometry.rays import pixel_grid


def picture_size(path: Path, stated: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height as the photograph should be looked at; `stated` is the size that its camera claims.

    Raises DataError for a file that is no picture, MissingExtra for HEIC without its reader.
    """
    with opened(path) as picture:
        width, height = picture.size
        return (height, width) if _turns(picture, stated) in SIDEWAYS else (width, height)


def has_alpha(path: Path) -> bool:
    with opened(path) as picture:
        return transparent(picture)


def read_picture(
    path: Path, stated: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "height width channels"]:
    """All pixels, upright: RGB, or RGBA with straight alpha. Raises as `picture_size`; also if it is torn."""
    with opened(path) as picture:
        turns = _turns(picture, stated)
        loaded(picture)
        if picture.mode.startswith("I"):  # 16 bits of grey
            picture = Image.fromarray(eight_bits(picture))
        picture = picture.convert("RGBA" if transparent(picture) else "RGB")
        return np.array(upright(picture, turns))


def read_mask(path: Path, width: int, height: int) -> Bool[np.ndarray, "height width"]:
    """Which pixels count, at the size wanted: those at least half white. Raises as `read_picture`."""
    grey = read_picture(path)[..., :3].max(axis=2, keepdims=True)
    if grey.shape[0] * width != grey.shape[1] * height and _far_from_scaled(grey.shape, width, height):
        raise DataError(
            f"{path}: the mask is {grey.shape[1]} x {grey.shape[0]} pixels and does not fit its photograph\n"
            f"of {width} x {height}. Masks must have the shape of their photographs."
        )
    return area_scale(grey, width, height)[..., 0] >= 128


def cut_out(
    picture: UInt8[np.ndarray, "height width channels"], kept: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 4"]:
    """The picture with its pixels transparent that are not kept."""
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.full_like(picture[..., :1], 255)
    return np.concatenate([picture[..., :3], alpha * kept[..., None]], axis=2)


def _far_from_scaled(shape: tuple[int, ...], width: int, height: int) -> bool:
    """Whether no rounding to whole pixels explains that the shapes differ."""
    return abs(shape[1] * height - shape[0] * width) > max(width, height, *shape[:2])


def _turns(picture: Image.Image, stated: tuple[int, int] | None) -> int:
    """The EXIF orientation to apply. A camera that states the unturned size was fitted to unturned pixels."""
    turns = orientation(picture)
    unturned = stated == picture.size and picture.size[0] != picture.size[1]
    return 1 if turns in SIDEWAYS and unturned else turns


def area_scale(
    picture: UInt8[np.ndarray, "height width channels"], width: int, height: int
) -> UInt8[np.ndarray, "_ _ channels"]:
    """The picture at another size: each new pixel is the mean of the area it covers, fractions included.

    With four channels, colours are weighted by alpha: a transparent red pixel beside an opaque white one
    gives half-transparent white.
    """
    if picture.shape[:2] == (height, width):
        return picture
    values = torch.from_numpy(picture.astype(np.float32))
    alpha = values[..., 3:] / 255
    if alpha.numel():
        values[..., :3] *= alpha
    values = torch.einsum("ah,hwc->awc", area_weights(picture.shape[0], height), values)
    values = torch.einsum("bw,awc->abc", area_weights(picture.shape[1], width), values)
    if alpha.numel():
        values[..., :3] /= (values[..., 3:] / 255).clamp(min=1e-6)
    return values.round().clamp(0, 255).byte().numpy()


def area_weights(old: int, new: int) -> Float[Tensor, "_ _"]:
    """Row by row, the share that each old pixel has in a new one: overlap of intervals on one axis."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    starts = torch.arange(old, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], starts + 1) - torch.maximum(edges[:-1, None], starts)
    return (overlap.clamp(min=0) * (new / old)).float()


def resample(
    picture: UInt8[np.ndarray, "height width channels"], seen_by: Camera, wanted: Camera
) -> tuple[UInt8[np.ndarray, "_ _ channels"], Bool[np.ndarray, "_ _"]]:
    """What the pinhole `wanted` would have seen in place of `seen_by`, which has a lens; both share one pose.

    Bilinear. The second array tells which pixels the photograph covers at all; the others are black.
    """
    plane = (pixel_grid(wanted.width, wanted.height) - wanted.intrinsics[2:]) / wanted.intrinsics[:2]
    source = distort(plane, seen_by.lens.coefficients[None]) * seen_by.intrinsics[:2] + seen_by.intrinsics[2:]
    size = torch.tensor([seen_by.width, seen_by.height], dtype=torch.float64)
    grid = (2 * source / size - 1).view(1, wanted.height, wanted.width, 2).float()
    covered = (grid.abs() <= 1).all(dim=-1)[0]
    values = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    if values.shape[1] == 4:
        values[:, :3] *= values[:, 3:] / 255
    seen = torch.nn.functional.grid_sample(values, grid, padding_mode="border", align_corners=False)[0]
    if seen.shape[0] == 4:
        seen[:3] /= (seen[3:] / 255).clamp(min=1e-6)
    seen = (seen * covered).permute(1, 2, 0).round().clamp(0, 255).byte()
    return seen.numpy(), covered.numpy()
