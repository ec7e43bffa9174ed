"""The claims about waves in the input: what they compare, and when they hold."""

import math
from pathlib import Path

import pytest

from rayformer.claims import fourier_features, spectral_bias
from rayformer.claims.claim import Cell, Measured, rows_of
from rayformer.data.signals.drawn import TONES


def measured(psnr: dict[str, float]) -> dict[str, Measured]:
    """Every cell of the full claim with the PSNR of its mapping, two seeds a decibel apart."""
    found = {}
    for cell in fourier_features.cells(smoke=False):
        db = psnr[cell.name.split()[0]]
        results = tuple({"psnr_db": db + seed, "train_psnr_db": db, "train_s": 1.0} for seed in (0, 1))
        found[cell.name] = Measured(cell, (Path("a"), Path("b")), results)
    return found


IN_ORDER = {"none": 19.0, "basic": 21.0, "positional": 25.0, "gaussian": 26.0}


def test_the_papers_order_holds_and_any_other_does_not():
    assert fourier_features.judge(measured(IN_ORDER)).holds
    for worse in ({"basic": 18.0}, {"positional": 20.0}, {"gaussian": 24.9}):
        assert not fourier_features.judge(measured(IN_ORDER | worse)).holds


def test_every_mapping_learns_the_same_pictures_for_the_same_steps():
    by_row: dict[str, set] = {}
    for cell in fourier_features.cells(smoke=False):
        key = cell.row.split(", ")[1]
        config = cell.config
        by_row.setdefault(cell.row, set()).add(
            (key, config.data.source, config.data.width, config.plan.steps)
        )
    for kind in fourier_features.PICTURES:
        rows = [row for name, row in by_row.items() if name.endswith(kind)]
        assert len(rows) == 4
        assert all(row == rows[0] for row in rows)


def test_waves_are_slower_by_as_much_as_pictures_are_smaller():
    for cell in fourier_features.cells(smoke=False):
        kind = cell.row.split(", ")[1]
        smaller = cell.config.data.width / 512
        assert cell.config.model.sigma == pytest.approx({"photographs": 10, "text": 14}[kind] * smaller)
        assert 2**cell.config.model.octaves == pytest.approx({"photographs": 64, "text": 32}[kind] * smaller)


def test_cells_of_one_row_are_averaged_seed_by_seed():
    cells = [Cell(name, "r", None, row="both") for name in "ab"] + [Cell("c", "r", None)]
    runs = (Path("0"), Path("1"))
    found = {
        cell.name: Measured(cell, runs, ({"psnr_db": value}, {"psnr_db": value + 10}))
        for cell, value in zip(cells, (20.0, 30.0, 7.0), strict=True)
    }
    rows = rows_of(found)
    assert list(rows) == ["both", "c"]
    assert [result["psnr_db"] for result in rows["both"].results] == [25.0, 35.0]
    assert rows["c"] is found["c"]


def test_a_sine_is_learned_when_it_stays_learned():
    assert spectral_bias.learned_after([(10, 95.0), (20, 80.0), (30, 91.0), (40, 99.0)]) == 30
    assert math.isinf(spectral_bias.learned_after([(10, 95.0), (20, 80.0)]))


@pytest.mark.parametrize(
    ("bare", "waves", "holds"),
    [
        ([10, 20, 40, 900, math.inf, math.inf], [10] * 6, True),
        ([10, 20, 40, 900, 1000, 2000], [10] * 6, False),  # bare coordinates learned the fastest
        ([20, 10, 40, 900, math.inf, math.inf], [10] * 6, False),  # not slow before fast
        ([10, 20, 40, 900, math.inf, math.inf], [10] * 5 + [math.inf], False),
        ([10, 20, 40, 900, math.inf, math.inf], [10] * 5 + [950], False),  # too late
    ],
)
def test_slow_before_fast_without_waves_and_all_in_time_with_them(monkeypatch, bare, waves, holds):
    def history(run):
        steps = bare if str(run) == "bare" else waves
        return {
            tone: [(step, 100.0 if step >= after else 0.0) for step in range(10, 3001, 10)]
            for tone, after in zip(TONES, steps, strict=True)
        }

    monkeypatch.setattr(spectral_bias, "history", history)
    rows = {
        name: Measured(Cell(name, "image-field", None), (Path(name),), ({"snr_db": 1.0},))
        for name in ("bare", "waves")
    }
    assert spectral_bias.judge(rows).holds is holds


@pytest.mark.slow
@pytest.mark.parametrize("claim", [fourier_features.CLAIM, spectral_bias.CLAIM], ids=lambda claim: claim.name)
def test_the_smoke_size_runs_to_a_table_and_pictures(tmp_path, claim):
    outcome = claim.reproduce(smoke=True, out=tmp_path / "claim")
    assert outcome.verdict.reason
    assert len(list(outcome.folder.glob("*.png"))) == (2 if claim is fourier_features.CLAIM else 1)
    assert outcome.table().count("\n") >= 4
