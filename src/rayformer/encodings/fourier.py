"""Fourier features: a coordinate as waves of doubling frequency, so that a network can paint fine detail.

A network fed raw coordinates learns smooth functions first and fine ones hardly ever; fed sin(2^k p) and
cos(2^k p) it finds every scale at hand (NeRF, https://arxiv.org/abs/2003.08934, eq. 4 and sec. 5.1).

The paper and its released code differ, and both can be had:

                     the code (our default)              the paper
    frequency        2^k                                 2^k pi
    raw coordinate   included: 3 + 60 = 63 features      left out: 60

The code's form is the default: the published results were made with it, and it can tell all places apart.
With the factor pi and without the raw coordinate, p = -1 and p = +1 have the same features: in a scene that
fills [-1, 1], opposite walls would have to look alike.

Order of the features: raw coordinates, then all sines, then all cosines, each axis by axis, octave by
octave. (The released code interleaves sines and cosines octave by octave: a permutation, which matters only
to published weights, and costs twice the time in strided writes.)

    FourierEncoding    octaves along each axis, as above
    WaveEncoding       waves of any direction and frequency: v -> (cos 2 pi B v, sin 2 pi B v)
    basic_waves        B is one wave along each axis                                 Tancik et al. 2020, sec.
    6 positional_waves   B has waves along each axis, from slow to fast
    gaussian_waves     B is drawn from a normal distribution

The second kind is that of Tancik et al. 2020, https://arxiv.org/abs/2006.10739, whose mappings differ in
nothing but the matrix B. A row of B is one wave: how many periods it has per unit along each axis.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError


class FourierEncoding(nn.Module):
    """p -> (p, sin 2^0 p, sin 2^1 p, ..., cos 2^0 p, cos 2^1 p, ...), for each of `dims` axes.

    With no octaves it is the identity: the "no positional encoding" of the ablations, raw coordinates only.
    Raises ConfigError for a negative number of octaves, and where nothing would be left to encode.
    """

    frequencies: Float[Tensor, "octaves"]

    def __init__(self, dims: int, octaves: int, *, include_input: bool = True, pi: bool = False):
        super().__init__()
        if octaves < 0:
            raise ConfigError(f"An encoding has 0 octaves or more, but was asked for {octaves}.")
        if octaves == 0 and not include_input:
            raise ConfigError(
                "An encoding with 0 octaves and without the raw input has no features. "
                "Give it octaves, or include the input."
            )
        self.include_input = include_input
        self.size = dims * (2 * octaves + include_input)
        """Features per point."""
        unit = math.pi if pi else 1.0
        self.register_buffer("frequencies", unit * 2.0 ** torch.arange(octaves), persistent=False)

    def forward(self, points: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch features"]:
        """The features of each point, in float32 (float64 if the points are), under bf16 autocast too.

        bf16 keeps 8 bits of mantissa. The phase 2^9 p of a point near 1 would be off by up to one radian,
        which is noise, not a wave; so the phases are made in float32, where multiplying by a power of two
        is exact. The features lie in [-1, 1] and may be rounded: the first layer does so as it multiplies.

        Each octave gets its own sine and cosine. The double-angle recurrence (sin 2a = 2 sin a cos a) would
        save them, but doubles its error with each octave, about 2^octaves times 1e-7 at the end; and the
        sines are one hundredth of a training step.
        """
        points = points.to(torch.promote_types(points.dtype, torch.float32))
        if len(self.frequencies) == 0:
            return points
        phases = (points[..., None] * self.frequencies.to(points.dtype)).flatten(-2)
        waves = [phases.sin(), phases.cos()]
        return torch.cat([points, *waves] if self.include_input else waves, dim=-1)


class WaveEncoding(nn.Module):
    """v -> (cos 2 pi B v, sin 2 pi B v) for the rows of B: first all cosines, then all sines (eq. 5, with
    every amplitude 1).

    B is not learned, but it is drawn, so it is kept with the weights.
    """

    waves: Float[Tensor, "waves dims"]

    def __init__(self, waves: Float[Tensor, "waves dims"]):
        super().__init__()
        self.size = 2 * len(waves)
        """Features per point."""
        self.register_buffer("waves", waves)

    def forward(self, points: Float[Tensor, "points dims"]) -> Float[Tensor, "points features"]:
        """The features of each point, in float32 (float64 if the points are), under bf16 autocast too: a
        phase of a hundred periods, kept to 8 bits, is noise."""
        points = points.to(torch.promote_types(points.dtype, torch.float32))
        with torch.autocast(points.device.type, enabled=False):
            phases = points @ (2 * math.pi * self.waves.to(points.dtype)).T
        return torch.cat([phases.cos(), phases.sin()], dim=-1)


def basic_waves(dims: int) -> Float[Tensor, "waves dims"]:
    """One period per unit along each axis: the coordinates wrapped round a circle."""
    return torch.eye(dims)


def positional_waves(dims: int, count: int, octaves: int | float) -> Float[Tensor, "waves dims"]:
    """About `count` waves, as many along each axis, from 1 to 2^octaves periods per unit in equal ratios."""
    each = max(1, count // dims)
    frequencies = 2.0 ** torch.linspace(0, float(octaves), each)
    return (torch.eye(dims)[:, None] * frequencies[:, None]).flatten(0, 1)


def gaussian_waves(dims: int, count: int, sigma: int | float) -> Float[Tensor, "waves dims"]:
    """`count` waves of random directions: periods per unit along each axis are N(0, sigma^2).

    Drawn from torch's global generator, as modules draw their weights.
    """
    return float(sigma) * torch.randn(count, dims)
