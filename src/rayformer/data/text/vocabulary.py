"""Sentences as numbers and back, without a loss: by single characters, or by pieces that often come together.

    Vocabulary   encode and decode; what a run keeps
    characters   one for each character of some texts
    pieces       byte-pair encoding learned from some texts
    keep, kept   written into a file and read again

Sennrich et al. 2016, https://arxiv.org/abs/1508.07909: the pairs of neighbours that come most often become a
piece, again and again, so that frequent words are one piece and rare ones a few. It works on bytes, spaces
included: every text has pieces, and what is put together again is the text.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from rayformer.core.errors import ConfigError, DataError
from rayformer.runs.atomic import write_text

PADDING, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<padding>", "<begin>", "<end>", "<unknown>")
"""Their names, which the library wants, and nobody writes: texts that hold them are taken by the letter."""
BYTES = 256


class Vocabulary:
    """Numbers 0 to 3 are padding, beginning, end, and a character that was never seen; then the rest."""

    def __init__(self, words: Sequence[str] | None = None, tokenizer: Tokenizer | None = None):
        """Of `words`, which are single characters, or of a byte-level `tokenizer`."""
        assert (words is None) != (tokenizer is None), "of characters or of pieces"
        self.words, self.tokenizer = words, tokenizer

    def __len__(self) -> int:
        if self.tokenizer is not None:
            return self.tokenizer.get_vocab_size()
        return len(SPECIAL) + len(self.words or ())

    @property
    def says(self) -> str:
        """What it is, for people."""
        return f"{len(self) - len(SPECIAL):,} {'characters' if self.tokenizer is None else 'pieces of words'}"

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words or (), len(SPECIAL))}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers of each text, without beginning and end."""
        if self.tokenizer is not None:
            return [
                one.ids for one in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
            ]
        numbers = self._numbers
        return [[numbers.get(character, UNKNOWN) for character in text] for text in texts]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text, special numbers left out. Bytes that are no text become a mark of replacement."""
        plain = [number for number in numbers if number >= len(SPECIAL)]
        if self.tokenizer is not None:
            return self.tokenizer.decode(plain, skip_special_tokens=False)
        assert self.words is not None, "of characters or of pieces"
        return "".join(self.words[number - len(SPECIAL)] for number in plain)

    def shown(self, numbers: Iterable[int]) -> list[str]:
        """Each number by itself, as a person can read it."""
        names = {BEGIN: "begin", END: "end", UNKNOWN: "?", PADDING: ""}
        return [
            names[number] if number in names else self.decode([number]).replace(" ", "␣")
            for number in numbers
        ]


def characters(texts: Iterable[str]) -> Vocabulary:
    return Vocabulary(words=sorted(set().union(*texts)))


def pieces(texts: Iterable[str], size: int) -> Vocabulary:
    """`size` numbers at most, special ones and the 256 bytes among them; the same from the same texts. Raises
    ConfigError where the size has no place for these."""
    least = BYTES + len(SPECIAL)
    if size < least:
        raise ConfigError(
            f"data.pieces must be at least {least} (every byte, and {len(SPECIAL)} special ones), or 0 for "
            f"single characters, but is {size}."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Vocabulary(tokenizer=_literal(tokenizer))


def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """The same, with special names in a text read like any other letters."""
    plain: dict[str, Any] = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**plain, "added_tokens": []}))


def keep(vocabulary: Vocabulary, path: Path) -> None:
    tokenizer = vocabulary.tokenizer
    plain = {"characters": vocabulary.words} if tokenizer is None else json.loads(tokenizer.to_str())
    write_text(path, json.dumps(plain, ensure_ascii=False))


def kept(path: Path) -> Vocabulary:
    """Raises DataError where the file is torn."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if "characters" in plain:
            return Vocabulary(words=tuple(plain["characters"]))
        return Vocabulary(tokenizer=Tokenizer.from_str(json.dumps(plain)))
    except Exception as error:  # the library raises nothing narrower
        raise DataError(f"{path}: the vocabulary of the run is torn ({error}).\nTrain again.") from error
