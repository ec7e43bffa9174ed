"""ConvNeXt: what a plain ConvNet can do once it is built as carefully as a transformer.

Liu et al. 2022, https://arxiv.org/abs/2201.03545. Read from the top:

    ConvNeXtConfig    what a recipe may change; the defaults are ConvNeXt-T
    SIZES             T, S, B, L, XL                                                              sec. 3
    Block             look around in each channel, then think about each place           fig. 4, right
    Stage             blocks of one width; before them, if not the first, half the size       sec. 2.6
    ConvNeXt          patches, stages, the average place, classes

Training of the paper: stochastic depth rises to 0.1 (T), 0.4 (S), 0.5 (B, L) over 300 epochs of ImageNet. How
it came to be from a ResNet, one step after the other, is `nets/roadmap.py`.

Axes: batch; channels of the picture; features = width of the last stage; height and width in pixels, and of
the map in patches. Channels lie last in memory all the way, whatever lies how in the pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.kernels.linear import Linear
from rayformer.nets.parts.channel_norm import ChannelNorm
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.parts.drop_path import DropPath, rates
from rayformer.nets.parts.residual import residual

TOGETHER = 3
"""Blocks of a stage that share a rate where rates fall from layer to layer (app. A.2)."""


@dataclass(frozen=True, kw_only=True)
class ConvNeXtConfig:
    depths: tuple[int, ...] = (3, 3, 9, 3)
    """Blocks of each stage; each stage after the first halves the map."""
    widths: tuple[int, ...] = (96, 192, 384, 768)
    """Channels of each stage."""
    patch_size: int = 4
    """Side of the patches that pictures are first cut into, in pixels; 2 or 1 for small pictures."""
    kernel: int = 7
    """Side of the surroundings that a block sees, in places of the map; odd."""
    expansion: int = 4
    """How much wider a block is inside."""
    layer_scale: float = 1e-6
    """What the branch of every block is multiplied by at first; learned for each channel. 0: by nothing."""
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
        for name in ("depths", "widths"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"model.{name} must be at least 1 each, but are {getattr(self, name)}.")
        for name in ("patch_size", "kernel", "expansion"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.kernel % 2 == 0:
            raise ConfigError(f"model.kernel must be odd, to have a middle, but is {self.kernel}.")
        if self.layer_scale < 0:
            raise ConfigError(f"model.layer_scale must be 0 or more, but is {self.layer_scale}.")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


SIZES: Mapping[str, ConvNeXtConfig] = {
    "t": ConvNeXtConfig(),
    "s": ConvNeXtConfig(depths=(3, 3, 27, 3)),
    "b": ConvNeXtConfig(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024)),
    "l": ConvNeXtConfig(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536)),
    "xl": ConvNeXtConfig(depths=(3, 3, 27, 3), widths=(256, 512, 1024, 2048)),
}


class Block(nn.Module):
    """Attention's part is played by one convolution that keeps channels apart; the rest is a transformer's
    perceptron at each place, with one norm and one activation in all."""

    def __init__(self, config: ConvNeXtConfig, width: int, drop_path: float):
        super().__init__()
        self.spatial = nn.Conv2d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = Linear(width, config.expansion * width)
        self.narrow = Linear(config.expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), config.layer_scale)) if config.layer_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "batch features height width"]
    ) -> Float[Tensor, "batch features height width"]:
        places = self.spatial(x).permute(0, 2, 3, 1)
        places = self.narrow(F.gelu(self.widen(self.norm(places))))
        gain = None if self.scale is None else self.scale[:, None, None]
        return residual(x, places.permute(0, 3, 1, 2), gain, self.drop_path)


class Patches(nn.Sequential):
    """Every square patch becomes one place of a map, normalised."""

    def __init__(self, channels: int, width: int, size: int):
        super().__init__()
        self.convolve = nn.Conv2d(channels, width, size, stride=size)
        self.norm = ChannelNorm(width)


class Halving(nn.Sequential):
    """Four places become one. Without a norm before it, training diverges (sec. 2.6)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm = ChannelNorm(inputs)
        self.convolve = nn.Conv2d(inputs, outputs, 2, stride=2)


class Stage(nn.Module):
    def __init__(self, config: ConvNeXtConfig, inputs: int, width: int, drop_paths: list[float]):
        super().__init__()
        self.halve = Halving(inputs, width) if inputs else nn.Identity()
        self.blocks = nn.Sequential(*(Block(config, width, rate) for rate in drop_paths))
        self.checkpointing = config.checkpointing

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch features _ _"]:
        return one_by_one(self.blocks, self.halve(x), self.checkpointing)


class ConvNeXt(nn.Module):
    """Pictures of any size to one number for each class. Stochastic depth and dropout draw from torch's
    global generator while the module trains."""

    def __init__(self, config: ConvNeXtConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        self.stem = Patches(channels, config.widths[0], config.patch_size)
        shares = iter(rates(sum(config.depths), config.drop_path))
        self.stages = nn.Sequential(
            *(
                Stage(config, inputs, width, [next(shares) for _ in range(depth)])
                for (inputs, width), depth in zip(pairwise((0, *config.widths)), config.depths, strict=True)
            )
        )
        self.norm = nn.LayerNorm(config.widths[-1], eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.widths[-1], classes)
        self.apply(initialise)

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]:
        """The map before it is averaged; its sides are those of the picture, divided by all strides. Raises
        ShapeError for pictures of which no place would be left."""
        least = self.config.patch_size * 2 ** (len(self.config.depths) - 1)
        height, width = images.shape[2:]
        if min(height, width) < least:
            raise ShapeError(
                f"Pictures must be at least {least} x {least} pixels for {len(self.config.depths)} stages "
                f"and model.patch_size={self.config.patch_size}, but are {width} x {height}.\n"
                "Make the pictures larger or the patches smaller."
            )
        return self.stages(self.stem(images.contiguous(memory_format=torch.channels_last)))

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.dropout(self.norm(features.mean(dim=(2, 3)))))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for the stem, one more for
        every three blocks of a stage, the head last. A halving belongs to the blocks after it."""
        layers = [-(-depth // TOGETHER) for depth in self.config.depths]
        first, *rest = name.split(".")
        if first == "stem":
            return 0
        if first != "stages":
            return 1 + sum(layers)
        stage, block = int(rest[0]), int(rest[2]) if rest[1] == "blocks" else 0
        return 1 + sum(layers[:stage]) + block // TOGETHER

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, layer scales."""
        return parameter.ndim <= 1


def initialise(module: nn.Module) -> None:
    """Weights from a normal distribution of standard deviation 0.02, cut off at 2; no biases."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        assert module.bias is not None, "every layer of a ConvNeXt has a bias"
        nn.init.zeros_(module.bias)
