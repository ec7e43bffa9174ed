"""ViT: a picture as a sequence of patches, and nothing that knows of pictures thereafter.

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929. Read from the top:

    ViTConfig    what a recipe may change; the defaults are ViT-S/16
    SIZES        Ti, S, B, L, H                                                     table 1; Ti and S: DeiT
    ViT          patches, a class token, positions, blocks, classes                 fig. 1, eq. 1-4
    attention    what every block looked at, and `rollout` of parts/attention_maps.py over all of them

Pictures of another size than the one trained at: the same patches, more of them, and positions interpolated
(sec. 3.2). Two things differ between implementations, and both are switches: the paper's code computes GELU
by tanh, everybody else exactly; and what is classified is the class token or the mean of the patches.

Axes: batch; channels of the picture; height and width in pixels; tokens = class token and patches, row by
row; width = channels of a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.nets.parts.attention_maps import watched
from rayformer.nets.parts.block import PreNormBlock, initialise
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.parts.drop_path import rates
from rayformer.nets.parts.patches import PatchEmbedding
from rayformer.nets.parts.positions import LearnedPositions


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    image_size: int = 224
    """Side of the pictures that the positions are learned for, in pixels; others may come all the same."""
    patch_size: int = 16
    """Side of a patch, in pixels; half as large means four times as many tokens."""
    width: int = 384
    """Channels of a token."""
    depth: int = 12
    """Blocks."""
    heads: int = 6
    """Attentions side by side in each block; each works on width / heads channels."""
    expansion: float = 4.0
    """How much wider the MLP of a block is inside."""
    pool: Literal["class", "mean"] = "class"
    """What is classified: a learned token that may look at all patches, or the mean of the patches."""
    class_token: bool = True
    """Whether there is such a token; it may stay when the mean is classified."""
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    """The exact GELU or its approximation by tanh, which the paper's own weights were trained with."""
    qkv_bias: bool = True
    """Whether queries, keys and values have biases."""
    layer_scale: float | None = None
    """What every branch is multiplied by at first; learned for each channel. none: by nothing."""
    dropout: float = 0.0
    """Share of values left out after the positions and after each branch, and inside MLPs."""
    attention_dropout: float = 0.0
    """Share of attention weights left out."""
    drop_path: float = 0.0
    """Probability that the last block is passed by for an example; it rises from 0 at the first."""
    checkpointing: bool = False
    """Keep only what enters each block and compute the rest again for the gradient: far less memory, a third
    more time."""
    eps: float = 1e-6
    """Added to variances where tokens are normalised."""

    def __post_init__(self):
        for name in ("image_size", "patch_size", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"model.image_size must be a multiple of model.patch_size={self.patch_size}, "
                f"but is {self.image_size}."
            )
        if self.width % self.heads:
            raise ConfigError(
                f"model.width must be a multiple of model.heads={self.heads}, but is {self.width}."
            )
        if self.expansion <= 0:
            raise ConfigError(f"model.expansion must be above 0, but is {self.expansion}.")
        for name in ("dropout", "attention_dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")
        if self.pool == "class" and not self.class_token:
            raise ConfigError(
                "model.class_token=False leaves no class token to classify: choose model.pool=mean."
            )


SIZES: Mapping[str, ViTConfig] = {
    "ti": ViTConfig(width=192, depth=12, heads=3),
    "s": ViTConfig(width=384, depth=12, heads=6),
    "b": ViTConfig(width=768, depth=12, heads=12),
    "l": ViTConfig(width=1024, depth=24, heads=16),
    "h": ViTConfig(width=1280, depth=32, heads=16, patch_size=14),
}
"""With the patches that are usual; `dataclasses.replace(SIZES["b"], patch_size=32)` makes B/32."""


class ViT(nn.Module):
    """Pictures to one number for each class. Dropout and drop path draw from torch's global generator while
    the module trains."""

    def __init__(self, config: ViTConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        side, width = config.image_size // config.patch_size, config.width
        self.embed = PatchEmbedding(channels, width, config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if config.class_token else None
        self.positions = LearnedPositions(side, side, width, others=int(config.class_token))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            PreNormBlock(
                width,
                config.heads,
                round(width * config.expansion),
                activation=config.activation,
                qkv_bias=config.qkv_bias,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                drop_path=share,
                layer_scale=config.layer_scale,
                eps=config.eps,
            )
            for share in rates(config.depth, config.drop_path)
        )
        pooled = config.pool == "mean"
        self.norm = nn.Identity() if pooled else nn.LayerNorm(width, config.eps)
        self.pooled_norm = nn.LayerNorm(width, config.eps) if pooled else nn.Identity()
        self.head = nn.Linear(width, classes)
        self.apply(initialise)
        nn.init.zeros_(self.head.weight)

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch tokens _"]:
        """The tokens after the last block; where the class token is classified, normalised (eq. 1-3)."""
        patches = self.embed(images)
        tokens = patches.flatten(1, 2)
        if self.class_token is not None:
            tokens = torch.cat(
                [self.class_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1), tokens], dim=1
            )
        tokens = self.dropout(tokens + self.positions(*patches.shape[1:3]).to(tokens.dtype))
        return self.norm(one_by_one(self.blocks, tokens, self.config.checkpointing))

    def pooled(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        """What is classified: one vector for each picture (eq. 4)."""
        if self.config.pool == "class":
            return tokens[:, 0]
        return self.pooled_norm(tokens[:, int(self.config.class_token) :].mean(dim=1))

    def classify(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.pooled(tokens))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for what makes tokens, one
        more for every block, the last norm and the head last."""
        first, *rest = name.split(".")
        if first in ("embed", "class_token", "positions"):
            return 0
        return 1 + (int(rest[0]) if first == "blocks" else self.config.depth)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, layer scales, positions, class
        token."""
        return parameter.ndim <= 1 or name in ("class_token", "positions.table")


def attention(
    model: ViT, images: Float[Tensor, "batch channels height width"]
) -> list[Float[Tensor, "batch heads tokens tokens"]]:
    """The weights of every block, first to last: row i is what token i looked at. Token 0 is the class token,
    where there is one; the others are patches, row by row."""
    with watched(model) as weights:
        model.features(images)
    return [weights[f"blocks.{layer}.attention"] for layer in range(len(model.blocks))]
