"""A drawn place that structure from motion can work with: a corner of three walls with a box in it, papered
all over with random blots. Its cameras are known exactly."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays, pixel_grid

LENS = Lens(k1=-0.06)


@dataclass(frozen=True)
class Face:
    corner: tuple[float, float, float]
    across: tuple[float, float, float]
    upward: tuple[float, float, float]
    paper: int
    """Seed of what is on it."""


FACES = (
    Face((-3, -3, 0), (6, 0, 0), (0, 6, 0), 0),  # the floor
    Face((-3, 3, 0), (6, 0, 0), (0, 0, 4), 1),  # behind
    Face((-3, -3, 0), (0, 6, 0), (0, 0, 4), 2),  # on the left
    Face((-0.6, -0.6, 0), (1.2, 0, 0), (0, 0, 1.2), 3),  # a box: front, right, back, left, top
    Face((0.6, -0.6, 0), (0, 1.2, 0), (0, 0, 1.2), 4),
    Face((-0.6, 0.6, 0), (1.2, 0, 0), (0, 0, 1.2), 5),
    Face((-0.6, -0.6, 0), (0, 1.2, 0), (0, 0, 1.2), 6),
    Face((-0.6, -0.6, 1.2), (1.2, 0, 0), (0, 1.2, 0), 7),
)


@cache
def paper(seed: int, size: int = 512) -> np.ndarray:
    """Blots of all sizes, so that there is something to hold on to from near and from far."""
    draw = np.random.default_rng(seed)
    total = np.zeros((size, size, 3), np.float32)
    for cells in (8, 16, 32, 64, 128):
        grain = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), np.uint8))
        total += np.asarray(grain.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    total -= total.mean()
    return np.clip(128 + 45 * total / total.std(), 0, 255)


def arc(
    count: int, width: int = 480, height: int = 360, lens: Lens = LENS, degrees: float = 70.0
) -> list[Camera]:
    """Cameras before the corner, on an arc of so many degrees, rising and falling, all looking at the box."""
    cameras = []
    for number in range(count):
        share = number / max(1, count - 1)
        angle = math.radians(-45 + degrees * (share - 0.5))
        place = (4.5 * math.cos(angle), 4.5 * math.sin(angle), 1.8 + 0.5 * math.sin(5 * share))
        pose = look_at(place, (0, 0, 0.6))
        cameras.append(Camera(width, height, 0.9 * width, 0.9 * width, width / 2, height / 2, pose, lens))
    return cameras


def photograph(camera: Camera) -> np.ndarray:
    """What a camera sees, as bytes."""
    rays = camera_rays(camera, pixel_grid(camera.width, camera.height))
    start, way = rays.origins.numpy(), rays.directions.numpy()
    nearest = np.full(len(way), np.inf)
    colours = np.full((len(way), 3), 60.0)
    for face in FACES:
        corner, across, upward = map(np.array, (face.corner, face.across, face.upward))
        normal = np.cross(across, upward)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = ((corner - start) @ normal) / (way @ normal)
            place = start + t[:, None] * way - corner
            u, v = place @ across / (across @ across), place @ upward / (upward @ upward)
            hit = (t > 0) & (t < nearest) & (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        scale = 512 / 6 / 0.5  # texels per unit: the same on every face
        x, y = (scale * u * np.linalg.norm(across))[hit], (scale * v * np.linalg.norm(upward))[hit]
        colours[hit] = _looked_up(paper(face.paper), x % 511, y % 511)
        nearest[hit] = t[hit]
    return np.rint(colours).astype(np.uint8).reshape(camera.height, camera.width, 3)


def _looked_up(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    left, top = x.astype(int), y.astype(int)
    a, b = (x - left)[:, None], (y - top)[:, None]
    upper = texture[top, left] * (1 - a) + texture[top, left + 1] * a
    lower = texture[top + 1, left] * (1 - a) + texture[top + 1, left + 1] * a
    return upper * (1 - b) + lower * b


def save(folder: Path, cameras: list[Camera]) -> Path:
    """A photograph of each camera: photo_1.jpg and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, camera in enumerate(cameras, start=1):
        Image.fromarray(photograph(camera)).save(folder / f"photo_{number}.jpg", quality=92)
    return folder


def poses(cameras: list[Camera]) -> torch.Tensor:
    return torch.stack([camera.pose for camera in cameras])
