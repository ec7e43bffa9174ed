"""NeRF's two ideas, taken away one at a time (Mildenhall et al. 2020, table 2 and fig. 4).

    rayformer reproduce nerf-ablations

The paper, on its eight Blender scenes: complete 31.01 dB, without view dependence 27.66, without positional
encoding 28.77. Here, on the drawn still life, whose floor is full of fine pattern, the encoding matters
more than the direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.scenes import modest_nerf, two_views


def cells(smoke: bool) -> Sequence[Cell]:
    complete = modest_nerf(smoke)
    without = lambda **changes: replace(complete, model=replace(complete.model, **changes))  # noqa: E731
    return (
        Cell("complete", "nerf", complete, 31.01),
        Cell("no view dependence", "nerf", without(view_dependence=False), 27.66),
        Cell("no positional encoding", "nerf", without(position_octaves=0, direction_octaves=0), 28.77),
    )


def judge(measured: Mapping[str, Measured]) -> Verdict:
    complete, *others = measured.values()
    gaps = {row.cell.name: complete.median("psnr_db") - row.median("psnr_db") for row in others}
    reason = ", ".join(f"{name} loses {gap:.2f} dB" for name, gap in gaps.items())
    in_order = sorted(gaps, key=lambda name: gaps[name]) == list(gaps)
    return Verdict(
        holds=min(gaps.values()) > 0 and in_order,
        reason=(
            f"{reason}; best to worst: "
            f"{', '.join(sorted(measured, key=lambda name: -measured[name].median('psnr_db')))}"
        ),
    )


CLAIM = Claim(
    name="nerf-ablations",
    statement=(
        "a complete NeRF beats one without view dependence, which beats one without positional encoding"
    ),
    paper="Mildenhall et al. 2020, table 2 and fig. 4",
    metrics=("psnr_db", "ssim"),
    cells=cells,
    judge=judge,
    draw=two_views,
)
