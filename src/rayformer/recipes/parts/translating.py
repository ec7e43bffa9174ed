"""One text into another: what the Transformer is trained and measured by.

    TranslatingTraining   pairs of a step, smoothing, how answers are searched for
    PairBatch, PairPiece  pairs of like length, padded to the longest of them
    OpenPairs             pairs read when they are needed, and the vocabulary that a run keeps
    TranslatingTask       a network on them
    translating_chain     all of it wired

A batch is a pure function of seed and step: which pairs, of about as many words as asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.core.seeds import seeded
from rayformer.data.text import vocabulary as vocabularies
from rayformer.data.text.pairs import Pairs, PairsConfig, Split, Texts, read_other, read_pairs
from rayformer.data.text.sequences import LengthBatches, Packed
from rayformer.data.text.vocabulary import BEGIN, END, PADDING, UNKNOWN, Vocabulary
from rayformer.engine.task import Chain, Group, Setting, Stage
from rayformer.losses.classification import cross_entropy
from rayformer.metrics.translation import bleu, exact
from rayformer.nets.parts.search import Said
from rayformer.nets.transformer import Transformer, translate
from rayformer.recipes.parts.translating_pictures import Answer, show_answers
from rayformer.runs.pictures import Picture

PIECES = 8000
"""Numbers of a vocabulary for pairs in files, where nobody says how many."""
MEASURED_AT_ONCE = 8192
"""Words of the sources that are answered together where nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class TranslatingTraining:
    tokens: int = 4096
    """Pieces of a step, sources and targets with their ends, over all processes; the paper has 50,000."""
    at_once: int | None = None
    """Pieces that go through the network together; none: all of a step. Fewer need less memory."""
    smoothing: float = 0.1
    """Share of the truth that is given to all pieces alike, so that being quite sure is never worth it."""
    beams: int = 4
    """Answers that are followed at a time when one is searched for; 1 takes the likeliest piece each time."""
    penalty: float = 0.6
    """How far long answers are forgiven for being long; 0 not at all."""
    longer: int = 50
    """Pieces by which an answer may be longer than its source."""
    measured: int = 500
    """Pairs that are answered each time the weights are looked at; testing takes all."""
    shown: int = 6
    """Pairs whose attention the report shows."""

    def __post_init__(self):
        for name in ("tokens", "at_once", "beams", "longer", "measured"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, but is {getattr(self, name)}.")
        if not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"train.smoothing is a share, 0 or more and below 1, but is {self.smoothing:g}."
            )
        for name in ("penalty", "shown"):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name} must not be negative, but is {getattr(self, name):g}.")


@dataclass(frozen=True, eq=False)
class PairPiece:
    source: Int[Tensor, "batch keys"]
    """Each with its end behind it."""
    real: Bool[Tensor, "batch keys"] | None
    """What of it is no padding; None where nothing is."""
    target: Int[Tensor, "batch queries"]
    """What has been said before each word: it begins with the beginning."""
    truth: Int[Tensor, "batch queries"]
    """What is to be said: it ends with the end."""

    @property
    def weight(self) -> float:
        return float((self.truth != PADDING).sum())

    def to(self, device: torch.device) -> "PairPiece":
        real = None if self.real is None else self.real.to(device)
        return PairPiece(self.source.to(device), real, self.target.to(device), self.truth.to(device))


@dataclass(frozen=True, eq=False)
class PairBatch:
    pieces: Sequence[PairPiece]

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "pairs": sum(len(piece.source) for piece in self.pieces),
            "tokens": sum(piece.source.numel() + piece.target.numel() for piece in self.pieces),
        }

    def split(self) -> Sequence[PairPiece]:
        return self.pieces


@dataclass(frozen=True, eq=False)
class Numbered:
    """Pairs as numbers, those that are too long left out."""

    texts: Texts
    sources: Packed
    targets: Packed

    @property
    def lengths(self) -> Int[np.ndarray, "batch"]:
        """Of both halves, with an end each."""
        return self.sources.lengths + self.targets.lengths + 2

    def piece(self, rows: Int[np.ndarray, "batch"]) -> PairPiece:
        source = torch.from_numpy(self.sources.padded(rows, PADDING, after=[END]))
        real = source != PADDING
        target = self.targets.padded(rows, PADDING, before=[BEGIN])
        truth = self.targets.padded(rows, PADDING, after=[END])
        halves = map(torch.from_numpy, (target, truth))
        return PairPiece(source, None if real.all() else real, *halves)


class OpenPairs:
    """Pairs, read when the first of them is asked for; their vocabulary is known before."""

    def __init__(self, vocabulary: Vocabulary, longest: int, read: Callable[[], Pairs]):
        self.vocabulary, self.longest, self._read = vocabulary, longest, read
        self._numbered: dict[Split, Numbered] = {}

    @cached_property
    def pairs(self) -> Pairs:
        """Raises DataError, in words, where they cannot be read."""
        return self._read()

    def split(self, name: Split) -> Numbered | None:
        """Raises DataError where every pair is too long to be learned from, or to be tested."""
        if name not in self._numbered and name in self.pairs.parts:
            texts = self.pairs.parts[name]
            found = numbered(texts, self.vocabulary, self.longest)
            if len(texts) and not len(found.texts) and name != "val":
                raise DataError(
                    f"{self.pairs.source}: every {name} pair is longer than data.longest={self.longest}, "
                    "and longer ones are left out.\nRaise it: positions know no bound, time and memory do."
                )
            self._numbered[name] = found
        return self._numbered.get(name)


def numbered(texts: Texts, vocabulary: Vocabulary, longest: int) -> Numbered:
    """The pairs none of whose halves is longer than `longest`, its end included."""
    sources, targets = (vocabulary.encode(half) for half in (texts.sources, texts.targets))
    lengths = [max(len(one), len(other)) + 1 for one, other in zip(sources, targets, strict=True)]
    rows = [row for row, length in enumerate(lengths) if length <= longest]
    packed = (Packed.of([half[row] for row in rows]) for half in (sources, targets))
    return Numbered(texts.only(rows), *packed)


class TranslatingTask:
    def __init__(self, model: Transformer, data: OpenPairs, options: TranslatingTraining, setting: Setting):
        self.model, self.data, self.options = model, data, options
        self.seed, self.device = setting.seed, setting.device
        self._shown: dict[str, Picture] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.data.vocabulary

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    @cached_property
    def _training(self) -> tuple[Numbered, LengthBatches]:
        part = self.data.split("train")
        assert part is not None, "data always have a training part"
        longest = int(part.lengths.max())
        if self.options.tokens < longest:
            raise ConfigError(
                f"train.tokens must be at least {longest}, which the longest pair has, but is "
                f"{self.options.tokens}."
            )
        return part, LengthBatches(part.lengths, self.options.tokens, self.seed)

    def batch(self, split: str, step: int, rank: int, world: int) -> PairBatch:
        assert split == "train", f"a network learns from training pairs, not from {split!r}"
        part, batches = self._training
        rows = batches(step)
        if len(rows) < world:
            raise ConfigError(
                f"train.tokens={self.options.tokens} leaves {len(rows)} pairs to {world} processes; "
                "give more."
            )
        at_once = self.options.at_once or self.options.tokens
        # Every process has equally many pieces, though one may have a pair less.
        pieces = min(-(-self.options.tokens // (world * at_once)), len(rows) // world)
        own = np.array_split(rows, world)[rank]
        return PairBatch([part.piece(some) for some in np.array_split(own, pieces)])

    def loss(self, piece: PairPiece, step: int, generator: Generator) -> Losses:
        truth = piece.truth != PADDING
        error = cross_entropy(self._said(piece)[0], piece.truth[truth], self.options.smoothing)
        return Losses(total=error, terms={"cross_entropy": error})

    def _said(self, piece: PairPiece) -> tuple[Tensor, Tensor]:
        """Logits for every word that is to be said, padding left out, and which pair each is of."""
        truth = piece.truth != PADDING
        memory = self.model.encode(piece.source, piece.real)
        said = self.model.decode(piece.target, memory, piece.real)
        return self.model.logits(said[truth]), truth.nonzero()[:, 0]

    # ------------------------------------------------------------------ answering

    def answers(self, sources: Packed, beams: int) -> list[list[Said]]:
        """Of every source its likeliest answers, the best first. Sources of like length are answered
        together."""
        found: list[list[Said]] = [[] for _ in range(len(sources))]
        rows = np.argsort(sources.lengths, kind="stable")
        most = max(1, MEASURED_AT_ONCE // (beams * (int(sources.lengths.max(initial=0)) + 1)))
        for first in range(0, len(rows), most):
            some = rows[first : first + most]
            source = torch.from_numpy(sources.padded(some, PADDING, after=[END])).to(self.device)
            real = source != PADDING
            said = translate(
                self.model, source, None if bool(real.all()) else real, begin=BEGIN, end=END, beams=beams,
                penalty=self.options.penalty, longer=self.options.longer,
            )  # fmt: skip
            for row, answers in zip(some.tolist(), said, strict=True):
                found[row] = answers
        return found

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Of "val" some pairs, answered greedily; of "test" all, by beam search and greedily, each task by
        itself where there are several."""
        name: Split = "test" if split == "test" else "val"
        part = self.data.split(name)
        if part is None or not len(part.texts):
            return {}
        if name == "val":
            chosen = np.unique(np.linspace(0, len(part.texts) - 1, self.options.measured).round().astype(int))
            part = _only(part, chosen)
            texts = self._best(part.sources, beams=1)
            return self._judged(texts, part) | self._likelihood(part)
        said = self.answers(part.sources, self.options.beams)
        texts = [self.vocabulary.decode(answers[0].words) for answers in said]
        numbers: dict[str, Any] = self._judged(texts, part)
        if self.options.beams > 1:
            numbers["greedy_sequence_accuracy"] = exact(self._best(part.sources, beams=1), part.texts.targets)
        numbers |= self._likelihood(part)
        if len(set(part.texts.tasks)) > 1:
            numbers["by_task"] = _by_task(texts, part.texts)
        answers = [
            Answer(source, text, target)
            for source, text, target in zip(part.texts.sources, texts, part.texts.targets, strict=True)
        ]
        self._shown = show_answers(self.model, self.vocabulary, answers, self.options.shown, self.device)
        return numbers

    def _best(self, sources: Packed, beams: int) -> list[str]:
        return [self.vocabulary.decode(said[0].words) for said in self.answers(sources, beams)]

    def _judged(self, texts: Sequence[str], part: Numbered) -> dict[str, float]:
        """The first number picks the best weights: whole answers of what is drawn, BLEU of sentences."""
        right = {"sequence_accuracy": exact(texts, part.texts.targets)}
        return right if part.texts.tasks else {"bleu_percent": bleu(texts, part.texts.targets), **right}

    def _likelihood(self, part: Numbered) -> dict[str, float]:
        """Each piece of the truth, told what comes before it: how often it is the likeliest, and how likely
        it is."""
        nats = right = count = 0.0
        rows = np.argsort(part.lengths, kind="stable")
        for some in np.array_split(rows, -(-int(part.lengths.sum()) // MEASURED_AT_ONCE)):
            if not len(some):
                continue
            piece = part.piece(some).to(self.device)
            logits, truth = self._said(piece)[0].float(), piece.truth[piece.truth != PADDING]
            nats += float(nn.functional.cross_entropy(logits, truth, reduction="sum"))
            right += float((logits.argmax(dim=1) == truth).sum())
            count += len(truth)
        return {"token_accuracy": right / count, "cross_entropy_nats": nats / count}

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def _only(part: Numbered, rows: Int[np.ndarray, "_"]) -> Numbered:
    return Numbered(part.texts.only(rows.tolist()), part.sources.only(rows), part.targets.only(rows))


def _by_task(texts: Sequence[str], part: Texts) -> dict[str, dict[str, float | int]]:
    table: dict[str, dict[str, float | int]] = {}
    for task in dict.fromkeys(part.tasks):
        own = [row for row, one in enumerate(part.tasks) if one == task]
        right = exact([texts[row] for row in own], [part.targets[row] for row in own])
        table[task] = {"sequence_accuracy": right, "pairs": len(own)}
    return table


# ---------------------------------------------------------------------- wiring


def translating_chain(config: Any, setting: Setting, net: Callable[[int], Transformer]) -> Chain:
    """One stage. `config` has data, train and plan; `net` makes the network for so many words."""
    data, found = open_pairs(config.data, setting)
    with seeded(setting.seed, "model"):
        model = net(len(data.vocabulary))
    task = TranslatingTask(model, data, config.train, setting)
    stage = Stage(
        name="train",
        task=lambda _: task,
        plan=config.plan,
        groups=translating_groups,
        shards=lambda model: [
            *model.get_submodule("encoder").children(),
            *model.get_submodule("decoder").children(),
        ],
    )
    return Chain(stages=[stage], data=found)


def translating_groups(model: nn.Module) -> list[Group]:
    assert isinstance(model, Transformer), "which says what does not decay"
    groups: dict[bool, list[str]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        groups[model.undecayed(name, parameter)].append(name)
    return [
        Group("all", tuple(groups[False])),
        Group("undecayed", tuple(groups[True]), decay=0.0),
    ]


def open_pairs(config: PairsConfig, setting: Setting) -> tuple[OpenPairs, dict[str, Any]]:
    """The pairs of a run, and what run.yaml says of them. In training they are read, and the vocabulary is
    learned from those that are learned from, or is that of the run that training begins from; a finished run
    knows it from RUN/assets/vocabulary.json."""
    path = setting.assets / "vocabulary.json"
    begun = Path(setting.start or "") / "assets" / "vocabulary.json"
    if not setting.training and path.is_file():
        read = read_other if setting.other_data else read_pairs
        return OpenPairs(vocabularies.kept(path), config.longest, lambda: read(config)), {}
    pairs = read_pairs(config)
    if path.is_file():
        vocabulary = vocabularies.kept(path)
    else:
        given = setting.start and begun.is_file()
        vocabulary = vocabularies.kept(begun) if given else _learned(config, pairs.parts["train"])
        if setting.training:
            vocabularies.keep(vocabulary, path)
    data = OpenPairs(vocabulary, config.longest, lambda: pairs)
    found = {
        "source": pairs.source,
        "format": pairs.format,
        "fingerprint": pairs.fingerprint,
        **pairs.counts,
        "remarks": [*pairs.remarks, f"vocabulary: {vocabulary.says}, the same for both halves"],
    }
    return data, {**found, "remarks": [*found["remarks"], *_left_out(data)]}


def _learned(config: PairsConfig, texts: Texts) -> Vocabulary:
    count = (0 if config.named else PIECES) if config.pieces is None else config.pieces
    both = [*texts.sources, *texts.targets]
    return vocabularies.pieces(both, count) if count else vocabularies.characters(both)


def _left_out(data: OpenPairs) -> list[str]:
    """What a person should know of pairs that are too long, and of letters that were never seen."""
    said = []
    names: tuple[Split, ...] = ("train", "val", "test")
    for name in names:
        part = data.split(name)
        if part is None:
            continue
        left = len(data.pairs.parts[name]) - len(part.texts)
        if left:
            share = left / len(data.pairs.parts[name])
            said.append(
                f"{left:,} {name} pairs ({share:.1%}) are longer than data.longest={data.longest}: left out"
            )
        unknown = int((part.sources.values == UNKNOWN).sum())
        if unknown:
            said.append(
                f"{unknown:,} characters of {name} sources were never learned, and are read as unknown"
            )
    return said
