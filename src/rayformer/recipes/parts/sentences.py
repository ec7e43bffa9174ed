"""Sentences into answers: what a network that reads them is fine-tuned and measured by.

    SentenceTraining   sentences of a step, passes, warm-up, seeds
    Reader             what a network must have for it
    Rows               the sentences of a split as numbers, and their answers
    OpenRows           a task's rows, read when they are needed
    SentenceTask       a network on them
    by_epochs          a plan for so many passes over the rows
    answered           logits or scores of any rows, in their order
    agreement          the numbers that GLUE judges a task by

Devlin et al. 2018, https://arxiv.org/abs/1810.04805, sec. 4.1. Sentences of a step lie one after the other
(`nets/parts/ragged.py`): no time is spent on padding, whatever their lengths. A batch is a pure function of
seed and step, and so is what dropout leaves out.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.data.images.batches import places_of
from rayformer.data.text.glue import Found, Sentences, Task
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.plan import Plan
from rayformer.losses.classification import cross_entropy
from rayformer.metrics.agreement import AGREEMENT
from rayformer.metrics.classification import Tally, class_table
from rayformer.nets.parts.ragged import Ragged
from rayformer.recipes.parts.sentence_pictures import show_answers
from rayformer.runs.pictures import Picture

LOG = logging.getLogger(__name__)

MEASURED_AT_ONCE = 64
"""Sentences, or pairs of them, that a network is asked about at a time where nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class SentenceTraining:
    batch: int = 32
    """Sentences, or pairs of them, of a step, over all processes."""
    at_once: int | None = None
    """Those that go through the network together; none: all of a step. Fewer need less memory."""
    epochs: float | None = 3.0
    """Passes over the training rows after which a run ends, unless plan.steps or plan.minutes end it before;
    none: these alone."""
    warmup: float = 0.1
    """Share of the steps over which the rate first rises; plan.schedule.warmup_steps, where it is not 0, says
    so in steps."""
    longest: int = 512
    """Tokens of a sentence or pair, with the three that stand around, and no more than the network has
    positions; what is longer is cut, the longer sentence first, and counted. The paper's code has 128 for
    GLUE, because it pads."""
    seeds: int = 1
    """Heads and orders of the rows that are tried, one run after the other, beginning with --seed; results
    are then medians, beside the lowest and the highest."""
    layer_decay: float = 1.0
    """Every layer learns at this share of the rate of the layer above it."""
    shown: int = 12
    """Mistakes that the report shows, the surest first."""

    def __post_init__(self):
        for name in ("batch", "at_once", "seeds"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.epochs is not None and not self.epochs >= 0:
            raise ConfigError(f"train.epochs must not be negative, but is {self.epochs:g}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(
                f"train.warmup is a share of the steps, 0 or more and below 1, but is {self.warmup:g}."
            )
        if self.longest < 8:
            raise ConfigError(f"train.longest must be at least 8 tokens, but is {self.longest}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"train.layer_decay must be above 0 and at most 1, but is {self.layer_decay:g}."
            )
        if self.shown < 0:
            raise ConfigError(f"train.shown must not be negative, but is {self.shown}.")


def by_epochs(plan: Plan, training: SentenceTraining, rows: int) -> Plan:
    """The plan that ends after the passes that are asked for, its warm-up a share of them."""
    steps = plan.steps
    if training.epochs is not None:
        steps = min(steps, math.ceil(training.epochs * rows / training.batch))
    schedule = plan.schedule
    if not schedule.warmup_steps:
        schedule = replace(schedule, warmup_steps=round(training.warmup * steps))
    return replace(plan, steps=steps, schedule=schedule)


@runtime_checkable
class Reader(Protocol):
    """A network that reads sentences: tokens of all of them, one after the other, in; a row of numbers for
    each out."""

    def __call__(self, words: Tensor, kinds: Tensor, ragged: Ragged) -> Tensor: ...


# ---------------------------------------------------------------------- rows


@dataclass(frozen=True, eq=False)
class SentencePiece:
    words: Int[Tensor, "tokens"]
    kinds: Int[Tensor, "tokens"]
    """0 for the first sentence and 1 for the second."""
    ragged: Ragged
    answers: Int[Tensor, "batch"] | Float[Tensor, "batch"]

    @property
    def weight(self) -> float:
        return float(len(self.answers))

    def to(self, device: torch.device) -> "SentencePiece":
        words, kinds, answers = (
            part.to(device, non_blocking=True) for part in (self.words, self.kinds, self.answers)
        )
        return SentencePiece(words, kinds, self.ragged.to(device), answers)


@dataclass(frozen=True, eq=False)
class SentenceBatch:
    pieces: Sequence[SentencePiece]

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "sentences": sum(len(piece.answers) for piece in self.pieces),
            "tokens": sum(len(piece.words) for piece in self.pieces),
        }

    def split(self) -> Sequence[SentencePiece]:
        return self.pieces


class Rows:
    """Sentences as numbers, one after the other in one long row."""

    def __init__(self, sentences: Sentences, words: WordPiece, longest: int):
        self.sentences = sentences
        encoded = words.encode_all(sentences.first, sentences.second, longest)
        self.lengths = np.array([len(one) for one in encoded], np.int64)
        self.cut = sum(one.cut > 0 for one in encoded)
        """Rows that were too long."""
        self._ends = self.lengths.cumsum()
        self._words = np.concatenate([one.words for one in encoded]).astype(np.int32)
        self._kinds = np.concatenate([one.kinds for one in encoded]).astype(np.int8)

    def __len__(self) -> int:
        return len(self.lengths)

    def piece(self, places: Int[np.ndarray, "batch"]) -> SentencePiece:
        stretches = [slice(self._ends[place] - self.lengths[place], self._ends[place]) for place in places]
        words, kinds = (
            torch.from_numpy(np.concatenate([flat[stretch] for stretch in stretches]).astype(np.int64))
            for flat in (self._words, self._kinds)
        )
        answers = torch.from_numpy(self.sentences.answers[places])
        return SentencePiece(words, kinds, Ragged(self.lengths[places].tolist()), answers)

    def by_length(self, places: Int[np.ndarray, "batch"]) -> Int[np.ndarray, "batch"]:
        """The same places, short sentences first: those of like length then lie side by side."""
        return places[np.argsort(self.lengths[places], kind="stable")]

    def remark(self, split: str, longest: int) -> str | None:
        """How many were cut, in a sentence."""
        if not self.cut:
            return None
        return (
            f"{self.cut:,} of {len(self):,} rows to {split} are longer than the {longest} tokens that "
            "train.longest and the network's positions allow, and are cut"
        )


class OpenRows:
    """A task's rows by split, read and taken to pieces when the first of them is asked for."""

    def __init__(self, task: Task, read: Callable[[], Found], words: WordPiece, longest: int):
        self.task, self.words, self.longest, self._read = task, words, longest, read
        self._rows: dict[str, Rows | None] = {}

    @cached_property
    def found(self) -> Found:
        """Raises DataError, in words, where they cannot be read."""
        return self._read()

    def split(self, name: str) -> Rows | None:
        if name not in self._rows:
            part = self.found.parts.get(name)
            self._rows[name] = None if part is None else Rows(part, self.words, self.longest)
        return self._rows[name]


# ---------------------------------------------------------------------- the task


class SentenceTask:
    def __init__(
        self, model: nn.Module, rows: OpenRows, options: SentenceTraining, seed: int, device: torch.device
    ):
        assert isinstance(model, Reader), "the network reads sentences"
        self.model: nn.Module = model
        self.rows, self.options, self.seed, self.device = rows, options, seed, device
        self._shown: dict[str, Picture] = {}

    @property
    def asks(self) -> Task:
        """What is asked of the sentences."""
        return self.rows.task

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    @cached_property
    def _training(self) -> Rows:
        rows = self.rows.split("train")
        assert rows is not None, "there are rows to learn from, or nobody would train"
        return rows

    def batch(self, split: str, step: int, rank: int, world: int) -> SentenceBatch:
        assert split == "train", f"a network learns from training rows, not from {split!r}"
        size, rows = self.options.batch, self._training
        if size < world:
            raise ConfigError(
                f"train.batch must be at least the number of processes, {world}, but is {size}."
            )
        places, _ = places_of(len(rows), self.seed, "train", step, size, rank, world)
        # Every process has equally many pieces, though one may have a sentence less.
        pieces = min(-(-size // (world * (self.options.at_once or size))), size // world)
        some = np.array_split(rows.by_length(places), pieces)
        return SentenceBatch([rows.piece(part) for part in some])

    def loss(self, piece: SentencePiece, step: int, generator: Generator) -> Losses:
        said = self.model(piece.words, piece.kinds, piece.ragged)
        if self.asks.scored:
            error = F.mse_loss(said[:, 0].float(), piece.answers)
            return Losses(total=error, terms={"mse": error})
        error = cross_entropy(said, piece.answers)
        return Losses(total=error, terms={"cross_entropy": error})

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Over all rows of a split, the number of papers' tables first; of "test" for every class by itself
        too. No numbers of "val" where no rows are held back for it."""
        rows = self.rows.split(split)
        if rows is None:
            return {}
        numbers, said = self.ask(split)
        if split == "test":
            self._shown = show_answers(self.asks, rows.sentences, said, self.options.shown)
            numbers |= _by_class(self.asks, said, rows)
        return numbers

    def ask(self, split: str) -> tuple[dict[str, Any], Float[Tensor, "batch outputs"]]:
        """Its numbers on a split that is there, and what it says of every row."""
        rows = self.rows.split(split)
        assert rows is not None, f"there are rows of {split!r}, or nobody would ask"
        if remark := rows.remark("measure on", self.rows.longest):
            LOG.info("%s", remark)
        said = answered(self.model, rows, self.device)
        numbers = agreement(self.asks, said, torch.from_numpy(rows.sentences.answers))
        other = self.rows.split("mismatched") if split == "test" else None
        if other is not None:  # MNLI's sentences of kinds that it was not trained on
            there = answered(self.model, other, self.device)
            right = agreement(self.asks, there, torch.from_numpy(other.sentences.answers))["accuracy"]
            numbers["mismatched_accuracy"] = right
        return numbers, said

    @torch.no_grad()
    def say(self, pairs: Sequence[tuple[str, str | None]]) -> Float[Tensor, "batch outputs"]:
        """What it says of sentences, or pairs of them, that have no answers. Those that are too long are cut,
        which is said."""
        firsts = tuple(first for first, _ in pairs)
        seconds = tuple(second or "" for _, second in pairs) if self.asks.pairs else None
        unknown = np.zeros(len(pairs), np.float32 if self.asks.scored else np.int64)
        rows = Rows(Sentences(firsts, seconds, unknown), self.rows.words, self.rows.longest)
        if remark := rows.remark("answer", self.rows.longest):
            LOG.warning("%s", remark)
        return answered(self.model, rows, self.device)

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def answered(model: nn.Module, rows: Rows, device: torch.device) -> Float[Tensor, "batch outputs"]:
    """What the network says of every row, in the order of the rows, on the processor."""
    order = rows.by_length(np.arange(len(rows)))
    said = []
    for first in range(0, len(order), MEASURED_AT_ONCE):
        piece = rows.piece(order[first : first + MEASURED_AT_ONCE]).to(device)
        said.append(model(piece.words, piece.kinds, piece.ragged).float().cpu())
    together = torch.cat(said)
    return torch.empty_like(together).index_copy_(0, torch.from_numpy(order), together)


def agreement(
    task: Task,
    said: Float[Tensor, "batch outputs"],
    true: Int[Tensor, "batch"] | Float[Tensor, "batch"],
) -> dict[str, float]:
    """The task's own metrics, that of papers' tables first; then how far off the network is by what it was
    trained on, and how often the commonest answer alone would be right."""
    if task.scored:
        numbers = {name: AGREEMENT[name](said[:, 0], true) for name in task.metrics}
        return numbers | {"mse": float(F.mse_loss(said[:, 0], true))}
    numbers = {name: AGREEMENT[name](said.argmax(dim=1), true) for name in task.metrics}
    return numbers | {
        "cross_entropy_nats": float(cross_entropy(said, true)),
        "commonest_accuracy": float(torch.bincount(true).max() / len(true)),
    }


def _by_class(task: Task, said: Tensor, rows: Rows) -> dict[str, Any]:
    if task.scored:
        return {}
    tally = Tally(len(task.answers))
    tally.add(said, torch.from_numpy(rows.sentences.answers))
    table = class_table(tally.confused, task.answers)
    return {
        "calibration_error": tally.reliability.error,
        "by_class": {
            name: {"accuracy": row["accuracy"], "precision": row["precision"], "sentences": row["pictures"]}
            for name, row in table.items()
        },
    }
