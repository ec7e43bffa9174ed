"""Running text as documents of sentences: what a network learns to read from.

    CorpusConfig    what a person may choose about it
    read_corpus     from a folder, a file, an archive or a name to documents
    Corpus          documents, held-out ones apart, and what a person should know
    Pieces          the same as numbers, end to end, with the borders of sentences and documents
    sentences_of    a paragraph cut into its sentences

BERT needs to know where documents end, as the next sentence is the next one of the same document, and one
from elsewhere comes from another. Texts tell it in three ways: blank lines (the authors' format, one sentence
to a line), a file for each document, or headings such as `= Whales =` (WikiText). Which one was taken is
said.
"""

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.seeds import stream
from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.lines import lines_of

SUFFIXES = (".txt", ".text")
DRAWN = "grammar"
EACH = 1500
"""Documents that are drawn where no number says otherwise."""
MOST_DRAWN = 100_000
HEADING = re.compile(r"\s*=\s[^=].*\s=\s*$")
"""Of a document; those of its sections have more than one sign of equality."""
APART = 20
"""Documents from which on whole ones are held out; of fewer, the end of each is."""

Documents = Sequence[Sequence[str]]
"""Each document is its sentences."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    source: str = DRAWN
    """Text to learn from: a folder of .txt files, one of them, either also as .gz or .zip; or grammar, simple
    English that the package draws (grammar-500: 500 documents of it)."""
    documents: Literal["auto", "blank-lines", "files", "headings"] = "auto"
    """What ends a document: a blank line, the end of a file, or a heading as in WikiText (= Whales =). auto
    takes headings where there are some, files where there are several, else blank lines."""
    sentences: Literal["auto", "lines", "split"] = "auto"
    """Whether every line is a sentence, or lines are split at full stops; auto splits where many lines hold
    more than one sentence."""
    encoding: str = "utf-8"
    """How letters are written down; older files are often latin-1."""
    held_out: float = 0.1
    """Share of the documents that is kept for measuring, always the same ones; of fewer than 20 documents,
    the last sentences of each. 0 measures on what was learned from."""
    vocabulary: str | None = None
    """A vocabulary that others made: vocab.txt, tokenizer.json, or a folder with either. none: that of the
    run or folder in --from, else one is learned from the text."""
    vocabulary_size: int = 8192
    """Entries of a vocabulary that is learned; texts with fewer pieces give fewer."""
    lower: bool = True
    """Whether a vocabulary that is learned has small letters only, without accents."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of drawn text, and no path."""
        return self.source.partition("-")[0] == DRAWN

    def __post_init__(self):
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"data.held_out is a share, 0 or more and below 1, but is {self.held_out:g}.")
        if self.vocabulary_size < 1:
            raise ConfigError(f"data.vocabulary_size must be at least 1, but is {self.vocabulary_size}.")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ConfigError(
                f"data.encoding must be a name such as utf-8 or latin-1, but is {self.encoding!r}."
            ) from None


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    source: str
    format: str
    train: Documents
    held_out: Documents
    remarks: tuple[str, ...]
    fingerprint: str

    @property
    def counts(self) -> dict[str, int]:
        every = [*self.train, *self.held_out]
        return {
            "documents": len(every),
            "sentences": sum(map(len, every)),
            "characters": sum(len(sentence) for document in every for sentence in document),
            "held_out_documents": len(self.held_out),
        }


@dataclass(frozen=True, eq=False)
class Pieces:
    """Sentences as numbers of pieces, end to end; none of them is empty."""

    words: Int[np.ndarray, "tokens"]
    sentences: Int[np.ndarray, "edges"]
    """Where each sentence begins among the words, and where the last one ends."""
    documents: Int[np.ndarray, "_"]
    """Where each document begins among the sentences, and where the last one ends."""

    @classmethod
    def of(cls, documents: Documents, encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]) -> "Pieces":
        """Sentences that hold no pieces are left out, and documents of which nothing is left."""
        numbers = encode([sentence for document in documents for sentence in document])
        lengths = np.fromiter(map(len, numbers), np.int64, len(numbers))
        owners = np.repeat(np.arange(len(documents)), [len(document) for document in documents])[lengths > 0]
        lengths = lengths[lengths > 0]
        words = np.fromiter(chain.from_iterable(numbers), np.int32, int(lengths.sum()))
        _, counts = np.unique(owners, return_counts=True)
        return cls(words, _edges(lengths), _edges(counts))

    def __len__(self) -> int:
        """Documents."""
        return len(self.documents) - 1


def _edges(lengths: Int[np.ndarray, "_"]) -> Int[np.ndarray, "edges"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def read_corpus(config: CorpusConfig) -> Corpus:
    """The text at `config.source`. Raises DataError for a place that is absent, empty, of no known format, or
    not in the encoding, naming file and line."""
    remarks: list[str] = []
    if config.named:
        documents: Documents = draw_documents(_count(config.source))
        form = "drawn"
    else:
        files = _files(config)
        documents, form, remarks = _in_documents(files, config)
    if not any(documents):
        raise DataError(f"{config.source}: no text to learn from, only blank lines.")
    train, held_out, said = _held_out(documents, config.held_out)
    return Corpus(
        source=config.source,
        format=form,
        train=train,
        held_out=held_out,
        remarks=(*remarks, *said),
        fingerprint=_fingerprint(documents),
    )


# ---------------------------------------------------------------------- files


def _count(source: str) -> int:
    _, _, number = source.partition("-")
    if number and not (number.isdigit() and 2 <= int(number) <= MOST_DRAWN):
        raise DataError(f"{source}: {DRAWN}-N are N documents, 2 to {MOST_DRAWN:,}, but N is {number!r}.")
    return int(number) if number else EACH


def _files(config: CorpusConfig) -> list[list[str]]:
    """The lines of every file, in the order of their names."""
    path = Path(config.source).expanduser()
    if not path.exists():
        raise DataError(f"{config.source}: no such file or folder, and no name of drawn text ({DRAWN}).")
    paths = [path] if path.is_file() else sorted(one for one in path.rglob("*") if _is_text(one))
    if not paths:
        raise DataError(
            f"{config.source}: a folder without text; files end in {', '.join(SUFFIXES)}, those with .gz "
            f"behind "
            "it, or .zip."
        )
    advice = f"Text is read as {config.encoding}; older files are often latin-1: --data.encoding latin-1"
    return [lines_of(*one, config.encoding, advice) for file in paths for one in _contents(file)]


def _is_text(path: Path) -> bool:
    name = path.name.lower()
    aside = any(part.startswith(".") for part in path.parts[-2:]) or name.startswith("readme")
    return path.is_file() and not aside and name.removesuffix(".gz").endswith((*SUFFIXES, ".zip"))


def _contents(path: Path) -> Iterable[tuple[bytes, str]]:
    """The bytes of a file, or of each text in an archive, and what to call them."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if name.lower().endswith(SUFFIXES))
                if not names:
                    raise DataError(f"{path}: an archive without files that end in {', '.join(SUFFIXES)}.")
                for name in names:
                    yield archive.read(name), f"{path}:{name}"
        elif path.suffix.lower() == ".gz":
            yield gzip.decompress(path.read_bytes()), str(path)
        else:
            yield path.read_bytes(), str(path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read whole ({error}).") from error


# ---------------------------------------------------------------------- documents and sentences


def _in_documents(files: list[list[str]], config: CorpusConfig) -> tuple[Documents, str, list[str]]:
    by = config.documents
    if by == "auto":
        headed = sum(bool(HEADING.match(line)) for lines in files for line in lines)
        by = "headings" if headed > 1 else "files" if len(files) > 1 else "blank-lines"
    found: list[list[str]] = []
    for lines in files:
        found.append([])
        for line in lines:
            heading = HEADING.match(line) is not None
            if (by == "headings" and heading) or (by == "blank-lines" and not line.strip()):
                found.append([])
            if line.strip() and not (by == "headings" and line.strip().startswith("= ")):
                found[-1].append(line.strip())
    found = [lines for lines in found if lines]
    split = config.sentences == "split" or (config.sentences == "auto" and _paragraphs(found))
    if split:
        found = [[one for line in lines for one in sentences_of(line)] for lines in found]
    ends = {"headings": "a heading", "files": "the end of a file", "blank-lines": "a blank line"}[by]
    said = f"{len(found):,} documents, each up to {ends}; "
    said += "lines are split into sentences" if split else "every line is a sentence"
    others = [f"--data.documents {way}" for way in ("blank-lines", "files", "headings") if way != by]
    if len(found) < 2:
        said += f"; if that is not so: {' or '.join(others)}"
    return found, f"text, documents by {by}", [said]


LATER = re.compile(r"""[.!?]["')\]]*\s+["'(\[]?[A-Z]""")


def _paragraphs(documents: Documents) -> bool:
    """Whether a fifth of the lines hold more than one sentence."""
    lines = [line for document in documents for line in document][:5000]
    return sum(len(sentences_of(line)) > 1 for line in lines if LATER.search(line)) > len(lines) / 5


ENDS = re.compile(r"""([.!?]["')\]]*)\s+(?=["'(\[]?[A-Z0-9])""")
ABBREVIATED = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sen|Rep|Gov|Gen|Col|Capt|Lt|Sgt|Jr|Sr|Inc|Co|Ltd|vs|No|Vol|Fig|etc|cf)|"
    r"\b[A-Z])\.$"
)


def sentences_of(paragraph: str) -> list[str]:
    """Cut behind `.`, `!` or `?` where a capital or a digit follows; not behind titles and initials."""
    sentences, begin = [], 0
    for end in ENDS.finditer(paragraph):
        piece = paragraph[begin : end.end(1)]
        if not ABBREVIATED.search(piece):
            sentences.append(piece.strip())
            begin = end.end()
    rest = paragraph[begin:].strip()
    return [*sentences, rest] if rest else sentences


def _held_out(documents: Documents, share: float) -> tuple[Documents, Documents, list[str]]:
    documents = [list(document) for document in documents if document]
    if share == 0:
        return documents, documents, ["nothing is held out: measured on what was learned from"]
    if len(documents) >= APART:
        count = max(2, round(share * len(documents)))
        order = np.random.default_rng(stream(0, "held out")).permutation(len(documents))
        chosen = set(order[:count].tolist())
        parts = (
            [one for row, one in enumerate(documents) if (row in chosen) == held] for held in (False, True)
        )
        train, held_out = parts
        return train, held_out, [f"{count} of them are held out for measuring"]
    ends = [max(1, len(document) - max(2, round(share * len(document)))) for document in documents]
    train = [document[:end] for document, end in zip(documents, ends, strict=True)]
    held_out = [document[end:] for document, end in zip(documents, ends, strict=True) if document[end:]]
    if not held_out:
        raise DataError(
            "too little text to hold any of it out: every document is one sentence.\n"
            "Bring more, or measure on what was learned from with --data.held-out 0."
        )
    return train, held_out, [f"the last {share:.0%} of each are held out for measuring"]


def _fingerprint(documents: Documents) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for document in documents:
        digest.update("\n".join(document).encode())
        digest.update(b"\0")
    return digest.hexdigest()
