"""LLFF: poses_bounds.npy, one row of 17 numbers for each photograph, in the order of the sorted names.

Fifteen numbers are a 3 x 5 matrix: camera-to-world with the axes [down, right, back], then [height, width,
focal] as its last column; two are the distances of the nearest and the farthest thing along the optical axis.
The axes are turned to OpenGL [right, up, back]; focal lengths are in pixels of the size in the matrix.
Photographs lie in images/ or a scaled images_4/, masks (white counts) under the same names in masks/.
"""

from pathlib import Path

import numpy as np
import torch

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Capture, Photo, find_mask, images_in, name_of, sensible
from rayformer.data.scenes.colmap import incomplete_remark, models_in
from rayformer.geometry.cameras import Camera

FORMAT = "LLFF"


def read_llff(path: Path) -> Capture:
    """The photographs beside a poses_bounds.npy. Raises DataError by file, with both counts where they
    differ."""
    rows = _rows(path)
    pictures = _pictures_beside(path)
    images = images_in(pictures)
    if len(images) != len(rows):
        raise DataError(
            f"{path}: {len(rows)} poses, but {len(images)} photographs in {pictures.name}/.\n"
            "Rows belong to photographs by the order of their names, so the two must be as many."
        )
    photos = [_photo(row, image, path.parent) for row, image in zip(rows, images, strict=True)]
    complete, incomplete = models_in(path.parent)
    remarks = [incomplete_remark(place) for place in incomplete]
    if complete:
        where = complete[0].relative_to(path.parent)
        remarks.append(f"there is a COLMAP model too; to read that one, give {where} as the source")
    return Capture(FORMAT, photos, remarks=remarks)


def _rows(path: Path) -> np.ndarray:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a NumPy array of numbers ({error})") from error
    if rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind != "f":
        raise DataError(f"{path}: must have 17 columns of numbers, but has the shape {rows.shape}")
    return rows.astype(np.float64)


def _pictures_beside(path: Path) -> Path:
    """images/, or else the least scaled of images_2/, images_4/, ..."""
    scaled = [place for place in path.parent.glob("images_*") if place.name[7:].isdigit()]
    places = [path.parent / "images", *sorted(scaled, key=lambda place: int(place.name[7:]))]
    for place in places:
        if place.is_dir() and images_in(place):
            return place
    raise DataError(f"{path}: no photographs beside it, in images/ or a scaled images_4/")


def _photo(row: np.ndarray, image: Path, folder: Path) -> Photo:
    matrix, (near, far) = row[:15].reshape(3, 5), row[15:]
    down, right, back, position, (height, width, focal) = matrix.T
    pose = np.eye(4)
    pose[:3] = np.stack([right, -down, back, position], axis=1)
    width, height, focal = float(width), float(height), float(focal)
    camera = Camera(round(width), round(height), focal, focal, width / 2, height / 2, torch.from_numpy(pose))
    # Depth along the axis bounds the distance along a ray from below; at a corner the ray is longer.
    corner = float(np.sqrt(1 + (width**2 + height**2) / (2 * focal) ** 2))
    return Photo(
        name=name_of(image, folder),
        image=image,
        camera=camera,
        mask=find_mask(folder / "masks", image),
        distances=sensible(float(near), float(far) * corner),
    )
