"""BERT's two tasks as one: what is trained, measured and shown.

    TextTraining      how text becomes batches
    OpenText          a corpus with its vocabulary, read when it is needed
    TextPiece         sentences side by side, with blanks
    PretrainingTask   a network on them

The loss is the mean over the blanks plus the mean over the pairs (Devlin et al. 2018, A.2). However a batch
is cut into pieces or dealt out to processes, a blank counts as one blank and a pair as one pair.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.data.text.corpus import Corpus, Pieces
from rayformer.data.text.instances import InstanceConfig, Instances, Masked, asked, chosen
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.task import Group, Setting
from rayformer.losses.classification import cross_entropy
from rayformer.nets.bert import BertPretraining
from rayformer.nets.parts.ragged import Ragged, take
from rayformer.recipes.parts.pretraining_pictures import Asked, show_pretraining
from rayformer.runs.pictures import Picture

MEASURED_AT_ONCE = 32
"""Instances that a network is asked about at a time where nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class TextTraining:
    batch: int = 64
    """Sentences or pairs of a step, over all processes."""
    at_once: int | None = None
    """Those that go through the network together; none: all of a step. Fewer need less memory."""
    text: InstanceConfig = InstanceConfig()
    measured: int = 512
    """Held-out instances that are measured at, the same ones each time."""
    shown: int = 8
    """Held-out sentences with blanks that the report shows."""

    def __post_init__(self):
        for name in ("batch", "at_once", "measured"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.shown < 0:
            raise ConfigError(f"train.shown must not be negative, but is {self.shown}.")


class OpenText:
    """A corpus in pieces, read when it is first asked for; its vocabulary is known before."""

    def __init__(self, wordpiece: WordPiece, read: Callable[[], Corpus], whole: bool = False):
        """`whole`: all of it is there to be measured at."""
        self.wordpiece, self._read, self._whole = wordpiece, read, whole

    @cached_property
    def corpus(self) -> Corpus:
        return self._read()

    @cached_property
    def train(self) -> Pieces:
        return Pieces.of(self.corpus.train, self.wordpiece.pieces)

    @cached_property
    def held_out(self) -> Pieces:
        every = [*self.corpus.train, *self.corpus.held_out]
        return Pieces.of(every if self._whole else self.corpus.held_out, self.wordpiece.pieces)


@dataclass(frozen=True, eq=False)
class TextPiece:
    words: Int[Tensor, "tokens"]
    kinds: Int[Tensor, "tokens"]
    ragged: Ragged
    picked: Int[Tensor, "picked"]
    truth: Int[Tensor, "picked"]
    elsewhere: Int[Tensor, "batch"]
    blanks: float
    """To a sentence, in the whole batch."""

    @classmethod
    def of(cls, some: Masked, blanks: float) -> "TextPiece":
        tensors = (some.words, some.kinds, some.picked, some.truth, some.elsewhere)
        words, kinds, picked, truth, elsewhere = map(torch.from_numpy, tensors)
        return cls(words, kinds, Ragged(some.lengths.tolist()), picked, truth, elsewhere, blanks)

    @property
    def weight(self) -> float:
        return float(len(self.ragged))

    def to(self, device: torch.device) -> "TextPiece":
        tensors = (self.words, self.kinds, self.picked, self.truth, self.elsewhere)
        words, kinds, picked, truth, elsewhere = (one.to(device, non_blocking=True) for one in tensors)
        return TextPiece(words, kinds, self.ragged.to(device), picked, truth, elsewhere, self.blanks)


@dataclass(frozen=True, eq=False)
class TextBatch:
    whole: Masked
    pieces: int
    blanks: float

    @property
    def counts(self) -> Mapping[str, int]:
        return {"sentences": len(self.whole.lengths), "tokens": len(self.whole.words)}

    def split(self) -> Sequence[TextPiece]:
        """Every so many, so that no piece has all the long ones."""
        if self.pieces == 1:
            return [TextPiece.of(self.whole, self.blanks)]
        rows = np.arange(len(self.whole.lengths))
        return [
            TextPiece.of(chosen(self.whole, rows[first :: self.pieces]), self.blanks)
            for first in range(self.pieces)
        ]


class PretrainingTask:
    def __init__(self, model: BertPretraining, data: OpenText, options: TextTraining, setting: Setting):
        self.model, self.data, self.options = model, data, options
        self.seed, self.device = setting.seed, setting.device
        self.causal = model.config.objective == "causal"
        self._shown: dict[str, Picture] = {}

    @property
    def wordpiece(self) -> WordPiece:
        return self.data.wordpiece

    @property
    def next_sentence(self) -> bool:
        return self.options.text.next_sentence

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    @cached_property
    def _training(self) -> Instances:
        return Instances(
            self.data.train, self.wordpiece, self.options.text, self.options.batch, self.seed, self.causal
        )

    def batch(self, split: str, step: int, rank: int, world: int) -> TextBatch:
        assert split == "train", f"a network learns from training text, not from {split!r}"
        options = self.options
        if options.batch < world:
            raise ConfigError(
                f"train.batch must be at least the number of processes, {world}, but is {options.batch}."
            )
        whole = self._training(step, rank, world)
        # Every process has equally many pieces, though one may have a sentence less.
        pieces = min(
            -(-options.batch // (world * (options.at_once or options.batch))), options.batch // world
        )
        return TextBatch(whole, pieces, self._blanks(whole, step, world))

    def _blanks(self, whole: Masked, step: int, world: int) -> float:
        """To a sentence, over all processes. How many blanks there are follows from the lengths (or nearly
        so, where whole words are blanked out: one that is too long for what is left is passed over)."""
        if world == 1:
            return len(whole.picked) / len(whole.lengths)
        every = [self._training(step, rank, world).lengths for rank in range(world)]
        lengths = np.concatenate(every)
        count = lengths - 1 if self.causal else asked(lengths, self.options.text)
        return float(count.sum()) / len(lengths)

    def loss(self, piece: TextPiece, step: int, generator: Generator) -> Losses:
        tokens = self.model.bert(piece.words, piece.kinds, piece.ragged)
        said = self.model.which_word(take(tokens, piece.picked)).float()
        sum_of_words = F.cross_entropy(said, piece.truth, reduction="sum")
        terms = {"words": sum_of_words / (piece.blanks * piece.weight)}
        if self.next_sentence:
            terms["next"] = cross_entropy(self.model.does_follow(tokens, piece.ragged), piece.elsewhere)
        return Losses(total=sum(terms.values(), torch.zeros((), device=said.device)), terms=terms)

    # ------------------------------------------------------------------ asking

    @torch.no_grad()
    def guesses(
        self,
        words: Int[Tensor, "tokens"],
        kinds: Int[Tensor, "tokens"],
        ragged: Ragged,
        at: Int[Tensor, "picked"],
    ) -> tuple[Float[Tensor, "picked outputs"], Float[Tensor, "batch 2"]]:
        """How likely each word is at those places, and of each pair whether it follows or is from elsewhere.
        A network that looks back only says what comes next, so that the token before each place is asked."""
        tokens = self.model.bert(words, kinds, ragged)
        # Two places may ask the same token only where one is the first of all, which nobody asks about.
        said = self.model.which_word(tokens.index_select(0, at - 1 if self.causal else at))
        return said.float().softmax(dim=1), self.model.does_follow(tokens, ragged).float().softmax(dim=1)

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Over held-out instances, the same each time: nats to a word asked about, the share that is right,
        and the share of pairs that is told rightly. Nothing for "val" where nothing is held out."""
        if split != "test" and not self.data.corpus.held_out:
            return {}
        instances = self.held_out_instances()
        count = min(len(instances.epoch(0)), self.options.measured)
        nats, right, blanks, told, pairs = 0.0, 0, 0, 0, 0
        shown = Asked(self.options.shown)
        for first in range(0, count, MEASURED_AT_ONCE):
            some = instances.in_order(first, min(first + MEASURED_AT_ONCE, count))
            piece = TextPiece.of(some, 1.0).to(self.device)
            tokens = self.model.bert(piece.words, piece.kinds, piece.ragged)
            said = self.model.which_word(take(tokens, piece.picked)).float()
            nats += float(F.cross_entropy(said, piece.truth, reduction="sum"))
            right += int((said.argmax(dim=1) == piece.truth).sum())
            blanks += len(piece.truth)
            follows = self.model.does_follow(tokens, piece.ragged).float()
            told += int((follows.argmax(dim=1) == piece.elsewhere).sum())
            pairs += len(piece.elsewhere)
            if split == "test":
                shown.add(some, said.cpu(), follows.softmax(dim=1)[:, 0].cpu())
        numbers = {
            "words_nats": nats / blanks,
            "perplexity": math.exp(min(nats / blanks, 700.0)),
            "words_accuracy": right / blanks,
        }
        if self.next_sentence:
            numbers["next_accuracy"] = told / pairs
        if split == "test":
            self._shown = show_pretraining(self, shown, numbers)
        return numbers

    def held_out_instances(self) -> Instances:
        """Those that are measured at: of what is held out, else of what was learned from."""
        pieces = self.data.held_out if len(self.data.held_out) else self.data.train
        if self.next_sentence and len(pieces) < 2:
            raise DataError(
                f"{self.data.corpus.source}: no two documents are left to measure at, so that no sentence "
                f"could come "
                "from another one.\nBring more text, or measure on what was learned from with "
                "--data.held-out 0."
            )
        return Instances(pieces, self.wordpiece, self.options.text, 1, 0, self.causal, "held out")

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def pretraining_groups(model: nn.Module) -> list[Group]:
    """What decays and what does not."""
    assert isinstance(model, BertPretraining), "BERT says what does not decay"
    names: dict[bool, list[str]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            names[model.undecayed(name, parameter)].append(name)
    return [Group("decayed", tuple(names[False])), Group("undecayed", tuple(names[True]), decay=0.0)]
