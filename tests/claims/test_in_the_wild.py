"""The claim about harmed photographs: its cells differ in nothing but what the table says, and are judged."""

from dataclasses import replace
from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.in_the_wild import CLAIM, PAIRS, ROWS, cells, judge

PAPER = {name: paper for name, *_, paper in ROWS}


def measured(**changes) -> dict[str, Measured]:
    numbers = PAPER | changes
    return {
        cell.name: Measured(cell, (Path(cell.name),), ({"psnr_db": numbers[cell.name], "ssim": 0.5},))
        for cell in cells(smoke=False)
    }


def test_cells_differ_in_the_harm_and_in_what_makes_it_good_and_in_nothing_else():
    first, *others = cells(smoke=False)
    for cell in others:
        model = replace(cell.config.model, appearance=False, transient=False)
        alike = replace(cell.config, model=model, data=replace(cell.config.data, perturb="none"))
        assert alike == first.config, cell.name
    assert {cell.config.scene.held_out_light for cell in (first, *others)} == {"first"}
    assert first.config.plan.minutes == 3


def test_each_harm_meets_the_trunk_alone_and_the_half_that_is_for_it():
    by_name = {cell.name: cell.config for cell in cells(smoke=True)}
    for alone, mended in PAIRS:
        one, other = by_name[alone], by_name[mended]
        assert one.data == other.data
        assert (one.model.appearance, one.model.transient) == (False, False)
        harmed = one.data.perturb
        assert other.model.appearance == (harmed in ("colour", "both"))
        assert other.model.transient == (harmed in ("occluders", "both"))
    assert {config.model.trunk for config in by_name.values()} == {"ngp", "nerf"}


def test_the_papers_numbers_bear_the_claim_out():
    verdict = judge(measured())
    assert verdict.holds
    assert "both W gains +6.46 dB" in verdict.reason


@pytest.mark.parametrize("mended", [mended for _, mended in PAIRS])
def test_a_half_that_makes_nothing_good_bears_it_out_no_more(mended):
    assert not judge(measured(**{mended: 15.0})).holds


def test_what_is_better_than_unharmed_is_not_believed():
    assert not judge(measured(**{"colours A": 33.0})).holds


@pytest.mark.slow
def test_the_claim_runs_at_smoke_size(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert len(outcome.measured) == 9
    assert (outcome.folder / "in-the-wild-view-0.png").exists()
