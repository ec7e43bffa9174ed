"""Signals by name: drawn here, or pictures that a package we depend on brings along. No download.

    DRAWN          every name, with what draws it
    SHIPPED        photographs by name, with the package that holds them
    words_picture  words on paper, in the manner of the text pictures of Tancik et al. 2020
    melody         some notes of a struck string
    juggling       a ball, a wheel and a cloth in the wind
    sines          a sum of sines of known frequencies, all equally strong

A name may carry a number (text-2, demo-3): another drawing of the same kind.
"""

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

from rayformer.core.errors import MissingExtra
from rayformer.data.signals.landscape import landscape
from rayformer.data.signals.signal import Kind

PICTURE_SIZE = 256
SOUND_RATE, VIDEO_RATE = 8000, 12
TONES = (1, 2, 4, 8, 16, 32)
"""Periods of the sines in `sines`."""

WORDS = """light ray field wave lens eye scene depth sharp edge pixel grid hash sine phase colour shade night
morning window river stone leaf cloud mirror orbit signal sample kernel spectrum fourier tangent aperture
shutter horizon parallax silhouette texture luminance gradient octave""".split()

NOTES = (261.6, 329.6, 392.0, 523.3, 440.0, 349.2, 293.7, 392.0)
"""Hz, four to a second."""


def words_picture(size: int, number: int = 0) -> Float[np.ndarray, "height width 3"]:
    """`size` x `size` pixels of words in Pillow's own font, of many sizes and colours, colours in [0, 1]."""
    draw = np.random.default_rng([number, 11])
    page = Image.new("RGB", (4 * size, 4 * size), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    top = 0.02
    while top < 0.98:
        height = float(draw.choice([0.16, 0.24, 0.36]))
        font = ImageFont.load_default(4 * size * height)
        left = float(draw.uniform(-0.05, 0.05))
        while left < 1:
            word = str(draw.choice(WORDS))
            ink = tuple(int(value) for value in draw.integers(0, 170, 3))
            pen.text((4 * size * left, 4 * size * top), word, fill=ink, font=font)
            left += font.getlength(word + " ") / (4 * size)
        top += height * 1.15
    pixels = np.asarray(page, np.float32).reshape(size, 4, size, 4, 3).mean(axis=(1, 3))
    return pixels / 255


def melody(seconds: float = 2.0, number: int = 0) -> Float[np.ndarray, "points"]:
    """Notes of a struck string, each with its overtones dying away; amplitudes in [-1, 1]."""
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    total = np.zeros_like(t)
    for place in range(math.ceil(seconds * 4)):
        since = t - place / 4
        pitch = NOTES[(place + 3 * number) % len(NOTES)]
        sounding = (
            (since >= 0) * np.exp(-5 * np.clip(since, 0, None)) * (1 - np.exp(-np.clip(since, 0, None) * 400))
        )
        for overtone in range(1, 1 + int(1500 // pitch)):
            swing = 2 * math.pi * overtone * pitch * since + 0.3 * np.sin(2 * math.pi * 5 * since)
            total += (
                sounding * np.sin(swing) * np.exp(-overtone * np.clip(since, 0, None) * 2) / overtone**1.2
            )
    return 0.9 * total / np.abs(total).max()


def juggling(size: int = 64, frames: int = 24, number: int = 0) -> Float[np.ndarray, "frames height width 3"]:
    """A ball that bounces before striped cloth, and a turning wheel; colours in [0, 1]."""
    axis = (np.arange(3 * size) + 0.5) / (3 * size)
    x, y = np.broadcast_arrays(axis[None], axis[:, None])
    film = []
    for frame in range(frames):
        t = frame / 24 + 0.37 * number
        fold = 0.5 + 0.5 * np.sin(30 * (x + 0.05 * np.sin(7 * y + 5 * t)))
        picture = np.array([0.55, 0.30, 0.28]) + fold[..., None] * np.array([0.25, 0.30, 0.22])
        picture = np.where((y > 0.82)[..., None], np.array([0.35, 0.25, 0.18]), picture)
        wheel = np.hypot(x - 0.26, y - 0.34)
        spoke = np.cos(6 * (np.arctan2(y - 0.34, x - 0.26) - 2 * t)) > 0.2
        picture = np.where((wheel < 0.2)[..., None], np.where(spoke, 0.92, 0.15)[..., None], picture)
        picture = np.where((np.abs(wheel - 0.2) < 0.02)[..., None], np.array([0.1, 0.1, 0.12]), picture)
        ball_x, ball_y = 0.66 + 0.2 * math.sin(2 * t), 0.72 - 0.45 * abs(math.sin(3.2 * t))
        u, v = (x - ball_x) / 0.11, (y - ball_y) / 0.11
        height = np.sqrt(np.clip(1 - u * u - v * v, 0, None))
        lit = 0.25 + 0.75 * np.clip(-0.5 * u - 0.6 * v + 0.62 * height, 0, 1)
        ball = np.array([0.20, 0.45, 0.90]) * lit[..., None]
        picture = np.where((u * u + v * v < 1)[..., None], ball, picture)
        film.append(picture.reshape(size, 3, size, 3, 3).mean(axis=(1, 3)))
    return np.stack(film)


def sines(samples: int = 512, number: int = 0) -> Float[np.ndarray, "points"]:
    """Sines of TONES periods with phases drawn at random, all of amplitude 1 / 6, at `samples` moments."""
    draw = np.random.default_rng([number, 13])
    t = np.arange(samples) / samples
    phases = draw.uniform(0, 2 * math.pi, len(TONES))
    waves = [np.sin(2 * math.pi * tone * t + phase) for tone, phase in zip(TONES, phases, strict=True)]
    return np.mean(waves, axis=0)


DRAWN: dict[str, tuple[Kind, Callable[[int], np.ndarray]]] = {
    "demo": ("picture", lambda number: landscape(PICTURE_SIZE, number)),
    "text": ("picture", lambda number: words_picture(PICTURE_SIZE, number)),
    "sound": ("sound", lambda number: melody(number=number)),
    "sines": ("sound", lambda number: sines(number=number)),
    "video": ("video", lambda number: juggling(number=number)),
}
"""What each name is, and its samples. The phantom is drawn where its size is known."""

SHIPPED = {
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
NAMES = (*DRAWN, "phantom", *SHIPPED)
"""What data.source can name: phantom is the section of a head, drawn in `phantom`."""


def shipped_picture(name: str) -> Path:
    """The file of a photograph that a package brings. Raises MissingExtra where the package is not there."""
    package, inside = SHIPPED[name]
    found = find_spec(package)  # found, not imported
    path = (
        Path(found.submodule_search_locations[0]) / inside
        if found and found.submodule_search_locations
        else None
    )
    if path is None or not path.is_file():
        raise MissingExtra("mesh", f"the photograph {name!r}, which scikit-image brings,")
    return path
