"""What claims about recognising pictures share.

percent          top-1 of a finished run in percent, as papers have it
forward_flops    what a network computes for one picture, counted
flops_of         the same of anything that is called
PASSES           how much more it is to learn from it
Climb            one step of a ladder: what it gains here, and in the paper
climbs           all steps of a ladder
doubt            how far chance alone may put two means apart, told from how far seeds are apart
told             which steps gain, which lose, and which are within the doubt
stairs           the ladder as a picture
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, variance
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from rayformer.claims.claim import Measured
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture
from rayformer.runs.run import Run

METRIC = "top1_percent"
PASSES = 3
"""A forward pass, and a backward one that computes two gradients at the same cost each. Not counted: torch's
counter takes the gradient of a convolution in groups for one that is not."""


def percent(run: Path) -> dict[str, float]:
    """For `Claim.measure`."""
    return {METRIC: 100 * (Run.open(run).result() or {})["top1"]}


def forward_flops(model: nn.Module, side: int, channels: int = 3) -> float:
    """Additions and multiplications of matrices and convolutions for one picture of `side` pixels. Attention
    is counted as the products that it is: torch cannot count what a processor's fused kernel does."""
    place = next(model.parameters()).device
    pictures = torch.zeros(1, channels, side, side, device=place)
    was = model.training
    model.eval()
    counted = flops_of(lambda: model(pictures))
    model.train(was)
    return counted


def flops_of(run: Callable[[], Any]) -> float:
    """Those of one call."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


# ---------------------------------------------------------------------- ladders


@dataclass(frozen=True)
class Climb:
    name: str
    gain: float
    """Percent points over the step before."""
    paper: float


def climbs(measured: Mapping[str, Measured]) -> list[Climb]:
    return [
        Climb(
            after.cell.name,
            _mean(after) - _mean(before),
            (after.cell.paper or math.nan) - (before.cell.paper or math.nan),
        )
        for before, after in pairwise(measured.values())
    ]


def doubt(measured: Mapping[str, Measured], metric: str = METRIC) -> float:
    """Twice the standard deviation of the difference of two cells' means, from the variance between seeds
    within all cells together; infinite with one seed, which knows of no variance."""
    within = [variance(values) for row in measured.values() if len(values := _values(row, metric)) > 1]
    if not within:
        return math.inf
    seeds = min(len(row.results) for row in measured.values())
    return 2 * math.sqrt(2 * mean(within) / seeds)


def told(steps: Sequence[Climb], doubted: float) -> str:
    """A sentence for every kind of step."""
    kinds = {
        "gains": [step for step in steps if step.gain > doubted],
        "loses": [step for step in steps if step.gain < -doubted],
        "within chance": [step for step in steps if abs(step.gain) <= doubted],
    }
    if math.isinf(doubted):
        kinds = {"gained or lost, where one seed cannot tell it from chance": list(steps)}
    texts = [
        f"{kind}: " + ", ".join(f"{step.name} {step.gain:+.1f} ({step.paper:+.1f})" for step in some)
        for kind, some in kinds.items()
        if some
    ]
    return "; ".join(texts)


def stairs(measured: Mapping[str, Measured], title: str) -> Picture:
    """Left: where every step stands, with a dot for each seed. Right: what it gains, beside the paper's."""
    rows, steps, doubted = list(measured.values()), climbs(measured), doubt(measured)

    def onto(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = list(range(len(rows)))
        means = [_mean(row) for row in rows]
        edges = [edge for place in places for edge in (place - 0.5, place + 0.5)]
        left.plot([value for value in means for _ in range(2)], edges, color="tab:blue", lw=1.5, alpha=0.6)
        for place, row in enumerate(rows):
            values = _values(row)
            left.plot(values, [place] * len(values), "o", color="tab:blue", ms=5, alpha=0.6)
            left.annotate(
                f"{_mean(row):.1f}", (max(values), place), xytext=(9, 0), textcoords="offset points",
                va="center", fontsize=8,
            )  # fmt: skip
        left.set_yticks(places, [rows[0].cell.name, *(f"+ {row.cell.name}" for row in rows[1:])])
        left.invert_yaxis()
        left.margins(x=0.12)
        left.set(xlabel="top-1, % of held-out pictures", title=title)
        left.grid(axis="x", color="0.9")
        for name, shift, colour, gains in (
            ("here", -0.18, "tab:blue", [step.gain for step in steps]),
            ("in the paper", 0.18, "0.6", [step.paper for step in steps]),
        ):
            right.barh(
                [place + 1 + shift for place in range(len(steps))], gains, 0.34, color=colour, label=name
            )
        if math.isfinite(doubted):
            right.axvspan(-doubted, doubted, color="0.92", zorder=0, label="may be chance")
        right.axvline(0, color="0.3", lw=0.8)
        right.set(xlabel="gain over the step before, points")
        right.legend(fontsize=8, loc="upper right", ncols=3)

    caption = f"{title}: top-1 of every step, a dot for each seed; and its gain, beside the paper's"
    return curves(onto, (11, 1.2 + 0.42 * len(rows)), caption)


def _values(row: Measured, metric: str = METRIC) -> list[float]:
    return [float(result[metric]) for result in row.results]


def _mean(row: Measured) -> float:
    return mean(_values(row))
