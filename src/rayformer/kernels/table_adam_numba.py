"""Adam for sparse gradients as one compiled pass for processors. What it computes stands in `table_adam`.

The gradient is read in stretches of 16 numbers, a line of the cache; a stretch without any gradient costs nothing
more, and of a table of millions of rows most stretches are such.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np
from torch import Tensor

from rayformer.kernels.compiled import compiled

STRETCH = 16


@cache
def _loop() -> Any:
    def step(weight, gradient, first, second, stride, beta1, beta2, root, eps, decay, skip):
        count = len(weight)
        one = weight.dtype.type(1)
        zero = weight.dtype.type(0)
        for stretch in numba.prange((count + STRETCH - 1) // STRETCH):
            begin = stretch * STRETCH
            end = min(begin + STRETCH, count)
            if skip:
                anything = False
                for i in range(begin, end):
                    anything = anything or gradient[i] != zero
                if not anything:
                    continue
            for i in range(begin, end):
                if gradient[i] != zero or not skip:
                    g = gradient[i] + decay * weight[i]
                    m = beta1 * first[i] + (one - beta1) * g
                    v = beta2 * second[i] + (one - beta2) * g * g
                    first[i] = m
                    second[i] = v
                    weight[i] -= stride * m / (math.sqrt(v) * root + eps)

    return compiled(step)


def table_adam(
    weight: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    step: int,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    skip_zeros: bool,
) -> None:
    if not all(value.is_contiguous() for value in (weight, first, second)):
        raise AssertionError("weights and moments are stepped in place, so they must lie in one piece")
    kind = np.dtype(str(weight.dtype).removeprefix("torch.")).type
    arrays = [
        value.detach().reshape(-1).numpy() for value in (weight, gradient.to(weight.dtype).contiguous(), first, second)
    ]
    numbers = (rate / (1 - beta1**step), beta1, beta2, 1 / math.sqrt(1 - beta2**step), eps, decay)
    _loop()(*arrays, *(kind(number) for number in numbers), skip_zeros)
