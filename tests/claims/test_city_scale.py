"""The claim about streets that grow: its cells are comparable, and its verdict follows from the numbers."""

from pathlib import Path

import pytest

from rayformer.claims.city_scale import CLAIM, LENGTHS, MINUTES, cells, judge
from rayformer.claims.claim import Measured


def test_blocks_and_one_field_have_the_same_trunk_and_the_same_minutes_together():
    by_name = {cell.name: cell.config for cell in cells(False)}
    for length in LENGTHS:
        blocks, single = by_name[f"{length} blocks"], by_name[f"one field, {length}"]
        assert (blocks.model, blocks.block, blocks.data) == (single.model, single.block, single.data)
        assert blocks.plan.minutes == MINUTES
        assert single.plan.minutes * single.blocks.count == blocks.plan.minutes * blocks.blocks.count


def measured(losses: tuple[float, float], seam: float = 0.02, mib: float = 30.0, merged: float = 0.2) -> dict:
    """What runs might have come to: blocks and one field lose so many dB from the shortest to the longest."""
    found = {}
    for row, cell in enumerate(cells(False)):
        lost = losses[cell.config.blocks.count == 1] * (row // 2) / (len(LENGTHS) - 1)
        numbers = {
            "psnr_db": 22.0 - lost,
            "nearest_psnr_db": 22.0 - lost - merged,
            "job_mib": mib * (1 + 0.01 * row),
        }
        numbers |= {
            "seam_error": seam,
            "unaligned_seam_error": 0.1,
            "block-00/train_s": 30.0,
            "train_s": 30.0,
        }
        found[cell.name] = Measured(cell, (Path(cell.name),), (numbers,))
    return found


def test_it_holds_where_blocks_keep_what_one_field_loses():
    verdict = judge(measured((0.3, 3.0)))
    assert verdict.holds
    assert "blocks lose 0.30 dB and one field 3.00 dB" in " ".join(verdict.reason.split())


@pytest.mark.parametrize(
    "other",
    [
        measured((2.0, 3.0)),
        measured((0.5, 0.2)),
        measured((0.3, 3.0), seam=0.12),
        measured((0.3, 3.0), merged=-0.4),
    ],
    ids=["blocks lose too", "one field loses less", "seams stay open", "merging harms"],
)
def test_it_does_not_hold_where_any_part_of_it_fails(other):
    assert not judge(other).holds


@pytest.mark.slow
def test_the_smoke_size_runs_and_draws_a_seam(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert (outcome.folder / "city-scale-seam.png").exists()
    assert "| 2 blocks |" in outcome.table()
