"""A section of a head, drawn with ellipses, so that everything about it is known exactly.

    Ellipse          where it lies, and by how much it changes the density inside
    HEAD             ours, in the manner of Shepp and Logan 1974: bone, tissue, cavities, small spots
    density          of ellipses at places
    line_integrals   the same along lines: what a tomograph measures
    section          its pixels, each the mean of what it covers
    shadows          its line integrals from many sides
    back_projection  the usual way back, against which a learned one is measured

The section is [-1, 1] x [-1, 1] with y upwards; pictures have row 0 on top.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rayformer.data.signals.signal import Shadows


@dataclass(frozen=True)
class Ellipse:
    density: float
    """Added to that of all ellipses below."""
    x: float
    y: float
    across: float
    """Half axis along its own x, before it is turned."""
    along: float
    degrees: float = 0.0
    """By which it is turned, counter-clockwise."""


HEAD = (
    Ellipse(1.0, 0.0, 0.0, 0.70, 0.90),  # bone
    Ellipse(-0.75, 0.0, -0.01, 0.645, 0.845),  # tissue
    Ellipse(-0.20, 0.23, 0.05, 0.12, 0.30, -16.0),  # cavities
    Ellipse(-0.20, -0.24, 0.03, 0.15, 0.36, 19.0),
    Ellipse(0.15, 0.0, 0.42, 0.20, 0.20),
    Ellipse(0.25, -0.02, -0.12, 0.05, 0.05),
    Ellipse(0.25, 0.0, -0.30, 0.04, 0.04),
    Ellipse(0.35, -0.16, -0.62, 0.06, 0.03),
    Ellipse(0.35, 0.0, -0.62, 0.025, 0.025),
    Ellipse(0.35, 0.14, -0.62, 0.03, 0.055, 30.0),
    Ellipse(0.45, 0.40, -0.36, 0.035, 0.11, -25.0),
    Ellipse(0.55, -0.42, 0.46, 0.02, 0.02),
)


def density(
    ellipses: Sequence[Ellipse], x: Float[np.ndarray, "*shape"], y: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """The sum of the ellipses that each place lies in."""
    total = np.zeros_like(x)
    for one in ellipses:
        c, s = math.cos(math.radians(one.degrees)), math.sin(math.radians(one.degrees))
        u = (c * (x - one.x) + s * (y - one.y)) / one.across
        v = (c * (y - one.y) - s * (x - one.x)) / one.along
        total += one.density * (u * u + v * v <= 1)
    return total


def line_integrals(
    ellipses: Sequence[Ellipse],
    angles: Float[np.ndarray, "angles"],
    offsets: Float[np.ndarray, "detectors"],
) -> Float[np.ndarray, "angles detectors"]:
    """The density along each line, exactly: a chord is 2 a b sqrt(w^2 - d^2) / w^2 long, where d is the
    line's distance from the ellipse's middle and w is half the ellipse's width as seen along the line."""
    total = np.zeros((len(angles), len(offsets)))
    for one in ellipses:
        own = angles[:, None] - math.radians(one.degrees)
        away = offsets - one.x * np.cos(angles)[:, None] - one.y * np.sin(angles)[:, None]
        seen = (one.across * np.cos(own)) ** 2 + (one.along * np.sin(own)) ** 2
        total += one.density * 2 * one.across * one.along * np.sqrt(np.clip(seen - away**2, 0, None)) / seen
    return total


def section(ellipses: Sequence[Ellipse], size: int, finer: int = 8) -> Float[np.ndarray, "height width"]:
    """`size` x `size` pixels, each the mean of `finer` x `finer` places in it."""
    axis = (np.arange(size * finer) + 0.5) / (size * finer) * 2 - 1
    values = density(ellipses, *np.broadcast_arrays(axis[None], -axis[:, None]))
    return values.reshape(size, finer, size, finer).mean(axis=(1, 3))


def shadows(ellipses: Sequence[Ellipse], angles: int, detectors: int) -> Shadows:
    """Looked through from `angles` sides, along a line for every pixel across the section."""
    turns = np.arange(angles) * (math.pi / angles)
    offsets = (np.arange(detectors) + 0.5) / detectors * 2 - 1
    return Shadows(turns, offsets, line_integrals(ellipses, turns, offsets))


def back_projection(seen: Shadows, size: int) -> Float[np.ndarray, "height width"]:
    """Filtered back-projection: each shadow sharpened by the ramp |frequency|, then smeared back along its
    lines, all of them added.

    The ramp is the Fourier transform of its own band-limited form in space (1/4 in the middle, -1 / (pi n)^2
    at odd n, nothing at even ones), which keeps the mean of the picture where the plain |frequency| loses it.
    """
    detectors = len(seen.offsets)
    step = 2 / detectors
    padded = 2 ** math.ceil(math.log2(2 * detectors))
    n = np.fft.fftfreq(padded, 1 / padded)
    odd = n % 2 == 1
    kernel = np.zeros(padded)
    kernel[0] = 0.25
    kernel[odd] = -1 / (np.pi * n[odd]) ** 2
    ramp = np.fft.rfft(kernel).real / step
    sharp = np.fft.irfft(np.fft.rfft(seen.integrals, padded, axis=1) * ramp, padded, axis=1)[:, :detectors]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.broadcast_arrays(axis[None], -axis[:, None])
    picture = np.zeros((size, size))
    for angle, line in zip(seen.angles, sharp, strict=True):
        across = x * math.cos(angle) + y * math.sin(angle)
        picture += np.interp(across, seen.offsets, line, left=0, right=0)
    return picture * (math.pi / len(seen.angles))
