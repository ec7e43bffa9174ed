"""GLUE: nine tasks about sentences, from the tab-separated files that go round.

Wang et al. 2018, https://arxiv.org/abs/1804.07461. Read from the top:

    GlueConfig    what a person may choose
    Task          what one task asks: sentences, answers, columns, how it is judged
    TASKS         the nine
    read_glue     a task's rows from a folder, or drawn
    Sentences     rows of one split: sentences and answers
    Found         all splits, and what a person should know

Files differ from copy to copy: with a header line and without, under other column names, with the answer
first or last, whole or in part. A header is known by its words; without one the columns are where GLUE has
them. Fields are split at tabs and nothing else: a quotation mark is a quotation mark.

Numbers are measured on GLUE's dev split, whose answers are public; those of its test split are not, and only
the benchmark's server knows them. Where a copy has answers for its test file, `measured` may ask for it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.data.text.lines import read_lines
from rayformer.data.text.small_world import drawn_rows

DEMO = "demo"
"""The source that the package draws by itself."""
Name = Literal["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]


@dataclass(frozen=True, kw_only=True)
class GlueConfig:
    source: str = DEMO
    """A folder of GLUE, with a folder for each task (RTE/train.tsv, RTE/dev.tsv ...), or the folder of one
    task; demo: sentences about animals, drawn by the package in the form of any of the tasks."""
    task: Literal[Name, "all"] = "SST-2"
    """Which of the nine; all: every one that is there but WNLI, which papers leave out, one after the other,
    with a table."""
    measured: Literal["dev", "test"] = "dev"
    """The split that results are of. GLUE's own test files have no answers; some copies have them."""
    validation: bool = False
    """Hold rows back to look at while it trains (plan.evaluate_every): those of val.tsv, where the data have
    such a file, else a tenth of the training rows. Without it all of them are learned from."""
    most: int | None = None
    """Learn from this many training rows at most, the same ones for every seed; none takes all."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do about rows with too few columns or an answer that the task does not have: skip leaves them
    out and says how many."""

    @property
    def named(self) -> bool:
        """Whether the source is drawn, and no path."""
        return self.source == DEMO

    def __post_init__(self):
        if self.most is not None and self.most < 1:
            raise ConfigError(f"data.most must be at least 1, but is {self.most}.")


@dataclass(frozen=True, kw_only=True)
class Task:
    name: Name
    about: str
    """What is asked, in a few words."""
    answers: tuple[str, ...] = ()
    """Classes by name, in the order of their numbers; none: the answer is a score."""
    written: Mapping[str, int]
    """How files write an answer, and its number."""
    columns: tuple[str, ...]
    """Of a file without a header line."""
    first: tuple[str, ...]
    """Names that the column of the first sentence goes by."""
    second: tuple[str, ...] = ()
    """And that of the second; none: the task is about single sentences."""
    metrics: tuple[str, ...] = ("accuracy",)
    """Of `metrics/agreement.py`; the first is the one that papers put into their tables."""
    rows: tuple[int, int] = (0, 0)
    """GLUE's own training and dev rows."""

    @property
    def pairs(self) -> bool:
        return bool(self.second)

    @property
    def scored(self) -> bool:
        """Whether the answer is a number, not a class."""
        return not self.answers


_ANSWERS = ("label", "gold_label", "quality", "is_duplicate", "score")
"""Names that the column of the answer goes by."""
_INDEXED = ("index", "sentence1", "sentence2", "label")
_TRUTHS = {"0": 0, "1": 1}
_ENTAILED = {"entailment": 0, "not_entailment": 1}

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="CoLA", about="is this English?", answers=("unacceptable", "acceptable"), written=_TRUTHS,
            columns=("source", "label", "star", "sentence"), first=("sentence",),
            metrics=("mcc", "accuracy"), rows=(8551, 1043),
        ),
        Task(
            name="SST-2", about="does the reviewer like it?", answers=("negative", "positive"),
            written=_TRUTHS, columns=("sentence", "label"), first=("sentence", "content"),
            rows=(67349, 872),
        ),
        Task(
            name="MRPC", about="do two sentences of the news say the same?", answers=("different", "same"),
            written=_TRUTHS, columns=("label", "id1", "id2", "sentence1", "sentence2"),
            first=("#1 string", "sentence1"), second=("#2 string", "sentence2"),
            metrics=("f1", "accuracy"), rows=(3668, 408),
        ),
        Task(
            name="STS-B", about="how alike are two sentences, from 0 to 5?", written={},
            columns=(
                "index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1",
                "sentence2", "score",
            ),
            first=("sentence1",), second=("sentence2",), metrics=("spearman", "pearson"), rows=(5749, 1500),
        ),
        Task(
            name="QQP", about="are two questions the same?", answers=("different", "same"), written=_TRUTHS,
            columns=("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
            first=("question1", "sentence1"), second=("question2", "sentence2"),
            metrics=("f1", "accuracy"), rows=(363846, 40430),
        ),
        Task(
            name="MNLI", about="does the second sentence follow from the first?",
            answers=("entailment", "neutral", "contradiction"),
            written={"entailment": 0, "neutral": 1, "contradiction": 2}, columns=_INDEXED,
            first=("sentence1",), second=("sentence2",), rows=(392702, 9815),
        ),
        Task(
            name="QNLI", about="does the sentence answer the question?",
            answers=("entailment", "not_entailment"), written=_ENTAILED,
            columns=("index", "question", "sentence", "label"), first=("question", "sentence1"),
            second=("sentence", "sentence2"), rows=(104743, 5463),
        ),
        Task(
            name="RTE", about="does the second sentence follow from the first?",
            answers=("entailment", "not_entailment"), written=_ENTAILED, columns=_INDEXED,
            first=("sentence1",), second=("sentence2",), rows=(2490, 277),
        ),
        Task(
            name="WNLI", about="is the pronoun read rightly?", answers=("not_entailment", "entailment"),
            written=_TRUTHS, columns=_INDEXED, first=("sentence1",), second=("sentence2",), rows=(635, 71),
        ),
    )
}  # fmt: skip
IN_TABLE = tuple(name for name in TASKS if name != "WNLI")
"""The tasks of papers' tables. In WNLI's dev split most pairs are those of its training split with the other
answer, so that learning hurts."""


@dataclass(frozen=True, eq=False)
class Sentences:
    first: tuple[str, ...]
    second: tuple[str, ...] | None
    answers: Int[np.ndarray, "batch"] | Float[np.ndarray, "batch"]
    """Numbers of classes, or scores."""

    def __len__(self) -> int:
        return len(self.first)

    def only(self, rows: Int[np.ndarray, "_"]) -> "Sentences":
        second = None if self.second is None else tuple(self.second[row] for row in rows)
        return Sentences(tuple(self.first[row] for row in rows), second, self.answers[rows])

    def texts(self) -> list[str]:
        """All sentences, for whoever learns a vocabulary."""
        return [*self.first, *(self.second or ())]

    def __add__(self, other: "Sentences") -> "Sentences":
        second = None if self.second is None else (*self.second, *(other.second or ()))
        return Sentences((*self.first, *other.first), second, np.concatenate([self.answers, other.answers]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    task: Task
    source: str
    parts: Mapping[str, Sentences]
    """`test`, which is what `measured` asked for; `train` where there is something to learn; `val` where rows
    are held back; `mismatched` where MNLI has its second dev file."""
    remarks: tuple[str, ...]
    """What a person should know before training, one sentence each."""

    @property
    def fingerprint(self) -> str:
        """Changes with every sentence, answer and split."""
        digest = hashlib.blake2b(self.task.name.encode(), digest_size=16)
        for name in sorted(self.parts):
            part = self.parts[name]
            digest.update("\0".join(["", name, *part.texts()]).encode("utf-8", errors="surrogatepass"))
            digest.update(np.ascontiguousarray(part.answers, np.float64).tobytes())
        return digest.hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(part) for name, part in self.parts.items()}


# ---------------------------------------------------------------------- from a folder


def read_glue(config: GlueConfig, name: str, learning: bool = True) -> Found:
    """The rows of one task; where nothing is to be learned, only those to measure on.

    Raises DataError, in words, for a folder or file that is absent, empty or not UTF-8, for columns that are
    missing and answers that the task does not have, with file and line.
    """
    task = TASKS[name]
    if config.named:
        drawn = {"train": "train", "test": "dev"} if learning else {"test": "dev"}
        parts = {part: _as_sentences(task, drawn_rows(name, split)) for part, split in drawn.items()}
        return _chosen(task, config, parts, ["the sentences are drawn, in the form of GLUE's task"])
    folder = _folder(config.source, name)
    remarks: list[str] = []
    parts = {}
    wanted = {"train": "train", "val": "val"} if learning else {}
    wanted[config.measured] = "test"
    if config.measured == "dev":
        wanted["mismatched"] = "mismatched"
    for split, becomes in wanted.items():
        path = next((folder / file for file in _FILES[split] if (folder / file).is_file()), None)
        if path is not None:
            parts[becomes] = _read(path, task, config.broken, remarks)
            if path.name.startswith("subset_"):
                remarks.append(f"{path.name} has {len(parts[becomes]):,} rows, a part of the split only")
        elif becomes in ("train", "test"):
            raise DataError(
                f"{folder}: no {' or '.join(_FILES[split][:2])}.\nA task of GLUE is a folder with train.tsv "
                "and dev.tsv in it."
            )
    return _chosen(task, config, parts, remarks)


_FILES: Mapping[str, tuple[str, ...]] = {
    "train": ("train.tsv", "subset_train.tsv"),
    "val": ("val.tsv",),
    "dev": ("dev.tsv", "dev_matched.tsv", "subset_dev.tsv"),
    "mismatched": ("dev_mismatched.tsv",),
    "test": ("test.tsv",),
}
"""By split, what its file is called, the likeliest first."""
_SPLITS: Mapping[str, str] = {}


def there(config: GlueConfig) -> list[str]:
    """The tasks of papers' tables that the source has. Raises DataError where it has none."""
    if config.named:
        return list(IN_TABLE)
    folder = Path(config.source).expanduser()
    found = [name for name in IN_TABLE if folder.is_dir() and _within(folder, name) is not None]
    if not found:
        raise DataError(
            f"data.source: {config.source!r} is no folder with folders of GLUE's tasks in it "
            f"({', '.join(IN_TABLE)}).\nGive --data that folder, or for one task --data.task NAME."
        )
    return found


def _folder(source: str, name: str) -> Path:
    """The task's folder: within the source, or the source itself."""
    path = Path(source).expanduser()
    if not path.is_dir():
        raise DataError(
            f"data.source: there is no folder {source!r}.{did_you_mean(source, [DEMO])}\n"
            f"Give --data a folder of GLUE with {name}/train.tsv and {name}/dev.tsv in it, or {DEMO}."
        )
    if (inside := _within(path, name)) is not None:
        return inside
    if any((path / file).is_file() for file in _FILES["train"]):
        return path
    others = [other for other in TASKS if _within(path, other) is not None]
    has = f"it has {', '.join(others)}" if others else "and none of another task of GLUE"
    raise DataError(
        f"{source}: no folder {name} in it; {has}.\n"
        f"A task is a folder of its name with train.tsv and dev.tsv in it."
    )


def _within(folder: Path, name: str) -> Path | None:
    """The task's folder in `folder`, whatever way its name is written: SST-2, sst2, SST_2."""
    wanted = _plain(name)
    return next(
        (path for path in sorted(folder.iterdir()) if path.is_dir() and _plain(path.name) == wanted), None
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _chosen(task: Task, config: GlueConfig, parts: dict[str, Sentences], remarks: list[str]) -> Found:
    """Rows held back, and rows left out, as the config has it; whether they are GLUE's own."""
    if "train" not in parts:
        return Found(task=task, source=config.source, parts=parts, remarks=tuple(remarks))
    draw = np.random.default_rng(0)  # whatever the run's seed: seeds are compared on the same rows
    if "val" in parts and not config.validation:
        remarks.append(
            f"val.tsv is learned from as well: its {len(parts['val']):,} rows are of the training split"
        )
        parts["train"] += parts.pop("val")
    elif config.validation and "val" not in parts:
        order = draw.permutation(len(parts["train"]))
        held = len(order) // 10
        if held < 1:
            raise DataError(
                f"{config.source}: {len(order)} training rows of {task.name} are too few to hold a tenth "
                "back.\nLeave --data.validation out."
            )
        parts["val"] = parts["train"].only(np.sort(order[:held]))
        parts["train"] = parts["train"].only(np.sort(order[held:]))
    for name, part in parts.items():
        if not len(part):
            raise DataError(f"{config.source}: {task.name} has no rows to {_FOR[name]}.")
    all_rows = len(parts["train"]) + len(parts.get("val", ()))
    if config.most is not None and config.most < len(parts["train"]):
        chosen = draw.permutation(len(parts["train"]))[: config.most]
        parts["train"] = parts["train"].only(np.sort(chosen))
        remarks.append(f"learned from are {config.most:,} of {all_rows:,} training rows")
    if not config.named:
        remarks.append(told(task, all_rows, len(parts["test"]), config.measured))
    return Found(task=task, source=config.source, parts=parts, remarks=tuple(remarks))


_FOR = {
    "train": "learn from", "test": "measure on", "val": "look at meanwhile",
    "mismatched": "measure on",
}  # fmt: skip


def told(task: Task, train: int, measured: int, split: str = "dev") -> str:
    """Whether so many rows are GLUE's own, in a sentence."""
    own, dev = task.rows
    if split == "dev" and (train, measured) == task.rows:
        return f"{task.name}: GLUE's own splits, {own:,} rows to learn from and {dev:,} of dev to measure on"
    return (
        f"{task.name}: {train:,} rows to learn from and {measured:,} of {split} to measure on, where GLUE "
        f"has {own:,} and {dev:,}: its numbers compare with published ones only roughly"
    )


# ---------------------------------------------------------------------- from a file


def _read(path: Path, task: Task, broken: str, remarks: list[str]) -> Sentences:
    lines = read_lines(path)
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: an empty file, where rows of {task.name} should be.")
    places, width, headed = _columns(path, task, lines[0].split("\t"))
    rows: list[tuple[str, str | None, float]] = []
    left_out = 0
    for number, line in enumerate(lines[headed:], start=1 + headed):
        if not line.strip():
            continue
        row = _row(f"{path}:{number}", task, line.split("\t"), places, width)
        if isinstance(row, DataError):
            if broken == "refuse":
                raise row
            left_out += 1
        else:
            rows.append(row)
    if left_out:
        remarks.append(f"{path.name}: {left_out:,} broken row{'s are' if left_out > 1 else ' is'} left out")
    return _as_sentences(task, rows)


def _columns(path: Path, task: Task, head: Sequence[str]) -> tuple[list[int], int, int]:
    """Where sentences and answer stand, how many columns there are, and how many lines of header."""
    names = [word.strip().lower() for word in head]
    wanted = [task.first, *([task.second] if task.pairs else []), _ANSWERS]
    known = {name for names in wanted for name in names} | {"index", "id"}
    if not known & set(names):
        if len(head) < len(task.columns):
            raise DataError(
                f"{path}:1: {len(head)} columns, split at tabs, but {task.name} without a header line has "
                f"{len(task.columns)}: {', '.join(task.columns)}."
            )
        places = [_first_of(group, task.columns) for group in wanted]
        assert all(place is not None for place in places), "a task's columns hold what it asks for"
        return [place for place in places if place is not None], len(task.columns), 0
    places = [_first_of(group, names) for group in wanted]
    lost = [group[0] for group, place in zip(wanted, places, strict=True) if place is None]
    if lost:
        why = (
            "\nA test file without answers can be predicted on, but not measured."
            if lost == [_ANSWERS[0]]
            else ""
        )
        raise DataError(
            f"{path}:1: no column {' and no '.join(lost)}; the header has {', '.join(map(repr, head))}.{why}"
        )
    return [place for place in places if place is not None], len(names), 1


def _first_of(wanted: Sequence[str], names: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _row(
    where: str, task: Task, fields: Sequence[str], places: Sequence[int], width: int
) -> tuple[str, str | None, float] | DataError:
    """Sentences and answer of a line, or what is wrong with it."""
    if len(fields) <= max(places):
        return DataError(
            f"{where}: {len(fields)} columns, split at tabs, but {task.name} has {width} here.\n"
            "Mend the row, or leave such rows out with --data.broken skip."
        )
    first, *second, answer = (fields[place] for place in places)
    value = _answer(task, answer.strip())
    if value is None:
        allowed = "a number from 0 to 5" if task.scored else f"one of {', '.join(task.written)}"
        return DataError(
            f"{where}: the answer of {task.name} must be {allowed}, but is {answer.strip()!r}.\n"
            "Mend the row, or leave such rows out with --data.broken skip."
        )
    return first, second[0] if second else None, value


def _answer(task: Task, written: str) -> float | None:
    if not task.scored:
        number = task.written.get(written)
        return None if number is None else float(number)
    try:
        value = float(written)
    except ValueError:
        return None
    return value if 0 <= value <= 5 else None


def _as_sentences(task: Task, rows: Sequence[tuple[str, str | None, float]]) -> Sentences:
    second = tuple(row[1] or "" for row in rows) if task.pairs else None
    answers = np.array([row[2] for row in rows], np.float32 if task.scored else np.int64)
    return Sentences(tuple(row[0] for row in rows), second, answers)
