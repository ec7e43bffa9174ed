"""What BERT learns from: pairs of segments, with some of their words blanked out.

    InstanceConfig  how they are made; the defaults are the published ones
    Spans           which stretches of the corpus are segments A and B, and whether B is from elsewhere
    pairs           one pass over a corpus as spans                              Devlin et al. 2018, sec. 3.1
    singles         the same without second segments
    Masked          tokens with blanks, where they are, and what was there
    masked          15 % of the tokens chosen, and 80/10/10 of them blanked, replaced, kept      appendix A.1
    next_words      the same for a network that looks back only: every next word
    Instances       batches by number

As in the authors' `create_pretraining_data.py`: segments are gathered sentence by sentence from one document
until they fill the length aimed at; half of the second segments are replaced by text from another document,
and what was not used then is read again; what is too long loses words at the front or the back by lot. Where
that program writes a file of ten variants once, here every epoch makes its own.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Int

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import stream
from rayformer.data.text.corpus import Pieces
from rayformer.data.text.wordpiece import WordPiece

TRIES = 10
"""Times that another document is drawn for, lest it be the same."""


@dataclass(frozen=True, kw_only=True)
class InstanceConfig:
    most: int = 128
    """Tokens of the longest pair, special ones included."""
    short: float = 0.1
    """Share of documents whose pairs are made shorter, of any length by lot, so that short texts are known,
    too."""
    next_sentence: bool = True
    """Whether there are second segments, half of them from elsewhere, and the network is asked which; else
    one segment by itself."""
    masked: float = 0.15
    """Share of the tokens that the network is asked about."""
    masked_most: int | None = None
    """Tokens of a pair that it is asked about at most; the authors have 20 of 128."""
    whole_words: bool = False
    """Blank out all pieces of a word, or none; without it, each piece by itself."""

    def __post_init__(self):
        if self.most < 8:
            raise ConfigError(f"train.text.most must be at least 8 tokens, but is {self.most}.")
        for name in ("short", "masked"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"train.text.{name} is a share, 0 to 1, but is {getattr(self, name):g}.")
        if self.masked_most is not None and self.masked_most < 1:
            raise ConfigError(f"train.text.masked_most must be at least 1, but is {self.masked_most}.")


@dataclass(frozen=True, eq=False)
class Spans:
    """Stretches of a corpus's words: from, and up to."""

    a: Int[np.ndarray, "batch 2"]
    b: Int[np.ndarray, "batch 2"]
    """Empty where there are no second segments."""
    elsewhere: Bool[np.ndarray, "batch"]
    """Whether b does not follow a, but is from elsewhere: the authors' label 1."""

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, rows: Int[np.ndarray, "_"]) -> "Spans":
        return Spans(self.a[rows], self.b[rows], self.elsewhere[rows])


def pairs(corpus: Pieces, most: int, short: float, draw: random.Random) -> Spans:
    """One pass over all documents. `draw` is asked in the order in which the authors' program asks its own.

    There must be two documents: else "elsewhere" would be nowhere."""
    assert len(corpus) > 1, "the next sentence can be no other one's where there is one document"
    room = most - 3
    edges, bounds = corpus.sentences.tolist(), corpus.documents.tolist()
    rows: list[tuple[int, int, int, int, bool]] = []
    for document in range(len(corpus)):
        first, last = bounds[document], bounds[document + 1]
        aim = draw.randint(2, room) if draw.random() < short else room
        begin = at = first
        while at < last:
            if at == last - 1 or edges[at + 1] - edges[begin] >= aim:
                count = at + 1 - begin
                split = begin + (draw.randint(1, count - 1) if count >= 2 else 1)
                a = (edges[begin], edges[split])
                elsewhere = count == 1 or draw.random() < 0.5
                if elsewhere:
                    b = _from_elsewhere(document, aim - (a[1] - a[0]), edges, bounds, draw)
                    at -= begin + count - split  # what was not used is read again
                else:
                    b = (edges[split], edges[at + 1])
                rows.append((*_truncated(*a, *b, room, draw), elsewhere))
                begin = at + 1
            at += 1
    draw.shuffle(rows)
    table = np.array(rows, np.int64)
    return Spans(table[:, :2], table[:, 2:4], table[:, 4].astype(bool))


def _from_elsewhere(
    document: int, aim: int, edges: Sequence[int], bounds: Sequence[int], draw: random.Random
) -> tuple[int, int]:
    other = document
    for _ in range(TRIES):
        other = draw.randint(0, len(bounds) - 2)
        if other != document:
            break
    begin = bounds[other] + draw.randint(0, bounds[other + 1] - bounds[other] - 1)
    end = begin + 1
    while end < bounds[other + 1] and edges[end] - edges[begin] < aim:
        end += 1
    return edges[begin], edges[end]


def _truncated(
    a_from: int, a_to: int, b_from: int, b_to: int, room: int, draw: random.Random
) -> tuple[int, int, int, int]:
    while (a_to - a_from) + (b_to - b_from) > room:
        front = draw.random() < 0.5
        if a_to - a_from > b_to - b_from:
            a_from, a_to = (a_from + 1, a_to) if front else (a_from, a_to - 1)
        else:
            b_from, b_to = (b_from + 1, b_to) if front else (b_from, b_to - 1)
    return a_from, a_to, b_from, b_to


def singles(corpus: Pieces, most: int, short: float, draw: random.Random) -> Spans:
    """One pass over all documents as single segments: whole sentences as long as they fit; a sentence that is
    longer is cut up."""
    room = most - 2
    edges, bounds = corpus.sentences.tolist(), corpus.documents.tolist()
    rows: list[tuple[int, int]] = []
    for document in range(len(corpus)):
        aim = draw.randint(2, room) if draw.random() < short else room
        begin = edges[bounds[document]]
        for sentence in range(bounds[document], bounds[document + 1]):
            end = edges[sentence + 1]
            if end - begin > aim and edges[sentence] > begin:
                rows.append((begin, edges[sentence]))
                begin = edges[sentence]
            while end - begin > aim:
                rows.append((begin, begin + aim))
                begin += aim
        if (end := edges[bounds[document + 1]]) > begin:
            rows.append((begin, end))
    draw.shuffle(rows)
    a = np.array(rows, np.int64)
    return Spans(a, np.repeat(a[:, 1:], 2, axis=1), np.zeros(len(a), bool))


# ---------------------------------------------------------------------- tokens and blanks


@dataclass(frozen=True, eq=False)
class Masked:
    """Instances side by side, in the order of their length."""

    words: Int[np.ndarray, "tokens"]
    kinds: Int[np.ndarray, "tokens"]
    lengths: Int[np.ndarray, "batch"]
    picked: Int[np.ndarray, "picked"]
    """Where words are asked for."""
    truth: Int[np.ndarray, "picked"]
    """Which words were there; of a network that looks back only, which come next."""
    elsewhere: Int[np.ndarray, "batch"]
    """0 where the second segment follows the first, 1 where it is from elsewhere."""


def side_by_side(
    corpus: Pieces, spans: Spans, wordpiece: WordPiece
) -> tuple[Int[np.ndarray, "tokens"], Int[np.ndarray, "tokens"], Int[np.ndarray, "batch"]]:
    """[CLS] a [SEP] b [SEP] of each, end to end: words, kinds and lengths."""
    words, kinds, lengths = [], [], []
    first, between = np.array([[wordpiece.first], [wordpiece.between]], corpus.words.dtype)
    for (a, a_end), (b, b_end) in zip(spans.a.tolist(), spans.b.tolist(), strict=True):
        words += [first, corpus.words[a:a_end], between]
        kinds += [0, 1]
        lengths += [a_end - a + 2, 0]
        if b_end > b:
            words += [corpus.words[b:b_end], between]
            lengths[-1] = b_end - b + 1
    return (
        np.concatenate(words).astype(np.int64),
        np.repeat(np.array(kinds), lengths),
        np.array(lengths).reshape(-1, 2).sum(axis=1),
    )


def asked(lengths: Int[np.ndarray, "batch"], config: InstanceConfig) -> Int[np.ndarray, "batch"]:
    """How many tokens a network is asked about: a share of all, one at least."""
    count = np.maximum(1, np.rint(config.masked * lengths)).astype(np.int64)
    return count if config.masked_most is None else np.minimum(count, config.masked_most)


def masked(
    words: Int[np.ndarray, "tokens"],
    lengths: Int[np.ndarray, "batch"],
    config: InstanceConfig,
    wordpiece: WordPiece,
    draw: np.random.Generator,
) -> tuple[Int[np.ndarray, "tokens"], Int[np.ndarray, "picked"]]:
    """The words with blanks in them, and where, in rising order. [CLS] and [SEP] are never asked about. Of
    what is chosen, 80 % become [MASK], 10 % any word of the vocabulary, and 10 % stay, so that a network
    cannot rely on words that it sees."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    key = draw.random(len(words))
    lot = draw.random(len(words))
    others = draw.integers(len(wordpiece), size=len(words))
    special = (words == wordpiece.first) | (words == wordpiece.between)
    wanted = asked(lengths, config)
    if config.whole_words:
        picked = _whole_words(words, owners, special, key, wanted, wordpiece)
    else:
        key[special] = 2.0
        order = np.lexsort((key, owners))
        rank = np.arange(len(words)) - starts[owners]
        picked = np.sort(order[(rank < wanted[owners]) & (key[order] < 2)])
    blanked = words.copy()
    blanked[picked] = np.where(
        lot[picked] < 0.8, wordpiece.mask, np.where(lot[picked] < 0.9, words[picked], others[picked])
    )
    return blanked, picked


def _whole_words(
    words: Int[np.ndarray, "tokens"],
    owners: Int[np.ndarray, "tokens"],
    special: Bool[np.ndarray, "tokens"],
    key: np.ndarray,
    wanted: Int[np.ndarray, "batch"],
    wordpiece: WordPiece,
) -> Int[np.ndarray, "picked"]:
    """Words by lot until enough pieces are chosen; one that is too long for what is left is passed over."""
    places = np.flatnonzero(~special)
    begins = ~wordpiece.goes_on[words[places]]
    begins[1:] |= owners[places][1:] != owners[places][:-1]
    begins[1:] |= np.diff(places) > 1  # what a special token parts is not one word
    begins[:1] = True
    heads = np.flatnonzero(begins)
    sizes = np.diff(np.append(heads, len(places))).tolist()
    of = owners[places[heads]]
    left = wanted.copy()
    picked = []
    for word in np.lexsort((key[places[heads]], of)).tolist():
        if sizes[word] <= left[of[word]]:
            left[of[word]] -= sizes[word]
            picked.append(places[heads[word]] + np.arange(sizes[word]))
    return np.sort(np.concatenate(picked)) if picked else np.zeros(0, np.int64)


def next_words(
    words: Int[np.ndarray, "tokens"], lengths: Int[np.ndarray, "batch"]
) -> tuple[Int[np.ndarray, "picked"], Int[np.ndarray, "picked"]]:
    """All places but the last of each segment, and what comes next."""
    last = np.zeros(len(words), bool)
    last[np.cumsum(lengths) - 1] = True
    picked = np.flatnonzero(~last)
    return picked, words[picked + 1]


@dataclass(frozen=True, eq=False)
class Instances:
    """`instances(step, rank, world)`: what a network reads in one step, as a pure function of these and the
    seed. Every epoch makes its instances anew; as many steps as fit into the first one make an epoch."""

    corpus: Pieces
    wordpiece: WordPiece
    config: InstanceConfig
    size: int
    """Instances of a step, over all ranks."""
    seed: int
    causal: bool = False
    name: str = "train"

    def epoch(self, number: int) -> Spans:
        return _epoch(self, number)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return max(1, len(self.epoch(0)) // self.size)

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Masked:
        """This rank's share. Blanks are drawn for all ranks together, so that their number changes
        nothing."""
        epoch, within = divmod(step, self.steps)
        spans = self.epoch(epoch)
        numbers = np.arange(within * self.size, (within + 1) * self.size) % len(spans)
        return self.made(spans[numbers], np.random.default_rng(stream(self.seed, "blanks", self.name, step)),
                         slice(rank, None, world))  # fmt: skip

    def in_order(self, first: int, last: int) -> Masked:
        """Instances `first` to `last`, without it, of the first epoch: for measuring, always the same
        ones."""
        numbers = np.arange(first, min(last, len(self.epoch(0))))
        return self.made(
            self.epoch(0)[numbers], np.random.default_rng(stream(self.seed, "blanks", self.name, first))
        )

    def made(self, spans: Spans, draw: np.random.Generator, mine: slice = slice(None)) -> Masked:
        """The instances of `spans` in the order of their length, and of these every so many."""
        lengths = (spans.a[:, 1] - spans.a[:, 0]) + (spans.b[:, 1] - spans.b[:, 0])
        spans = spans[np.argsort(lengths + (spans.b[:, 1] > spans.b[:, 0]), kind="stable")]
        words, kinds, sizes = side_by_side(self.corpus, spans, self.wordpiece)
        if self.causal:
            blanked, (picked, truth) = words, next_words(words, sizes)
        else:
            blanked, picked = masked(words, sizes, self.config, self.wordpiece, draw)
            truth = words[picked]
        whole = Masked(blanked, kinds, sizes, picked, truth, spans.elsewhere.astype(np.int64))
        return whole if mine == slice(None) else chosen(whole, np.arange(len(sizes))[mine])


def chosen(whole: Masked, rows: Int[np.ndarray, "_"]) -> Masked:
    """Some of the instances, in rising order."""
    keep = np.zeros(len(whole.lengths), bool)
    keep[rows] = True
    owners = np.repeat(np.arange(len(whole.lengths)), whole.lengths)
    tokens = keep[owners]
    new = np.cumsum(tokens) - 1
    asked_of = tokens[whole.picked]
    return Masked(
        whole.words[tokens], whole.kinds[tokens], whole.lengths[keep], new[whole.picked[asked_of]],
        whole.truth[asked_of], whole.elsewhere[keep],
    )  # fmt: skip


@lru_cache(maxsize=4)
def _epoch(instances: Instances, number: int) -> Spans:
    draw = random.Random(stream(instances.seed, "instances", instances.name, number))
    make = pairs if instances.config.next_sentence else singles
    return make(instances.corpus, instances.config.most, instances.config.short, draw)
