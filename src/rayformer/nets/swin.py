"""Swin: attention within windows that shift from block to block, on maps that halve from stage to stage.

Liu et al. 2021, https://arxiv.org/abs/2103.14030. Read from the top:

    SwinConfig   what a recipe may change; the defaults are Swin-T
    SIZES        T, S, B, L                                                                 sec. 3.3
    Merge        four neighbours to one token of twice the width                            sec. 3.1
    Stage        blocks in turn on windows and on shifted windows, with relative biases     sec. 3.2, eq. 4
    Swin         patches, stages, the average token, classes                                fig. 3a

The cost grows with the number of pixels, where that of ViT grows with its square. Pictures may have any size:
what patches, halvings and windows do not cover evenly is filled up, and no real token looks at what was
filled in. Along an axis on which a map is no larger than a window there is one window, unshifted, with the
middle of the table of biases. Others agree with us where windows cover the maps evenly. Elsewhere the
authors' code and transformers let tokens look at what was filled in, and timm rolls before it fills up, with
masks that do not know of it; and where one side only fits into a window, the first two shift along neither.

Axes: batch; channels and height and width of the picture, or of a map of tokens, with features last; windows;
tokens of a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rayformer.core.errors import ConfigError
from rayformer.kernels.linear import Linear
from rayformer.nets.parts.block import PreNormBlock, initialise
from rayformer.nets.parts.drop_path import rates
from rayformer.nets.parts.patches import PatchEmbedding, filled_up
from rayformer.nets.parts.relative_bias import RelativeBias
from rayformer.nets.parts.window import Windows, cut, may_look, rearranged, whole


@dataclass(frozen=True, kw_only=True)
class SwinConfig:
    patch_size: int = 4
    """Side of the patches that pictures are first cut into, in pixels; 2 or 1 for small pictures."""
    width: int = 96
    """Channels of a token in the first stage; each stage has twice those of the one before."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    """Blocks of each stage; each stage after the first halves the map."""
    heads: tuple[int, ...] = (3, 6, 12, 24)
    """Attentions side by side in the blocks of each stage."""
    window: int = 7
    """Side of a window, in tokens; the paper has 12 for pictures of 384 pixels."""
    expansion: float = 4.0
    """How much wider the MLP of a block is inside."""
    qkv_bias: bool = True
    """Whether queries, keys and values have biases."""
    dropout: float = 0.0
    """Share of values left out after the patches and after each branch, and inside MLPs."""
    attention_dropout: float = 0.0
    """Share of attention weights left out."""
    drop_path: float = 0.0
    """Probability that the last block is passed by for an example; it rises from 0 at the first. The paper
    has 0.2 for T, 0.3 for S, 0.5 for B."""
    checkpointing: bool = False
    """Keep only what enters each block and compute the rest again for the gradient: far less memory, a third
    more time."""
    eps: float = 1e-5
    """Added to variances where tokens are normalised."""

    def __post_init__(self):
        if not self.depths or len(self.depths) != len(self.heads):
            raise ConfigError(
                f"model.depths and model.heads must name as many stages, but are "
                f"{len(self.depths)} and {len(self.heads)}."
            )
        for name in ("patch_size", "width", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        for name in ("depths", "heads"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"model.{name} must all be at least 1, but are {getattr(self, name)}.")
        for stage, heads in enumerate(self.heads):
            if self.width * 2**stage % heads:
                raise ConfigError(
                    f"model.heads of stage {stage + 1} must divide its {self.width * 2**stage} channels "
                    f"(model.width={self.width}, twice as many in each stage), but is {heads}."
                )
        if self.expansion <= 0:
            raise ConfigError(f"model.expansion must be above 0, but is {self.expansion}.")
        for name in ("dropout", "attention_dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


SIZES: Mapping[str, SwinConfig] = {
    "t": SwinConfig(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "s": SwinConfig(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "b": SwinConfig(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "l": SwinConfig(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
}


class Merge(nn.Module):
    """Four neighbours, one below the other and then the next column, side by side; normalised; and down to
    half as many channels. Maps of odd sides are filled up with zeros."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps)
        self.reduce = Linear(4 * width, 2 * width, bias=False)

    def forward(
        self, places: Float[Tensor, "batch height width inputs"]
    ) -> Float[Tensor, "batch _ _ outputs"]:
        if places.shape[1] % 2 or places.shape[2] % 2:
            places = F.pad(places, (0, 0, 0, places.shape[2] % 2, 0, places.shape[1] % 2))
        pairs = places.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return self.reduce(self.norm(pairs.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Stage(nn.Module):
    """Blocks of one width; before them, if not the first stage, a map of half the size."""

    def __init__(self, config: SwinConfig, stage: int, drop_paths: list[float]):
        super().__init__()
        width, heads = config.width * 2**stage, config.heads[stage]
        self.window, self.checkpointing = config.window, config.checkpointing
        self.merge = Merge(width // 2, config.eps) if stage else nn.Identity()
        self.blocks = nn.ModuleList(
            PreNormBlock(
                width,
                heads,
                round(width * config.expansion),
                qkv_bias=config.qkv_bias,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                drop_path=share,
                eps=config.eps,
            )
            for share in drop_paths
        )
        self.biases = nn.ModuleList(RelativeBias(config.window, heads) for _ in drop_paths)

    def forward(
        self, places: Float[Tensor, "batch height width inputs"]
    ) -> Float[Tensor, "batch _ _ features"]:
        places = self.merge(places)
        height, width = places.shape[1:3]
        turns = cycle(cut(height, width, self.window, shifted) for shifted in (False, True))
        tokens, held = places.flatten(1, 2), whole(height, width)
        for block, bias, windows in zip(self.blocks, self.biases, turns, strict=False):
            tokens, held = rearranged(tokens, held, windows), windows
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(look_about, tokens, block, bias, windows, use_reentrant=False)
            else:
                tokens = look_about(tokens, block, bias, windows)
        return rearranged(tokens, held, whole(height, width)).unflatten(1, (height, width))


def look_about(
    tokens: Float[Tensor, "batch tokens features"],
    block: nn.Module,
    bias: nn.Module,
    windows: Windows,
) -> Float[Tensor, "batch tokens features"]:
    """A block whose tokens look about in their windows only; what one answers another has a bias by where
    they stand to each other (eq. 4). Tokens lie window by window."""
    mask = bias(*windows.window)
    if (neighbours := may_look(windows, tokens.device)) is not None:
        mask = mask.masked_fill(~neighbours, float("-inf"))
    return block(tokens.unflatten(1, (windows.count, -1)), mask).flatten(1, 2)


class Swin(nn.Module):
    """Pictures of any size to one number for each class. Dropout and drop path draw from torch's global
    generator while the module trains."""

    def __init__(self, config: SwinConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        self.embed = PatchEmbedding(channels, config.width, config.patch_size, norm=True, eps=config.eps)
        self.dropout = nn.Dropout(config.dropout)
        shares = iter(rates(sum(config.depths), config.drop_path))
        self.stages = nn.ModuleList(
            Stage(config, stage, [next(shares) for _ in range(depth)])
            for stage, depth in enumerate(config.depths)
        )
        last = config.width * 2 ** (len(config.depths) - 1)
        self.norm = nn.LayerNorm(last, config.eps)
        self.head = nn.Linear(last, classes)
        self.apply(initialise)

    def stage_features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> list[Float[Tensor, "batch features _ _"]]:
        """The map after each stage, from fine to coarse, for those who detect or segment."""
        places = self.dropout(self.embed(filled_up(images, self.config.patch_size)))
        maps = []
        for stage in self.stages:
            places = stage(places)
            maps.append(places.permute(0, 3, 1, 2))
        return maps

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]:
        """The last map, normalised, before it is averaged."""
        return self.norm(self.stage_features(images)[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def pooled(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch features"]:
        """What is classified: one vector for each picture."""
        return features.mean(dim=(2, 3))

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.pooled(features))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for the patches, one more for
        every block, the last norm and the head last. A merging belongs to the block before it."""
        first, *rest = name.split(".")
        if first == "embed":
            return 0
        if first != "stages":
            return 1 + sum(self.config.depths)
        before = sum(self.config.depths[: int(rest[0])])
        return before if rest[1] == "merge" else before + 1 + int(rest[2])

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, and the tables of relative biases."""
        return parameter.ndim <= 1 or ".biases." in name
