"""The task of tomography: a section of a body from its shadows, as a field whose integrals must agree.

LinePiece      some lines with what was measured along them; LineBatch, a step's worth
TomogramTask   line integrals learned, the density measured against the section that cast the shadows
disc           the part of a square that lines of every angle go through
lines_of       all lines of a section's shadows
integrals      a density along lines

The measurement is linear, but nothing is inverted: the field is asked at places along each line, the sum of
its densities is compared with the shadow, and the gradient does the rest (Tancik et al. 2020, section 6.2).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.signals.phantom import back_projection
from rayformer.data.signals.signal import Shadows, Signal
from rayformer.engine.task import Setting
from rayformer.fields.image_field import ImageField
from rayformer.losses.photometric import squared_error
from rayformer.metrics.signal import psnr_db
from rayformer.recipes.parts.signal import OpenSignal, SignalTraining, sampled
from rayformer.recipes.parts.signal_pictures import show_tomogram
from rayformer.runs.pictures import Picture


@dataclass(frozen=True, eq=False)
class LinePiece:
    angles: Float[Tensor, "rays"]
    offsets: Float[Tensor, "rays"]
    integrals: Float[Tensor, "rays"]

    @property
    def weight(self) -> float:
        return float(len(self.angles))

    def to(self, device: torch.device) -> "LinePiece":
        return LinePiece(self.angles.to(device), self.offsets.to(device), self.integrals.to(device))

    def __getitem__(self, which: slice | Tensor) -> "LinePiece":
        return LinePiece(self.angles[which], self.offsets[which], self.integrals[which])


@dataclass(frozen=True, eq=False)
class LineBatch:
    whole: LinePiece
    pieces: int
    counts: Mapping[str, int]

    def split(self) -> Sequence[LinePiece]:
        return [self.whole[part] for part in torch.arange(len(self.whole.angles)).tensor_split(self.pieces)]


class TomogramTask:
    """Train `model`, a density of places in a square, on the integrals along lines through it."""

    def __init__(self, model: ImageField, signal: OpenSignal, options: SignalTraining, setting: Setting):
        self.model, self.opened, self.options = model, signal, options
        self.seed, self.device = setting.seed, setting.device
        self._shown: dict[str, Picture] = {}

    @property
    def signal(self) -> Signal:
        return self.opened.signal

    @cached_property
    def lines(self) -> LinePiece:
        """All that was measured."""
        return lines_of(self.shadows)

    @property
    def shadows(self) -> Shadows:
        assert self.signal.shadows is not None, "a tomogram is learned from its shadows"
        return self.signal.shadows

    @property
    def size(self) -> int:
        """Pixels across the section."""
        return self.opened.shape.sizes[0]

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    def batch(self, split: str, step: int, rank: int, world: int) -> LineBatch:
        """Lines drawn with replacement from all angles, or all lines."""
        assert split == "train", f"a section is learned from its shadows, not from {split!r}"
        total = len(self.lines.angles)
        if self.options.rays >= total:
            chosen = torch.arange(total)
        else:
            draw = stream(self.seed, "lines", step)
            chosen = torch.randint(total, (self.options.rays,), generator=draw)
        mine = chosen.tensor_split(world)[rank]
        each = max(1, self.options.at_once(self.device) // self.options.samples)
        pieces = max(1, min(-(-len(chosen) // (world * each)), len(chosen) // world))
        counts = {"rays": len(mine), "points": len(mine) * self.options.samples}
        return LineBatch(self.lines[mine], pieces, counts)

    def loss(self, piece: LinePiece, step: int, generator: Generator) -> Losses:
        found = integrals(self.model, piece.angles, piece.offsets, self.options.samples, self.size, generator)
        error = squared_error(found[:, None], piece.integrals[:, None])
        return Losses(total=error, terms={"squared_error": error})

    # ------------------------------------------------------------------ measuring and showing

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """The density against the section's own; at the end also the shadows, and filtered
        back-projection."""
        truth = torch.from_numpy(self.signal.values).flatten(0, -2)
        looked_through = disc(self.size)  # beyond which no line goes and nothing can be known
        learned = torch.from_numpy(sampled(self.model, self.opened.shape, self.device))
        learned = learned * looked_through[..., None]
        numbers = {"psnr_db": float(psnr_db(learned.flatten(0, -2), truth))}
        if split == "val":
            return numbers
        usual = torch.from_numpy(back_projection(self.shadows, self.size)).float() * looked_through
        numbers["back_projection_psnr_db"] = float(psnr_db(usual.flatten()[:, None].clamp(min=0), truth))
        cast = self._cast()
        peak = float(self.lines.integrals.max())
        numbers["train_psnr_db"] = float(psnr_db(cast[:, None], self.lines.integrals[:, None], peak))
        self._shown = show_tomogram(
            self.signal, learned[..., 0].numpy(), usual.numpy(), numbers,
            cast.view(self.shadows.integrals.shape).numpy(),
        )  # fmt: skip
        return numbers

    @torch.no_grad()
    def _cast(self) -> Float[Tensor, "rays"]:
        """The shadows that the field casts."""
        each = max(1, self.options.at_once(self.device) // self.options.samples)
        parts = []
        for part in torch.arange(len(self.lines.angles)).split(each):
            some = self.lines[part].to(self.device)
            parts.append(
                integrals(self.model, some.angles, some.offsets, self.options.samples, self.size).cpu()
            )
        return torch.cat(parts)

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def disc(size: int) -> Float[Tensor, "height width"]:
    """1 for the pixels of a section that lie in the disc which its lines go through, 0 for its corners."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return (axis.square() + axis[:, None].square() <= 1).float()


def lines_of(seen: Shadows) -> LinePiece:
    """Every line of every angle, one after the other."""
    angles, offsets = torch.from_numpy(seen.angles).float(), torch.from_numpy(seen.offsets).float()
    return LinePiece(
        angles.repeat_interleave(len(offsets)),
        offsets.repeat(len(angles)),
        torch.from_numpy(seen.integrals).float().flatten(),
    )


def integrals(
    density: Callable[[Tensor], Tensor],
    angles: Float[Tensor, "rays"],
    offsets: Float[Tensor, "rays"],
    samples: int,
    size: int,
    generator: Generator | None = None,
) -> Float[Tensor, "rays"]:
    """The field's density along lines through a section of `size` x `size` pixels, from side to side of the
    disc that the square holds: the mean at `samples` even places times the chord's length. With a generator
    the places of each line are shifted by one random part of a step; without, they are the middles."""
    half = (1 - offsets.square()).clamp(min=0).sqrt()
    shift = torch.full_like(offsets, 0.5)
    if generator is not None:
        shift = torch.rand(len(offsets), generator=generator, device=offsets.device)
    step = (torch.arange(samples, device=offsets.device) + shift[:, None]) / samples
    along = (2 * step - 1) * half[:, None]
    c, s = angles.cos()[:, None], angles.sin()[:, None]
    x, y = offsets[:, None] * c - along * s, offsets[:, None] * s + along * c
    # From the section, y upwards, to pixels, row 0 on top and places counted from the middle of the first.
    places = torch.stack([(1 + x) / 2, (1 - y) / 2], dim=-1) - 0.5 / size
    found = density(places.flatten(0, 1))[:, 0].view(len(offsets), samples)
    return found.mean(dim=1) * 2 * half
