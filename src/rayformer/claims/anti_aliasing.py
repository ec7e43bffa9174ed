"""Cones against points: what is left of a field's picture as its camera sees ever coarser pixels (Barron et
al. 2023, section 5 and its table of scales).

    rayformer reproduce anti-aliasing

Zip-NeRF and Instant-NGP learn the drawn scene from photographs at four sizes, whole, half, quarter and
eighth, as many rays of each, and are measured at the same four. Their grids have the same levels and rows,
their steps the same number of rays. A small picture is easier than a large one, being smooth, and a field
that knows how wide its pixels are gains by that; one that asks points sees in the middle of a wide pixel what
is by chance there. The paper, on the mip-NeRF 360 scenes, from the largest size to the smallest: Zip-NeRF
28.25, 30.00, 31.57, 32.52 dB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.scenes import render_view
from rayformer.data.scenes.scene import SCALES, SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.fields.zipnerf import ZipNeRFConfig
from rayformer.recipes import ngp, zipnerf
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.pictures import Picture, side_by_side

ROWS = 17
"""Two to this many rows at most on each level of both fields' grids."""
COARSE = ("quarter", "eighth")
"""The sizes at which the claim is judged."""


def cells(smoke: bool) -> Sequence[Cell]:
    scales = tuple(SCALES)
    if smoke:
        cones = zipnerf.RECIPE.smoke
        alike = {
            "data": replace(cones.data, scales=scales),
            "scene": cones.scene,
            "plan": replace(cones.plan, steps=100),
        }
        return (
            Cell("zipnerf", "zipnerf", replace(cones, **alike)),
            Cell("ngp", "ngp", replace(ngp.RECIPE.smoke, **alike)),
        )
    # Behind transparent pixels no fixed colour: ngp would learn to be fog of that colour first, and stay it.
    data = SceneConfig(near=2.5, far=5.5, scales=scales, background="random")
    training = SceneTraining(rays=1024, shown_views=3, samples_at_once=2**17, ndc="off")
    plan = Plan(
        steps=1500,
        optim=Optim(rate=1e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="exponential", final=0.05, warmup_steps=50, warmup_from=0.01),
        evaluate_every=500,
        save_every=500,
    )
    cones = zipnerf.ZipNeRFRecipe(
        data=data,
        model=ZipNeRFConfig(
            unbounded=False,
            samples=(32, 24, 16),
            finest=(64, 128, 512),
            log2_rows=ROWS,
            bottleneck=64,
            view_width=64,
            decay=10.0,
            trust_steps=plan.steps,
        ),
        scene=training,
        plan=plan,
    )
    points = ngp.NGPRecipe(
        data=data,
        model=NGPConfig(
            grid=HashGridConfig(levels=6, finest=512, log2_rows=ROWS),
            occupancy=OccupancyConfig(cells=64),
            steps_across=256,
        ),
        scene=training,
        plan=replace(plan, optim=ngp.RECIPE.default.plan.optim),  # the rates that each field likes
    )
    return (Cell("zipnerf", "zipnerf", cones), Cell("ngp", "ngp", points))


def judge(measured: Mapping[str, Measured]) -> Verdict:
    gains = {
        name: {size: row.median(f"{size}_psnr_db") - row.median("full_psnr_db") for size in COARSE}
        for name, row in measured.items()
    }
    better = [gains["zipnerf"][size] - gains["ngp"][size] for size in COARSE]
    told = [
        f"from whole pictures to the {size}, zipnerf goes {gains['zipnerf'][size]:+.2f} dB and ngp "
        f"{gains['ngp'][size]:+.2f} dB"
        for size in COARSE
    ]
    return Verdict(holds=min(better) > 0, reason="; ".join(told))


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """One held-out view at each size: the photograph and what each field makes of it, enlarged."""
    return {size: _at_scale(measured, scale) for scale, size in SCALES.items()}


def _at_scale(measured: Mapping[str, Measured], scale: int) -> Picture:
    panels, labels = [], []
    for name, row in measured.items():
        photograph, rendered = render_view(row, number=0, scale=scale)
        if not panels:
            panels.append(_enlarged(photograph, scale))
            labels.append(f"photograph, {SCALES[scale]} size")
        panels.append(_enlarged(rendered, scale))
        labels.append(f"{name}: {row.results[0][f'{SCALES[scale]}_psnr_db']:.1f} dB")
    return side_by_side(panels, labels, caption=f"one held-out view; {'; '.join(labels)} over all views")


def _enlarged(picture: Picture, scale: int) -> Picture:
    """Every pixel as a square, twice as large as in the whole picture, so that all sizes are equally
    large."""
    return Picture(np.repeat(np.repeat(picture.pixels, 2 * scale, axis=0), 2 * scale, axis=1))


CLAIM = Claim(
    name="anti-aliasing",
    statement="a grid that is asked about cones loses less as pixels grow "
    "than one that is asked about points",
    paper="Barron et al. 2023, section 5",
    metrics=("psnr_db", *(f"{size}_psnr_db" for size in SCALES.values())),
    cells=cells,
    judge=judge,
    draw=draw,
)
