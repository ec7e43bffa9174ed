"""Squeeze and excite: which channels count for this picture.

Hu et al. 2018, https://arxiv.org/abs/1709.01507.

    SqueezeExcite    a map's averages, through a bottleneck, to a gate for each channel       eq. 2 and 3
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

MULTIPLE = 8
"""The bottleneck is as wide as a multiple of this."""


class SqueezeExcite(nn.Module):
    """`share` is the bottleneck's width as a share of the channels."""

    def __init__(self, channels: int, share: float):
        super().__init__()
        width = max(MULTIPLE, int(channels * share + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
        self.squeeze = nn.Conv2d(channels, width, 1)
        self.excite = nn.Conv2d(width, channels, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels 1 1"]:
        """The gate of each channel, between 0 and 1. The map is multiplied by it where it joins the rest
        (`nets/parts/residual.py`)."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.excite(F.relu_(self.squeeze(mean))))
