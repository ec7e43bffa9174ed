"""A claim of a paper, put to the test: a few recipes side by side, a table, a picture, a verdict that is
computed.

    Cell            one recipe with one config: a row of the table
    Measured        what the runs of a cell came to, over its seeds
    rows_of         cells of one row of the table, averaged
    Verdict         whether the claim holds, and the numbers that say so
    Claim           the cells, and how to judge and draw them; what they come to where nothing is trained
    Claim.reproduce train what is not trained yet, then tabulate, draw and judge
    ClaimOutcome    all of it, for a person (`text`) and for a program (`to_plain`)

A claim's folder holds a run folder for every cell and seed, the table (CLAIM.md), CLAIM.json and pictures.
Reproducing into the same folder trains only what is missing, and claims that share a folder share the runs
that they have in common.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from rayformer.core.config import to_plain
from rayformer.core.errors import ConfigError, RunError
from rayformer.recipes.open_run import train
from rayformer.runs.atomic import write_text
from rayformer.runs.pictures import Picture, save_png
from rayformer.runs.run import Run


@dataclass(frozen=True)
class Cell:
    name: str
    recipe: str
    """What is trained; of a claim that trains nothing, its own name."""
    config: Any
    paper: float | None = None
    """The paper's number for it, on the paper's data."""
    row: str | None = None
    """The row of the table in which it is averaged with others; none: one of its own, by its name."""


@dataclass(frozen=True)
class Measured:
    cell: Cell
    runs: tuple[Path, ...]
    """One for each seed."""
    results: tuple[Mapping[str, float], ...]

    def median(self, metric: str) -> float:
        return median(result[metric] for result in self.results)

    def spread(self, metric: str) -> float:
        values = [result[metric] for result in self.results]
        return max(values) - min(values)


def rows_of(measured: Mapping[str, Measured]) -> Mapping[str, Measured]:
    """The rows of the table by name: cells of one row as their mean, seed by seed."""
    together: dict[str, list[Measured]] = {}
    for name, cell in measured.items():
        together.setdefault(cell.cell.row or name, []).append(cell)
    return {
        name: cells[0]
        if len(cells) == 1
        else Measured(
            cells[0].cell,
            tuple(run for cell in cells for run in cell.runs),
            tuple(
                {metric: mean(result[metric] for result in results) for metric in results[0]}
                for results in zip(*(cell.results for cell in cells), strict=True)
            ),
        )
        for name, cells in together.items()
    }


@dataclass(frozen=True)
class Verdict:
    holds: bool
    reason: str
    """The numbers that decided it."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    name: str
    statement: str
    paper: str
    metrics: tuple[str, ...]
    """Columns of the table; the first is what is judged."""
    cells: Callable[[bool], Sequence[Cell]]
    """The cells, at full size or (True) as small as they run."""
    judge: Callable[[Mapping[str, Measured]], Verdict]
    draw: Callable[[Mapping[str, Measured]], Mapping[str, Picture]]
    seeds: tuple[int, ...] = (0,)
    measure: Callable[[Path], Mapping[str, float]] | None = None
    """What else to measure of a finished run, for the table: its speed, its size."""
    work: Callable[[Any], Mapping[str, float]] | None = None
    """What a cell's config comes to where nothing is trained."""
    any_data: bool = False
    """Whether a person may put other data in the place of those that the cells name."""

    def reproduce(
        self,
        smoke: bool = False,
        out: Path | None = None,
        seeds: Sequence[int] | None = None,
        source: str | None = None,
    ) -> "ClaimOutcome":
        """Put the claim to the test in the folder `out` (default: runs/DATE-TIME-CLAIM), on the data at
        `source` (default: its own).

        Raises ConfigError for data that the claim is not about, RunError where the folder holds a cell of
        another config, KeyboardInterrupt where a cell was interrupted; the same folder then goes on with it.
        """
        if source is not None and not self.any_data:
            raise ConfigError(f"{self.name} is about its own data, and --data can be no other.")
        named = f"{time.strftime('%Y-%m-%d-%H%M')}-{self.name}{'-smoke' if smoke else ''}"
        folder = out or Path("runs") / named
        seeds = tuple(seeds or (self.seeds[:1] if smoke else self.seeds))
        cells = [cell if source is None else _about(cell, source) for cell in self.cells(smoke)]
        measured = {cell.name: self._measured(cell, folder, seeds, smoke) for cell in cells}
        for name, picture in self.draw(measured).items():
            save_png(folder / f"{self.name}-{name}.png", picture)
        outcome = ClaimOutcome(self, folder, measured, self.judge(measured), smoke)
        write_text(folder / f"{self.name}.md", outcome.table() + "\n")
        write_text(folder / f"{self.name}.json", json.dumps(outcome.to_plain(), indent=1) + "\n")
        return outcome

    def _measured(self, cell: Cell, folder: Path, seeds: tuple[int, ...], smoke: bool) -> Measured:
        runs, results = [], []
        for seed in seeds:
            path = folder / f"{cell.name.replace(' ', '-')}-seed{seed}"
            begun = Run.open(path) if path.exists() else None
            if begun and begun.manifest.get("config") != to_plain(cell.config):
                raise RunError(
                    f"{path} was made with another config of this cell; give another --out, or remove it"
                )
            done = begun.result() if begun else None
            if not done and self.work:
                asked = {"config": to_plain(cell.config), "seed": seed, "smoke": smoke}
                begun = begun or Run.create(path, cell.recipe, asked)
                begun.write_result(self.work(cell.config))
                done = begun.result() or {}
            elif not done:
                outcome = train(
                    cell.recipe,
                    cell.config,
                    out=None if begun else path,
                    resume=path if begun else None,
                    seed=seed,
                    smoke=smoke,
                )
                if outcome.interrupted:
                    raise KeyboardInterrupt
                done = outcome.result
            runs.append(path)
            results.append({**done, **(self.measure(path) if self.measure else {})})
        return Measured(cell, tuple(runs), tuple(results))


def _about(cell: Cell, source: str) -> Cell:
    """The cell on other data, by their whole path: a claim may go on from another working directory."""
    data = replace(cell.config.data, source=source)
    if not data.named and Path(source).expanduser().exists():
        data = replace(data, source=str(Path(source).expanduser().resolve()))
    return replace(cell, config=replace(cell.config, data=data))


@dataclass(frozen=True)
class ClaimOutcome:
    claim: Claim
    folder: Path
    measured: Mapping[str, Measured]
    verdict: Verdict
    smoke: bool

    def table(self) -> str:
        """The table in Markdown: medians over the seeds, and how far the seeds are apart."""
        claim, some = self.claim, next(iter(self.measured.values()))
        table = rows_of(self.measured)
        papers = any(row.cell.paper is not None for row in table.values())
        times = [] if claim.work else ["train_s"]
        heads = ["", *claim.metrics, *times, *(["paper's own data"] if papers else [])]
        rows = [
            [
                name,
                *(_with_spread(row, metric) for metric in claim.metrics),
                *(f"{row.median(time):.0f}" for time in times),
                *(["" if row.cell.paper is None else f"{row.cell.paper:g}"] if papers else []),
            ]
            for name, row in table.items()
        ]
        lines = [heads, ["---"] * len(heads), *rows]
        seeds = len(some.runs)
        note = f"medians of {seeds} seeds ± half the distance of the extremes" if seeds > 1 else "one seed"
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n({note})"

    def text(self) -> str:
        """What a person reads in the terminal."""
        verdict = "holds" if self.verdict.holds else "does not hold"
        small = "\nSmoke size: this shows that it runs and proves nothing." if self.smoke else ""
        return (
            f"{self.claim.name}: {self.claim.statement} ({self.claim.paper})\n\n{self.table()}\n\n"
            f"The claim {verdict}: {self.verdict.reason}{small}\nfolder  {self.folder}"
        )

    def to_plain(self) -> dict[str, Any]:
        return {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "paper": self.claim.paper,
            "holds": self.verdict.holds,
            "reason": self.verdict.reason,
            "smoke": self.smoke,
            "folder": str(self.folder),
            "cells": {
                name: {
                    "runs": [str(run) for run in row.runs],
                    "results": [dict(result) for result in row.results],
                }
                for name, row in self.measured.items()
            },
        }


def _with_spread(row: Measured, metric: str) -> str:
    if not all(metric in result for result in row.results):  # one field has no seams
        return ""
    digits = 1 if metric.endswith("_percent") else 2 if metric.endswith("_db") else 3
    spread = f" ± {row.spread(metric) / 2:.{digits}f}" if len(row.results) > 1 else ""
    return f"{row.median(metric):.{digits}f}{spread}"
