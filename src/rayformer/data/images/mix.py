"""Mixup and CutMix: two pictures in one, and the answer is both, in shares.

Zhang et al. 2017, https://arxiv.org/abs/1710.09412; Yun et al. 2019, https://arxiv.org/abs/1905.04899. Read
from the top:

    MixConfig   which of them, and how strongly
    mix         a batch, mixed with itself from back to front; targets in shares
    cut_box     the rectangle that CutMix exchanges

All pictures of a batch share one draw, as in timm.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError
from rayformer.data.images.crop import Box
from rayformer.data.images.draws import beta, happens, whole
from rayformer.losses.classification import soft_labels


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    mixup: float = 0.8
    """Strength of mixup: the share of a picture is drawn from Beta(this, this). 0 turns it off."""
    cutmix: float = 1.0
    """The same for CutMix, which puts a rectangle of one picture into the other. 0 turns it off."""
    chance: float = 1.0
    """Share of the batches that are mixed at all."""
    switch: float = 0.5
    """Share of CutMix among them where both are on."""
    smoothing: float = 0.1
    """Share of the answer that is spread evenly over all classes."""

    def __post_init__(self):
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"mix.{name} must be at least 0 and finite, but is {getattr(self, name):g}."
                )
        for name in ("chance", "switch"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"mix.{name} must lie in [0, 1], but is {getattr(self, name):g}.")
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"mix.smoothing must be at least 0 and below 1, but is {self.smoothing:g}.")


def mix(
    images: Float[Tensor, "batch channels height width"],
    labels: Int[Tensor, "batch"],
    classes: int,
    config: MixConfig,
    generator: Generator | None,
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch outputs"]]:
    """Each picture with the one at its place from the end, and the shares of both labels; without a
    generator, the pictures as they are. Shares of CutMix are those of the pixels that are seen."""
    targets = soft_labels(labels, classes, config.smoothing)
    both = config.mixup > 0 and config.cutmix > 0
    if generator is None or config.mixup == config.cutmix == 0 or not happens(config.chance, generator):
        return images, targets
    cutting = happens(config.switch, generator) if both else config.cutmix > 0
    share = beta(config.cutmix if cutting else config.mixup, generator)
    others = images.flip(0)
    if cutting:
        height, width = images.shape[-2:]
        box = cut_box(width, height, share, generator)
        across, down = slice(box.left, box.left + box.width), slice(box.top, box.top + box.height)
        images = images.clone()
        images[:, :, down, across] = others[:, :, down, across]
        share = 1 - box.width * box.height / (width * height)
    else:
        images = torch.lerp(others, images, share)
    return images, share * targets + (1 - share) * targets.flip(0)


def cut_box(width: int, height: int, share: float, generator: Generator) -> Box:
    """1 - `share` of the picture, of its shape, about a middle that may lie anywhere; what sticks out is cut
    off."""
    side = math.sqrt(1 - share)
    high, wide = int(height * side), int(width * side)
    middle_y, middle_x = whole(height, generator), whole(width, generator)
    top, bottom = max(0, middle_y - high // 2), min(height, middle_y + (high + 1) // 2)
    left, right = max(0, middle_x - wide // 2), min(width, middle_x + (wide + 1) // 2)
    return Box(left, top, right - left, bottom - top)
