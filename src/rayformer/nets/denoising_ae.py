"""Denoising autoencoders: spoil a picture, learn to make it good again, and keep what was learned for that.

Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders" (ICML), and their
longer paper of 2010, "Stacked denoising autoencoders" (JMLR 11, pages 3371-3408). Read from the top:

    NoiseConfig        how inputs are spoiled, and where the loss looks
    spoiled            by masking, by salt and pepper, by Gaussian noise             2008: 2.3, 2010: 3.3
    DenoisingLayer     there and back again: y = s(W x + b), z = s(W' y + b')        2008: eq. 1-3
    denoising_loss     how far z is from what was there before it was spoiled        2008: eq. 4-5, 2010: 3.4
    DenoisingConfig    what a recipe may change of the network
    DenoisingNet       the ways there of all layers, one upon the other, and classes 2008: 2.4
    receptive_fields   what each unit looks for in the pixels                        2008: fig. 3

Layers are learned from below. Each learns to restore what the layers below it make of a clean picture; they
stand still meanwhile. With W' = W^T, tied, a unit paints what it looks for.

Axes: batch; inputs = pixels of a picture, channel by channel and row by row, or units of the layer below;
outputs = units. All that is spoiled and restored lies in [0, 1].
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.kernels.linear import Linear, linear

LUMINANCE = (0.299, 0.587, 0.114)
"""How much red, green and blue count in grey (ITU-R BT.601, as Pillow has it)."""

# ---------------------------------------------------------------------- spoiling


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    kind: Literal["masking", "salt-and-pepper", "gaussian", "none"] = "masking"
    """masking sets some inputs to 0; salt-and-pepper sets them to 0 or 1, at even chances; gaussian adds
    noise to all; none makes plain autoencoders."""
    share: float = 0.25
    """Share of the inputs that masking and salt-and-pepper reach, as many in every picture; the papers try
    0 to 0.5."""
    deviation: float = 0.3
    """Standard deviation of gaussian noise, of inputs in [0, 1]."""
    clean_weight: float = 1.0
    """What inputs that were left alone count in the loss, where spoiled ones count 1. At 0 nothing is asked
    for but what is missing, as in BERT and MAE."""

    def __post_init__(self):
        if not 0 <= self.share < 1:
            raise ConfigError(f"noise.share is a share, 0 or more and below 1, but is {self.share:g}.")
        if not 0 <= self.deviation < math.inf:
            raise ConfigError(f"noise.deviation must be at least 0 and finite, but is {self.deviation:g}.")
        if not 0 <= self.clean_weight <= 1:
            raise ConfigError(f"noise.clean_weight must lie in [0, 1], but is {self.clean_weight:g}.")
        if self.clean_weight != 1 and self.kind in ("gaussian", "none"):
            raise ConfigError(
                f"noise.clean_weight is for noise that leaves some inputs alone, and noise.kind={self.kind} "
                f"{'reaches all of them' if self.kind == 'gaussian' else 'reaches none'}.\n"
                "Leave it out, or take masking or salt-and-pepper."
            )


@dataclass(frozen=True, eq=False)
class Spoiled:
    values: Float[Tensor, "batch inputs"]
    reached: Bool[Tensor, "batch inputs"]
    """Which of them noise was put on."""


def spoiled(clean: Float[Tensor, "batch inputs"], noise: NoiseConfig, generator: Generator | None) -> Spoiled:
    """The inputs with noise on them; without a generator, as they are. In every row as many are reached as in
    every other: `noise.share` of them, rounded."""
    if generator is None or noise.kind == "none":
        return Spoiled(clean, torch.zeros_like(clean, dtype=torch.bool))
    if noise.kind == "gaussian":
        shaken = noise.deviation * _drawn(torch.randn, clean.shape, generator)
        return Spoiled(clean + shaken.to(clean.dtype), torch.ones_like(clean, dtype=torch.bool))
    count = round(noise.share * clean.shape[1])
    lots = _drawn(torch.rand, clean.shape, generator)
    # The places of the largest lots: exactly so many, which a threshold for each place would not give.
    places = lots.topk(count, dim=1, sorted=False).indices
    reached = torch.zeros_like(clean, dtype=torch.bool).scatter_(1, places, True)
    if noise.kind == "masking":
        return Spoiled(clean.masked_fill(reached, 0.0), reached)
    ends = (_drawn(torch.rand, clean.shape, generator) < 0.5).to(clean.dtype)
    return Spoiled(torch.where(reached, ends, clean), reached)


def _drawn(draw: Callable[..., Tensor], shape: torch.Size, generator: Generator) -> Tensor:
    return draw(shape, generator=generator, device=generator.device)


# ---------------------------------------------------------------------- one layer, there and back


class DenoisingLayer(nn.Module):
    """Inputs in [0, 1] to units in (0, 1), and back to guesses at the inputs."""

    def __init__(self, inputs: int, outputs: int, tied: bool = True, affine: bool = False):
        """`tied` goes back by the transposed weights of the way there. `affine` guesses any number, not
        only those in (0, 1), and is judged by squared error."""
        super().__init__()
        self.encoder = Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)  # pictures are bright: larger weights would leave most units saturated
        nn.init.uniform_(self.encoder.weight, -bound, bound)
        nn.init.zeros_(self.encoder.bias)
        self.back = None if tied else nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.back_bias = nn.Parameter(torch.zeros(inputs))
        self.affine = affine

    @property
    def back_weight(self) -> Float[Tensor, "inputs outputs"]:
        """W' of the paper."""
        return self.encoder.weight.t() if self.back is None else self.back

    def encode(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        return torch.sigmoid(self.encoder(inputs))

    def guess(self, codes: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch inputs"]:
        """The way back before its sigmoid, which the cross-entropy is told of exactly."""
        return linear(codes, self.back_weight, self.back_bias)

    def decode(self, codes: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch inputs"]:
        """The way back, into [0, 1]."""
        guess = self.guess(codes).float()
        return guess.clamp(0, 1) if self.affine else torch.sigmoid(guess)

    def forward(self, inputs: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch inputs"]:
        """There and back: what the layer takes the inputs for."""
        return self.decode(self.encode(inputs))


def denoising_loss(
    layer: DenoisingLayer, clean: Float[Tensor, "batch inputs"], seen: Spoiled, clean_weight: float = 1.0
) -> Float[Tensor, ""]:
    """The mean over the batch of -sum_i w_i (x_i log z_i + (1 - x_i) log(1 - z_i)), where z is restored from
    what was `seen`; of affine layers sum_i w_i (x_i - z_i)^2 / 2. w is 1 where noise was, `clean_weight`
    elsewhere. In float32."""
    guess, clean = layer.guess(layer.encode(seen.values)).float(), clean.float()
    if layer.affine:
        each = (guess - clean).square() / 2
    else:
        each = F.binary_cross_entropy_with_logits(guess, clean, reduction="none")
    if clean_weight != 1:
        each = torch.where(seen.reached, each, clean_weight * each)
    return each.sum(dim=1).mean()


def _units(inputs: int, outputs: int) -> Linear:
    """A layer before a sigmoid, four times as flat as a tanh: Glorot and Bengio 2010, eq. 16, four times."""
    layer = Linear(inputs, outputs)
    bound = 4 * math.sqrt(6 / (inputs + outputs))
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


# ---------------------------------------------------------------------- layers upon layers


@dataclass(frozen=True, kw_only=True)
class DenoisingConfig:
    image_size: int = 32
    """Side of the pictures, in pixels."""
    colour: bool = False
    """Pictures are seen in colour, three numbers to a pixel; else in grey."""
    widths: tuple[int, ...] = (1000, 1000, 1000)
    """Units of each layer, from below; the paper has three layers."""
    tied: bool = True
    """The way back goes by the transposed weights of the way there."""
    affine: bool = False
    """The first layer's way back has no sigmoid and is judged by squared error: for photographs, which
    are more than black and white. Layers above it always have it."""

    def __post_init__(self):
        if self.image_size < 1:
            raise ConfigError(f"model.image_size must be at least 1, but is {self.image_size}.")
        if not self.widths or min(self.widths) < 1:
            said = " ".join(map(str, self.widths)) or "none"
            raise ConfigError(
                f"model.widths must name at least one layer, each of at least 1 unit, but is {said}."
            )

    @property
    def inputs(self) -> int:
        """Numbers that a picture is."""
        return (3 if self.colour else 1) * self.image_size**2


def layer_of(config: DenoisingConfig, number: int) -> DenoisingLayer:
    """Layer `number`, counted from 0 at the pixels, its weights drawn from torch's global generator."""
    sizes = (config.inputs, *config.widths)
    return DenoisingLayer(sizes[number], sizes[number + 1], config.tied, affine=config.affine and number == 0)


def numbers_of(
    images: Float[Tensor, "batch channels height width"], config: DenoisingConfig
) -> Float[Tensor, "batch inputs"]:
    """Pictures of colours in [0, 1] as rows of numbers. Raises ShapeError for pictures of another size,
    which a layer of all pixels at once cannot see."""
    side = config.image_size
    if images.shape[1:] != (3, side, side):
        raise ShapeError(
            f"pictures must be 3 x {side} x {side}, as the network was made for, "
            f"but are {' x '.join(map(str, images.shape[1:]))}"
        )
    if config.colour:
        return images.flatten(1)
    weights = images.new_tensor(LUMINANCE)
    return torch.einsum("bchw,c->bhw", images, weights).flatten(1)


class DenoisingNet(nn.Module):
    """Pictures to one number for each class, by layers that may have learned to denoise before: `take` them.

    Pictures are colours in [0, 1], red, green and blue, whether the network sees them in grey or not.
    """

    def __init__(self, config: DenoisingConfig, classes: int):
        super().__init__()
        self.config = config
        sizes = (config.inputs, *config.widths)
        self.layers = nn.ModuleList(_units(*pair) for pair in pairwise(sizes))
        self.head = Linear(sizes[-1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def take(self, layers: Sequence[DenoisingLayer]) -> None:
        """The ways there of these layers in the place of its own, the first at the pixels."""
        for own, given in zip(self.layers, layers, strict=True):
            own.load_state_dict(given.encoder.state_dict())

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """The units of the last layer."""
        values = numbers_of(images, self.config)
        for layer in self.layers:
            values = torch.sigmoid(layer(values))
        return values

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.features(images))

    def depth_of(self, name: str) -> int:
        """0 at the pixels, one more for each layer; the head lies deepest."""
        return int(name.split(".")[1]) if name.startswith("layers.") else len(self.layers)

    def undecayed(self, name: str, parameter: Tensor) -> bool:
        return parameter.ndim < 2


def receptive_fields(encoders: Sequence[nn.Linear]) -> Float[Tensor, "outputs inputs"]:
    """What every unit of the last of these layers looks for in the pixels: a row of weights each; above the
    first layer the sum of what the units below look for, weighted as they are heard (Lee et al. 2008)."""
    fields = encoders[0].weight.detach()
    for encoder in encoders[1:]:
        fields = encoder.weight.detach() @ fields
    return fields
