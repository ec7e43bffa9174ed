"""Drawn photographs for the tests of transforms."""

import io

import numpy as np
import torch
from PIL import Image


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def soft(width: int, height: int, seed: int = 0) -> Image.Image:
    """Colours that change slowly: about the same at any size."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (5, 6, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def ramps(width: int, height: int) -> Image.Image:
    """Red says how far to the right a pixel lies, green how far down: where a pixel came from can be read."""
    across = np.arange(width, dtype=np.uint8) + np.zeros((height, 1), np.uint8)
    down = np.arange(height, dtype=np.uint8)[:, None] + np.zeros(width, np.uint8)
    return Image.fromarray(np.stack([across, down, np.full_like(across, 255)], axis=2))


def written(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
