"""A signal: numbers on a regular lattice of coordinates, to be learned as a function of them.

    SignalConfig   what a person may choose about it
    Signal         a picture, a sound, a video or a section of a body: its samples and what they are
    Shadows        all that is measured of a section: line integrals
    places_of      the coordinates of samples, also of samples that the data do not have
    Shape          what a finished run must know of its signal without the data

Coordinates are sample numbers divided by the samples along the longest axis, in the order x, y, t: the
longest axis runs over [0, 1) without its end, a pixel is square, and a frame lies as far from the next as a
pixel.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rayformer.core.errors import ConfigError

Kind = Literal["picture", "sound", "video", "tomogram"]


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    source: str = "demo"
    """A picture, a sound, a video or a folder of its frames; or a name: demo (a landscape), text, sound,
    video, phantom, sines, all drawn; hopper and, with the extra mesh, astronaut, chelsea, coffee, rocket."""
    width: int | None = None
    """Scale pictures and videos down to this many pixels across, each the mean of the area it covers; of the
    phantom, its size (128). none keeps them."""
    start: float = 0.0
    """Where a sound begins, in seconds."""
    seconds: float | None = None
    """How much of a sound is taken; none takes all."""
    frames: int | None = None
    """How many frames of a video are taken, from its beginning; none takes all."""
    angles: int = 32
    """Directions from which a section is looked through, evenly spread over half a turn."""
    held_out: bool = True
    """Learn from the even samples along every axis and measure at the odd ones; no-held-out learns from all
    and measures at the same. A section has nothing to hold out: it is learned from its shadows."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of a drawn or shipped signal, and no path."""
        from rayformer.data.signals.drawn import NAMES  # which are signals themselves

        known = re.fullmatch(r"([a-z]+)(-\d+)?", self.source)
        return known is not None and known[1] in NAMES

    def __post_init__(self):
        for name, least in [("width", 1), ("frames", 1), ("angles", 2)]:
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"data.{name} must be at least {least}, but is {value}.")
        if not 0 <= self.start < math.inf:
            raise ConfigError(f"data.start must be 0 seconds or more, but is {self.start:g}.")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ConfigError(f"data.seconds must be above 0, but is {self.seconds:g}.")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the samples of a signal are, without the samples."""

    kind: Kind
    sizes: tuple[int, ...]
    """Samples along each axis as arrays have them: (height, width), (samples,), (frames, height, width)."""
    channels: int
    rate: float | None = None
    """Samples of a sound or frames of a video per second."""

    @property
    def dims(self) -> int:
        return len(self.sizes)

    @property
    def longest(self) -> int:
        return max(self.sizes)

    def __str__(self) -> str:
        match self.kind:
            case "sound":
                return f"{self.sizes[0]:,} samples, {self.rate:g} per second"
            case "video":
                frames, height, width = self.sizes
                return f"{frames} frames of {width} x {height} pixels, {self.rate:g} per second"
            case _:
                return f"{self.sizes[1]} x {self.sizes[0]} pixels"


@dataclass(frozen=True, eq=False)
class Shadows:
    """A section of a body, looked through along parallel lines. Lengths are in half sides of the section,
    which is [-1, 1] x [-1, 1] with y upwards; a line of angle a and offset s is the places
    (x, y) = s (cos a, sin a) + t (-sin a, cos a)."""

    angles: Float[np.ndarray, "angles"]
    """In radians, from 0 up to half a turn."""
    offsets: Float[np.ndarray, "detectors"]
    """Of the lines from the middle of the section."""
    integrals: Float[np.ndarray, "angles detectors"]
    """Of the density along each line."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Signal:
    source: str
    format: str
    """What it was read as."""
    shape: Shape
    values: Float[np.ndarray, "*shape channels"]
    """float32: colours as stored, in [0, 1]; amplitudes in [-1, 1]; densities, 0 and above."""
    remarks: tuple[str, ...] = ()
    fingerprint: str
    """Changes with every sample."""
    tones: tuple[int, ...] = ()
    """Periods per unit of the sines that a drawn signal is made of, where that is known."""
    shadows: Shadows | None = None
    """Of a tomogram: what it is learned from, while `values` are only measured against."""


def places_of(shape: Shape, sizes: tuple[int, ...] | None = None) -> Float[Tensor, "points dims"]:
    """The coordinates of all samples, in the order in which `values` has them; float32.

    `sizes` asks for another number of samples along each axis: each then stands in the middle of as large a
    share of the signal as there are of them, as the pixels of a picture do that was scaled.
    """
    axes = []
    for old, new in zip(shape.sizes, sizes or shape.sizes, strict=True):
        index = (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5
        axes.append((index / shape.longest).float())
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([axis.flatten() for axis in reversed(grid)], dim=-1)


def parity(shape: Shape, odd: bool) -> Bool[Tensor, "points"]:
    """Which samples have an even number along every axis, or an odd one: a quarter of a picture's each."""
    held = torch.ones(1, dtype=torch.bool)
    for size in shape.sizes:
        along = (torch.arange(size) % 2 == 1) == odd
        held = (held[:, None] & along).flatten()
    return held
