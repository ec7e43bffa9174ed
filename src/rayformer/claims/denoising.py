"""What learning to denoise gives to a network of classes (Vincent et al. 2008, table 1).

    rayformer reproduce denoising
    rayformer reproduce denoising --data mnist

The paper trains the same network of three layers in several ways, among them: its layers first learn, one
after the other, to copy what they see; or to restore it once a quarter of it was masked. Here a network of
400 units to a layer does both on drawn digits, and a third time without learning anything before its classes.
Each learns classes from all labels and from ten of each class, which is what learning without labels is for.

All three take as many steps: the plain network is given those that the others spend on their layers, too. It
learns at a rate of its own, at which it does better than at that of the others, and begins from the weights
that are best for sigmoids (Glorot and Bengio 2010), which nobody knew in 2008.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np
from PIL import Image

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import METRIC, doubt, percent
from rayformer.data.images.labelled import ImagesConfig
from rayformer.nets.denoising_ae import DenoisingConfig, NoiseConfig
from rayformer.recipes.denoising_ae import DEFAULT, DenoisingRecipe
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture, side_by_side
from rayformer.runs.run import Run

LABELS: Mapping[str, int | None] = {"10 labels": 10, "all labels": None}
"""Of each class."""
PLAIN, COPIED, DENOISED = "plain", "copied", "denoised"
RATES = {PLAIN: 1e-3, COPIED: 3e-3, DENOISED: 3e-3}
"""At which classes are learned; the best of these two for each."""


def config_of(kind: str, labels: int | None, smoke: bool) -> DenoisingRecipe:
    layers, steps, tuned = (2, 4, 4) if smoke else (3, 600, 600)
    pretrain = kind != PLAIN
    return replace(
        DEFAULT,
        data=ImagesConfig(source="glyphs-20" if smoke else "glyphs", validation=0.0),
        model=DenoisingConfig(widths=(16 if smoke else 400,) * layers),
        noise=NoiseConfig(kind="none" if kind == COPIED else "masking"),
        pretrain=pretrain,
        labels=labels,
        train=replace(DEFAULT.train, batch=16 if smoke else 64, shown=0),
        denoise=replace(DEFAULT.denoise, steps=steps, save_every=0),
        plan=replace(
            DEFAULT.plan,
            steps=tuned if pretrain else tuned + layers * steps,
            optim=replace(DEFAULT.plan.optim, rate=RATES[kind]),
            evaluate_every=0,
            save_every=0,
        ),
    )


def cells(smoke: bool) -> Sequence[Cell]:
    return [
        Cell(f"{kind}, {name}", "denoising-ae", config_of(kind, labels, smoke))
        for name, labels in LABELS.items()
        for kind in (PLAIN, COPIED, DENOISED)
    ]


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """With any number of labels, denoising gains more than chance over both others."""
    doubted = doubt(measured)
    gains = {
        f"over {kind} with {name}": _mean(measured[f"{DENOISED}, {name}"])
        - _mean(measured[f"{kind}, {name}"])
        for name in LABELS
        for kind in (PLAIN, COPIED)
    }
    known = doubted < float("inf")
    return Verdict(
        holds=all(gain > (doubted if known else 0) for gain in gains.values()),
        reason="denoising gains, in points of accuracy, "
        + ", ".join(f"{gain:+.1f} {where}" for where, gain in gains.items())
        + f"; {f'chance may make {doubted:.1f}' if known else 'one seed knows of no chance'}",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """Errors, a dot for each seed; and what units of the first layer look for, as in the paper's figure 3."""

    def onto(figure: Any) -> None:
        places = figure.subplots(1, len(LABELS))
        for axes, name in zip(places, LABELS, strict=True):
            for place, (kind, colour) in enumerate(
                zip((PLAIN, COPIED, DENOISED), ("0.5", "tab:orange", "tab:blue"), strict=True)
            ):
                errors = [100 - value for value in _values(measured[f"{kind}, {name}"])]
                axes.bar(place, mean(errors), 0.7, color=colour, alpha=0.5)
                axes.plot([place] * len(errors), errors, "o", color=colour, ms=5)
                axes.annotate(f"{mean(errors):.1f}", (place, 0), xytext=(0, 4), textcoords="offset points",
                              ha="center", fontsize=9)  # fmt: skip
            axes.set_xticks(range(3), [PLAIN, COPIED, DENOISED])
            axes.set(title=f"{name} of each class" if name != "all labels" else name)
        places[0].set_ylabel("error, % of held-out pictures")

    errors = curves(onto, (8, 3.8), "error of the same network, learned in three ways; a dot for each seed")
    units = {kind: _units(measured[f"{kind}, all labels"]) for kind in (COPIED, DENOISED)}
    return {
        "errors": errors,
        "units": side_by_side(
            list(units.values()),
            [f"layers that {kind}" for kind in ("copy", "denoise")],
            caption="what units of the first layer look for",
            gap=16,
        ),
    }


def _units(cell: Measured) -> Picture:
    (path,) = [
        path for name, path, _ in Run.open(cell.runs[0]).stage("layer-1").pictures() if name == "units"
    ]
    with Image.open(path) as picture:
        return Picture(np.asarray(picture.convert("RGB")))


def _values(row: Measured) -> list[float]:
    return [float(result[METRIC]) for result in row.results]


def _mean(row: Measured) -> float:
    return mean(_values(row))


CLAIM = Claim(
    name="denoising",
    statement="a network whose layers learned to denoise before is mistaken less often than the same network "
    "whose layers learned to copy, or nothing",
    paper="Vincent et al. 2008, table 1",
    metrics=(METRIC, "cross_entropy_nats"),
    cells=cells,
    judge=judge,
    draw=draw,
    seeds=(0, 1, 2),
    measure=percent,
    any_data=True,
)
