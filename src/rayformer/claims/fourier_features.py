"""Four ways to feed a network coordinates, on photographs and on text (Tancik et al. 2020, section 6.1 and
table 1).

    rayformer reproduce fourier-features

Each network learns a quarter of a picture's pixels, those of even row and column, and is measured at the
quarter of odd ones. The paper, on 16 photographs and 16 pictures of text at 512 x 512 pixels: without mapping
19.3 and 18.4 dB, basic 21.7 and 20.5, positional 24.9 and 27.6, Gaussian 25.6 and 30.5. Here, on smaller
pictures, its waves are slower by as much: what matters is how many periods fall on the pixels that are
learned. As in the paper, networks without fast waves learn photographs at ten times the rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

import numpy as np

from rayformer.claims.claim import Cell, Claim, Measured, Verdict, rows_of
from rayformer.data.signals.signal import SignalConfig
from rayformer.engine.plan import Optim, Plan
from rayformer.fields.image_field import ImageFieldConfig
from rayformer.recipes.image_field import RECIPE, ImageFieldRecipe
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.signal import sampled
from rayformer.recipes.parts.signal_pictures import bytes_of
from rayformer.runs.pictures import Picture, side_by_side

SIZES, PAPER_SIZE = {"photographs": 128, "text": 192}, 512
"""Pixels across. Letters need more than photographs to be told from their neighbours."""
STEPS = 500
PICTURES = {
    "photographs": ("astronaut", "coffee", "rocket", "hopper"),
    "text": ("text-2", "text-3", "text-4", "text-5"),
}
MAPPINGS = {
    "none": (19.32, 18.40),
    "basic": (21.72, 20.48),
    "positional": (24.95, 27.57),
    "gaussian": (25.57, 30.47),
}
"""From worst to best in the paper, with its dB on photographs and on text."""
SIGMA = {"photographs": 10.0, "text": 14.0}
OCTAVES = {"photographs": 6.0, "text": 5.0}
"""The paper's, for pictures of PAPER_SIZE; slower by as much as ours are smaller."""
TIED_DB = 0.25
"""Within which positional and Gaussian waves count as equal on photographs, where the paper has them 0.6
apart."""
CROP = 48
"""Pixels across a crop."""


def cells(smoke: bool) -> Sequence[Cell]:
    return [
        Cell(
            f"{mapping} {source}", "image-field", _config(mapping, kind, source, smoke),
            paper=MAPPINGS[mapping][column], row=f"{mapping}, {kind}",
        )
        for column, (kind, sources) in enumerate(PICTURES.items())
        for mapping in MAPPINGS
        for source in (sources[-1:] if smoke else sources)
    ]  # fmt: skip


def _config(mapping: str, kind: str, source: str, smoke: bool) -> ImageFieldRecipe:
    width = 64 if smoke else SIZES[kind]
    smaller = width / PAPER_SIZE
    slow = mapping in ("none", "basic")
    # The recipe itself multiplies the rate of mappings without fast waves by 3.
    rate = (1e-2 if kind == "photographs" else 1e-3) / 3 if slow else 1e-3
    return replace(
        RECIPE.smoke if smoke else RECIPE.default,
        data=SignalConfig(source=source, width=width),
        model=ImageFieldConfig(
            mapping=mapping,  # type: ignore[arg-type]  # one of the mappings above
            sigma=SIGMA[kind] * smaller,
            octaves=OCTAVES[kind] + math.log2(smaller),
            waves=32 if smoke else 256,
            width=32 if smoke else 256,
        ),
        plan=Plan(
            steps=20 if smoke else STEPS,
            optim=Optim(rate=rate),
            log_every=20,
            evaluate_every=0,
            save_every=0,
        ),
    )


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """Better from mapping to mapping, on photographs and on text; the last two may be level on
    photographs."""
    rows, holds, told = rows_of(measured), True, []
    for kind in PICTURES:
        found = [rows[f"{mapping}, {kind}"].median("psnr_db") for mapping in MAPPINGS]
        gains = [after - before for before, after in pairwise(found)]
        least = -TIED_DB if kind == "photographs" else 0.0
        holds &= gains[0] > 0 and gains[1] > 0 and gains[2] > least
        told.append(
            f"on {kind} " + " < ".join(f"{name} {db:.2f}" for name, db in zip(MAPPINGS, found, strict=True))
        )
    spread = mean(
        rows[f"gaussian, {kind}"].median("psnr_db") - rows[f"none, {kind}"].median("psnr_db")
        for kind in PICTURES
    )
    return Verdict(
        holds=holds, reason=f"{'; '.join(told)} dB. Gaussian waves gain {spread:.1f} dB over none on the mean"
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """One picture of each kind: all of it, and a crop of its middle enlarged."""
    pictures = {}
    for kind, sources in PICTURES.items():
        source = next(name for name in sources if f"none {name}" in measured)
        panels, labels = [], []
        for mapping in MAPPINGS:
            row = measured[f"{mapping} {source}"]
            loaded = open_run(row.runs[0], "cpu")
            learned = sampled(loaded.task.model, loaded.task.opened.shape, loaded.device)
            if not panels:
                panels.append(_with_crop(loaded.task.signal.values))
                labels.append("true")
            panels.append(_with_crop(learned))
            labels.append(f"{mapping}: {row.results[0]['psnr_db']:.1f} dB")
        pictures[kind] = side_by_side(
            panels, labels, f"{source}, whole and its middle; {', '.join(labels[1:])}"
        )
    return pictures


def _with_crop(values: np.ndarray) -> Picture:
    """The picture, two pixels for one, above its middle at the same width."""
    height, width = values.shape[:2]
    pixels, side = bytes_of(values), min(CROP, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    times = max(1, 2 * width // side)
    crop = pixels[top : top + side, left : left + side].repeat(times, axis=0).repeat(times, axis=1)
    whole = pixels.repeat(2, axis=0).repeat(2, axis=1)
    wide = max(crop.shape[1], whole.shape[1])
    both = [
        np.pad(one, ((0, 4), (0, wide - one.shape[1]), (0, 0)), constant_values=255) for one in (whole, crop)
    ]
    return Picture(np.concatenate(both))


CLAIM = Claim(
    name="fourier-features",
    statement="a network learns a picture better from Gaussian waves than from positional ones, "
    "from those better than from basic ones, and worst from bare coordinates",
    paper="Tancik et al. 2020, section 6.1 and table 1",
    metrics=("psnr_db", "train_psnr_db"),
    cells=cells,
    judge=judge,
    draw=draw,
)
