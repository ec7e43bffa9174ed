"""What a network looked at.

watched   the weights of every attention of a forward pass, by the module's name
rollout   how much of each input token is in each output token, over all layers
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.nets.parts.attention import MultiHeadAttention


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Float[Tensor, "*batch heads queries keys"]]]:
    """The weights of every `MultiHeadAttention` inside `model`, filled in by each forward pass:

    with watched(model) as weights:
        model(images)
    weights["blocks.3.attention"]
    """
    weights: dict[str, Tensor] = {}
    found = {name: module for name, module in model.named_modules() if isinstance(module, MultiHeadAttention)}
    try:
        for name, module in found.items():
            module.watch = partial(weights.__setitem__, name)
        yield weights
    finally:
        for module in found.values():
            module.watch = None


def rollout(
    weights: Sequence[Float[Tensor, "batch heads tokens tokens"]],
) -> Float[Tensor, "batch tokens tokens"]:
    """Attention rollout (Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928, sec. 3): row i holds the
    shares of the input tokens in output token i.

    A block gives a token half of itself, by the residual connection, and half of what it looked at, as the
    mean over heads; the shares of all blocks, first to last, multiply. Each row sums to 1.
    """
    shares = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    shares = shares.expand(len(weights[0]), -1, -1)
    for layer in weights:
        shares = (layer.mean(dim=1) @ shares + shares) / 2
    return shares
