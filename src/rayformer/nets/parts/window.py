"""A map cut into windows, and cut again half a window further on.

    Windows        how a map is cut: its size, the window's, the shift
    cut            the rule: no window is larger than the map, and what fits into one is not shifted
    partition      a map as windows of tokens, by filling up, rolling and folding     Swin, fig. 2 and 4
    reverse        and back
    may_look       which tokens of a window are neighbours, and not just brought together
    rearranged     tokens from one way of cutting to another, in one walk

Liu et al. 2021, https://arxiv.org/abs/2103.14030, sec. 3.2. Shifted windows hang over the map's edges. What
they miss on one side is what hangs over on the other, so the map is rolled and cut as before; tokens that
came together only by rolling must not see each other. Where windows do not cover the map evenly, it is filled
up on the right and below, and nobody sees what was filled in.

The order of tokens means nothing to norms, MLPs and residual connections. So a network need not come back to
the map between its blocks: `rearranged` brings tokens from the windows of one block right into those of the
next.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

KEPT = 256
"""Ways of cutting whose tables are kept: a network has some ten for each size of picture."""


@dataclass(frozen=True)
class Windows:
    height: int
    """Rows of the map."""
    width: int
    window: tuple[int, int]
    """Rows and columns of a window."""
    shift: tuple[int, int] = (0, 0)
    """By how much windows begin later, down and right."""

    @property
    def count(self) -> int:
        return -(-self.height // self.window[0]) * -(-self.width // self.window[1])

    @property
    def filled(self) -> bool:
        """Whether the windows do not cover the map evenly, so that something is filled in."""
        return self.height % self.window[0] > 0 or self.width % self.window[1] > 0

    @property
    def masked(self) -> bool:
        """Whether tokens share a window that must not see each other."""
        return self.filled or any(self.shift)


def whole(height: int, width: int) -> Windows:
    """One window that is the map: its tokens row by row."""
    return Windows(height, width, (height, width))


def cut(height: int, width: int, side: int, shifted: bool) -> Windows:
    """Windows of `side` x `side`, shifted by half of that or not. Along an axis on which the map is no larger
    than a window, the window is the map and there is nothing to shift."""
    sides = (min(side, height), min(side, width))
    shift = [side // 2 if shifted and size > side else 0 for size in (height, width)]
    return Windows(height, width, sides, (shift[0], shift[1]))


def partition(
    places: Float[Tensor, "batch height width features"], windows: Windows
) -> Float[Tensor, "batch windows tokens features"]:
    """Fill up with zeros, roll, fold: step by step what `rearranged` does in one."""
    (high, wide), (down, right) = windows.window, windows.shift
    places = F.pad(places, (0, 0, 0, -windows.width % wide, 0, -windows.height % high))
    places = places.roll((-down, -right), dims=(1, 2))
    folded = places.unflatten(2, (-1, wide)).unflatten(1, (-1, high)).transpose(2, 3)
    return folded.flatten(3, 4).flatten(1, 2)


def reverse(
    tokens: Float[Tensor, "batch windows tokens features"], windows: Windows
) -> Float[Tensor, "batch height width features"]:
    """The inverse of `partition`: what was filled in is cut off again."""
    high, wide = windows.window
    folded = tokens.unflatten(2, (high, wide)).unflatten(1, (-(-windows.height // high), -1))
    places = folded.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return places.roll(windows.shift, dims=(1, 2))[:, : windows.height, : windows.width]


def may_look(windows: Windows, device: torch.device) -> Bool[Tensor, "windows 1 tokens tokens"] | None:
    """True where two tokens of a window belong to the same shifted window of the map, that is where both row
    and column, less the shift, lie in the same one. What was filled in sees only its like. None: all may
    look.
    """
    return _table(_may_look, windows, device) if windows.masked else None


def rearranged(
    tokens: Float[Tensor, "batch tokens features"], was: Windows, becomes: Windows
) -> Float[Tensor, "batch _ features"]:
    """Tokens in the order of `was` brought into that of `becomes`, window by window; zeros where something is
    filled in. Equals `partition(reverse(...))`."""
    assert (was.height, was.width) == (becomes.height, becomes.width), "both must cut the same map"
    if was == becomes:
        return tokens
    there, back = (_table(_passage, pair, tokens.device) for pair in ((was, becomes), (becomes, was)))
    if tokens.requires_grad and torch.is_grad_enabled():
        return _Taken.apply(tokens, there, back, becomes.filled, was.filled)  # type: ignore[return-value]
    return taken(tokens, there, becomes.filled)


def taken(tokens: Tensor, slots: Tensor, filled: bool) -> Tensor:
    """The tokens of the given slots; where some are `filled`, zero for -1."""
    if not filled:
        return tokens.index_select(1, slots)
    return tokens.index_select(1, slots.clamp(min=0)).masked_fill_((slots < 0)[:, None], 0)


class _Taken(torch.autograd.Function):
    """`taken` for slots of which each is taken at most once: its gradient is `taken` too, the other way
    round, where torch would add row by row."""

    @staticmethod
    def forward(ctx, tokens, there, back, filled, was_filled):
        ctx.save_for_backward(back)
        ctx.was_filled = was_filled
        return taken(tokens, there, filled)

    @staticmethod
    def backward(ctx, *arriving):
        return taken(arriving[0], ctx.saved_tensors[0], ctx.was_filled), None, None, None, None


def _places(windows: Windows) -> Int[Tensor, "windows tokens"]:
    """The place of the map, counted row by row, that each slot of each window holds; -1: filled in."""
    size = windows.height, windows.width
    count = torch.arange(1, size[0] * size[1] + 1, dtype=torch.float64, device="cpu").view(1, *size, 1)
    return partition(count, windows)[0, :, :, 0].long() - 1


def _passage(was_becomes: tuple[Windows, Windows]) -> Int[Tensor, "tokens"]:
    """For each slot of the second way of cutting, the slot of the first that holds its place; -1: none."""
    was, becomes = (_places(windows).flatten() for windows in was_becomes)
    # Sizes that do not depend on what is counted, so that it can be traced; the last slot is for what was
    # filled in, and nobody asks for it.
    nobody = was_becomes[0].height * was_becomes[0].width
    slots = torch.zeros(nobody + 1, dtype=torch.long, device="cpu")
    slots = slots.scatter(0, torch.where(was >= 0, was, nobody), torch.arange(len(was), device="cpu"))
    return torch.where(becomes >= 0, slots[becomes.clamp(min=0)], -1)


def _may_look(windows: Windows) -> Bool[Tensor, "windows 1 tokens tokens"]:
    places = _places(windows)
    row = (places // windows.width - windows.shift[0]).div(windows.window[0], rounding_mode="floor")
    column = (places % windows.width - windows.shift[1]).div(windows.window[1], rounding_mode="floor")
    group = torch.where(places < 0, -1, (row + 1) * (windows.width + 1) + column + 1)
    return group[:, None, :, None] == group[:, None, None, :]


def _table(make: Callable[[Any], Tensor], key: Hashable, device: torch.device) -> Tensor:
    """`make(key)` on a device, kept for the next time; but nothing is kept of a compiler's make-believe."""
    return _kept.__wrapped__(make, key, device) if torch.compiler.is_compiling() else _kept(make, key, device)


@lru_cache(KEPT)
def _kept(make: Callable[[Any], Tensor], key: Hashable, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what is made in inference mode could never serve in training
        return make(key).to(device)
