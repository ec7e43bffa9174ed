"""Layer norm over the channels of a map, place by place.

    ChannelNorm    as `nn.LayerNorm`, for maps

Where channels lie last in memory (`torch.channels_last`) no number is moved.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Mean 0 and variance 1 over the channels at each place of the map, then a learned line."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__(channels, eps=eps)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        last = x.permute(0, 2, 3, 1)
        return F.layer_norm(last, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
