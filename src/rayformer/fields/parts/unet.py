"""Networks that see a place and its surroundings: U-Nets, for pictures and for volumes alike.

    UNet          down, through the middle, and up again, with a bridge at every level
    Downscaling   convolutions that halve a picture a few times
    Upscaling     and those that double it
    coordinates   where in its lattice each cell lies, as three more features
    drop          values left out at random

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597. Axes are batch, features, then those of the
lattice: height width, or cells cells cells. Any size will do: what cannot be halved is filled up with zeros,
which are cut off again. Groups of features are normalised (Wu and He 2018), so that no network holds state.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

GROUP = 4
"""Features that are normalised together, where their number allows it."""
SLOPE = 0.2
"""Of the activation, below zero."""


class UNet(nn.Module):
    """`dims` 2 or 3; `width` features at first, twice as many at each of `downs` levels, at most `most`."""

    def __init__(self, dims: int, inputs: int, outputs: int, width: int, downs: int, most: int):
        super().__init__()
        widths = [min(width * 2**level, most) for level in range(downs + 1)]
        self.downs = downs
        self.enter = Block(dims, inputs, width)
        self.down = nn.ModuleList(
            nn.Sequential(Block(dims, wide, wider, halve=True), Block(dims, wider, wider))
            for wide, wider in pairwise(widths)
        )
        self.up = nn.ModuleList(doubling(dims, wider, wide) for wide, wider in pairwise(widths))
        self.join = nn.ModuleList(Block(dims, 2 * wide, wide) for wide in widths[:-1])
        self.leave = convolution(dims, width, outputs, 1)

    def forward(self, x: Float[Tensor, "batch inputs *shape"]) -> Float[Tensor, "batch outputs *shape"]:
        size = x.shape[2:]
        bridges = [self.enter(filled_up(x, 2**self.downs))]
        for halve in self.down:
            bridges.append(halve(bridges[-1]))
        x = bridges.pop()
        for double, join in zip(reversed(self.up), reversed(self.join), strict=True):
            x = join(torch.cat([double(x), bridges.pop()], dim=1))
        return cut_off(self.leave(x), size)


class Block(nn.Module):
    """Convolution, normalisation, leaky ReLU; with `halve`, every other place along each axis."""

    def __init__(self, dims: int, inputs: int, outputs: int, halve: bool = False):
        super().__init__()
        self.convolve = convolution(dims, inputs, outputs, 4, halve) if halve else convolution(
            dims, inputs, outputs, 3
        )  # fmt: skip
        self.normalise = normalisation(outputs)

    def forward(self, x: Float[Tensor, "batch inputs *_"]) -> Float[Tensor, "batch outputs *_"]:
        return F.leaky_relu(self.normalise(self.convolve(x)), SLOPE)


class Downscaling(nn.Sequential):
    """`halvings` blocks from `inputs` features to `width`; without any, one that leaves the size as it is."""

    def __init__(self, inputs: int, width: int, halvings: int):
        widths = [inputs, *[width] * max(halvings, 1)]
        super().__init__(*(Block(2, one, other, halve=halvings > 0) for one, other in pairwise(widths)))


class Upscaling(nn.Sequential):
    """`doublings` of a picture of `width` features, which become fewer on the way, and then `outputs`."""

    def __init__(self, width: int, outputs: int, doublings: int):
        widths = [max(width // 2**level, min(width, 16)) for level in range(doublings + 1)]
        steps = [
            nn.Sequential(doubling(2, one, other), nn.LeakyReLU(SLOPE)) for one, other in pairwise(widths)
        ]
        super().__init__(*steps, convolution(2, widths[-1], outputs, 3))


def normalisation(features: int) -> nn.Module:
    """Features to mean 0 and variance 1 over all places, a few of them together; then a learned line."""
    return nn.GroupNorm(features // GROUP if features % GROUP == 0 else 1, features)


def convolution(dims: int, inputs: int, outputs: int, size: int, halve: bool = False) -> nn.Module:
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(inputs, outputs, size, stride=2 if halve else 1, padding=(size - 1) // 2)


def doubling(dims: int, inputs: int, outputs: int) -> nn.Module:
    """A transposed convolution to twice the size along each axis. Its kernel of 4 covers every new place
    equally often, which leaves chequers faint."""
    kind = nn.ConvTranspose2d if dims == 2 else nn.ConvTranspose3d
    return kind(inputs, outputs, 4, stride=2, padding=1)


def filled_up(x: Tensor, multiple: int) -> Tensor:
    """With zeros at the end of each axis after the second, until it is a multiple."""
    missing = [-size % multiple for size in x.shape[2:]]
    if not any(missing):
        return x
    return F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)])


def cut_off(x: Tensor, size: Sequence[int]) -> Tensor:
    for axis, count in enumerate(size, 2):
        x = x.narrow(axis, 0, count)
    return x


def coordinates(cells: Sequence[int], device: torch.device) -> Float[Tensor, "1 dims *_"]:
    """Where the middle of each cell lies, from -1 to 1 across the lattice: with them a convolution may do
    one thing here and another there (Liu et al. 2018, https://arxiv.org/abs/1807.03247)."""
    axes = [(2 * torch.arange(count, device=device) + 1) / count - 1 for count in cells]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def drop(x: Float[Tensor, "*shape"], share: float, generator: Generator | None) -> Float[Tensor, "*shape"]:
    """Each value left out with a chance of `share`, and the others larger to make up for it; all of them
    kept without a generator."""
    if generator is None or share == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= share
    return x * kept / (1 - share)
