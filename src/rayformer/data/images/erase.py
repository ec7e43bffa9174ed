"""Random erasing: a rectangle of the picture is lost, so that no part of a thing may be its only mark.

Zhong et al. 2017, https://arxiv.org/abs/1708.04896, with the three fillings that timm has.

    EraseConfig   how often, how much, and what is seen instead
    erase         a normalised picture, in place
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError
from rayformer.data.images.draws import happens, uniform, whole

TRIES = 10


@dataclass(frozen=True, kw_only=True)
class EraseConfig:
    chance: float = 0.25
    """Share of the pictures that lose a rectangle."""
    fill: Literal["pixel", "rand", "const"] = "pixel"
    """What is seen instead: another normal colour at each pixel, one normal colour, or the mean colour."""
    area: tuple[float, float] = (0.02, 1 / 3)
    """Bounds of the rectangle's area, as shares of the picture's."""
    aspect: tuple[float, float] = (0.3, 1 / 0.3)
    """Bounds of its height / width."""

    def __post_init__(self):
        if not 0 <= self.chance <= 1:
            raise ConfigError(f"augment.erase.chance must lie in [0, 1], but is {self.chance:g}.")
        low, high = self.area
        if not 0 <= low <= high <= 1:
            raise ConfigError(
                f"augment.erase.area must be two shares, the smaller first, but is {low:g} {high:g}."
            )
        low, high = self.aspect
        if not 0 < low <= high < math.inf:
            raise ConfigError(
                "augment.erase.aspect must be two numbers above 0, the smaller first, "
                f"but is {low:g} {high:g}."
            )


def erase(
    picture: Float[Tensor, "channels height width"], config: EraseConfig, generator: Generator | None
) -> Float[Tensor, "channels height width"]:
    """The same tensor, changed in place. Colours are normalised ones, whose mean is 0 and spread 1. A
    rectangle that does not fit is drawn again, ten times at most."""
    if generator is None or not happens(config.chance, generator):
        return picture
    channels, height, width = picture.shape
    for _ in range(TRIES):
        area = height * width * uniform(*config.area, generator)
        aspect = math.exp(uniform(math.log(config.aspect[0]), math.log(config.aspect[1]), generator))
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if high < height and wide < width:
            filling = _filling(config.fill, channels, high, wide, generator)
            top, left = whole(height - high + 1, generator), whole(width - wide + 1, generator)
            picture[:, top : top + high, left : left + wide] = filling
            break
    return picture


def _filling(
    fill: str, channels: int, high: int, wide: int, generator: Generator
) -> Float[Tensor, "channels _ _"]:
    if fill == "pixel":
        return torch.randn(channels, high, wide, generator=generator)
    if fill == "rand":
        return torch.randn(channels, 1, 1, generator=generator)
    return torch.zeros(channels, 1, 1)
