"""NF-Net: a deep ConvNet without any normalisation, because nothing in it grows.

Brock et al. 2021, https://arxiv.org/abs/2102.06171. Read from the top:

    NFNetConfig      what a recipe may change; the defaults are NF-Net F0
    SIZES            F0 to F7
    before_blocks    the standard deviation that a signal has before each block                  sec. 3.1
    Stem             four convolutions, to a quarter of the size                          app. C, fig. 5
    Block            activate, narrow, look around twice, widen; a small step from what was          sec. 4.1
    NFNet            stem, stages, one more convolution, the average place, classes

How the signal keeps its size: h + alpha f(h / beta), where the branch f keeps the variance of what it gets.
Its convolutions do by standardised filters (`parts/weight_standard.py`), its activations by a constant. So
the variance grows by alpha^2 with every block, which is known beforehand: beta^2; where the map is halved,
the shortcut starts from h / beta, and the variance from 1.

Smith et al. 2023 (https://arxiv.org/abs/2310.16764) train these networks on as much data as transformers get,
and they match them. The paper's regularisation: dropout 0.2 (F0), 0.3 (F1), 0.4 (F2, F3), 0.5 (F4 on),
stochastic depth 0.25. The paper trains with gradients clipped unit by unit.

Axes: batch; channels of the picture; features = channels of the last convolution; height and width. Channels
lie last in memory all the way, whatever lies how in the pictures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.parts.drop_path import DropPath, rates
from rayformer.nets.parts.residual import residual
from rayformer.nets.parts.squeeze_excite import SqueezeExcite
from rayformer.nets.parts.weight_standard import GELU_SCALE, StandardConv

GATE_SCALE = 2.0
"""Makes up for the gates of squeeze and excite, which are one half on average."""


@dataclass(frozen=True, kw_only=True)
class NFNetConfig:
    depths: tuple[int, ...] = (1, 2, 6, 3)
    """Blocks of each stage; each stage after the first halves the map."""
    widths: tuple[int, ...] = (256, 512, 1536, 1536)
    """Channels of each stage; the middle of a block has half of them."""
    stem_width: int = 128
    """Channels after the stem; a multiple of 8."""
    stem_halvings: int = 2
    """How often the stem halves the picture: 2, or 1 or 0 for small pictures."""
    group_width: int = 128
    """Channels that see each other where a block looks around."""
    last_width: int = 3072
    """Channels of the last convolution."""
    squeeze: float = 0.5
    """Width of squeeze-and-excite's bottleneck as a share of the block's outputs."""
    alpha: float = 0.2
    """How large a step each block makes, in standard deviations of its input."""
    drop_path: float = 0.0
    """Probability that the last block's branch is left out for an example; it rises from 0 at the first."""
    dropout: float = 0.0
    """Share of features that are left out before the classes."""
    checkpointing: bool = False
    """Keep only what enters each block and compute the rest again for the gradient: far less memory, a third
    more time."""

    def __post_init__(self):
        if not self.depths or len(self.depths) != len(self.widths):
            raise ConfigError(
                f"model.depths and model.widths must name as many stages, but are "
                f"{len(self.depths)} and {len(self.widths)}."
            )
        if min(self.depths) < 1:
            raise ConfigError(f"model.depths must be at least 1 each, but are {self.depths}.")
        if self.group_width < 1 or any(width < 1 or width % (2 * self.group_width) for width in self.widths):
            raise ConfigError(
                f"model.widths must be multiples of twice model.group_width={self.group_width}, "
                f"but are {self.widths}."
            )
        if self.stem_width < 8 or self.stem_width % 8:
            raise ConfigError(f"model.stem_width must be a multiple of 8, but is {self.stem_width}.")
        if not 0 <= self.stem_halvings <= 2:
            raise ConfigError(f"model.stem_halvings must be 0, 1 or 2, but is {self.stem_halvings}.")
        if self.last_width < 1:
            raise ConfigError(f"model.last_width must be at least 1, but is {self.last_width}.")
        for name in ("squeeze", "alpha"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"model.{name} must lie in (0, 1], but is {getattr(self, name)}.")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


SIZES: Mapping[str, NFNetConfig] = {
    f"f{size}": NFNetConfig(depths=(size + 1, 2 * (size + 1), 6 * (size + 1), 3 * (size + 1)))
    for size in range(8)
}


def before_blocks(config: NFNetConfig) -> list[list[float]]:
    """beta of every block of every stage: what the block divides its input by."""
    betas, variance = [], 1.0
    for depth in config.depths:
        betas.append([math.sqrt(variance), *(math.sqrt(1 + n * config.alpha**2) for n in range(1, depth))])
        variance = 1 + depth * config.alpha**2
    return betas


class Stem(nn.ModuleList):
    def __init__(self, config: NFNetConfig, channels: int):
        widths = [config.stem_width // 8, config.stem_width // 4, config.stem_width // 2, config.stem_width]
        first, last = (2 if config.stem_halvings >= halvings else 1 for halvings in (2, 1))
        super().__init__(
            StandardConv(inputs, outputs, 3, stride=stride, scale=scale)
            for inputs, outputs, stride, scale in zip(
                [channels, *widths], widths, [first, 1, 1, last], [1.0, *[GELU_SCALE] * 3], strict=False
            )
        )

    def forward(self, x: Float[Tensor, "batch channels _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        for number, convolve in enumerate(self):
            x = convolve(F.gelu(x) if number else x)
        return x


class Block(nn.Module):
    """The gain of the branch is learned and starts at 0, so that a fresh network is a shallow one. Every
    activation is scaled by the filters of the convolution after it, 1 / beta included."""

    def __init__(
        self, config: NFNetConfig, inputs: int, outputs: int, stride: int, beta: float, drop_path: float
    ):
        super().__init__()
        middle = outputs // 2
        groups, scale = middle // config.group_width, GELU_SCALE
        self.narrow = StandardConv(inputs, middle, 1, scale=scale / beta)
        self.spatial = StandardConv(middle, middle, 3, stride=stride, groups=groups, scale=scale)
        self.spatial_again = StandardConv(middle, middle, 3, groups=groups, scale=scale)
        self.widen = StandardConv(middle, outputs, 1, scale=scale)
        self.excite = SqueezeExcite(outputs, config.squeeze)
        self.gain = nn.Parameter(torch.zeros(()))
        self.drop_path = DropPath(drop_path)
        changed = inputs != outputs or stride > 1
        self.shortcut = StandardConv(inputs, outputs, 1, scale=scale / beta) if changed else None
        self.alpha, self.stride = config.alpha, stride

    def forward(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        active = F.gelu(x)
        branch = self.spatial(F.gelu(self.narrow(active)))
        branch = self.widen(F.gelu(self.spatial_again(F.gelu(branch))))
        gain = (GATE_SCALE * self.alpha) * self.gain * self.excite(branch)
        past = x if self.shortcut is None else self.shortcut(self.halved(active))
        return residual(past, branch, gain, self.drop_path)

    def halved(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch inputs _ _"]:
        """The averages of four places, where the block halves the map."""
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) if self.stride > 1 else x


class NFNet(nn.Module):
    """Pictures of any size to one number for each class. Stochastic depth and dropout draw from torch's
    global generator while the module trains."""

    def __init__(self, config: NFNetConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        self.stem = Stem(config, channels)
        self.stages = nn.Sequential()
        shares, inputs = iter(rates(sum(config.depths), config.drop_path)), config.stem_width
        for stage, betas in enumerate(before_blocks(config)):
            blocks, width = nn.Sequential(), config.widths[stage]
            for block, beta in enumerate(betas):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Block(config, inputs, width, stride, beta, next(shares)))
                inputs = width
            self.stages.append(blocks)
        self.last = StandardConv(inputs, config.last_width, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.last_width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]:
        """The map before it is averaged."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = one_by_one(stage, x, self.config.checkpointing)
        return F.gelu(self.last(x)) * GELU_SCALE

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.dropout(features.mean(dim=(2, 3))))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for the stem, one more for
        every block, the last convolution and the head last."""
        first, *rest = name.split(".")
        if first == "stages":
            return 1 + sum(self.config.depths[: int(rest[0])]) + int(rest[1])
        return 0 if first == "stem" else 1 + sum(self.config.depths)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: biases and all gains."""
        return parameter.ndim <= 1 or name.endswith(".gain")
