"""Layer scale: each channel of a branch times a learned number, near zero at first.

Touvron et al. 2021, https://arxiv.org/abs/2103.17239, eq. 4. A deep network then starts close to the
identity.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerScale(nn.Module):
    """`start` is what every channel is multiplied by at first. Channels come last."""

    def __init__(self, width: int, start: float):
        super().__init__()
        self.factor = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return x * self.factor
