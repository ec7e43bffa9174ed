"""From a picture to what a network sees: in training by lot, in evaluation always the same.

    AugmentConfig    what a recipe may change; the defaults are what vision transformers are trained with
    TrainTransform   crop, flip, policy, jitter, normalise, erase, in this order
    EvalTransform    the middle, normalised; as numbers that a file can hold, and back
    load             a file or its bytes, through one of them
    small_batch      pictures in memory that already have the size, such as CIFAR: many at once

A transform is called with a picture and a generator and is a pure function of both. Without a generator
TrainTransform is EvalTransform.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError
from rayformer.data.images.crop import FILTERS, Filter, centred, flipped, random_box, resized, shifted
from rayformer.data.images.decode import Source, opened, upright_size
from rayformer.data.images.draws import whole
from rayformer.data.images.erase import EraseConfig, erase
from rayformer.data.images.jitter import jittered
from rayformer.data.images.normalise import NORMALISATIONS, Named, Normalisation, normalised
from rayformer.data.images.operations import Canvas
from rayformer.data.images.randaugment import PolicyConfig, augmented, strengths


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    size: int = 224
    """Height and width of what the network sees, in pixels."""
    crop: Literal["resized", "shifted", "centre"] = "resized"
    """What training sees of a picture: resized, a random part; shifted, all of it moved by a few pixels, for
    small pictures such as CIFAR; centre, the middle as in evaluation."""
    area: tuple[float, float] = (0.08, 1.0)
    """Bounds of the random part's area, as shares of the picture's."""
    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Bounds of its width / height."""
    padding: int = 4
    """Pixels by which a shifted picture may move each way."""
    filter: Literal["bicubic", "bilinear", "random"] = "bicubic"
    """How pictures are scaled, sheared and rotated; random draws one of both each time, and evaluation takes
    bicubic."""
    flip: float = 0.5
    """Chance that left and right are exchanged; 0 where they matter, as in writing."""
    policy: PolicyConfig = PolicyConfig()
    jitter: float = 0.0
    """Brightness, contrast and colour waver by factors within 1 plus or minus this."""
    jitter_hue: float = 0.0
    """Hue wavers by up to this share of a turn either way, at most 0.5."""
    erase: EraseConfig = EraseConfig()
    colours: Named = "imagenet"
    """The mean and spread taken out of colours: imagenet's; half, to [-1, 1]; clip's; none, to [0, 1]."""
    crop_share: float | None = None
    """Share of the picture's shorter side that evaluation sees. none: 0.875, and 1 where training sees
    shifted pictures."""
    squash: bool = False
    """Evaluation scales both sides to the same length, whatever the shape, and so sees all of a picture when
    the share is 1."""
    spare: float = 2.0
    """Training decodes a JPEG at a half, a quarter or an eighth where this many pixels are left for each one
    wanted along both axes. 0 decodes all of it always."""

    def __post_init__(self):
        if self.size < 1:
            raise ConfigError(f"augment.size must be at least 1 pixel, but is {self.size}.")
        low, high = self.area
        if not 0 < low <= high <= 1:
            raise ConfigError(f"augment.area must be two shares, the smaller first, but is {low:g} {high:g}.")
        low, high = self.aspect
        if not 0 < low <= high < math.inf:
            raise ConfigError(
                f"augment.aspect must be two numbers above 0, the smaller first, but is {low:g} {high:g}."
            )
        if self.padding < 0:
            raise ConfigError(f"augment.padding must be at least 0 pixels, but is {self.padding}.")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"augment.flip must lie in [0, 1], but is {self.flip:g}.")
        if not 0 <= self.jitter < math.inf:
            raise ConfigError(f"augment.jitter must be at least 0 and finite, but is {self.jitter:g}.")
        if not 0 <= self.jitter_hue <= 0.5:
            raise ConfigError(f"augment.jitter_hue must lie in [0, 0.5], but is {self.jitter_hue:g}.")
        if self.crop_share is not None and not 0 < self.crop_share <= 1:
            raise ConfigError(
                f"augment.crop_share must be above 0 and at most 1, but is {self.crop_share:g}."
            )
        if self.spare != 0 and not 1 <= self.spare < math.inf:
            raise ConfigError(f"augment.spare must be 0, or 1 and more, but is {self.spare:g}.")

    @property
    def seen_share(self) -> float:
        """`crop_share`, filled in."""
        if self.crop_share is not None:
            return self.crop_share
        return 1.0 if self.crop == "shifted" else 0.875


@runtime_checkable
class Transform(Protocol):
    def __call__(
        self,
        picture: Image.Image,
        generator: Generator | None = None,
        out: Float[Tensor, "channels height width"] | None = None,
    ) -> Float[Tensor, "channels height width"]:
        """What the network sees, written into `out` where there is one."""
        ...


class EvalTransform:
    """The middle of a picture, always the same. `measured` takes the place of the named mean and spread."""

    def __init__(self, config: AugmentConfig, measured: Normalisation | None = None):
        self.config = config
        self.normalisation = measured or NORMALISATIONS[config.colours]
        self.filter: Filter = "bilinear" if config.filter == "bilinear" else "bicubic"

    @property
    def numbers(self) -> dict[str, Any]:
        """All that decides what is seen: `size` in pixels, `crop_share` of the shorter side, `squash`,
        `filter`, `mean` and `deviation` of colours in [0, 1]."""
        return {
            "size": self.config.size,
            "crop_share": self.config.seen_share,
            "squash": self.config.squash,
            "filter": self.filter,
            "mean": list(self.normalisation.mean),
            "deviation": list(self.normalisation.deviation),
        }

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "EvalTransform":
        """The transform of which these are the `numbers`."""
        numbers = dict(numbers)
        measured = Normalisation(tuple(numbers.pop("mean")), tuple(numbers.pop("deviation")))
        return cls(AugmentConfig(**numbers), measured)

    def __call__(
        self,
        picture: Image.Image,
        generator: Generator | None = None,
        out: Float[Tensor, "channels height width"] | None = None,
    ) -> Float[Tensor, "channels height width"]:
        """Draws nothing, even with a generator. Raises DataError where the picture's file is torn."""
        config = self.config
        middle = centred(picture, config.size, config.seen_share, self.filter, config.squash)
        return normalised(_with_channels(middle, self.normalisation), self.normalisation, out)


class TrainTransform:
    """By lot. `picture` may be of any kind and still lie in its file (`opened`), of which then no more is
    decoded than is needed."""

    def __init__(self, config: AugmentConfig, measured: Normalisation | None = None):
        self.config = config
        self.evaluation = EvalTransform(config, measured)
        self.normalisation = self.evaluation.normalisation
        self.strengths = strengths(config.policy)
        self.fill = tuple(min(255, round(255 * mean)) for mean in self.normalisation.mean)

    def __reduce__(self) -> tuple[Any, ...]:
        """What the policy draws from are functions, which cannot be sent; what they are made from can."""
        return TrainTransform, (self.config, self.normalisation)

    def __call__(
        self,
        picture: Image.Image,
        generator: Generator | None = None,
        out: Float[Tensor, "channels height width"] | None = None,
    ) -> Float[Tensor, "channels height width"]:
        """Raises DataError where the picture's file is torn."""
        if generator is None:
            return self.evaluation(picture, None, out)
        seen = normalised(self.seen(picture, generator), self.normalisation, out)
        return erase(seen, self.config.erase, generator)

    def seen(self, picture: Image.Image, generator: Generator) -> Image.Image:
        """The picture as it is before it becomes numbers, for the eye."""
        config = self.config
        picture = _with_channels(self._cropped(picture, generator), self.normalisation)
        picture = flipped(picture, config.flip, generator)
        picture = augmented(
            picture, config.policy, self.strengths, lambda: self._canvas(generator), generator
        )
        return jittered(picture, config.jitter, config.jitter_hue, generator)

    def _cropped(self, picture: Image.Image, generator: Generator) -> Image.Image:
        config = self.config
        if config.crop == "resized":
            box = random_box(*upright_size(picture), config.area, config.aspect, generator)
            return resized(picture, box, config.size, self._filter(generator), config.spare or math.inf)
        picture = centred(picture, config.size, config.seen_share, self._filter(generator), config.squash)
        return shifted(picture, config.padding, generator) if config.crop == "shifted" else picture

    def _filter(self, generator: Generator) -> Filter:
        if self.config.filter == "random":
            return "bicubic" if whole(2, generator) else "bilinear"
        return self.config.filter

    def _canvas(self, generator: Generator) -> Canvas:
        return Canvas(FILTERS[self._filter(generator)], self.fill)


def _with_channels(picture: Image.Image, normalisation: Normalisation) -> Image.Image:
    """In grey where there is one mean only."""
    return picture.convert("L") if len(normalisation.mean) == 1 else picture


def load(
    source: Source,
    transform: Transform,
    generator: Generator | None = None,
    out: Float[Tensor, "channels height width"] | None = None,
    name: str | None = None,
) -> Float[Tensor, "channels height width"]:
    """What a network sees of a file, or of its bytes, which errors call `name`; EXIF rotation is honoured.

    Raises DataError for what is no picture, is torn, or claims to be enormous; MissingExtra for HEIC without
    its reader. Safe in threads, of which each needs a generator of its own.
    """
    with opened(source, name) as picture:
        return transform(picture, generator, out)


def small_batch(
    pictures: UInt8[Tensor, "batch channels height width"],
    transform: TrainTransform | EvalTransform,
    generator: Generator | None = None,
) -> Float[Tensor, "batch _ height width"]:
    """What a network sees of pictures that are in memory and have the size wanted; greys get as many channels
    as the normalisation has. Evaluation draws nothing, even with a generator.

    Shifts, flips and normalisation are made of all at once, many times as fast as one by one, and draw other
    numbers. A policy, a jitter or another crop take the pictures one by one.
    """
    config, means = transform.config, len(transform.normalisation.mean)
    generator = generator if isinstance(transform, TrainTransform) else None
    fits = pictures.shape[1] in (1, means) and pictures.shape[2:] == (config.size, config.size)
    if generator is None:
        together = config.seen_share == 1
    else:
        plain = config.policy.kind == "none" and config.jitter == config.jitter_hue == 0
        together = config.crop == "shifted" and plain
    if not (fits and together):
        rows = pictures.permute(0, 2, 3, 1).squeeze(3).numpy()
        out = torch.empty(len(pictures), means, config.size, config.size)
        for row, place in zip(rows, out, strict=True):
            transform(Image.fromarray(np.ascontiguousarray(row)), generator, place)
        return out
    if generator is not None:
        pictures = _shifted_together(pictures, config.padding, generator)
        turned = torch.rand(len(pictures), generator=generator) < config.flip
        pictures = torch.where(turned.view(-1, 1, 1, 1), pictures.flip(3), pictures)
    scale, shift = transform.normalisation.factors
    seen = (pictures * scale).add_(shift)
    for picture in seen if generator is not None and config.erase.chance else ():
        erase(picture, config.erase, generator)
    return seen


def _shifted_together(
    pictures: UInt8[Tensor, "batch channels height width"], padding: int, generator: Generator
) -> UInt8[Tensor, "batch channels height width"]:
    """`shifted`, of each picture by itself."""
    height, width = pictures.shape[2:]
    windows = F.pad(pictures, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    top, left = torch.randint(2 * padding + 1, (2, len(pictures)), generator=generator)
    return windows[torch.arange(len(pictures)), :, top, left]
