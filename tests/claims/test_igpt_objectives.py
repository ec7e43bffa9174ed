"""Two ways to learn from pixels: judged by gaps that chance does not make, measured from both stages."""

from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.igpt_objectives import CLAIM, OBJECTIVES, PROBE, TUNED, cells, draw, judge


def measured(**numbers: tuple[list[int], list[int]]) -> dict[str, Measured]:
    """Rows with these probes and tuned numbers, one for each seed."""
    found = {}
    for cell in cells(False):
        probes, tuned = numbers[cell.name]
        results = tuple(
            {
                PROBE: float(probe),
                TUNED: float(after),
                "layer_0_percent": probe / 2,
                "layer_1_percent": float(probe),
            }
            for probe, after in zip(probes, tuned, strict=True)
        )
        runs = tuple(Path(str(seed)) for seed in range(len(probes)))
        found[cell.name] = Measured(cell, runs, results)
    return found


def test_both_learn_as_long_by_networks_that_differ_in_the_objective_alone():
    one, other = (cell.config for cell in cells(False))
    assert (one.plan, one.tune, one.train, one.data) == (other.plan, other.tune, other.train, other.data)
    assert (one.model.objective, other.model.objective) == OBJECTIVES
    assert (one.model.width, one.model.depth) == (other.model.width, other.model.depth)
    assert one.augment.size == 16


def test_it_holds_where_probes_are_apart_and_tuned_numbers_are_not():
    rows = measured(autoregressive=([60, 61, 62], [80, 81, 79]), bert=([40, 41, 39], [79, 80, 81]))
    verdict = judge(rows)
    assert verdict.holds
    assert "+21.0" in verdict.reason
    assert "closes the gap" in verdict.reason


LOW, HIGH, SAME = [40, 41, 42], [60, 61, 62], [80, 80, 81]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"autoregressive": (LOW, SAME), "bert": ([40, 43, 39], SAME)}, "surely"),
        ({"autoregressive": (LOW, SAME), "bert": (HIGH, SAME)}, "BERT's features"),
        ({"autoregressive": (HIGH, SAME), "bert": (LOW, HIGH)}, "does not close"),
        ({"autoregressive": ([60], [80]), "bert": ([40], [80])}, "one seed"),
    ],
    ids=["within-chance", "the-other-way", "no-catching-up", "one-seed"],
)
def test_it_does_not_hold_otherwise_and_says_why(numbers, said):
    verdict = judge(measured(**numbers))
    assert not verdict.holds
    assert said in verdict.reason


def test_the_picture_shows_every_seed(tmp_path):
    rows = measured(autoregressive=([60, 61], [80, 81]), bert=([40, 41], [79, 80]))
    (picture,) = draw(rows).values()
    assert picture.pixels.shape[0] > 200
    assert picture.pixels.std() > 5


@pytest.mark.slow
def test_the_smoke_size_runs_to_a_verdict(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    for row in outcome.measured.values():
        assert {PROBE, TUNED, "probe_layer", "layer_2_percent"} <= set(row.results[0])
    assert "one_mask_probe_percent" in outcome.measured["bert"].results[0]
    assert "autoregressive" in outcome.table()
