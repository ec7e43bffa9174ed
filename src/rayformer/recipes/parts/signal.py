"""The task that fields of coordinates are trained by: samples of a signal in, the signal as a function out.

SignalTraining   what a recipe may change about it
PointPiece       some places with their values; PointBatch, a step's worth of them
SignalTask       even samples learned, odd ones measured, learned and true signal side by side
open_signal      the signal of a run: read when it is needed, its shape kept with the run
sampled          a field at any number of samples along each axis, as an array
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.signals.read import read_signal
from rayformer.data.signals.signal import Shape, Signal, SignalConfig, parity, places_of
from rayformer.engine.task import Setting
from rayformer.fields.image_field import ImageField
from rayformer.metrics.signal import psnr_db, snr_db
from rayformer.recipes.parts.signal_pictures import show_signal
from rayformer.runs.atomic import write_text
from rayformer.runs.pictures import Picture

AT_ONCE = {"cpu": 2**13}
"""Places that a processor's caches hold the activations of; elsewhere 2^18."""


@dataclass(frozen=True, kw_only=True)
class SignalTraining:
    points: int = 65_536
    """Places per step, over all processes, drawn anew each time; from there on that many are all that there
    are, each of them is taken once, as in the paper."""
    rays: int = 512
    """Of a section, lines per step, likewise."""
    samples: int = 128
    """Places along each of these lines."""
    points_at_once: int | None = None
    """Places in one piece of a step. none: what the caches of a processor hold (8192), or 2^18 on a GPU."""
    validation_points: int = 16_384
    """Held-out samples measured while training, the same each time."""

    def __post_init__(self):
        for name in ("points", "rays", "samples", "points_at_once", "validation_points"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"signal.{name} must be at least 1, but is {value}.")

    def at_once(self, device: torch.device) -> int:
        return self.points_at_once or AT_ONCE.get(device.type, 2**18)


@dataclass(frozen=True, eq=False)
class PointPiece:
    places: Float[Tensor, "points dims"]
    values: Float[Tensor, "points channels"]

    @property
    def weight(self) -> float:
        return float(len(self.places))

    def to(self, device: torch.device) -> "PointPiece":
        return PointPiece(self.places.to(device), self.values.to(device))


@dataclass(frozen=True, eq=False)
class PointBatch:
    whole: PointPiece
    pieces: int
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[PointPiece]:
        places, values = (part.tensor_split(self.pieces) for part in (self.whole.places, self.whole.values))
        return [PointPiece(*piece) for piece in zip(places, values, strict=True)]


class SignalTask:
    """Train `model` on the even samples of a picture, a sound or a video, and measure it at the odd ones."""

    def __init__(self, model: ImageField, signal: "OpenSignal", options: SignalTraining, setting: Setting):
        self.model, self.opened, self.options = model, signal, options
        self.seed, self.device = setting.seed, setting.device
        self._shown: dict[str, Picture] = {}

    @cached_property
    def known(self) -> PointPiece:
        """The samples that are learned from."""
        return self._samples(parity(self.signal.shape, odd=False) if self.opened.held_out else None)

    @cached_property
    def held_out(self) -> PointPiece:
        """The samples that are measured; those that are learned from where none is held out."""
        return self._samples(parity(self.signal.shape, odd=True)) if self.opened.held_out else self.known

    @property
    def signal(self) -> Signal:
        return self.opened.signal

    def _samples(self, which: Tensor | None) -> PointPiece:
        places, values = places_of(self.signal.shape), torch.from_numpy(self.signal.values).flatten(0, -2)
        return PointPiece(places, values) if which is None else PointPiece(places[which], values[which])

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    def batch(self, split: str, step: int, rank: int, world: int) -> PointBatch:
        """All samples, or as many drawn with replacement."""
        assert split == "train", f"a signal is learned from its even samples, not from {split!r}"
        total = len(self.known.places)
        if self.options.points >= total:
            chosen = torch.arange(total)
        else:
            draw = stream(self.seed, "points", step)
            chosen = torch.randint(total, (self.options.points,), generator=draw).sort().values
        return shared(self.known, chosen, self.options.at_once(self.device), rank, world)

    def loss(self, piece: PointPiece, step: int, generator: Generator) -> Losses:
        return self.model.loss(piece.places, piece.values)

    # ------------------------------------------------------------------ measuring and showing

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """Over some held-out samples, drawn by `generator`, while training ("val"); over all of them, and all
        that were learned from, at the end ("test")."""
        name, measure = ("snr_db", snr_db) if self.signal.shape.kind == "sound" else ("psnr_db", psnr_db)
        if split == "val":
            held = self.held_out
            if len(held.places) > self.options.validation_points:
                chosen = torch.randint(
                    len(held.places), (self.options.validation_points,), generator=generator
                )
                held = PointPiece(held.places[chosen], held.values[chosen])
            return {name: _measured(measure, self._at(held.places), held.values)} | self._tones()
        numbers = {name: self.held_out} | ({f"train_{name}": self.known} if self.opened.held_out else {})
        found = {
            said: _measured(measure, self._at(some.places), some.values) for said, some in numbers.items()
        }
        self._shown = show_signal(self.signal, sampled(self.model, self.signal.shape, self.device), found)
        return found | self._tones()

    def _tones(self) -> dict[str, float]:
        """Of a signal that is a sum of known sines: how much of each is learned, in percent of its
        amplitude."""
        if not self.signal.tones:
            return {}
        truth = torch.from_numpy(self.signal.values[:, 0]).double()
        learned = self._at(places_of(self.signal.shape))[:, 0].double()
        turns = places_of(self.signal.shape).double()[:, 0]
        shares = {}
        for tone in self.signal.tones:
            wave = torch.exp(-2j * torch.pi * tone * turns)
            share = ((learned * wave).sum() / (truth * wave).sum()).real
            shares[f"tone_{tone}_percent"] = 100 * float(share)
        return shares

    def _at(self, places: Float[Tensor, "points dims"]) -> Float[Tensor, "points channels"]:
        return asked(self.model, places, self.device)

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def shared(known: PointPiece, chosen: Tensor, at_once: int, rank: int, world: int) -> PointBatch:
    """The share of one process in the chosen samples, in as many pieces as every other process has."""
    if len(chosen) < world:
        raise ConfigError(
            f"signal.points must be at least the number of processes, {world}, but a step has {len(chosen)} "
            "places."
        )
    mine = chosen.tensor_split(world)[rank]
    pieces = min(-(-len(chosen) // (world * at_once)), len(chosen) // world)
    whole = PointPiece(known.places[mine], known.values[mine])
    return PointBatch(whole, pieces, {"points": len(mine)})


@torch.no_grad()
def asked(
    model: ImageField, places: Float[Tensor, "points dims"], device: torch.device
) -> Float[Tensor, "points channels"]:
    """What the field says of places, as many at once as fit; on the processor."""
    size = AT_ONCE.get(device.type, 2**18)
    return torch.cat([model(some.to(device)).float().cpu() for some in places.split(size)])


def sampled(
    model: ImageField, shape: Shape, device: torch.device, sizes: tuple[int, ...] | None = None
) -> Float[np.ndarray, "*shape channels"]:
    """The field at `sizes` samples along each axis, as the signal's own array would be; not cut to any
    range."""
    values = asked(model, places_of(shape, sizes), device)
    return values.view(*(sizes or shape.sizes), shape.channels).numpy()


def _measured(measure: Callable[..., Tensor], predicted: Tensor, truth: Tensor) -> float:
    """Of what a person would see or hear: values beyond the range are cut off, as a file would."""
    low = -1.0 if measure is snr_db else 0.0
    return min(float(measure(predicted.clamp(low, 1), truth)), 200.0)


# ---------------------------------------------------------------------- the signal of a run


class OpenSignal:
    """The signal of a run. A finished run knows its shape, and reads the samples only to be measured."""

    def __init__(self, config: SignalConfig, shape: Shape, signal: Signal | None = None):
        self.config, self.shape, self._signal = config, shape, signal
        self.held_out = config.held_out

    @property
    def signal(self) -> Signal:
        if self._signal is None:
            self._signal = read_signal(self.config)
            if self._signal.shape.kind != self.shape.kind:
                raise DataError(
                    f"{self.config.source} is a {self._signal.shape.kind}, but the run learned a "
                    f"{self.shape.kind}.\nMeasure it on a {self.shape.kind}."
                )
        return self._signal


def open_signal(config: SignalConfig, setting: Setting) -> tuple[OpenSignal, dict[str, Any]]:
    """The signal of a run, and what the manifest says of its data. In training it is read; of a finished run
    only the shape is known at first, so that it can be exported without its data."""
    path = setting.assets / "signal.json"
    if not setting.training and path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        shape = Shape(**(kept["shape"] | {"sizes": tuple(kept["shape"]["sizes"])}))
        return OpenSignal(config, shape), kept["data"]
    signal = read_signal(config)
    data = {
        "source": signal.source, "format": signal.format, "fingerprint": signal.fingerprint,
        "counts": {"samples": int(np.prod(signal.shape.sizes))},
        "remarks": [*signal.remarks, _split_remark(config, signal)],
    }  # fmt: skip
    write_text(path, json.dumps({"shape": asdict(signal.shape), "data": data}, indent=1) + "\n")
    return OpenSignal(replace(config), signal.shape, signal), data


def _split_remark(config: SignalConfig, signal: Signal) -> str:
    if signal.shape.kind == "tomogram":
        return "learned from the shadows alone, and measured against the section itself"
    if not config.held_out:
        return "learned from all samples and measured at the same ones: a fit, not a prediction"
    even, odd = (int(parity(signal.shape, odd).sum()) for odd in (False, True))
    along = {"picture": "both axes", "sound": "time", "video": "x and y of every second frame"}
    return (
        f"learned from the {even:,} samples with an even number along {along[signal.shape.kind]}, "
        f"measured at the {odd:,} odd ones"
    )
