"""Two ways to learn from pixels alone (Chen et al. 2020, figure 4): every pixel from those before it, or
hidden ones from all others.

    rayformer reproduce igpt-objectives

The same small network on the same pictures for as many steps, by either objective; then a linear probe on
every layer, the best of which held-out pictures choose; then all weights tuned with classes. By BERT's
objective classes are voted on with pixels hidden in five ways, as in the paper; the table has one way, too.

The paper, for iGPT-L on CIFAR-10 and ImageNet: autoregressive features are much better by linear probe, and
BERT's catch up when tuned. Here a gap that seeds alone could make counts as none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import doubt
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.palette import PaletteConfig
from rayformer.nets.igpt import IGPTConfig, Objective
from rayformer.recipes.igpt import DEFAULT, IGPTRecipe
from rayformer.recipes.parts.pixel_task import PixelTraining
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture
from rayformer.runs.run import Run

PROBE, TUNED = "probe_percent", "tuned_percent"
OBJECTIVES: tuple[Objective, ...] = ("autoregressive", "bert")
STEPS, TUNING = 800, 300


def cells(smoke: bool) -> Sequence[Cell]:
    return [Cell(objective, "igpt", _config(objective, smoke)) for objective in OBJECTIVES]


def _config(objective: Objective, smoke: bool) -> IGPTRecipe:
    """At 16 x 16 pixels, five minutes at most for either on two cores."""
    return replace(
        DEFAULT,
        data=ImagesConfig(source="glyphs-20" if smoke else "glyphs"),
        augment=replace(DEFAULT.augment, size=6 if smoke else 16, area=(0.8, 1.0), flip=0.0),
        palette=PaletteConfig(colours=8, pixels=500) if smoke else PaletteConfig(colours=128),
        model=IGPTConfig(objective=objective, width=16, depth=2, heads=2)
        if smoke
        else IGPTConfig(objective=objective, width=96, depth=6, heads=3),
        train=PixelTraining(batch=8, masks=2, probed=50, shown=0)
        if smoke
        else PixelTraining(batch=32, shown=8),
        plan=replace(DEFAULT.plan, steps=2 if smoke else STEPS, evaluate_every=0, save_every=0),
        tune=replace(DEFAULT.tune, steps=2 if smoke else TUNING, evaluate_every=0, save_every=0),
    )


def measure(path: Path) -> Mapping[str, float]:
    """Of both stages, in percent."""
    stages = {name: run.result() or {} for name, run in Run.open(path).stages()}
    pretrained, tuned = stages["pretrain"], stages["tune"]
    found = {
        PROBE: 100 * pretrained["probe_top1"],
        TUNED: 100 * tuned["top1"],
        "probe_layer": pretrained["probe_layer"],
        "pretrain_nats_per_pixel": pretrained["nats_per_pixel"],
    }
    if "one_mask_top1" in tuned:
        found["one_mask_probe_percent"] = 100 * pretrained["one_mask_probe_top1"]
        found["one_mask_tuned_percent"] = 100 * tuned["one_mask_top1"]
    layers = {row["blocks_below"]: row["top1"] for row in pretrained["by_layer"].values()}
    return found | {f"layer_{depth}_percent": 100 * share for depth, share in layers.items()}


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """Autoregressive features are better by linear probe, by more than chance; after tuning the gap is at
    most half as wide, or within chance."""
    one, other = (measured[name] for name in OBJECTIVES)
    gaps = {metric: _mean(one, metric) - _mean(other, metric) for metric in (PROBE, TUNED)}
    doubts = {metric: doubt(measured, metric) for metric in gaps}
    better = gaps[PROBE] > doubts[PROBE] and math.isfinite(doubts[PROBE])
    caught_up = gaps[TUNED] <= max(gaps[PROBE] / 2, doubts[TUNED])
    texts = [
        f"{said} {_mean(one, metric):.1f} % autoregressive, {_mean(other, metric):.1f} % BERT "
        f"({gaps[metric]:+.1f}; chance {_chance(doubts[metric])})"
        for metric, said in ((PROBE, "linear probe"), (TUNED, "tuned"))
    ]
    verdicts = [
        "autoregressive features are better"
        if better
        else "neither objective's features are surely better"
        if abs(gaps[PROBE]) <= doubts[PROBE]
        else "BERT's features are better",
        "tuning closes the gap" if caught_up and better else "tuning does not close it" if better else "",
    ]
    return Verdict(
        holds=better and caught_up,
        reason=f"{'; '.join(texts)}: {', '.join(text for text in verdicts if text)}",
    )


def _chance(doubted: float) -> str:
    return f"±{doubted:.1f}" if math.isfinite(doubted) else "unknown, from one seed"


def _mean(row: Measured, metric: str) -> float:
    return sum(result[metric] for result in row.results) / len(row.results)


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """Left as figure 4: probe and tuned for both. Right: the probe at every depth."""
    colours = dict(zip(OBJECTIVES, ("tab:blue", "tab:orange"), strict=True))

    def onto(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
        for place, metric in enumerate((PROBE, TUNED)):
            for shift, name in zip((-0.2, 0.2), OBJECTIVES, strict=True):
                row = measured[name]
                left.bar(place + shift, _mean(row, metric), 0.36, color=colours[name], alpha=0.7)
                values = [result[metric] for result in row.results]
                left.plot([place + shift] * len(values), values, "o", color="0.2", ms=4)
                one_mask = f"one_mask_{metric}"
                if one_mask in row.results[0]:
                    left.plot(place + shift, _mean(row, one_mask), "_", color="0.2", ms=18)
        left.set_xticks([0, 1], ["linear probe", "tuned"])
        lowest = min(
            result[metric] for row in measured.values() for result in row.results for metric in (PROBE, TUNED)
        )
        left.set(ylabel="top-1, % of held-out pictures", ylim=(max(0, lowest - 15), None))
        for name in OBJECTIVES:
            row = measured[name]
            depths = sorted(
                int(key.split("_")[1])
                for key in row.results[0]
                if key.startswith("layer_") and key.endswith("_percent")
            )
            for result in row.results:
                heights = [result[f"layer_{depth}_percent"] for depth in depths]
                right.plot(depths, heights, color=colours[name], lw=0.7, alpha=0.5)
            means = [_mean(row, f"layer_{depth}_percent") for depth in depths]
            right.plot(depths, means, "o-", color=colours[name], label=name)
        right.set(xlabel="blocks below the probe", ylabel="top-1 of a linear probe, %")
        right.grid(color="0.92")
        right.legend(fontsize=8)

    caption = (
        "left: by a linear probe and tuned, a dot for each seed, a dash for one way of hiding pixels; "
        "right: the probe at every depth, a thin line for each seed"
    )
    return {"objectives": curves(onto, (10, 4.4), caption)}


CLAIM = Claim(
    name="igpt-objectives",
    statement="features learned pixel by pixel are better by linear probe than those learned from hidden "
    "pixels, which catch up when tuned",
    paper="Chen et al. 2020, figure 4",
    metrics=(PROBE, TUNED, "one_mask_probe_percent", "one_mask_tuned_percent", "probe_layer"),
    cells=cells,
    judge=judge,
    draw=draw,
    seeds=(0, 1, 2),
    measure=measure,
    any_data=True,
)
