"""Adam for tables of which a step touches few rows.

Kingma & Ba 2015, https://arxiv.org/abs/1412.6980, algorithm 1, with one rule more (instant-ngp, section 4):
where the gradient is exactly zero, weight and moments stay as they are. A row that no sample met has no
opinion; plain Adam would let it drift on by its old momentum, and read and write the whole table to do so.

    table_adam_       one step, in place
    table_adam_twin_  the same in plain torch

What runs where: a compiled loop on processors (`table_adam_numba`), Triton on CUDA devices
(`table_adam_triton`), the twin elsewhere.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.kernels.cuda import plainly


def table_adam_(
    weight: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
    first: Float[Tensor, "*shape"],
    second: Float[Tensor, "*shape"],
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float = 0.0,
    skip_zeros: bool = True,
) -> None:
    """Step number `step`, counted from 1. `first` and `second` are the running moments; `decay` adds decay *
    weight to a gradient that is not zero. With skip_zeros=False it is plain Adam."""
    _table_adam(weight, gradient, first, second, step, rate, betas[0], betas[1], eps, decay, skip_zeros)


def table_adam_twin_(
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
    moved = gradient != 0 if skip_zeros else torch.ones_like(gradient, dtype=torch.bool)
    gradient = gradient + decay * weight
    one = first.lerp(gradient, 1 - beta1)
    two = beta2 * second + (1 - beta2) * gradient.square()
    # Moments start at zero and are too small at first, by factors that are known.
    stride = rate / (1 - beta1**step)
    update = stride * one / ((two / (1 - beta2**step)).sqrt() + eps)
    first.copy_(torch.where(moved, one, first))
    second.copy_(torch.where(moved, two, second))
    weight.sub_(torch.where(moved, update, 0))


@torch.library.custom_op("rayformer::table_adam_", mutates_args=("weight", "first", "second"))
def _table_adam(
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
    table_adam_twin_(weight, gradient, first, second, step, rate, beta1, beta2, eps, decay, skip_zeros)


@_table_adam.register_kernel("cpu")
def _(weight, gradient, first, second, step, rate, beta1, beta2, eps, decay, skip_zeros):
    from rayformer.kernels.table_adam_numba import table_adam

    table_adam(weight, gradient, first, second, step, rate, beta1, beta2, eps, decay, skip_zeros)


@_table_adam.register_kernel("cuda")
def _(weight, gradient, first, second, step, rate, beta1, beta2, eps, decay, skip_zeros):
    arguments = (weight, gradient, first, second, step, rate, beta1, beta2, eps, decay, skip_zeros)
    kinds = {value.dtype for value in (weight, gradient, first, second)}
    if plainly() or kinds != {torch.float32}:
        table_adam_twin_(*arguments)
    else:
        from rayformer.kernels.table_adam_triton import table_adam

        table_adam(*arguments)
