"""WordPiece: words as the longest pieces of them that a vocabulary knows.

    WordPiece    texts to numbers of pieces and back, over the `tokenizers` library
      train      a vocabulary learned from texts, the same from the same texts
      load       one that others made: vocab.txt, tokenizer.json, or a folder with either
      pieces     texts without anything round them: what a corpus is made of
      encode     one sentence or a pair as BERT reads them: [CLS] a [SEP] b [SEP]
    Encoded      what comes of that, and how much was cut off

Schuster and Nakajima 2012; as in Devlin et al. 2018, https://arxiv.org/abs/1810.04805, sec. 3: control
characters are dropped, Chinese characters stand alone, punctuation is split off; where the vocabulary has no
capitals, letters become small and lose their accents. Each word is then taken apart from the left, the
longest piece first; pieces within a word begin with ##.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers import decoders as ways_back

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.lines import read_lines
from rayformer.runs.atomic import write_text

PAD, UNKNOWN, FIRST, BETWEEN, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, FIRST, BETWEEN, MASK)
"""In the order in which a vocabulary of ours begins."""
INSIDE = "##"
"""What pieces within a word begin with."""
LONGEST_WORD = 200
"""Characters of a word that is taken apart; longer ones are unknown. The authors' number; transformers has
100."""
ALPHABET = 1000
"""Characters that a trained vocabulary knows, the most frequent ones."""
FILES = ("tokenizer.json", "vocab.txt")


@dataclass(frozen=True, eq=False)
class Encoded:
    """One sentence, or a pair of them, as BERT reads it."""

    words: Int[np.ndarray, "tokens"]
    """Numbers of pieces, special ones included."""
    kinds: Int[np.ndarray, "tokens"]
    """0 up to the first [SEP], 1 behind it."""
    cut: int
    """Pieces that were left out because there was no place for them."""

    def __len__(self) -> int:
        return len(self.words)


class WordPiece:
    """Numbers are those of the lines of vocab.txt. The five special names are recognised within texts, too,
    as others do, so that a person can write [MASK]."""

    def __init__(self, tokenizer: Tokenizer, source: str = "the vocabulary"):
        """Raises DataError where one of the five special entries is not there."""
        self.tokenizer = tokenizer
        missing = [name for name in SPECIAL if tokenizer.token_to_id(name) is None]
        if missing:
            raise DataError(
                f"{source}: a vocabulary without {', '.join(missing)}. BERT's has an entry for each of "
                f"{' '.join(SPECIAL)}.\nAdd a line with that name, or let a vocabulary be trained."
            )
        numbers = tokenizer.get_vocab(with_added_tokens=True)
        self.pad, self.unknown, self.first, self.between, self.mask = (numbers[name] for name in SPECIAL)
        tokenizer.no_truncation()  # files bring their own settings
        tokenizer.no_padding()

    # ------------------------------------------------------------------ where it comes from

    @classmethod
    def of(
        cls, entries: Sequence[str], source: str = "the vocabulary", lower: bool | None = None
    ) -> "WordPiece":
        """From the entries in order. `lower` is whether letters become small; None: where no entry has a
        capital. Raises DataError for an entry that comes twice, and for absent special ones."""
        numbers = {entry: number for number, entry in enumerate(entries)}
        if len(numbers) < len(entries):
            twice, times = Counter(entries).most_common(1)[0]
            line = len(entries) - list(reversed(entries)).index(twice)
            raise DataError(
                f"{source}, line {line}: {twice!r} is there {times} times, but an entry has one number."
            )
        if lower is None:
            lower = not any(entry != entry.lower() for entry in entries if entry not in SPECIAL)
        return cls(_built(numbers, lower), source)

    @classmethod
    def train(cls, texts: Iterable[str], size: int, lower: bool = True) -> "WordPiece":
        """A vocabulary of `size` entries, or of fewer where the texts have no more, in which no piece was
        seen but once.

        The library numbers the letters within words as its hash table happens to list them, and ties between
        pieces follow these numbers. They are named to it beforehand, in order: the same texts give the same
        vocabulary. Raises ConfigError where the characters alone need more entries, DataError where the texts
        hold no words."""
        texts = list(texts)
        outside, inside = _characters(texts, lower)
        if not outside:
            raise DataError("no words to learn a vocabulary from: the texts are empty.")
        known = [*SPECIAL, *outside, *(INSIDE + character for character in inside)]
        if size < len(known):
            raise ConfigError(
                f"data.vocabulary_size must be at least {len(known)} for these texts (their characters, at "
                f"the "
                f"beginning of words and within them, and {len(SPECIAL)} special entries), but is {size}."
            )
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            min_frequency=2,
            special_tokens=known,
            initial_alphabet=outside,
            limit_alphabet=len(outside),
            continuing_subword_prefix=INSIDE,
            show_progress=False,
        )
        learner = _built({}, lower)
        learner.train_from_iterator(texts, trainer, length=len(texts))
        numbers = learner.get_vocab()
        return cls.of(sorted(numbers, key=numbers.__getitem__), lower=lower)

    @classmethod
    def load(cls, path: str | Path) -> "WordPiece":
        """From vocab.txt (one entry a line), tokenizer.json, or a folder that holds one of them; where it
        holds both, tokenizer.json, which says more. Raises DataError for what is none of these."""
        path = Path(path).expanduser()
        if path.is_dir():
            inside = [path / name for name in FILES if (path / name).exists()]
            if not inside:
                raise DataError(f"{path}: a folder with neither {' nor '.join(FILES)}.")
            path = inside[0]
        if not path.is_file():
            raise DataError(f"{path}: no such vocabulary; it is a {FILES[1]}, a {FILES[0]}, or a folder.")
        lines = read_lines(path)
        if path.suffix == ".json":
            return cls(_parsed("\n".join(lines), path), str(path))
        while lines and not lines[-1].strip():
            lines.pop()
        return cls.of(lines, str(path))

    def save(self, folder: Path) -> None:
        """Both files, vocab.txt and tokenizer.json, which others read, too."""
        write_text(folder / "vocab.txt", "\n".join(self.words(range(len(self)))) + "\n")
        write_text(folder / "tokenizer.json", self.tokenizer.to_str(pretty=False))

    # ------------------------------------------------------------------ what it knows

    def __len__(self) -> int:
        """Entries of the vocabulary."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def lower(self) -> bool:
        """Whether letters become small."""
        return json.loads(self.tokenizer.to_str())["normalizer"].get("lowercase", False)

    @cached_property
    def _entries(self) -> list[str]:
        numbers = self.tokenizer.get_vocab(with_added_tokens=True)
        entries = [UNKNOWN] * len(self)
        for entry, number in numbers.items():
            entries[number] = entry
        return entries

    def words(self, numbers: Iterable[int | np.integer]) -> list[str]:
        """The pieces as they are written, ## included."""
        return [self._entries[number] for number in numbers]

    def text(self, numbers: Iterable[int | np.integer]) -> str:
        """Pieces joined to words, special ones left out."""
        return self.tokenizer.decode([int(number) for number in numbers], skip_special_tokens=True)

    @cached_property
    def goes_on(self) -> Bool[np.ndarray, "outputs"]:
        """Of every entry whether it goes on with the word that was begun before it."""
        return np.array([entry.startswith(INSIDE) for entry in self._entries])

    # ------------------------------------------------------------------ texts to numbers

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text's pieces, nothing added and nothing cut. All texts at once are quicker
        than one after the other: the library spreads them over all cores."""
        return [
            found.ids for found in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    def encode(self, a: str, b: str | None = None, most: int | None = None) -> Encoded:
        """[CLS] a [SEP], or [CLS] a [SEP] b [SEP], in `most` tokens."""
        return self.encode_all([a], None if b is None else [b], most)[0]

    def encode_all(
        self, firsts: Sequence[str], seconds: Sequence[str] | None = None, most: int | None = None
    ) -> list[Encoded]:
        """The same of many. What does not fit into `most` tokens is cut off the end of whichever sentence is
        longer, piece by piece, and counted."""
        assert seconds is None or len(seconds) == len(firsts), "as many second sentences as first ones"
        found = self.pieces([*firsts, *(seconds or ())])
        pairs = (
            zip(found, found[len(firsts) :], strict=False)
            if seconds is not None
            else ((a, None) for a in found)
        )
        return [self.framed(a, b, most) for a, b in pairs]

    def framed(self, a: Sequence[int], b: Sequence[int] | None = None, most: int | None = None) -> Encoded:
        """The same of pieces that are numbers already."""
        others = 2 if b is None else 3
        assert most is None or most > others, f"{most} tokens are no place for a sentence"
        if b is None:
            left = len(a) if most is None else min(len(a), most - others)
            words = [self.first, *a[:left], self.between]
            kinds, cut = np.zeros(left + 2, np.int64), len(a) - left
        else:
            room = len(a) + len(b) if most is None else most - others
            left, right = shortened(len(a), len(b), room)
            words = [self.first, *a[:left], self.between, *b[:right], self.between]
            kinds = np.zeros(left + right + 3, np.int64)
            kinds[left + 2 :] = 1
            cut = len(a) + len(b) - left - right
        return Encoded(np.array(words, np.int64), kinds, cut)


def shortened(a: int, b: int, room: int) -> tuple[int, int]:
    """How much is left of two lengths where the longer one gives until both fit into `room`; of two that are
    alike the second."""
    if a + b <= room:
        return a, b
    half = room // 2
    if min(a, b) <= half:
        return (a, room - a) if a <= b else (room - b, b)
    return room - half, half


def _built(numbers: dict[str, int], lower: bool) -> Tokenizer:
    model = models.WordPiece(
        vocab=numbers,
        unk_token=UNKNOWN,
        max_input_chars_per_word=LONGEST_WORD,
        continuing_subword_prefix=INSIDE,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = ways_back.WordPiece(prefix=INSIDE)
    there = [AddedToken(name, special=True, normalized=False) for name in SPECIAL if name in numbers]
    tokenizer.add_special_tokens(there)
    return tokenizer


def _characters(texts: Sequence[str], lower: bool) -> tuple[list[str], list[str]]:
    """The most frequent characters of the texts, and those of them that occur within words, both in order."""
    tidy, cut = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        # Plain text is tidy already, which is told sooner than done.
        plain = text.isascii() and text.isprintable()
        tidied = (text.lower() if lower else text) if plain else tidy.normalize_str(text)
        words.update(tidied.split())
    counts: Counter[str] = Counter()
    inside: set[str] = set()
    for word, times in words.items():
        for character in word:
            counts[character] += times
        for part, _ in cut.pre_tokenize_str(word):
            inside.update(part[1:])
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[:ALPHABET]
    return sorted(frequent), sorted(inside.intersection(frequent))


def _parsed(text: str, path: Path) -> Tokenizer:
    try:
        kind = json.loads(text)["model"].get("type", "WordPiece")
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise DataError(f"{path}: not a tokenizer that the tokenizers library can read ({error})") from error
    if kind != "WordPiece":
        raise DataError(f"{path}: a tokenizer of kind {kind}, but BERT's is WordPiece.")
    return tokenizer
