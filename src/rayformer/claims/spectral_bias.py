"""Which waves a network learns when: a sum of sines, with and without waves in its input (Tancik et al. 2020,
section 4; Rahaman et al. 2019).

    rayformer reproduce spectral-bias

Six sines of equal strength and 1, 2, 4, ... 32 periods are learned from all 512 samples of their sum. After
every few steps the share of each that is learned is read off, by the signal's own Fourier transform. A
network fed the bare coordinate learns slow waves first and fast ones hardly ever; fed Gaussian waves of the
right spread it learns all of them, at about the same time. No kernel needs to be computed to see that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.data.signals.drawn import TONES
from rayformer.data.signals.signal import SignalConfig
from rayformer.engine.plan import Optim, Plan
from rayformer.fields.image_field import ImageFieldConfig
from rayformer.recipes.image_field import RECIPE, ImageFieldRecipe
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture
from rayformer.runs.run import Run

LEARNED = 90.0
"""Percent of a sine's amplitude from which on it counts as learned."""
SIGMA = 16.0
"""Spread of the Gaussian waves, in periods: half of the fastest sine's."""
STEPS, EVERY = 3000, 10


def cells(smoke: bool) -> Sequence[Cell]:
    waves = ImageFieldConfig(mapping="gaussian", sigma=SIGMA, waves=64, width=128)
    bare = replace(waves, mapping="none")
    return [
        Cell("bare coordinate", "image-field", _config(bare, 1 / 3, smoke)),
        Cell("Gaussian waves", "image-field", _config(waves, 1.0, smoke)),
    ]


def _config(model: ImageFieldConfig, rate: float, smoke: bool) -> ImageFieldRecipe:
    """The same steps and, undoing the recipe's own factor, the same learning rate for both."""
    return replace(
        RECIPE.default,
        data=SignalConfig(source="sines", held_out=False),
        model=model,
        plan=Plan(
            steps=200 if smoke else STEPS,
            optim=Optim(rate=1e-3 * rate),
            log_every=100,
            evaluate_every=EVERY,
            save_every=0,
            precision="32",
        ),
    )


def history(run: Any) -> dict[int, list[tuple[int, float]]]:
    """For each sine, after how many steps how many percent of it were learned."""
    shares: dict[int, list[tuple[int, float]]] = {tone: [] for tone in TONES}
    for line in Run.open(run).metrics():
        for tone in TONES:
            if (key := f"val/tone_{tone}_percent") in line:
                shares[tone].append((int(line["step"]), float(line[key])))
    return shares


def learned_after(shares: Sequence[tuple[int, float]]) -> float:
    """The first step from which on a sine stays learned; infinite if it never is."""
    after = math.inf
    for step, share in shares:
        if share < LEARNED:
            after = math.inf
        elif math.isinf(after):
            after = float(step)
    return after


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """Bare: no sine is learned before a slower one, and the fastest never. Waves: all are, and the fastest
    sooner than the bare network's fourth."""
    bare, waves = (
        {tone: learned_after(shares) for tone, shares in history(row.runs[0]).items()}
        for row in measured.values()
    )
    in_order = all(bare[slow] <= bare[fast] for slow, fast in pairwise(TONES))
    slow_first = in_order and bare[TONES[0]] < bare[TONES[-1]] and math.isinf(bare[TONES[-1]])
    in_time = math.isfinite(max(waves.values())) and waves[TONES[-1]] < bare[TONES[3]]
    told = [
        f"{name}: " + ", ".join(f"{tone} periods {_step(after)}" for tone, after in found.items())
        for name, found in zip(measured, (bare, waves), strict=True)
    ]
    return Verdict(
        holds=slow_first and in_time, reason=f"steps until {LEARNED:.0f} % are learned: {'; '.join(told)}"
    )


def _step(after: float) -> str:
    return "never" if math.isinf(after) else f"after {after:.0f}"


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """The share of each sine that is learned, against steps."""
    from matplotlib import colormaps

    def onto(figure: Any) -> None:
        panels = figure.subplots(1, len(measured), sharey=True)
        for axes, (name, row) in zip(panels, measured.items(), strict=True):
            for place, (tone, shares) in enumerate(history(row.runs[0]).items()):
                colour = colormaps["viridis"](0.92 * place / (len(TONES) - 1))
                axes.plot(*zip(*shares, strict=True), color=colour, label=f"{tone}")
            axes.axhline(LEARNED, color="0.8", lw=0.8, zorder=0)
            axes.set(title=name, xlabel="steps", xscale="log", ylim=(-20, 125))
        panels[0].set(ylabel="learned, % of the amplitude")
        panels[-1].legend(title="periods", fontsize=8, loc="lower right")

    caption = "the share of each sine that is learned, against steps; slow sines dark, fast ones light"
    return {"frequencies": curves(onto, (10, 4.2), caption)}


CLAIM = Claim(
    name="spectral-bias",
    statement="from a bare coordinate a network learns slow waves first and fast ones hardly ever; from "
    "Gaussian waves it learns them all in time",
    paper="Tancik et al. 2020, section 4",
    metrics=("snr_db", *(f"tone_{tone}_percent" for tone in TONES)),
    cells=cells,
    judge=judge,
    draw=draw,
)
