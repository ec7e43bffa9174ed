"""Convolutions that keep the variance of a signal without looking at it.

Brock et al. 2021, https://arxiv.org/abs/2101.08692 and https://arxiv.org/abs/2102.06171.

    StandardConv    filters with mean 0 and variance 1 / inputs, then a learned gain     first paper, eq. 3
    GELU_SCALE      what makes a GELU of normal numbers have variance 1 again             the same, sec. 2

Pictures are padded as TensorFlow pads them, so that published weights fit: with zeros, one more at the bottom
and on the right where their number is odd.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

GELU_SCALE = 1.7015043497085571


class StandardConv(nn.Module):
    """`scale` multiplies what comes in: the variance-preserving factor of an activation costs nothing where
    it multiplies the filters instead of the map. Biases are not scaled."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, scale: float = 1.0
    ):
        super().__init__()
        assert inputs % groups == 0, f"{inputs} channels do not make {groups} groups"
        self.kernel, self.stride, self.groups = kernel, stride, groups
        fan_in = inputs // groups * kernel**2
        self.scale = scale / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.randn(outputs, inputs // groups, kernel, kernel) / math.sqrt(fan_in))
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def filters(self) -> Float[Tensor, "outputs inputs height width"]:
        """What pictures are convolved with."""
        standard = F.layer_norm(self.weight, self.weight.shape[1:], eps=1e-5)
        return standard * (self.gain * self.scale)

    def forward(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        below, right = (self._missing(size) for size in x.shape[2:])
        if below % 2 or right % 2:
            x = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
            below = right = 0
        padding = (below // 2, right // 2)
        return F.conv2d(x, self.filters(), self.bias, self.stride, padding, groups=self.groups)

    def _missing(self, size: int) -> int:
        """Zeros that an axis lacks for one output at each `stride` inputs."""
        return max((math.ceil(size / self.stride) - 1) * self.stride + self.kernel - size, 0)

    def extra_repr(self) -> str:
        outputs, inputs, *_ = self.weight.shape
        return f"{inputs * self.groups}, {outputs}, {self.kernel}, stride={self.stride}, groups={self.groups}"
