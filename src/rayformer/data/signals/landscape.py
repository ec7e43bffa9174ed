"""A landscape that looks like a photograph to a network: smooth sky, rough rock, fine leaves, sharp edges.

    landscape    a picture of any size; another number, another landscape

Everything is a function of the place, drawn at four places for a pixel and averaged, so that sizes agree.
"""

import numpy as np
from jaxtyping import Float

FINER = 2
"""How many times as fine along each axis it is drawn."""


def landscape(size: int, number: int = 0) -> Float[np.ndarray, "height width 3"]:
    """`size` x `size` pixels, colours in [0, 1]."""
    draw = np.random.default_rng([number, 7])
    fine = size * FINER
    axis = (np.arange(fine) + 0.5) / fine
    x, y = np.broadcast_arrays(axis[None], axis[:, None])  # y downwards
    picture = _sky(x, y, draw)
    for layer, (base, rough, haze) in enumerate([(0.42, 0.16, 0.62), (0.52, 0.13, 0.36), (0.60, 0.08, 0.12)]):
        ridge = base + rough * (_noise(draw, axis * (3 + 2 * layer), axis * 0 + layer, octaves=7) - 0.5) * 2
        stone = _noise(draw, x * 14, y * 22 + 5 * layer, octaves=6)[..., None]
        rock = np.array([0.42, 0.38, 0.35]) * (0.45 + stone) + np.array([0.02, 0.08, 0.0]) * layer
        snow = np.clip((stone[..., 0] * 0.25 + ridge[None] + 0.06 - y) * 40, 0, 1)[..., None]
        rock = rock + (0.93 - rock) * snow * (layer == 0)
        rock = rock + (np.array([0.66, 0.75, 0.86]) - rock) * haze
        picture = np.where((y > ridge[None])[..., None], rock, picture)
    picture = _lake(x, y, picture, draw)
    picture = _meadow(x, y, picture, draw)
    return picture.clip(0, 1).reshape(size, FINER, size, FINER, 3).mean(axis=(1, 3))


def _sky(x: np.ndarray, y: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    blue = (
        np.array([0.22, 0.42, 0.78]) + (np.array([0.86, 0.88, 0.90]) - [0.22, 0.42, 0.78]) * y[..., None] * 2
    )
    sun_x, sun_y = draw.uniform(0.15, 0.85), draw.uniform(0.08, 0.2)
    away = np.hypot(x - sun_x, y - sun_y)[..., None]
    glow = np.exp(-away / 0.12) * np.array([0.5, 0.42, 0.2]) + (away < 0.035) * np.array([0.6, 0.5, 0.3])
    cloud = np.clip((_noise(draw, x * 5, y * 13, octaves=6) - 0.52) * 4, 0, 1)[..., None]
    return (blue + glow) * (1 - 0.8 * cloud) + 0.8 * cloud * (0.98 - 0.25 * y[..., None])


def _lake(x: np.ndarray, y: np.ndarray, picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """What stands above the shore, upside down and broken by ripples."""
    shore, size = 0.66, len(picture)
    below = np.clip(y - shore, 0, None)
    ripple = 0.010 * np.sin(380 * below**0.7 + 9 * _noise(draw, x * 6, y * 30, octaves=3))
    mirrored = (np.clip(2 * shore - y + ripple * below * 8, 0, 1) * size).astype(int).clip(0, size - 1)
    column = (x * size).astype(int).clip(0, size - 1)
    water = picture[mirrored, column] * [0.62, 0.74, 0.80] + [0.02, 0.05, 0.08]
    return np.where((y > shore)[..., None], water, picture)


def _meadow(x: np.ndarray, y: np.ndarray, picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Grass, flowers and firs in front."""
    edge = 0.80 + 0.05 * np.sin(5 * x + draw.uniform(0, 6)) + 0.012 * _noise(draw, x * 90, y * 6, octaves=2)
    blades = _noise(draw, x * 120, y * 28, octaves=3)[..., None]
    grass = np.array([0.22, 0.40, 0.12]) * (0.35 + 1.2 * blades) * (1.5 - 0.6 * y[..., None])
    picture = np.where((y > edge)[..., None], grass, picture)
    for _ in range(60):
        middle_x, middle_y = draw.uniform(0, 1), draw.uniform(0.86, 0.99)
        colour = draw.choice([[0.95, 0.85, 0.2], [0.95, 0.95, 0.95], [0.8, 0.2, 0.35]])
        inside = np.hypot(x - middle_x, (y - middle_y) * 1.6) < 0.004 + 0.008 * (middle_y - 0.8)
        picture = np.where(inside[..., None], colour, picture)
    fringe = 0.014 * (_noise(draw, x * 80, y * 80, octaves=3) - 0.5)
    needles = 0.4 + 0.9 * _noise(draw, x * 110, y * 110, octaves=2)[..., None]
    for _ in range(9):
        middle, foot, height = draw.uniform(0, 1), draw.uniform(0.80, 0.92), draw.uniform(0.16, 0.34)
        down = (y - foot + height) / height  # 0 at the top of the tree, 1 at its foot
        half = 0.16 * height * down * (0.55 + 0.45 * ((down * 9) % 1))
        inside = (down > 0) & (down < 1) & (np.abs(x - middle) < half + fringe)
        side = 1 + 0.5 * np.clip((x - middle) / (half + 1e-3), -1, 1)[..., None]
        picture = np.where(inside[..., None], np.array([0.10, 0.22, 0.13]) * needles * side, picture)
        trunk = (down >= 1) & (down < 1.05) & (np.abs(x - middle) < 0.01 * height * 3)
        picture = np.where(trunk[..., None], np.array([0.25, 0.17, 0.11]), picture)
    return picture


def _noise(draw: np.random.Generator, x: np.ndarray, y: np.ndarray, octaves: int) -> np.ndarray:
    """Rough at every scale: smoothly joined random numbers, half as high for twice as fine; about 0.5."""
    total, height = np.zeros(np.broadcast_shapes(x.shape, y.shape)), 0.5
    for octave in range(octaves):
        table = draw.random((257, 257))
        table[-1], table[:, -1] = table[0], table[:, 0]
        u, v = (x * 2**octave) % 256, (y * 2**octave) % 256
        i, j = u.astype(int), v.astype(int)
        a, b = u - i, v - j
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        top = table[j, i] * (1 - a) + table[j, i + 1] * a
        low = table[j + 1, i] * (1 - a) + table[j + 1, i + 1] * a
        total = total + height * (top * (1 - b) + low * b)
        height /= 2
    return total
