"""The road to ConvNeXt: all steps in small, trained alike, and judged with their chance."""

from dataclasses import replace
from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.convnext_roadmap import CLAIM, cells, judge
from rayformer.nets.roadmap import PAPER, STEPS

COLUMN = {name: top1 for name, (top1, _) in PAPER.items()}


def measured(numbers=COLUMN, apart: float = 0.02) -> dict[str, Measured]:
    return {
        cell.name: Measured(
            cell,
            (Path("0"), Path("1")),
            tuple({"top1_percent": numbers[cell.name] + side * apart / 2} for side in (-1, 1)),
        )
        for cell in cells(False)
    }


@pytest.mark.parametrize("smoke", [False, True])
def test_steps_differ_in_the_network_and_in_nothing_else(smoke):
    made = cells(smoke)
    assert [cell.name for cell in made] == list(STEPS)
    for cell in made:
        assert replace(cell.config, model=made[0].config.model) == made[0].config
        assert cell.paper == COLUMN[cell.name]


@pytest.mark.parametrize("smoke", [False, True])
def test_what_a_step_changes_it_changes_in_small_too(smoke):
    for (one, large), (other, larger), small, smaller in zip(
        list(STEPS.items())[:-1], list(STEPS.items())[1:], cells(smoke)[:-1], cells(smoke)[1:], strict=True
    ):
        changed = {name for name, value in vars(large).items() if value != getattr(larger, name)}
        before, after = small.config.model, smaller.config.model
        assert changed == {name for name, value in vars(before).items() if value != getattr(after, name)}, (
            f"{one} to {other}"
        )


def test_widths_and_stages_keep_the_papers_ratios():
    first, last = cells(False)[0].config.model, cells(False)[-1].config.model
    assert last.width / first.width == 96 / 64
    assert [last.depths[2] / depth for depth in last.depths] == [3, 3, 1, 3]


def test_the_papers_own_column_bears_the_claim_out():
    verdict = judge(measured())
    assert verdict.holds
    assert "the whole road +3.2 (+3.2)" in verdict.reason
    assert "7 of the 7 steps that count in the paper go the same way here" in verdict.reason
    assert "loses: depthwise -1.2 (-1.2), spatial first -0.7 (-0.7)" in verdict.reason


def test_a_road_that_leads_down_or_nowhere_does_not_hold():
    assert not judge(measured(dict.fromkeys(STEPS, 80.0))).holds
    assert not judge(measured({name: 160 - number for name, number in COLUMN.items()})).holds
    assert not judge(measured(apart=6.0)).holds


@pytest.mark.slow
def test_the_smoke_size_goes_all_the_way(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert len(outcome.measured) == 13
    assert all(row.median("mflop_per_image") > 0 for row in outcome.measured.values())
    assert (outcome.folder / "convnext-roadmap-road.png").exists()
