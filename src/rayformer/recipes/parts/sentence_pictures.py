"""What a person would look at of a network that answers questions about sentences.

show_answers   classes: what is taken for what, how far confidence can be trusted, the surest mistakes;
               scores: said against true, the worst mistakes
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.data.text.glue import Sentences, Task
from rayformer.metrics.agreement import spearman
from rayformer.metrics.classification import Tally
from rayformer.recipes.parts.classifier_pictures import confusion_matrix, reliability_diagram
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

LINE = 118
"""Characters of a line of text in a picture."""
MOST_LINES = 3
"""Lines of one sentence that are shown."""


def show_answers(
    task: Task, sentences: Sentences, said: Float[Tensor, "batch outputs"], shown: int
) -> dict[str, Picture]:
    true = torch.from_numpy(sentences.answers)
    if task.scored:
        far = (said[:, 0] - true).abs()
        worst = far.argsort(descending=True, stable=True)[:shown].tolist()
        notes = [f"said {said[row, 0]:.1f}, true {true[row]:.1f}" for row in worst]
        pictures = {"answers/scores": scores(said[:, 0], true)}
    else:
        tally = Tally(len(task.answers))
        tally.add(said, true)
        sure, named = said.softmax(dim=1).max(dim=1)
        order = sure.argsort(descending=True, stable=True)
        worst = order[(named != true)[order]][:shown].tolist()
        notes = [
            f"said {task.answers[int(named[row])]} ({float(sure[row]):.0%}), true "
            f"{task.answers[int(true[row])]}"
            for row in worst
        ]
        pictures = {
            "answers/confusion": confusion_matrix(tally.confused, task.answers),
            "answers/reliability": reliability_diagram(tally.reliability),
        }
    if worst:
        pictures["answers/mistakes"] = mistakes(task, sentences, worst, notes)
    return pictures


def scores(said: Float[Tensor, "batch"], true: Float[Tensor, "batch"]) -> Picture:
    """Scores said over true ones; on the line where they are right."""

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        axes.plot([0, 5], [0, 5], color="#6c7178", lw=1, ls="--")
        axes.plot(true.numpy(), said.numpy(), "o", color="#2a6f77", ms=3, alpha=0.35, mew=0)
        axes.set(xlabel="true score", ylabel="score that is said", xlim=(-0.2, 5.2))

    return curves(onto, (5, 4.6), f"scores said over true ones; Spearman {spearman(said, true):.3f}")


def mistakes(task: Task, sentences: Sentences, rows: Sequence[int], notes: Sequence[str]) -> Picture:
    """The sentences themselves, under what was said of them."""
    lines: list[tuple[str, bool]] = []
    for row, note in zip(rows, notes, strict=True):
        lines.append((note, True))
        texts = [sentences.first[row], *([sentences.second[row]] if sentences.second else [])]
        for text in texts:
            parts = textwrap.wrap(text, LINE) or [""]
            if len(parts) > MOST_LINES:
                parts = [*parts[:MOST_LINES], "..."]
            lines += [(f"{'    ' if number else '  - '}{part}", False) for number, part in enumerate(parts)]
        lines.append(("", False))

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        axes.set(xlim=(0, 1), ylim=(len(lines), 0))
        axes.axis("off")
        for number, (text, heading) in enumerate(lines):
            axes.text(
                0, number + 0.8, text, fontsize=8.5, va="baseline", parse_math=False,
                color="#c2703d" if heading else "#222222", weight="bold" if heading else "normal",
            )  # fmt: skip

    kind = "farthest off" if task.scored else "surest mistakes"
    return curves(onto, (10, 0.4 + 0.19 * len(lines)), f"{task.name}, {task.about} The {kind}")
