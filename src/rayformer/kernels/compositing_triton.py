"""Packed compositing as Triton kernels for CUDA devices. What it computes stands in `compositing`.

A program takes one ray and walks it in blocks of samples; within a block sums along the ray are scans. The
walk ends with the block in which the light falls below `stop`; what was set to zero before stays zero behind.

Backward, with tau the optical depth of a sample, T the light before it, w = T (1 - exp(-tau)) its weight and
q the loss's gradient in w,

    dL/dtau_i = q_i T_i exp(-tau_i) - sum over j > i of q_j w_j

takes two walks: one for the sum over the whole ray, one that subtracts from it what has been passed.
"""

# Triton need not be there where types are checked, and a kernel is not called with its own arguments alone.
# pyright: reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

from typing import no_type_check  # what a compiler reads must not be wrapped in a check of shapes

import torch
import triton
import triton.language as tl
from torch import Tensor

from rayformer.kernels.cuda import SETTINGS

BLOCK = 64
"""Samples at once: most rays have fewer."""

# ------------------------------------------------------------------------------------------ inside a program


@triton.jit
@no_type_check
def _taken(tau, TERMS: tl.constexpr):
    """1 - exp(-tau), by its series where the difference would cancel."""
    small = tl.minimum(tau, 0.25)
    series = tl.full(tau.shape, 1.0, tau.dtype)
    for back in tl.static_range(TERMS):
        series = 1.0 - small * series / (TERMS + 1 - back)
    return tl.where(tau < 0.25, tau * series, 1.0 - tl.exp(-tau))


@triton.jit
@no_type_check
def _light(density, begin, end, sample, first, last, passed, stop, TERMS: tl.constexpr):
    """Of a block of samples: length, depth, light before each, weight, and which are reached by light at all.

    The depth before a sample is summed from the samples before it. Taking its own off the running sum would
    lose everything in front of an opaque one.
    """
    there = sample < last
    length = tl.load(end + sample, mask=there, other=0.0) - tl.load(begin + sample, mask=there, other=0.0)
    tau = tl.load(density + sample, mask=there, other=0.0) * length
    after_first = there & (sample > first)
    one_before = tl.load(end + sample - 1, mask=after_first, other=0.0) - tl.load(
        begin + sample - 1, mask=after_first, other=0.0
    )
    tau_before = tl.load(density + sample - 1, mask=after_first, other=0.0) * one_before
    light = tl.exp(-(passed + tl.cumsum(tau_before, axis=0)))
    lit = there & (light >= stop)
    weight = tl.where(lit, light * _taken(tau, TERMS), 0.0)
    return length, tau, light, weight, lit


# ------------------------------------------------------------------------------------------ programs


@triton.jit
@no_type_check
def _forward(
    density, colour, begin, end, starts, seen, opacity, depth, weights, channels, stop,
    TERMS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64)
    start, last = tl.load(starts + ray), tl.load(starts + ray + 1)
    channel = tl.arange(0, PADDED)
    real = channel < channels
    kind = weights.dtype.element_ty
    total_colour = tl.zeros([PADDED], dtype=kind)
    total = tl.zeros([BLOCK], dtype=kind)
    total_depth = tl.zeros([BLOCK], dtype=kind)
    passed = tl.sum(total, axis=0)
    first = start
    while (first < last) & (tl.exp(-passed) >= stop):
        sample = first + tl.arange(0, BLOCK)
        # Within a block the sum begins at its first sample; what lies before the block is in `passed`.
        _length, tau, _light_before, weight, lit = _light(
            density, begin, end, sample, first, last, passed, stop, TERMS
        )
        there = sample < last
        values = tl.load(
            colour + sample[:, None] * channels + channel[None, :],
            mask=lit[:, None] & real[None, :],
            other=0.0,
        )
        total_colour += tl.sum(weight[:, None] * values, axis=0)
        middle = (
            tl.load(begin + sample, mask=there, other=0.0) + tl.load(end + sample, mask=there, other=0.0)
        ) / 2
        total += weight
        total_depth += tl.where(lit, weight * middle, 0.0)
        tl.store(weights + sample, weight, mask=lit)
        passed += tl.sum(tau, axis=0)
        first += BLOCK
    tl.store(seen + ray * channels + channel, total_colour, mask=real)
    tl.store(opacity + ray, tl.sum(total, axis=0))
    tl.store(depth + ray, tl.sum(total_depth, axis=0))


@triton.jit
@no_type_check
def _wish(
    of_colour, of_opacity, of_depth, of_weights, colour, begin, end, ray, sample, lit, channels,
    PADDED: tl.constexpr,
):  # fmt: skip
    """The loss's gradient in the weights of a block of samples."""
    channel = tl.arange(0, PADDED)
    real = channel < channels
    whole = tl.load(of_colour + ray * channels + channel, mask=real, other=0.0)
    values = tl.load(
        colour + sample[:, None] * channels + channel[None, :], mask=lit[:, None] & real[None, :], other=0.0
    )
    middle = (tl.load(begin + sample, mask=lit, other=0.0) + tl.load(end + sample, mask=lit, other=0.0)) / 2
    wish = tl.sum(whole[None, :] * values, axis=1) + tl.load(of_opacity + ray)
    wish += tl.load(of_depth + ray) * middle
    return wish + tl.load(of_weights + sample, mask=lit, other=0.0)


@triton.jit
@no_type_check
def _backward(
    of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, in_density, in_colour,
    channels, stop, TERMS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    ray = tl.program_id(0).to(tl.int64)
    start, last = tl.load(starts + ray), tl.load(starts + ray + 1)
    kind = in_density.dtype.element_ty
    channel = tl.arange(0, PADDED)
    real = channel < channels
    sums = tl.zeros([BLOCK], dtype=kind)
    passed = tl.sum(sums, axis=0)
    first = start
    while (first < last) & (tl.exp(-passed) >= stop):
        sample = first + tl.arange(0, BLOCK)
        _length, tau, _light_before, weight, lit = _light(
            density, begin, end, sample, first, last, passed, stop, TERMS
        )
        wish = _wish(of_colour, of_opacity, of_depth, of_weights, colour, begin, end, ray, sample, lit,
                     channels, PADDED)  # fmt: skip
        sums += tl.where(lit, wish * weight, 0.0)
        passed += tl.sum(tau, axis=0)
        first += BLOCK
    ahead = tl.sum(sums, axis=0)
    passed = ahead - ahead
    first = start
    while (first < last) & (tl.exp(-passed) >= stop):
        sample = first + tl.arange(0, BLOCK)
        length, tau, light, weight, lit = _light(
            density, begin, end, sample, first, last, passed, stop, TERMS
        )
        wish = _wish(of_colour, of_opacity, of_depth, of_weights, colour, begin, end, ray, sample, lit,
                     channels, PADDED)  # fmt: skip
        own = tl.where(lit, wish * weight, 0.0)
        ahead -= tl.sum(own, axis=0)
        behind = ahead + tl.cumsum(own, axis=0, reverse=True) - own
        tl.store(in_density + sample, (wish * light * tl.exp(-tau) - behind) * length, mask=lit)
        whole = tl.load(of_colour + ray * channels + channel, mask=real, other=0.0)
        tl.store(
            in_colour + sample[:, None] * channels + channel[None, :], weight[:, None] * whole[None, :],
            mask=lit[:, None] & real[None, :],
        )  # fmt: skip
        passed += tl.sum(tau, axis=0)
        first += BLOCK


# ---------------------------------------------------------------------------------------- tensors in and out


def composite(
    density: Tensor, colour: Tensor, begin: Tensor, end: Tensor, starts: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays = len(starts) - 1
    seen, weights = density.new_empty(rays, colour.shape[1]), torch.zeros_like(density)
    opacity, depth = density.new_empty(rays), density.new_empty(rays)
    given = [value.contiguous() for value in (density, colour, begin, end, starts)]
    if rays:
        with torch.cuda.device_of(density):
            _forward[(rays,)](*given, seen, opacity, depth, weights, colour.shape[1], stop, **_sizes(colour))
    return seen, opacity, depth, weights


def backward(
    of_colour: Tensor,
    of_opacity: Tensor,
    of_depth: Tensor,
    of_weights: Tensor,
    density: Tensor,
    colour: Tensor,
    begin: Tensor,
    end: Tensor,
    starts: Tensor,
    stop: float,
) -> tuple[Tensor, Tensor]:
    in_density, in_colour = torch.zeros_like(density), torch.zeros_like(colour)
    arriving = (of_colour, of_opacity, of_depth, of_weights)
    given = [value.contiguous() for value in (*arriving, density, colour, begin, end, starts)]
    if len(starts) > 1:
        with torch.cuda.device_of(density):
            _backward[(len(starts) - 1,)](
                *given, in_density, in_colour, colour.shape[1], stop, **_sizes(colour)
            )  # fmt: skip
    return in_density, in_colour


def _sizes(colour: Tensor) -> dict[str, int | bool]:
    return {
        "TERMS": 12 if colour.dtype == torch.float64 else 6,
        "PADDED": triton.next_power_of_2(max(1, colour.shape[1])),
        "BLOCK": BLOCK,
        **SETTINGS,
        "num_warps": 2,
    }
