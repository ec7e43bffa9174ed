"""Blocks against one field as a street grows (Tancik et al. 2022, sections 4 and 5).

    rayformer reproduce city-scale

The drawn town at 4, 8 and 16 blocks' length, learned by as many blocks, and by one field with the size of a
block that has the minutes of all blocks together: the same codes, exposures and trunk, only undivided. What a
block costs (`job_mib`, and the minutes of its plan) does not know how long the street is. Two more rows are
what the blocks of the shortest street are merged for: `nearest_psnr_db` is that of the nearest block alone,
and seam_error the mean difference of two neighbours' colours over what both saw, after their codes were
aligned to one light; unaligned_seam_error, before. The paper, on Alamo Square: from one field (mip-NeRF) to
blocks 17.86 to 23.60 dB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.scenes import render_view
from rayformer.recipes.blocknerf import RECIPE, BlockNeRFRecipe
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.street_plan import BlocksConfig
from rayformer.runs.pictures import Picture, side_by_side

LENGTHS = (4, 8, 16)
"""Of the street, in blocks."""
MINUTES = 0.5
"""Of training for a block."""
SMOKE_LENGTHS = (2, 3)
SLACK_DB = 1.0
"""What blocks may lose from the shortest street to the longest and still keep their quality."""
FRAMES = 5
"""Pictures of the flight over a seam."""


def cells(smoke: bool) -> Sequence[Cell]:
    base: BlockNeRFRecipe = RECIPE.smoke if smoke else RECIPE.default
    made = []
    for length in SMOKE_LENGTHS if smoke else LENGTHS:
        for name, count in ((f"{length} blocks", length), (f"one field, {length}", 1)):
            minutes = MINUTES * length / count
            plan = replace(base.plan, steps=30) if smoke else replace(base.plan, minutes=minutes)
            config = replace(
                base,
                data=replace(base.data, source=f"town-{length}"),
                blocks=BlocksConfig(count=count),
                scene=replace(base.scene, test_views=2 if smoke else 24, shown_views=2),
                plan=plan,
            )
            made.append(Cell(name, "blocknerf", config))
    return made


def judge(measured: Mapping[str, Measured]) -> Verdict:
    blocks = [row for row in measured.values() if row.cell.config.blocks.count > 1]
    single = [row for row in measured.values() if row.cell.config.blocks.count == 1]
    lost = [rows[0].median("psnr_db") - rows[-1].median("psnr_db") for rows in (blocks, single)]
    flat = max(row.median("job_mib") for row in blocks) / min(row.median("job_mib") for row in blocks)
    closed = all(row.median("seam_error") < row.median("unaligned_seam_error") for row in blocks)
    merged = np.mean([row.median("psnr_db") - row.median("nearest_psnr_db") for row in blocks])
    ahead = blocks[-1].median("psnr_db") - single[-1].median("psnr_db")
    longest = [max(_seconds(row)) for row in (blocks[-1], single[-1])]
    holds = lost[0] < SLACK_DB and lost[0] < lost[1] and ahead > 0 and flat < 1.2 and closed and merged > 0
    reason = (
        f"from the shortest street to the longest, blocks lose {lost[0]:.2f} dB and one field "
        f"{lost[1]:.2f} dB; on the longest, blocks are {ahead:+.2f} dB ahead, the longest job taking "
        f"{longest[0]:.0f} s against {longest[1]:.0f} s; a block's memory differs by a factor of "
        f"{flat:.2f}; alignment closes "
        f"{_closed(blocks):.0%} of the seams; merged pictures are {merged:+.2f} dB from the nearest block's"
    )
    return Verdict(holds=bool(holds), reason=reason)


def _closed(rows: Sequence[Measured]) -> float:
    """The share of the seam error that alignment takes away, over all streets."""
    return float(np.mean([1 - row.median("seam_error") / row.median("unaligned_seam_error") for row in rows]))


def _seconds(row: Measured) -> list[float]:
    """How long each of a cell's jobs trained, in its first run."""
    return [value for name, value in row.results[0].items() if name.endswith("/train_s")]


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """One held-out view of each street by blocks and by one field; and a flight over the seam beside the
    root, the neighbours before and after they were aligned."""
    names = list(measured)
    pairs = {
        f"street-{measured[blocks].cell.config.data.source}": _beside(measured, blocks, single)
        for blocks, single in zip(names[::2], names[1::2], strict=True)
    }
    return {**pairs, "seam": _over_a_seam(measured[names[0]])}


def _beside(measured: Mapping[str, Measured], blocks: str, single: str) -> Picture:
    """The same held-out view by blocks and by one field, in the street's usual light."""
    photograph, merged = render_view(measured[blocks])
    _, alone = render_view(measured[single])
    labels = [
        "photograph, in its own light",
        *(f"{name}: {measured[name].median('psnr_db'):.1f} dB" for name in (blocks, single)),
    ]
    return side_by_side(
        [photograph, merged, alone], labels, caption="; ".join(labels[1:]) + " over all views"
    )


def _over_a_seam(row: Measured) -> Picture:
    """Frames of the way from block to block, in a strip: above with the nearest block's picture in the light
    that it usually has, below merged and aligned."""
    loaded = open_run(row.runs[0])
    task, view = loaded.whole, loaded.view
    cameras = view.cameras("along", 8 * FRAMES + 1)
    root = task.root_of(task.light)
    one = root - 1 if root else root
    middle = (task.model.centres[one] + task.model.centres[one + 1]) / 2
    nearest = min(
        range(len(cameras)), key=lambda at: (cameras[at].position.to(middle) - middle).norm().item()
    )
    first = min(max(nearest - FRAMES // 2, 0), len(cameras) - FRAMES)
    strips = []
    for codes, merge in ((task.unaligned(task.light), "nearest"), (task.codes(task.light), None)):
        lit = replace(task.field.lit, codes=codes, merge=merge)
        shown = replace(view, field=lit)
        strips.append([shown.picture(camera).colour for camera in cameras[first : first + FRAMES]])
    rows = [np.concatenate(strip, axis=1) for strip in strips]
    return Picture(
        np.concatenate(rows, axis=0).repeat(3, axis=0).repeat(3, axis=1),
        f"over the seam between {task.plans[one].name} and {task.plans[one + 1].name}: above, the nearest "
        "block in its usual light; below, aligned and merged",
    )


CLAIM = Claim(
    name="city-scale",
    statement="blocks keep their quality, their time and their memory as a street grows, where one field "
    "loses quality, and aligned codes close the seams between them",
    paper="Tancik et al. 2022, sections 4 and 5",
    metrics=("psnr_db", "nearest_psnr_db", "seam_error", "unaligned_seam_error", "job_mib"),
    cells=cells,
    judge=judge,
    draw=draw,
)
