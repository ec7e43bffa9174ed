"""Pictures as sequences of colours: the task that Image GPT is trained by, without classes and with them.

PixelTraining   pictures of a step, what is hidden of them, what is measured
Drawing         how new pixels are drawn
PixelTask       a network on them; with a head it learns classes too, and both losses count (sec. 2.3)
PixelTask.draw  new pictures, or the rest of begun ones
refuse_too_long sequences that would not fit into memory, before anything is read
half_of         the upper half of each picture, which is what drawn ones begin with
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.core.memory import free_bytes
from rayformer.core.seeds import generator as stream
from rayformer.data.images.batches import ImageBatches
from rayformer.data.images.labelled import Part, Split
from rayformer.data.images.palette import Palette
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform
from rayformer.engine.precision import Precision
from rayformer.engine.task import Setting
from rayformer.losses.classification import cross_entropy
from rayformer.metrics.classification import Tally, class_table, top_k, voted
from rayformer.nets.igpt import IGPT, IGPTConfig, for_sampling, hidden_pixels, nats, sample, training_bytes
from rayformer.recipes.parts.classifier import MEASURED_AT_ONCE, OpenPictures
from rayformer.recipes.parts.classifier_pictures import confusion_matrix, reliability_diagram
from rayformer.recipes.parts.layer_probes import Layers, Probed, best_layer, probe_layers
from rayformer.recipes.parts.pixel_pictures import against_depth, beside, palette_card, sheet
from rayformer.runs.pictures import Picture

GREY = 128
"""What a hidden pixel is shown as."""
DRAWN_OF_EACH = 4
"""Ends that are drawn to the beginning of each picture."""


@dataclass(frozen=True, kw_only=True)
class PixelTraining:
    batch: int = 64
    """Pictures of a step, over all processes."""
    at_once: int | None = None
    """Pictures that go through the network together; none: all of a step. Fewer need less memory."""
    hidden: float = 0.15
    """Share of the pixels that BERT's objective hides."""
    masks: int = 5
    """BERT's objective: so many ways of hiding pixels vote on the class of a picture, and linear probes are
    asked as often."""
    probed: int = 2000
    """Training pictures, at most, that linear probes on every layer learn from after the first stage; 0 asks
    none."""
    shown: int = 16
    """Pictures that the report shows, drawn, ended or filled in."""

    def __post_init__(self):
        for name in ("batch", "at_once", "masks"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, but is {getattr(self, name)}.")
        for name in ("probed", "shown"):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name} must not be negative, but is {getattr(self, name)}.")
        if not 0 < self.hidden < 1:
            raise ConfigError(f"train.hidden is a share above 0 and below 1, but is {self.hidden:g}.")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    temperature: float = 1.0
    """Below 1 likely colours become likelier, above 1 less likely."""
    top_k: int | None = None
    """Draw from so many of the likeliest colours; none: from all."""

    def __post_init__(self):
        if not self.temperature > 0:
            raise ConfigError(f"draw.temperature must be above 0, but is {self.temperature:g}.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"draw.top_k must be at least 1, but is {self.top_k}.")


@dataclass(frozen=True, eq=False)
class PixelPiece:
    pixels: Int[Tensor, "batch tokens"]
    labels: Int[Tensor, "batch"]

    @property
    def weight(self) -> float:
        return float(len(self.pixels))

    def to(self, device: torch.device) -> "PixelPiece":
        return PixelPiece(self.pixels.to(device, non_blocking=True), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class PixelBatch:
    whole: PixelPiece
    pieces: int

    @property
    def counts(self) -> Mapping[str, int]:
        return {"images": len(self.whole.pixels), "pixels": self.whole.pixels.numel()}

    def split(self) -> Sequence[PixelPiece]:
        parts = (part.tensor_split(self.pieces) for part in (self.whole.pixels, self.whole.labels))
        return [PixelPiece(*piece) for piece in zip(*parts, strict=True)]


class PixelTask:
    def __init__(
        self,
        model: IGPT,
        palette: Palette,
        data: OpenPictures,
        augment: AugmentConfig,
        options: PixelTraining,
        drawing: Drawing,
        setting: Setting,
    ):
        self.model, self.palette, self.data = model, palette, data
        self.augment, self.options, self.drawing = augment, options, drawing
        self.seed, self.device = setting.seed, setting.device
        self.see = EvalTransform(augment)
        self._shown: dict[str, Picture] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    @property
    def tuned(self) -> bool:
        """Whether classes are learned too."""
        return self.model.head is not None

    def numbers(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch tokens"]:
        """Pictures as a transform gives them, as sequences of colours."""
        normalisation = self.see.normalisation
        mean, deviation = (
            torch.tensor(values).view(-1, 1, 1) for values in (normalisation.mean, normalisation.deviation)
        )
        return self.palette.numbers(2 * (images * deviation + mean) - 1)

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    @cached_property
    def _training(self) -> ImageBatches:
        part = self.data.split("train")
        assert part is not None, "data always have a training part"
        return ImageBatches(part, TrainTransform(self.augment), self.options.batch, self.seed)

    def batch(self, split: str, step: int, rank: int, world: int) -> PixelBatch:
        assert split == "train", f"a network learns from training pictures, not from {split!r}"
        size = self.options.batch
        if size < world:
            raise ConfigError(
                f"train.batch must be at least the number of processes, {world}, but is {size}."
            )
        images, labels = self._training(step, rank, world)
        # Every process has equally many pieces, though one may have a picture less.
        pieces = min(-(-size // (world * (self.options.at_once or size))), size // world)
        return PixelBatch(PixelPiece(self.numbers(images), labels), pieces)

    def loss(self, piece: PixelPiece, step: int, generator: Generator) -> Losses:
        hidden = self._hidden(piece.pixels, generator)
        features = self.model.features(piece.pixels, hidden)
        generative = nats(self.model, features, piece.pixels, hidden).mean()
        if not self.tuned:
            return Losses(total=generative, terms={"nats_per_pixel": generative})
        named = cross_entropy(self.model.classify(features), piece.labels)
        return Losses(total=generative + named, terms={"nats_per_pixel": generative, "cross_entropy": named})

    def _hidden(
        self, pixels: Int[Tensor, "batch tokens"], generator: Generator
    ) -> Bool[Tensor, "batch tokens"] | None:
        if not self.model.looks_ahead:
            return None
        return hidden_pixels(len(pixels), self.model.tokens, self.options.hidden, generator).to(pixels.device)

    # ------------------------------------------------------------------ measuring

    @property
    def masks(self) -> int:
        """In how many ways pixels are hidden where something is measured."""
        return self.options.masks if self.model.looks_ahead else 1

    def _in_order(self, part: Part, split: Split) -> Sequence[tuple[Tensor, Tensor]]:
        """All pictures of a part as sequences, with their labels, some at a time."""
        batches = ImageBatches(part, self.see, MEASURED_AT_ONCE, self.seed, split)
        found = []
        for first in range(0, len(part), MEASURED_AT_ONCE):
            images, labels = batches.in_order(first, first + MEASURED_AT_ONCE)
            found.append((self.numbers(images).to(self.device), labels))
        return found

    def hidden_again(self, pixels: Tensor, split: str, mask: int, number: int) -> Tensor | None:
        """Always the same of the same pictures."""
        return self._hidden(pixels, stream(self.seed, "hidden", split, mask, number))

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Nats per pixel; with classes, how many are recognised. Of "test", after the first stage, what
        linear probes on every layer say. No numbers of "val" where no pictures are held back for it."""
        name: Split = "test" if split == "test" else "val"
        part = self.data.split(name)
        if part is None or not len(part):
            return {}
        some = self._in_order(part, name)
        numbers = self._named(some, name) if self.tuned else {}
        numbers["nats_per_pixel"] = self._nats(some, name)
        if name == "val":
            return numbers
        self._shown = {
            "palette": palette_card(self.palette.bytes_of(torch.arange(len(self.palette))).numpy())
        }
        if self.tuned:
            tally = self._tally
            self._shown["classes/confusion"] = confusion_matrix(tally.confused, self.classes)
            self._shown["classes/reliability"] = reliability_diagram(tally.reliability)
            numbers["by_class"] = class_table(tally.confused, self.classes)
        else:
            numbers |= self._probes(some)
        if self.options.shown:
            self._shown |= self._show(torch.cat([pixels for pixels, _ in some])[: self.options.shown])
        return numbers

    def _nats(self, some: Sequence[tuple[Tensor, Tensor]], split: str) -> float:
        total, count = 0.0, 0
        for number, (pixels, _) in enumerate(some):
            hidden = self.hidden_again(pixels, split, 0, number)
            found = nats(self.model, self.model.features(pixels, hidden), pixels, hidden)
            total, count = total + float(found.double().sum()), count + len(pixels)
        return total / count

    def _named(self, some: Sequence[tuple[Tensor, Tensor]], split: str) -> dict[str, Any]:
        """What is recognised: by one way of hiding pixels while training goes on, by the votes of all of them
        at its end."""
        tally, alone = Tally(len(self.classes)), 0.0
        masks = self.masks if split == "test" else 1
        for number, (pixels, labels) in enumerate(some):
            logits = self.answers(pixels, masks, split, number).cpu()
            tally.add(voted(logits), labels)
            alone += sum(float(top_k(answer, labels, 1).sum()) for answer in logits) / masks
        self._tally = tally
        return tally.numbers | ({"one_mask_top1": alone / len(tally)} if masks > 1 else {})

    def answers(
        self, pixels: Int[Tensor, "batch tokens"], masks: int, split: str, number: int
    ) -> Float[Tensor, "masks batch outputs"]:
        """Logits of classes, once for each way of hiding pixels."""
        found = [
            self.model.classify(self.model.features(pixels, self.hidden_again(pixels, split, mask, number)))
            for mask in range(masks)
        ]
        return torch.stack(found).float()

    def _probes(self, test: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        """None where they are not asked for, or where the pictures that were learned from are not there."""
        train, held = self.data.split("train"), self.data.split("val")
        if not self.options.probed or train is None or not len(train):
            return {}
        train = train.only(
            np.unique(np.linspace(0, len(train) - 1, min(len(train), self.options.probed)).astype(int))
        )
        known = self._layers(self._in_order(train, "train"), "train", 0)
        chosen = None
        if held is not None and len(held):
            chosen = self._layers(self._in_order(held, "val"), "val", 0)
        asked = [self._layers(test, "test", mask) for mask in range(self.masks)]
        with torch.autocast(self.device.type, enabled=False):
            probed = probe_layers(known, chosen, asked, len(self.classes))
        self._shown["probe"] = against_depth(probed)
        best = best_layer(probed)
        numbers = {"probe_top1": best.top1, "probe_layer": best.depth}
        if self.masks > 1:
            numbers["one_mask_probe_top1"] = best.one_mask_top1
        return numbers | {"by_layer": {f"layer {one.depth}": _row(one) for one in probed}}

    def _layers(self, some: Sequence[tuple[Tensor, Tensor]], split: str, mask: int) -> Layers:
        found = [
            [
                layer.cpu()
                for layer in self.model.layers(pixels, self.hidden_again(pixels, split, mask, number))
            ]
            for number, (pixels, _) in enumerate(some)
        ]
        features = [torch.cat(layer) for layer in zip(*found, strict=True)]
        return Layers(features, torch.cat([labels for _, labels in some]).long())

    # ------------------------------------------------------------------ showing

    def seen(self, pixels: Int[Tensor, "batch tokens"]) -> UInt8[np.ndarray, "batch height width 3"]:
        """Sequences as pictures."""
        side = self.model.side
        return self.palette.bytes_of(pixels.cpu()).unflatten(1, (side, side)).numpy()

    def draw(
        self, count: int, drawing: Drawing, seed: Generator, given: Int[Tensor, "batch _"] | None = None
    ) -> Int[Tensor, "batch tokens"]:
        """New pictures; with `given` beginnings, one for each, their ends. Raises ConfigError for a network
        that was not trained to."""
        if self.model.looks_ahead:
            raise ConfigError(
                "model.objective=bert learns pixels from all others, and so gives no order to draw them in.\n"
                "Pictures are drawn by networks trained with --model.objective autoregressive."
            )
        kind = self.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        network = for_sampling(self.model, dtype)
        return sample(network, count, seed, given=given, temperature=drawing.temperature, top_k=drawing.top_k)

    def _show(self, pixels: Int[Tensor, "batch tokens"]) -> dict[str, Picture]:
        if self.model.looks_ahead:
            return {"filled": self.filled(pixels)}
        seed = stream(self.seed, "draw", device=self.device)
        drawn = self.draw(self.options.shown, self.drawing, seed)
        said = f"drawn pixel by pixel, temperature {self.drawing.temperature:g}"
        return {
            "drawn": sheet(self.seen(drawn), columns=8, caption=said),
            "ended": self.ended(pixels[: max(1, self.options.shown // 2)], self.drawing, seed),
        }

    def ended(self, pixels: Int[Tensor, "batch tokens"], drawing: Drawing, seed: Generator) -> Picture:
        """The upper halves of pictures, and what may come below them. Raises as `draw`."""
        begun = half_of(pixels, self.model.side)
        count = len(pixels)
        ends = self.draw(count * DRAWN_OF_EACH, drawing, seed, begun.repeat(DRAWN_OF_EACH, 1))
        given = self.seen(pixels)
        given[:, begun.shape[1] // self.model.side :] = GREY
        columns = {"given": given}
        for number, end in enumerate(ends.split(count), 1):
            columns[f"drawn, {number}"] = self.seen(end)
        return beside({**columns, "true": self.seen(pixels)}, "lower halves drawn below the upper ones")

    def filled(self, pixels: Int[Tensor, "batch tokens"]) -> Picture:
        """Pictures with pixels hidden, and the likeliest colours in their places."""
        hidden = self.hidden_again(pixels, "shown", 0, 0)
        assert hidden is not None, "only BERT's objective fills in"
        likeliest = torch.where(hidden, self.model(pixels, hidden).argmax(dim=-1), pixels)
        covered = self.seen(pixels)
        covered[hidden.view(len(pixels), self.model.side, -1).cpu().numpy()] = GREY
        columns = {"seen": covered, "filled in": self.seen(likeliest), "true": self.seen(pixels)}
        return beside(columns, "hidden pixels, and the likeliest colour of each")

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def _row(one: Probed) -> dict[str, float | int | None]:
    return {"blocks_below": one.depth, "top1": one.top1, "held_out_top1": one.held_top1}


def half_of(pixels: Int[Tensor, "batch tokens"], side: int) -> Int[Tensor, "batch _"]:
    return pixels[:, : side * (side // 2)]


# ---------------------------------------------------------------------- memory


def refuse_too_long(
    model: IGPTConfig,
    side: int,
    colours: int,
    options: PixelTraining,
    precision: Precision,
    device: torch.device,
) -> None:
    """Raises ConfigError for pictures so large that training would need more memory than is free."""
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    free = free_bytes(str(device))
    if free is None:
        return
    at_once = options.at_once or options.batch
    again = replace(model, checkpointing=True)

    def need(side: int, pictures: int, model: IGPTConfig = model) -> int:
        return training_bytes(model, side, colours, pictures, dtype, device.type)

    if need(side, at_once) <= free:
        return
    fewer = _most(lambda few: need(side, few) <= free, at_once)
    smaller = _most(lambda short: need(short, at_once) <= free, side)
    fits = [f"--train.at-once {fewer}"] if fewer else []
    fits += [f"--augment.size {smaller}"] if smaller else []
    fits += ["--model.checkpointing"] if need(side, at_once, again) <= free else []
    raise ConfigError(
        f"augment.size={side} makes every picture a sequence of {side * side:,} pixels. To train on "
        f"{at_once} of them at a time\ntakes about {_amount(need(side, at_once))} of memory, and "
        f"{_amount(free)} are free.\n"
        + (f"What fits: {', or '.join(fits)}." if fits else "Take a smaller network.")
    )


def _most(fits: Any, above: int) -> int:
    """The largest number below `above` that fits; 0 if none does."""
    low, high = 0, above
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _amount(count: int) -> str:
    """Of bytes, to three digits."""
    gib = count / 2**30
    if gib < 1:
        return f"{count / 2**20:.0f} MiB"
    return f"{gib:.3g} GiB" if gib < 100 else f"{gib:,.0f} GiB"
