"""ResNet-RS: the network of 2015, with what was learned since.

He et al. 2015, https://arxiv.org/abs/1512.03385; Bello et al. 2021, https://arxiv.org/abs/2103.07579.
Read from the top:

    ResNetConfig    what a recipe may change; the defaults are ResNet-RS-50
    SIZES           RS of 50 to 420 layers, and the plain 50 and 200 that the ladder starts from
    Convolution     convolution, batch norm, ReLU
    Stem            from pixels to a map of a quarter of the size                        ResNet-D, fig. 2
    Picked, Pooled  past a block that changes the map's size                             ResNet-D, fig. 2
    Bottleneck      narrow, look around, widen; which channels count; join
    ResNet          stem, stages, the average place, classes

The ladder of Bello et al. (table 1) has three rungs of architecture: squeeze and excite (`squeeze`), ResNet-D
(`deep_stem`, `pooled_shortcut`, and no `max_pool`; He et al. 2018, https://arxiv.org/abs/1812.01187), and two
of regularisation within the network: `drop_path` and `dropout`. The other rungs are a matter of training.

Axes: batch; channels of the picture; features = outputs of the last stage; height and width. Channels lie
last in memory all the way, whatever lies how in the pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.parts.drop_path import DropPath, rates
from rayformer.nets.parts.residual import residual
from rayformer.nets.parts.squeeze_excite import SqueezeExcite

EXPANSION = 4
"""How much wider a map is than the middle of a bottleneck."""


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of each stage; each stage after the first halves the map and doubles the width."""
    width: int = 64
    """Channels in the middle of the first stage's blocks; even."""
    stem_halvings: int = 2
    """How often the stem halves the picture: 2, or 1 or 0 for small pictures."""
    deep_stem: bool = True
    """Three convolutions of 3 x 3 at the start instead of one of 7 x 7 (ResNet-C)."""
    max_pool: bool = False
    """The stem's second halving by the largest of 3 x 3, as in 2015, instead of by a convolution."""
    pooled_shortcut: bool = True
    """A shortcut that halves the map averages four places instead of taking one (ResNet-D)."""
    squeeze: float = 0.25
    """Width of squeeze-and-excite's bottleneck as a share of the block's outputs; 0: without it."""
    drop_path: float = 0.0
    """Probability that the last block's branch is left out for an example; it rises from 0 at the first."""
    dropout: float = 0.0
    """Share of features that are left out before the classes."""
    checkpointing: bool = False
    """Keep only what enters each block and compute the rest again for the gradient: far less memory, a third
    more time."""

    def __post_init__(self):
        if not self.depths or min(self.depths) < 1:
            raise ConfigError(f"model.depths must be at least 1 each, but are {self.depths}.")
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"model.width must be even and at least 2, but is {self.width}.")
        if not 0 <= self.stem_halvings <= 2:
            raise ConfigError(f"model.stem_halvings must be 0, 1 or 2, but is {self.stem_halvings}.")
        if not 0 <= self.squeeze <= 1:
            raise ConfigError(f"model.squeeze must lie in [0, 1], but is {self.squeeze}.")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


PLAIN = ResNetConfig(deep_stem=False, max_pool=True, pooled_shortcut=False, squeeze=0.0)
"""ResNet-50 as it was, but for the stride, which is the middle convolution's and not the first's."""

SIZES: Mapping[str, ResNetConfig] = {
    "50": ResNetConfig(),
    "101": ResNetConfig(depths=(3, 4, 23, 3)),
    "152": ResNetConfig(depths=(3, 8, 36, 3)),
    "200": ResNetConfig(depths=(3, 24, 36, 3)),
    "270": ResNetConfig(depths=(4, 29, 53, 4)),
    "350": ResNetConfig(depths=(4, 36, 72, 4)),
    "420": ResNetConfig(depths=(4, 44, 87, 4)),
    "plain-50": PLAIN,
    "plain-200": replace(PLAIN, depths=(3, 24, 36, 3)),
}


class Convolution(nn.Module):
    """Convolution, batch norm and, if `active`, ReLU. The norm takes every mean away, so there is no bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, active: bool = True):
        super().__init__()
        self.convolve = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.active = active
        nn.init.kaiming_normal_(self.convolve.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        x = self.norm(self.convolve(x))
        return F.relu_(x) if self.active else x


class Stem(nn.Sequential):
    def __init__(self, config: ResNetConfig, channels: int):
        super().__init__()
        width, stride = config.width, 2 if config.stem_halvings else 1
        if config.deep_stem:
            self.first = Convolution(channels, width // 2, 3, stride)
            self.second = Convolution(width // 2, width // 2, 3)
            self.third = Convolution(width // 2, width, 3)
        else:
            self.only = Convolution(channels, width, 7 if config.stem_halvings else 3, stride)
        if config.stem_halvings == 2:
            pool = nn.MaxPool2d(3, 2, padding=1)
            self.halve = pool if config.max_pool else Convolution(width, width, 3, stride=2)


class Picked(nn.Sequential):
    """What goes past a block, made as wide and large as what comes out of it: with a stride of 2, from one
    place in four."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.pick = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.pick.weight, mode="fan_out", nonlinearity="relu")


class Pooled(nn.Sequential):
    """The same from the average of the four."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if stride > 1:
            self.pool = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
        self.convolve = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        nn.init.kaiming_normal_(self.convolve.weight, mode="fan_out", nonlinearity="relu")


class Bottleneck(nn.Module):
    """The branch starts at zero, by the gain of its last norm, so that a fresh network is a shallow one."""

    def __init__(self, config: ResNetConfig, inputs: int, width: int, stride: int, drop_path: float):
        super().__init__()
        outputs = EXPANSION * width
        self.narrow = Convolution(inputs, width, 1)
        self.spatial = Convolution(width, width, 3, stride)
        self.widen = Convolution(width, outputs, 1, active=False)
        self.excite = SqueezeExcite(outputs, config.squeeze) if config.squeeze else None
        self.drop_path = DropPath(drop_path)
        self.shortcut = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = (Pooled if config.pooled_shortcut else Picked)(inputs, outputs, stride)
        nn.init.zeros_(self.widen.norm.weight)

    def forward(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        branch = self.widen(self.spatial(self.narrow(x)))
        gate = None if self.excite is None else self.excite(branch)
        return F.relu_(residual(self.shortcut(x), branch, gate, self.drop_path))


class ResNet(nn.Module):
    """Pictures of any size to one number for each class. Stochastic depth and dropout draw from torch's
    global generator while the module trains."""

    def __init__(self, config: ResNetConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        self.stem = Stem(config, channels)
        self.stages = nn.Sequential()
        shares, inputs = iter(rates(sum(config.depths), config.drop_path)), config.width
        for stage, depth in enumerate(config.depths):
            width, blocks = config.width * 2**stage, nn.Sequential()
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(config, inputs, width, stride, next(shares)))
                inputs = EXPANSION * width
            self.stages.append(blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(inputs, classes)

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]:
        """The map before it is averaged, every number 0 or more."""
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = one_by_one(stage, x, self.config.checkpointing)
        return x

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.dropout(features.mean(dim=(2, 3))))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for the stem, one more for
        every block, the head last."""
        first, *rest = name.split(".")
        if first == "stages":
            return 1 + sum(self.config.depths[: int(rest[0])]) + int(rest[1])
        return 0 if first == "stem" else 1 + sum(self.config.depths)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms and biases."""
        return parameter.ndim <= 1
