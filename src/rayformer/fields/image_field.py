"""Fourier features: a signal as a function of its coordinates, and why the coordinates must become waves.

Tancik et al. 2020, https://arxiv.org/abs/2006.10739. Read from the top:

    ImageFieldConfig   what a recipe may change; the defaults are the paper's for pictures
    ImageField         the signal: coordinates -> mapping -> perceptron -> values        fig. 1
    ImageField.loss    the squared error at known places

    mapping            what the perceptron is fed for a place v                                      sec. 6
    none               v itself, from -1 to 1
    basic              one wave along each axis: (cos 2 pi v, sin 2 pi v)
    positional         waves along each axis, from 1 to 2^octaves periods
    gaussian           waves of all directions, B ~ N(0, sigma^2): (cos 2 pi B v, sin 2 pi B v)
    siren              v itself, and the perceptron's neurons are sines        (Sitzmann et al. 2020)
    hash-grid          learned features from grids that share a table          (Müller et al. 2022)

A picture is the case of two coordinates and three values. Sound has one of each, video three of each, and the
section of a tomogram two and one: the same function, told apart only by what its values may be.

Axes: points. Units: coordinates in lengths of the signal's longest axis, so that the longest runs over [0, 1)
and pixels are square; sigma in periods per unit.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import WaveEncoding, basic_waves, gaussian_waves, positional_waves
from rayformer.encodings.hash_grid import HashGrid, HashGridConfig
from rayformer.fields.parts.mlp import SkipMLP, initialise
from rayformer.fields.parts.siren import Siren
from rayformer.losses.photometric import squared_error

Mapping = Literal["none", "basic", "positional", "gaussian", "siren", "hash-grid"]
Values = Literal["unit", "signed", "positive"]
"""What values may be: in [0, 1], of either sign, or 0 and above."""


@dataclass(frozen=True, kw_only=True)
class ImageFieldConfig:
    mapping: Mapping = "gaussian"
    """What the network is fed: the coordinates (none), one wave along each axis (basic), waves along each
    axis (positional), of all directions (gaussian); siren feeds a network of sines with the coordinates,
    hash-grid looks them up in learned grids."""
    sigma: float | None = None
    """Spread of the gaussian waves, in periods along the longest axis; too small blurs, too large makes
    noise. none: as fine as the signal's samples allow, which is printed."""
    octaves: float | None = None
    """The positional waves go up to two to this many periods along the longest axis. none: as sigma."""
    waves: int = 256
    """Waves of the gaussian mapping and, in all, of the positional one; each gives a sine and a cosine."""
    omega: float | None = None
    """Factor in the first layer of siren. none: 30, and 3000 for sound, as in its paper's experiments."""
    width: int | None = None
    """Channels of each hidden layer. none: 256, and 64 behind a hash-grid."""
    depth: int | None = None
    """Hidden layers; the paper's "4 layers" are 3 and the one to the values. none: 3, 4 with siren, and 2
    behind a hash-grid."""
    grid: HashGridConfig = HashGridConfig()

    def __post_init__(self):
        for name in ("sigma", "octaves", "omega"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"model.{name} must be above 0 and finite, but is {value:g}.")
        for name in ("waves", "width", "depth"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {value}.")

    @property
    def network(self) -> tuple[int, int]:
        """Width and depth, with what is left open filled in."""
        usual = {"hash-grid": (64, 2), "siren": (256, 4)}.get(self.mapping, (256, 3))
        return self.width or usual[0], self.depth or usual[1]


class ImageField(nn.Module):
    """The signal. `dims` coordinates in, `channels` values out.

    Raises ConfigError where the mapping needs a number that the config leaves open, and for a hash grid of
    more than three coordinates.
    """

    def __init__(self, config: ImageFieldConfig, dims: int, channels: int, values: Values):
        super().__init__()
        self.config, self.dims, self.channels, self.values = config, dims, channels, values
        width, depth = config.network
        if config.mapping == "siren":
            self.siren = Siren(dims, width, depth, channels, _filled(config.omega, "omega"))
            return
        self.mapping = _mapping(config, dims)
        self.trunk = SkipMLP(self.mapping.size if self.mapping else dims, width, depth)
        self.to_values = nn.Linear(width, channels)
        initialise(self, "glorot")

    def forward(self, places: Float[Tensor, "points dims"]) -> Float[Tensor, "points channels"]:
        """The signal's values at places in [0, 1)^dims, in float32."""
        if self.config.mapping == "siren":
            values = self.siren(2 * places - 1)
            # As its paper has it: the network's own range is -1 to 1, and nothing bends it.
            return F.softplus(values) if self.values == "positive" else self._centred(values)
        hidden = self._trunk(places)
        with torch.autocast(
            places.device.type, enabled=False
        ):  # 3 channels cost nothing, and a byte has 8 bits
            values = self.to_values(hidden.float())
        match self.values:
            case "unit":
                return torch.sigmoid(values)
            case "positive":
                return F.softplus(values)
            case _:
                return values

    def _trunk(self, places: Float[Tensor, "points dims"]) -> Float[Tensor, "points width"]:
        if self.mapping is None:
            # bf16 has 256 numbers between a half and one: neighbouring pixels would share a coordinate.
            with torch.autocast(places.device.type, enabled=False):
                return self.trunk(2 * places - 1)
        if isinstance(self.mapping, HashGrid):  # the grids are those of space; a place lies on its floor
            places = F.pad(places, (0, 3 - self.dims)).contiguous()
        return self.trunk(self.mapping(places))

    def _centred(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        return values if self.values == "signed" else (1 + values) / 2

    def loss(self, places: Float[Tensor, "points dims"], values: Float[Tensor, "points channels"]) -> Losses:
        """The mean squared error. (The paper's is half of it, which Adam does not notice.)"""
        error = squared_error(self(places), values)
        return Losses(total=error, terms={"squared_error": error})


def _mapping(config: ImageFieldConfig, dims: int) -> WaveEncoding | HashGrid | None:
    match config.mapping:
        case "basic":
            return WaveEncoding(basic_waves(dims))
        case "positional":
            return WaveEncoding(positional_waves(dims, config.waves, _filled(config.octaves, "octaves")))
        case "gaussian":
            return WaveEncoding(gaussian_waves(dims, config.waves, _filled(config.sigma, "sigma")))
        case "hash-grid":
            if dims > 3:
                raise ConfigError(f"model.mapping hash-grid takes up to 3 coordinates, but there are {dims}.")
            return HashGrid(config.grid.layout())
        case _:
            return None


def _filled(value: float | None, name: str) -> float:
    if value is None:
        raise ConfigError(f"model.{name} must be a number here, where no signal suggests one.")
    return value
