"""Several fine-tunings as one result: seeds of one task, or all tasks, as a table beside published ones.

    PUBLISHED     what papers and the lecture have, on the benchmark's test server
    Column        a task's seeds: median, lowest, highest of a number
    GlueTogether  all of it measured; for one task, the answer of all seeds together
    table         the table as a picture, with what does not compare

Numbers of seeds are told as medians, and the spread as the lowest and the highest: on the small tasks a few
runs in ten may learn nothing at all (Devlin et al. 2018, sec. 4.1; Mosbach et al. 2020,
https://arxiv.org/abs/2006.04884), which a mean hides and the best of many seeds hides better.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.data.text.glue import IN_TABLE, TASKS, Task
from rayformer.recipes.parts.sentence_pictures import show_answers
from rayformer.recipes.parts.sentences import OpenRows, SentenceTask, agreement
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "BiLSTM+ELMo": {
        "MNLI": 76.4, "QQP": 64.8, "QNLI": 79.8, "SST-2": 90.4, "CoLA": 36.0, "STS-B": 73.3, "MRPC": 84.9,
        "RTE": 56.8,
    },
    "GPT": {
        "MNLI": 82.1, "QQP": 70.3, "QNLI": 87.4, "SST-2": 91.3, "CoLA": 45.4, "STS-B": 80.0, "MRPC": 82.3,
        "RTE": 56.0,
    },
    "BERT-Base": {
        "MNLI": 84.6, "QQP": 71.2, "QNLI": 90.5, "SST-2": 93.5, "CoLA": 52.1, "STS-B": 85.8, "MRPC": 88.9,
        "RTE": 66.4,
    },
    "BERT-Large": {
        "MNLI": 86.7, "QQP": 72.1, "QNLI": 92.7, "SST-2": 94.9, "CoLA": 60.5, "STS-B": 86.5, "MRPC": 89.3,
        "RTE": 70.1,
    },
}  # fmt: skip
"""Devlin et al. 2018, table 1, which the lecture shows: F1 for QQP and MRPC, Spearman's correlation for
STS-B, Matthews' for CoLA, accuracy for the others, MNLI on matched genres; in percent, by the test server."""

TITLES = {
    "mcc": "Matthews", "f1": "F1", "spearman": "Spearman", "pearson": "Pearson", "accuracy": "accuracy"
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One number over the seeds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def numbers(self, name: str) -> dict[str, float]:
        return {name: self.median, f"lowest_{name}": min(self.values), f"highest_{name}": max(self.values)}


class GlueTogether:
    """What finished stages are together. `finished` gives their tasks by the names of the stages; `stages`
    those names by task, a stage for every seed; `rows` the sentences, and `learned_from` how many there were
    to learn from, by task too."""

    def __init__(
        self,
        finished: Mapping[str, Any],
        stages: Mapping[str, Sequence[str]],
        rows: Mapping[str, OpenRows],
        learned_from: Mapping[str, int],
        device: torch.device,
        shown: int,
    ):
        self.model: nn.Module = nn.Module()  # the stages have networks, one each; the whole has none
        self.finished, self.stages, self.rows, self.learned_from = finished, stages, rows, learned_from
        self.device, self.shown = device, shown
        self._pictures: dict[str, Picture] = {}

    # It is never trained

    def before_step(self, step: int, generator: Generator) -> None:
        raise AssertionError("stages are trained, not what they are together")

    def batch(self, split: str, step: int, rank: int, world: int) -> Any:
        raise AssertionError("stages are trained, not what they are together")

    def loss(self, piece: Any, step: int, generator: Generator) -> Any:
        raise AssertionError("stages are trained, not what they are together")

    # ------------------------------------------------------------------ measuring

    @property
    def single(self) -> bool:
        """Whether all stages are seeds of one task."""
        return len(self.stages) == 1

    def readers(self, name: str) -> Iterator[SentenceTask]:
        """The fine-tuned networks of a task, ready to be asked: one after the other, so that no more than one
        need be held."""
        for stage in self.stages[name]:
            task = self.finished[stage]
            task.model.to(self.device).eval()
            yield task

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Of one task: its numbers, medians over the seeds, with the lowest and highest of the one in papers'
        tables; and that of the seeds' mean answer. Of several: the number of papers' tables for each."""
        assert split == "test", "only results are told together"
        if self.single:
            return self._of_seeds(*self.stages)
        rows = {
            name: self._row(name, [reader.ask("test")[0] for reader in self.readers(name)])
            for name in self.stages
        }
        self._pictures = {"glue/table": table(rows), "glue/seeds": dots(rows)}
        papers = [100 * row.column.median for name, row in rows.items() if name in IN_TABLE]
        return {
            "mean_percent": sum(papers) / max(1, len(papers)),
            **{f"{_plain(name)}_{row.task.metrics[0]}": row.column.median for name, row in rows.items()},
            "by_task": {name: row.numbers() for name, row in rows.items()},
        }

    def _row(self, name: str, numbers: Sequence[Mapping[str, float]]) -> "Row":
        values = tuple(one[TASKS[name].metrics[0]] for one in numbers)
        measured = self.rows[name].split("test")
        assert measured is not None, "what was measured is there"
        return Row(TASKS[name], Column(values), self.learned_from.get(name, 0), len(measured))

    def _of_seeds(self, name: str) -> dict[str, Any]:
        task, headline = TASKS[name], TASKS[name].metrics[0]
        asked = [reader.ask("test") for reader in self.readers(name)]
        numbers = [one for one, _ in asked]
        together = combined(task, [said for _, said in asked])
        measured = self.rows[name].split("test")
        assert measured is not None, "what was measured is there"
        true = torch.from_numpy(measured.sentences.answers)
        row = self._row(name, numbers)
        self._pictures = {
            "glue/seeds": dots({name: row}),
            **show_answers(task, measured.sentences, together, self.shown),
        }
        medians = {key: Column(tuple(one[key] for one in numbers)).median for key in numbers[0]}
        return {
            **row.column.numbers(headline),
            **{key: value for key, value in medians.items() if key != headline},
            f"together_{headline}": agreement(task, together, true)[headline],
            "by_seed": dict(zip(self.stages[name], numbers, strict=True)),
        }

    def pictures(self) -> dict[str, Picture]:
        return self._pictures


def combined(task: Task, said: Sequence[Float[Tensor, "batch outputs"]]) -> Float[Tensor, "batch outputs"]:
    """What several networks say together: the mean of their scores, or the logarithm of the mean of their
    shares, whose softmax is that mean."""
    if task.scored:
        return torch.stack(list(said)).mean(dim=0)
    return torch.stack([one.softmax(dim=1) for one in said]).mean(dim=0).log()


def _plain(name: str) -> str:
    return name.lower().replace("-", "")


# ---------------------------------------------------------------------- shown


@dataclass(frozen=True)
class Row:
    task: Task
    column: Column
    learned_from: int
    measured: int

    def numbers(self) -> dict[str, float]:
        """For the report; accuracies and correlations in percent."""
        published = {
            name: numbers[self.task.name] for name, numbers in PUBLISHED.items() if self.task.name in numbers
        }
        values = self.column.values
        return {
            "median_percent": 100 * self.column.median,
            "lowest_percent": 100 * min(values),
            "highest_percent": 100 * max(values),
            "learned_from": self.learned_from,
            "measured_on": self.measured,
            **published,
        }

    @property
    def note(self) -> str:
        """What keeps its number from being comparable, beside the split."""
        own, dev = self.task.rows
        if (self.learned_from, self.measured) == (own, dev):
            return "GLUE's train and dev"
        if self.learned_from < own // 2 or self.measured < dev // 2:
            return f"in part (GLUE: {own:,} and {dev:,})"
        return f"split anew (GLUE: {own:,} and {dev:,})"


SAID = (
    "percent. Ours: the median over seeds (lowest to highest), on dev splits as the last columns say. "
    "Papers: the benchmark's test server, which learned from all of GLUE (Devlin et al. 2018, table 1)."
)


def table(rows: Mapping[str, Row]) -> Picture:
    heads = ["", "", "ours", "", *PUBLISHED, "learned from, measured on", ""]
    places = [0.0, 0.07, 0.15, 0.21, 0.33, 0.42, 0.48, 0.56, 0.65, 0.81]
    lines = [
        [
            name,
            TITLES[row.task.metrics[0]],
            f"{100 * row.column.median:.1f}",
            f"({100 * min(row.column.values):.1f} to {100 * max(row.column.values):.1f})"
            if len(row.column.values) > 1
            else "(one seed)",
            *(f"{numbers[name]:.1f}" if name in numbers else "-" for numbers in PUBLISHED.values()),
            f"{row.learned_from:,} / {row.measured:,}",
            row.note,
        ]
        for name, row in rows.items()
    ]

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(len(lines) + 1.3, -0.8))
        axes.axis("off")
        for number, line in enumerate([heads, *lines]):
            for place, text in zip(places, line, strict=True):
                axes.text(
                    place, number - 0.2, text, fontsize=9, va="center",
                    weight="bold" if number == 0 or place in (0.0, 0.15) else "normal",
                    color="#222222" if place < 0.3 else "#555555",
                )  # fmt: skip
        axes.axhline(0.25, color="0.6", lw=0.8)
        axes.text(0, len(lines) + 0.9, SAID, fontsize=8, va="center", color="#555555")

    return curves(onto, (13, 0.9 + 0.34 * len(lines)), SAID)


def dots(rows: Mapping[str, Row]) -> Picture:
    """A dot for every seed, a line for the median, and where BERT-Base of the paper stands."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        for place, (name, row) in enumerate(rows.items()):
            values = [100 * value for value in row.column.values]
            axes.plot([place] * len(values), values, "o", color="#2a6f77", ms=6, alpha=0.6, mew=0)
            axes.plot([place - 0.25, place + 0.25], [100 * row.column.median] * 2, color="#2a6f77", lw=2)
            if name in PUBLISHED["BERT-Base"]:
                axes.plot(place, PUBLISHED["BERT-Base"][name], "x", color="#c2703d", ms=7)
        labels = [f"{name}\n{TITLES[row.task.metrics[0]]}" for name, row in rows.items()]
        axes.set_xticks(range(len(labels)), labels)
        axes.set(xlim=(-0.6, len(labels) - 0.4), ylabel="percent")
        axes.grid(axis="y", color="0.9")

    seeds = len(next(iter(rows.values())).column.values)
    caption = f"every one of {seeds} seeds, and the median" if seeds > 1 else "one seed"
    return curves(onto, (3 + 0.8 * len(rows), 3.6), f"{caption}; crosses: BERT-Base, on the test server")
