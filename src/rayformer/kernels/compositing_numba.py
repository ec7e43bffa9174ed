"""Packed compositing as compiled loops for processors. What it computes stands in `compositing`.

One walk along each ray forward, one back. With tau the optical depth of a sample, T the light before it and
w = T (1 - exp(-tau)) its weight, and q the loss's gradient in w,

    dL/dtau_i = q_i T_i exp(-tau_i) - sum over j > i of q_j w_j

so the backward walk from the far end carries one running sum.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from rayformer.kernels.compiled import compiled, inlined


@cache
def _loops() -> Any:
    def forward(density, colour, begin, end, starts, stop, seen, opacity, depth, weights):
        channels = colour.shape[1]
        for ray in numba.prange(len(starts) - 1):
            light = 1.0
            total, far = 0.0, 0.0
            for c in range(channels):
                seen[ray, c] = 0
            for i in range(starts[ray], starts[ray + 1]):
                if light < stop:
                    weights[i] = 0
                    continue
                tau = np.float64(density[i]) * np.float64(end[i] - begin[i])
                weight = -math.expm1(-tau) * light
                light *= math.exp(-tau)
                weights[i] = weight
                total += weight
                far += weight * (begin[i] + end[i]) / 2
                for c in range(channels):
                    seen[ray, c] += colour.dtype.type(weight) * colour[i, c]
            opacity[ray] = total
            depth[ray] = far

    def backward(of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, stop,
                 in_density, in_colour):  # fmt: skip
        channels = colour.shape[1]
        for ray in numba.prange(len(starts) - 1):
            light = 1.0
            last = starts[ray]
            for i in range(starts[ray], starts[ray + 1]):
                if light < stop:
                    in_density[i] = 0
                    for c in range(channels):
                        in_colour[i, c] = 0
                    continue
                tau = np.float64(density[i]) * np.float64(end[i] - begin[i])
                weight = -math.expm1(-tau) * light
                light *= math.exp(-tau)
                in_density[i] = light  # kept here until the walk back
                for c in range(channels):
                    in_colour[i, c] = weight * of_colour[ray, c]
                last = i + 1
            behind = 0.0
            for i in range(last - 1, starts[ray] - 1, -1):
                after = np.float64(in_density[i])
                tau = np.float64(density[i]) * np.float64(end[i] - begin[i])
                weight = math.expm1(tau) * after if tau < 20.0 else -math.expm1(-tau) * _before(
                    density, begin, end, starts[ray], i)  # fmt: skip
                q = np.float64(of_opacity[ray]) + of_depth[ray] * (begin[i] + end[i]) / 2 + of_weights[i]
                for c in range(channels):
                    q += of_colour[ray, c] * colour[i, c]
                in_density[i] = (q * after - behind) * (end[i] - begin[i])
                behind += q * weight

    return compiled(forward), compiled(backward)


@inlined
def _before(density, begin, end, first, i):
    """The light before sample i, summed anew: after an opaque sample it cannot be divided back out."""
    total = 0.0
    for j in range(first, i):
        total += density[j] * (end[j] - begin[j])
    return math.exp(-total)


def composite(
    density: Tensor, colour: Tensor, begin: Tensor, end: Tensor, starts: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays = len(starts) - 1
    seen, weights = density.new_empty(rays, colour.shape[1]), torch.empty_like(density)
    opacity, depth = density.new_empty(rays), density.new_empty(rays)
    arrays = [value.contiguous().numpy() for value in (density, colour, begin, end, starts)]
    _loops()[0](*arrays, stop, *(value.numpy() for value in (seen, opacity, depth, weights)))
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
    in_density, in_colour = torch.empty_like(density), torch.empty_like(colour)
    given = (of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts)
    arrays = [value.contiguous().numpy() for value in given]
    _loops()[1](*arrays, stop, in_density.numpy(), in_colour.numpy())
    return in_density, in_colour
