"""Adam for sparse gradients as one Triton kernel for CUDA devices. What it computes stands in `table_adam`.

Every gradient is read; weight and moments are read and written only where it is not zero. For float32, which
tables are in; numbers of any other kind take the twin.
"""

# Triton need not be there where types are checked, and a kernel is not called with its own arguments alone.
# pyright: reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

import math
from typing import no_type_check  # what a compiler reads must not be wrapped in a check of shapes

import torch
import triton
import triton.language as tl
from torch import Tensor

from rayformer.kernels.cuda import SETTINGS

BLOCK = 1024
"""Numbers to a program."""


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _step(
    weight, gradient, first, second, count, stride, beta1, rest1, beta2, rest2, root, eps, decay,
    SKIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = place < count
    g = tl.load(gradient + place, mask=there, other=0.0)
    moved = there
    if SKIP:
        moved = there & (g != 0)
    w = tl.load(weight + place, mask=moved, other=0.0)
    g += decay * w
    m = beta1 * tl.load(first + place, mask=moved, other=0.0) + rest1 * g
    v = beta2 * tl.load(second + place, mask=moved, other=0.0) + rest2 * g * g
    tl.store(first + place, m, mask=moved)
    tl.store(second + place, v, mask=moved)
    tl.store(weight + place, w - stride * m / (tl.sqrt(v) * root + eps), mask=moved)


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
    numbers = (
        rate / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, 1 / math.sqrt(1 - beta2**step),
        eps, decay,
    )  # fmt: skip
    count = weight.numel()
    if count:
        with torch.cuda.device_of(weight):
            _step[(triton.cdiv(count, BLOCK),)](
                weight, gradient.contiguous(), first, second, count, *map(float, numbers),
                SKIP=skip_zeros, BLOCK=BLOCK, **SETTINGS,
            )  # fmt: skip
