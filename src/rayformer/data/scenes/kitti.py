"""KITTI odometry: a street drive. poses.txt and calib.txt beside the left grey pictures in image_l/ or
image_0/.

A line of poses.txt is a 3 x 4 matrix, camera-to-world with OpenCV axes (x right, y down, z ahead), in metres;
axes are turned to OpenGL. The first row of calib.txt is the camera's 3 x 4 projection matrix, with pixel
centres at whole numbers; half a pixel is added.
"""

from pathlib import Path

import numpy as np
import torch

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Capture, Photo, images_in, name_of
from rayformer.data.scenes.images import picture_size
from rayformer.geometry.cameras import Camera

FORMAT = "KITTI odometry"
PICTURES = ("image_l", "image_0")


def read_kitti(folder: Path) -> Capture:
    """All pictures of one drive. Raises DataError by file, with both counts where they differ."""
    poses = _matrices(folder / "poses.txt")
    projection = _matrices(folder / "calib.txt")[0]
    pictures = next((folder / name for name in PICTURES if (folder / name).is_dir()), None)
    if pictures is None:
        raise DataError(f"{folder}: no pictures in image_l/ or image_0/")
    images = images_in(pictures)
    if len(images) != len(poses):
        raise DataError(
            f"{folder}: {len(poses)} poses in poses.txt, but {len(images)} pictures in {pictures.name}/.\n"
            "Poses belong to pictures by the order of their names, so the two must be as many."
        )
    photos = []
    for matrix, image in zip(poses, images, strict=True):
        width, height = picture_size(image)
        pose = np.vstack([matrix, [0, 0, 0, 1]]) * [1, -1, -1, 1]  # y down -> y up, z ahead -> z back
        (fx, _, cx, _), (_, fy, cy, _), _ = projection.tolist()
        camera = Camera(width, height, fx, fy, cx + 0.5, cy + 0.5, torch.from_numpy(pose))
        photos.append(Photo(name_of(image, folder), image, camera))
    return Capture(FORMAT, photos)


def _matrices(path: Path) -> np.ndarray:
    """The 3 x 4 matrices of a file, one per line, with or without a name (P0:) in front."""
    try:
        lines = [line.split(":")[-1].split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        try:
            if len([float(value) for value in line]) != 12:
                raise ValueError
        except ValueError:
            raise DataError(
                f"{path}: line {number} must hold 12 numbers, a 3 x 4 matrix, but holds {len(line)} words"
            ) from None
    if not lines:
        raise DataError(f"{path}: is empty")
    return np.array(lines, dtype=np.float64).reshape(-1, 3, 4)
