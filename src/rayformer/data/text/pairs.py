"""Pairs of texts, one of which is to be made into the other: sentences and their translations, questions and
answers.

    PairsConfig   what a person may choose about them
    Texts         the pairs of one split
    Pairs         all splits, and what a person should know
    read_pairs    from a file, a folder or a name to these
    read_other    other pairs, for a finished run to be measured on

A file holds one pair a line, its two halves parted by a tab; what comes behind another tab is passed over. A
file that ends in .csv has commas, and quotes where a half holds one. A folder holds train.tsv, and val.tsv
and test.tsv where the data bring their own split. Our own split depends on nothing but the sources: a
sentence that comes twice is never both learned and measured.
"""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.data.text import tasks
from rayformer.data.text.lines import read_lines

Split = Literal["train", "val", "test"]
SUFFIXES = (".tsv", ".txt", ".csv")
FILES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test",),
}
"""What the file of a split is called in a folder, without suffix."""
MOST_HELD_OUT = 3000
"""More pairs measure no better and cost time."""
FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    source: str = "tasks"
    """A file of pairs, one a line with a tab between its halves (.tsv, .txt) or as .csv; a folder with
    train.tsv, val.tsv and test.tsv; or what the package draws: reversal, sorting, arithmetic, or tasks, which
    is all three (tasks-5000: of 5,000 pairs each)."""
    swap: bool = False
    """Make the first half of the second instead of the second of the first."""
    held_out: float = 0.1
    """Share of the sources that is kept for testing where the data bring no test split; always the same ones,
    and at most 3,000."""
    validation: float = 0.05
    """Share that is held back, to choose the best weights by, where the data bring no validation split; at
    most 3,000. 0 holds none back."""
    pieces: int | None = None
    """Entries of the vocabulary that is learned from the training pairs, by byte-pair encoding; 0 takes
    single characters. none chooses: characters for what the package draws, 8,000 pieces for files."""
    longest: int = 128
    """Pieces of a half, the end included, up to which a pair is learned from and measured; longer pairs are
    left out, and counted: half of a sentence is not translated by half of its translation."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of a drawn set, and no path."""
        return tasks.is_drawn(self.source)

    def __post_init__(self):
        for name in ("held_out", "validation"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ConfigError(f"data.{name} is a share, 0 or more and below 1, but is {share:g}.")
        if self.held_out == 0:
            raise ConfigError(
                "data.held_out must be above 0: answers to what was learned by heart say nothing of others."
            )
        if self.longest < 2:
            raise ConfigError(f"data.longest must be at least 2, a piece and the end, but is {self.longest}.")
        if self.pieces is not None and self.pieces < 0:
            raise ConfigError(f"data.pieces must not be negative, but is {self.pieces}.")


@dataclass(frozen=True, eq=False)
class Texts:
    sources: Sequence[str]
    targets: Sequence[str]
    tasks: Sequence[str] = ()
    """Of which drawn task each pair is; none of pairs in a file."""

    def __len__(self) -> int:
        return len(self.sources)

    def only(self, rows: Sequence[int]) -> "Texts":
        sources, targets = ([half[row] for row in rows] for half in (self.sources, self.targets))
        return Texts(sources, targets, [self.tasks[row] for row in rows] if self.tasks else ())


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    source: str
    format: str
    parts: Mapping[Split, Texts]
    """Train and test always; val where there is one."""
    remarks: tuple[str, ...]
    """What a person should know before training, one sentence each."""
    fingerprint: str
    """Changes with every letter and with the split."""

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by split, for the run's manifest."""
        return {name: len(part) for name, part in self.parts.items()}


def read_pairs(config: PairsConfig) -> Pairs:
    """The pairs at `config.source`.

    Raises DataError for a place that is absent or empty, a file that is not UTF-8 or has a line without a
    second half, naming the line; and for fewer than ten pairs.
    """
    if config.named:
        drawn = _drawn(config)
        return _pairs(config, "drawn", drawn, [f"{config.source} is drawn: {_sizes(drawn)}"])
    path = _existing(config.source)
    remarks: list[str] = []
    files = _files(path)
    found: dict[Split, Texts] = {split: _read(file, config, remarks) for split, file in files.items()}
    total = sum(map(len, found.values()))
    if total < FEWEST:
        raise DataError(
            f"{config.source}: {total} pairs, but {FEWEST} are the fewest that can be learned from."
        )
    parts = _split(found, config, remarks)
    return _pairs(config, "pairs", parts, [*remarks, _sizes(parts)])


def read_other(config: PairsConfig) -> Pairs:
    """Other pairs for a finished run: those that they call test, else all of them. Raises as `read_pairs`,
    but takes any number of pairs above none."""
    if config.named:
        return read_pairs(config)
    remarks: list[str] = []
    files = _files(_existing(config.source))
    chosen = [files["test"]] if "test" in files else list(files.values())
    found = [_read(file, config, remarks) for file in chosen]
    whole = Texts(
        [text for part in found for text in part.sources], [text for part in found for text in part.targets]
    )
    if not len(whole):
        raise DataError(f"{config.source}: no pairs.")
    return _pairs(config, "pairs", {"train": whole.only([]), "test": whole}, remarks)


def _drawn(config: PairsConfig) -> dict[Split, Texts]:
    drawn = tasks.drawn_pairs(config.source)
    parts: dict[Split, Texts] = {}
    for split in FILES:
        sources, targets = map(list, zip(*drawn[split].pairs, strict=True))
        parts[split] = _turned(Texts(sources, targets, drawn[split].tasks), config)
    return parts


def _pairs(config: PairsConfig, form: str, parts: Mapping[Split, Texts], remarks: Sequence[str]) -> Pairs:
    digest = hashlib.blake2b(digest_size=16)
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {len(part)}\0".encode())
        for half in (part.sources, part.targets):
            digest.update("\0".join(half).encode())
    return Pairs(
        source=config.source,
        format=form,
        parts=parts,
        remarks=tuple(remarks),
        fingerprint=digest.hexdigest(),
    )


def _sizes(parts: Mapping[Split, Texts]) -> str:
    order: tuple[Split, ...] = ("train", "val", "test")
    return "split: " + ", ".join(f"{len(parts[name]):,} {name}" for name in order if name in parts)


def _turned(texts: Texts, config: PairsConfig) -> Texts:
    return Texts(texts.targets, texts.sources, texts.tasks) if config.swap else texts


# ---------------------------------------------------------------------- files


def _existing(source: str) -> Path:
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(
            f"{source}: there is no such file or folder, and nothing drawn has this name."
            f"{did_you_mean(source, tasks.NAMES)}\nNames: {', '.join(tasks.NAMES)}."
        )
    return path


def _files(path: Path) -> dict[Split, Path]:
    """The file of each split; a single file is all for training."""
    if path.is_file():
        return {"train": path}
    found: dict[Split, Path] = {}
    for split, names in FILES.items():
        there = [path / f"{name}{end}" for name in names for end in SUFFIXES]
        if file := next((file for file in there if file.is_file()), None):
            found[split] = file
    if "train" not in found and "test" not in found:
        inside = sorted(file.name for file in path.iterdir())
        some = ", ".join(inside[:4]) + (", ..." if len(inside) > 4 else "")
        raise DataError(
            f"{path}: a folder of pairs holds train.tsv, and maybe val.tsv and test.tsv; this one "
            f"{f'holds {some}' if inside else 'is empty'}."
        )
    return found


def _read(path: Path, config: PairsConfig, remarks: list[str]) -> Texts:
    """The pairs of one file. Raises DataError, naming the line, for one without a second half."""
    comma = path.suffix.lower() == ".csv"
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the file is empty.")
    sources: list[str] = []
    targets: list[str] = []
    empty = more = 0
    for number, halves in _rows(lines, comma):
        if len(halves) < 2:
            raise DataError(
                f"{path}:{number}: one half, but a line has two, parted by a {'comma' if comma else 'tab'}.\n"
                f"It reads {_shortly(halves[0])}."
            )
        more += len(halves) > 2
        first, second = halves[0].strip(), halves[1].strip()
        if not first or not second:
            empty += 1
            continue
        sources.append(first)
        targets.append(second)
    if more:
        remarks.append(f"{path.name}: columns behind the second are passed over (lines: {more:,})")
    if empty:
        remarks.append(f"{path.name}: lines with nothing in one half are left out ({empty:,})")
    return _turned(Texts(sources, targets), config)


def _rows(lines: Sequence[str], comma: bool) -> list[tuple[int, list[str]]]:
    """Number and columns of every line that holds anything."""
    if not comma:
        split = ((number, line.split("\t")) for number, line in enumerate(lines, 1))
        return [(number, halves) for number, halves in split if any(half.strip() for half in halves)]
    reader = csv.reader([line + "\n" for line in lines])
    return [(reader.line_num, halves) for halves in reader if any(half.strip() for half in halves)]


def _shortly(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")


# ---------------------------------------------------------------------- split


def _split(found: Mapping[Split, Texts], config: PairsConfig, remarks: list[str]) -> dict[Split, Texts]:
    parts: dict[Split, Texts] = dict(found)
    if "train" not in parts:
        parts["train"] = parts.pop("test")
        remarks.append(
            "the data bring test pairs only, which are parted into some to learn from and some to test"
        )
    if "test" not in parts and "val" in parts:
        parts["test"] = parts.pop("val")
        remarks.append("the data's validation pairs are those for testing")
    if "test" not in parts:
        parts["train"], parts["test"] = _parted(parts["train"], config.held_out, config.source)
        remarks.append(
            f"{config.held_out:g} of the sources are held out, always the same ones, 3,000 at most"
        )
    if "val" not in parts and config.validation:
        parts["train"], parts["val"] = _parted(parts["train"], config.validation, config.source)
    known = set(parts["train"].sources)
    doubled = sum(source in known for source in parts["test"].sources)
    if doubled:
        remarks.append(f"{doubled:,} test sources are among those that are learned from")
    return parts


def _parted(texts: Texts, share: float, source: str) -> tuple[Texts, Texts]:
    """What stays and what is held out: one source at least, never the last one."""
    distinct = sorted(
        set(texts.sources), key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest()
    )
    if len(distinct) < 2:
        raise DataError(
            f"{source}: all pairs have the same source, so that none can be held out.\nGive others as well."
        )
    count = min(max(1, round(share * len(distinct))), MOST_HELD_OUT, len(distinct) - 1)
    held = set(distinct[:count])
    stay = [row for row, text in enumerate(texts.sources) if text not in held]
    return texts.only(stay), texts.only([row for row, text in enumerate(texts.sources) if text in held])
