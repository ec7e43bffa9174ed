"""RandAugment and its kin: a few operations drawn by lot, all equally strong.

Cubuk et al. 2019, https://arxiv.org/abs/1909.13719; Müller and Hutter 2021 (TrivialAugment),
https://arxiv.org/abs/2103.10158. Read from the top:

    PolicyConfig     which of the three, and how strong
    Strength         an operation, and the amount that it has at a magnitude
    timm_strengths   as timm has them: 15 operations, each left out at a chance, magnitudes spread about the
                     one asked for. rand-m9-mstd0.5-inc1 is the default here, and what DeiT, Swin and ConvNeXt
                     were trained with
    paper_strengths  as the paper and torchvision have them: 14 operations, one of which leaves the picture as
                     it is; 31 steps of magnitude
    trivial_strengths  TrivialAugment's wide ones: one operation, any magnitude
    augmented        a picture as a policy leaves it
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from PIL import Image
from torch import Generator

from rayformer.core.errors import ConfigError
from rayformer.data.images.draws import happens, normal, whole
from rayformer.data.images.operations import OPERATIONS, Canvas

STEPS = 31
"""Magnitudes of the paper's policies, from none to full."""
FULL = 10.0
"""The magnitude at which timm's operations have the amounts of AutoAugment."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    kind: Literal["none", "timm", "paper", "trivial"] = "timm"
    """timm: RandAugment as most vision transformers were trained with, rand-m9-mstd0.5-inc1. paper: as
    published and in torchvision. trivial: TrivialAugment, one operation of any strength. none: none."""
    layers: int = 2
    """Operations drawn for each picture, one after the other; trivial draws one."""
    magnitude: float = 9.0
    """Strength: of 10 with timm, a step of 0 to 30 with paper; trivial draws it."""
    spread: float = 0.5
    """timm draws the magnitude of each operation about the one above, with this standard deviation."""
    most: float = 10.0
    """timm's bound for what is drawn; above 10, magnitudes above 10 count (ResNet-RS has 15)."""
    chance: float = 0.5
    """timm leaves each operation out unless this chance comes true."""
    increasing: bool = True
    """timm: all operations become stronger with the magnitude; no-increasing is the older set, in which some
    become weaker."""

    def __post_init__(self):
        if self.layers < 0:
            raise ConfigError(f"augment.policy.layers must be at least 0, but is {self.layers}.")
        if self.kind == "paper" and not (0 <= self.magnitude < STEPS and self.magnitude % 1 == 0):
            raise ConfigError(
                f"augment.policy.magnitude must be a whole number from 0 to {STEPS - 1} for "
                f"augment.policy.kind=paper, but is {self.magnitude:g}."
            )
        for name in ("magnitude", "spread", "most"):
            if not 0 <= getattr(self, name) < torch.inf:
                raise ConfigError(
                    f"augment.policy.{name} must be at least 0 and finite, but is {getattr(self, name):g}."
                )
        if not 0 <= self.chance <= 1:
            raise ConfigError(f"augment.policy.chance must lie in [0, 1], but is {self.chance:g}.")


@dataclass(frozen=True)
class Strength:
    operation: str | None
    """None leaves the picture as it is."""
    amount: Callable[[float, int, int], float] | None = None
    """The amount at a magnitude, for a picture of a width and a height; None where there is no choice."""
    signed: bool = False
    """Whether a coin decides between the magnitude and its opposite."""


# ------------------------------------------------------------------------------------------ as timm has it


def timm_strengths(increasing: bool) -> tuple[Strength, ...]:
    """The amounts at a magnitude; its sign is the coin's."""

    def share(most: float) -> Callable[[float, int, int], float]:
        return lambda magnitude, width, height: magnitude / FULL * most

    def posterise(magnitude: float, width: int, height: int) -> int:
        bits = int(magnitude / FULL * 4)
        return 4 - bits if increasing else bits

    def solarise(magnitude: float, width: int, height: int) -> int:
        threshold = min(256, int(magnitude / FULL * 256))
        return 256 - threshold if increasing else threshold

    def enhance(magnitude: float, width: int, height: int) -> float:
        if increasing:
            return max(0.1, 1 + magnitude / FULL * 0.9)
        return magnitude / FULL * 1.8 + 0.1

    return (
        Strength("autocontrast"),
        Strength("equalise"),
        Strength("invert"),
        Strength("rotate", share(30.0), signed=True),
        Strength("posterise", posterise),
        Strength("solarise", solarise),
        Strength("solarise-add", lambda magnitude, width, height: min(128, int(magnitude / FULL * 110))),
        *(
            Strength(name, enhance, signed=increasing)
            for name in ("colour", "contrast", "brightness", "sharpness")
        ),
        Strength("shear-x", share(0.3), signed=True),
        Strength("shear-y", share(0.3), signed=True),
        Strength("translate-x", lambda magnitude, width, height: magnitude / FULL * 0.45 * width, True),
        Strength("translate-y", lambda magnitude, width, height: magnitude / FULL * 0.45 * height, True),
    )


# ------------------------------------------------------------------------------------------ as published


def paper_strengths() -> tuple[Strength, ...]:
    """Magnitudes are steps of 0 to 30, with the coin's sign. Translation is towards the right and downwards,
    by whole pixels."""
    return _steps(
        shear=0.3,
        across=lambda width: 150.0 / 331.0 * width,
        rotation=30.0,
        enhancement=0.9,
        bits=4,
    )


def trivial_strengths() -> tuple[Strength, ...]:
    """Wider than the paper's; translation by up to 32 pixels of any picture."""
    return _steps(shear=0.99, across=lambda width: 32.0, rotation=135.0, enhancement=0.99, bits=6)


def _steps(
    shear: float,
    across: Callable[[int], float],
    rotation: float,
    enhancement: float,
    bits: int,
) -> tuple[Strength, ...]:
    def even(most: float) -> Callable[[float, int, int], float]:
        return lambda magnitude, width, height: _step(0.0, most, magnitude)

    def enhance(magnitude: float, width: int, height: int) -> float:
        return 1.0 + _step(0.0, enhancement, magnitude)

    return (
        Strength(None),
        Strength("shear-x", even(shear), signed=True),
        Strength("shear-y", even(shear), signed=True),
        Strength(
            "translate-x", lambda magnitude, width, height: -int(_step(0.0, across(width), magnitude)), True
        ),
        Strength(
            "translate-y", lambda magnitude, width, height: -int(_step(0.0, across(height), magnitude)), True
        ),
        Strength("rotate", even(rotation), signed=True),
        *(Strength(name, enhance, signed=True) for name in ("brightness", "colour", "contrast", "sharpness")),
        Strength("posterise", lambda magnitude, width, height: 8 - round(magnitude / ((STEPS - 1) / bits))),
        Strength("solarise", lambda magnitude, width, height: 255.0 * _step(1.0, 0.0, magnitude)),
        Strength("autocontrast"),
        Strength("equalise"),
    )


def _step(first: float, last: float, magnitude: float) -> float:
    """The step of that number between the two, with the magnitude's sign. In single precision, as torchvision
    has them: thresholds fall between grey levels or on them by the last bit."""
    value = _line(first, last)[int(abs(magnitude))]
    return -value if magnitude < 0 else value


@cache
def _line(first: float, last: float) -> list[float]:
    return torch.linspace(first, last, STEPS).tolist()


# ------------------------------------------------------------------------------------------ the policies


def strengths(config: PolicyConfig) -> Sequence[Strength]:
    """What the lot is drawn from."""
    return {
        "none": lambda: (),
        "timm": lambda: timm_strengths(config.increasing),
        "paper": paper_strengths,
        "trivial": trivial_strengths,
    }[config.kind]()


def augmented(
    picture: Image.Image,
    config: PolicyConfig,
    choice: Sequence[Strength],
    canvas: Callable[[], Canvas],
    generator: Generator | None,
) -> Image.Image:
    """The picture as the policy leaves it; without a generator, as it is. `choice` is `strengths(config)`;
    `canvas` is asked for each operation."""
    if generator is None or not choice:
        return picture
    for _ in range(1 if config.kind == "trivial" else config.layers):
        drawn = choice[whole(len(choice), generator)]
        if config.kind == "timm" and config.chance < 1 and not happens(config.chance, generator):
            continue
        magnitude = _magnitude(config, drawn, generator)
        if drawn.signed and happens(0.5, generator):
            magnitude = -magnitude
        picture = applied(picture, drawn, magnitude, canvas())
    return picture


def _magnitude(config: PolicyConfig, drawn: Strength, generator: Generator) -> float:
    if config.kind == "trivial":
        return float(whole(STEPS, generator)) if drawn.amount is not None else 0.0
    if config.kind == "paper" or config.spread == 0:
        return min(config.magnitude, config.most) if config.kind == "timm" else config.magnitude
    return max(0.0, min(normal(config.magnitude, config.spread, generator), config.most))


def applied(picture: Image.Image, strength: Strength, magnitude: float, canvas: Canvas) -> Image.Image:
    """The picture after one operation of that magnitude."""
    if strength.operation is None:
        return picture
    amount = strength.amount(magnitude, *picture.size) if strength.amount is not None else 0.0
    return OPERATIONS[strength.operation](picture, float(amount), canvas)
