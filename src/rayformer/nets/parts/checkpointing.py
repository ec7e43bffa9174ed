"""Less memory for more time: what a block computed is thrown away, and computed again for the gradient.

    one_by_one    blocks one after the other, each of them forgotten or not

Chen et al. 2016, https://arxiv.org/abs/1604.06174. Dropout and stochastic depth draw the same the second
time. Batch norms look at a batch twice then, and yet must count it once.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def one_by_one(
    blocks: nn.Module, x: Float[Tensor, "batch *shape"], again: bool, *others: Any
) -> Float[Tensor, "batch *_"]:
    """What comes out of the last of the blocks that a module holds, each of which is also given `others`.
    With `again`, and where a gradient is wanted, only what enters each block is kept."""
    for block in blocks.children():
        if again and torch.is_grad_enabled():
            x = checkpoint(
                block,
                x,
                *others,
                use_reentrant=False,
                context_fn=lambda block=block: (nullcontext(), _recalled(block)),
            )
        else:
            x = block(x, *others)
    return x


@contextmanager
def _recalled(block: nn.Module) -> Iterator[None]:
    """The batch norms of a block leave their running statistics as they are: they have seen this batch."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Without their statistics they would keep other tensors for the gradient than the first time.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, seen
