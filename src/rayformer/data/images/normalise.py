"""Bytes into the numbers that a network was trained with.

Normalisation    the mean and the spread that are taken out of colours in [0, 1]
NORMALISATIONS   those of published networks, by name
normalised       a picture as numbers
bytes_of         the way back, for the eye
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from rayformer.core.errors import ShapeError

Named = Literal["imagenet", "half", "clip", "none"]


@dataclass(frozen=True)
class Normalisation:
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    """Both of each channel, of colours in [0, 1]."""

    @cached_property
    def factors(self) -> tuple[Tensor, Tensor]:
        """What bytes are multiplied with, and what is added then."""
        mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.deviation))
        return 1 / (255 * deviation), -mean / deviation

    def grey(self) -> "Normalisation":
        """The same for a single channel: the means of both."""
        return Normalisation((sum(self.mean) / len(self.mean),), (sum(self.deviation) / len(self.deviation),))


NORMALISATIONS: Mapping[Named, Normalisation] = {
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def normalised(
    picture: Image.Image,
    normalisation: Normalisation,
    out: Float[Tensor, "channels height width"] | None = None,
) -> Float[Tensor, "channels height width"]:
    """(bytes / 255 - mean) / deviation of a picture in RGB or grey, written into `out` where there is one.

    Raises ShapeError where channels do not match the normalisation's.
    """
    channels = len(picture.getbands())
    if channels != len(normalisation.mean):
        raise ShapeError(
            f"a picture of {channels} channels, but means of {len(normalisation.mean)}: both must agree"
        )
    if out is None:
        out = torch.empty(channels, picture.height, picture.width)
    scale, shift = normalisation.factors
    # Rows of one channel each, which copy at full speed; a bytearray, because tensors may be written to.
    rows = bytearray(picture.tobytes("raw", "RGB;L") if channels == 3 else picture.tobytes())
    pixels = torch.frombuffer(rows, dtype=torch.uint8).view(picture.height, channels, picture.width)
    return out.copy_(pixels.transpose(0, 1)).mul_(scale).add_(shift)


def bytes_of(
    values: Float[Tensor, "*batch channels height width"], normalisation: Normalisation
) -> UInt8[Tensor, "*batch channels height width"]:
    """The bytes that `normalised` came from, rounded; what lies outside becomes black or white."""
    mean = torch.tensor(normalisation.mean).view(-1, 1, 1)
    deviation = torch.tensor(normalisation.deviation).view(-1, 1, 1)
    return ((values * deviation + mean) * 255).round().clamp(0, 255).byte()
