"""Stochastic depth: in training, examples pass some layers by.

    DropPath   a branch left out at random, example by example, in training only
    rates      how often each layer is left out: never the first, most often the last

Huang et al. 2016, https://arxiv.org/abs/1603.09382. Whether a branch is left out is drawn from torch's global
generator, as torch's own layers do.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Each example's branch becomes zero with a chance of `share`. With `rescale` the others grow by
    1 / (1 - share), so that the mean stays."""

    def __init__(self, share: float = 0.0, rescale: bool = True):
        super().__init__()
        self.share, self.rescale = share, rescale

    def forward(self, branch: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        if not self.training or self.share == 0:
            return branch
        shape = [branch.shape[0]] + [1] * (branch.ndim - 1)
        kept = torch.empty(shape, dtype=branch.dtype, device=branch.device).bernoulli_(1 - self.share)
        return branch * (kept / (1 - self.share) if self.rescale and self.share < 1 else kept)

    def extra_repr(self) -> str:
        return f"share={self.share:.3g}"


def rates(depth: int, last: float) -> list[float]:
    """From 0 to `last` in equal steps over `depth` layers (sec. 3, linear decay)."""
    return [last * layer / max(depth - 1, 1) for layer in range(depth)]
