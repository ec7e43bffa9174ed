"""What denoising gives: all networks take as many steps, and the verdict weighs gains against chance."""

from dataclasses import replace
from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.denoising import CLAIM, RATES, cells, judge


def measured(numbers: dict[str, float], apart: float = 0.4) -> dict[str, Measured]:
    """The same for any number of labels."""
    return {
        cell.name: Measured(
            cell,
            (Path("0"), Path("1")),
            tuple({"top1_percent": numbers[cell.name.split(",")[0]] + side * apart / 2} for side in (-1, 1)),
        )
        for cell in cells(False)
    }


def test_the_networks_differ_in_how_they_begin_and_in_nothing_else():
    for plain, copied, denoised in (cells(False)[:3], cells(False)[3:]):
        assert replace(copied.config, noise=denoised.config.noise) == denoised.config
        assert plain.config.model == denoised.config.model
        assert (plain.config.data, plain.config.labels) == (denoised.config.data, denoised.config.labels)
        steps = denoised.config.plan.steps + 3 * denoised.config.denoise.steps
        assert plain.config.plan.steps == steps
        assert plain.config.plan.optim == replace(denoised.config.plan.optim, rate=RATES["plain"])


def test_it_holds_where_denoising_gains_more_than_chance_over_both():
    verdict = judge(measured({"plain": 90, "copied": 92, "denoised": 95}))
    assert verdict.holds
    assert "+5.0 over plain with 10 labels, +3.0 over copied with 10 labels" in verdict.reason


@pytest.mark.parametrize(
    "numbers",
    [
        {"plain": 90, "copied": 95.1, "denoised": 95},
        {"plain": 95, "copied": 92, "denoised": 95.1},
    ],
)
def test_it_does_not_hold_where_either_does_as_well(numbers):
    assert not judge(measured(numbers)).holds


def test_noisy_seeds_prove_nothing():
    assert not judge(measured({"plain": 90, "copied": 92, "denoised": 95}, apart=8.0)).holds


@pytest.mark.slow
def test_the_smoke_size_trains_all_cells_and_draws(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert len(outcome.measured) == 6
    assert "one seed knows of no chance" in outcome.verdict.reason
    for name in ("errors", "units"):
        assert (outcome.folder / f"denoising-{name}.png").exists()
