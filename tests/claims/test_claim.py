"""A claim put to the test: its cells, its table, its verdict, and the folder that it goes on in."""

import json
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rayformer.claims.claim import Cell, Claim, ClaimOutcome, Measured, Verdict
from rayformer.core.errors import RunError
from rayformer.recipes import index
from rayformer.runs.pictures import Picture, read_caption
from rayformer.runs.run import Run
from tests.engine.toys import Line
from tests.recipes.toy_recipes import RECIPES, SHORT, ToyConfig

CLEAN = ToyConfig(noise=0.0)


def cells(smoke: bool) -> list[Cell]:
    plan = replace(SHORT, steps=4 if smoke else 30)
    clean = replace(CLEAN, plan=plan)
    return [Cell("clean", "line", clean, 0.1), Cell("much noise", "line", replace(clean, noise=20.0))]


def judge(measured: Mapping[str, Measured]) -> Verdict:
    clean, noisy = (row.median("squared_error") for row in measured.values())
    return Verdict(clean < noisy, f"{clean:.3f} against {noisy:.3f}")


CLAIM = Claim(
    name="noise-hurts",
    statement="a line is learned better without noise",
    paper="Gauss 1809, section 179",
    metrics=("squared_error",),
    cells=cells,
    judge=judge,
    draw=lambda measured: {"grey": Picture(np.full((4, 4, 3), 99, np.uint8), ", ".join(measured))},
    seeds=(0, 1),
)


@pytest.fixture(autouse=True)
def _toys(monkeypatch):
    monkeypatch.setattr(index, "load", RECIPES.__getitem__)


def steps_taken(monkeypatch) -> list[int]:
    taken: list[int] = []
    monkeypatch.setattr(Line, "before_step", lambda task, step, generator: taken.append(step))
    return taken


def test_every_cell_is_trained_with_every_seed_and_judged(tmp_path):
    outcome = CLAIM.reproduce(out=tmp_path / "claim")
    assert outcome.verdict.holds
    assert {path.name for path in outcome.folder.iterdir()} == {
        "clean-seed0", "clean-seed1", "much-noise-seed0", "much-noise-seed1",
        "noise-hurts-grey.png", "noise-hurts.md", "noise-hurts.json",
    }  # fmt: skip
    assert [Run.open(path).manifest["seed"] for path in outcome.measured["clean"].runs] == [0, 1]
    assert read_caption(outcome.folder / "noise-hurts-grey.png") == "clean, much noise"
    assert (outcome.folder / "noise-hurts.md").read_text() == outcome.table() + "\n"
    kept = json.loads((outcome.folder / "noise-hurts.json").read_text())
    assert kept == outcome.to_plain()
    assert (kept["holds"], kept["smoke"]) == (True, False)
    result = Run.open(outcome.folder / "clean-seed1").result()
    assert kept["cells"]["clean"]["results"][1] == result


def test_the_same_folder_trains_only_what_is_missing(tmp_path, monkeypatch):
    folder = tmp_path / "claim"
    first = CLAIM.reproduce(smoke=True, out=folder)
    taken = steps_taken(monkeypatch)
    assert CLAIM.reproduce(smoke=True, out=folder).to_plain() == first.to_plain()
    assert taken == []
    CLAIM.reproduce(smoke=True, out=folder, seeds=[0, 5])
    assert taken == [0, 1, 2, 3] * 2  # seed 5 of both cells


def test_an_interrupted_claim_goes_on_in_the_middle_of_its_cell(tmp_path, monkeypatch):
    def before_step(task: Line, step: int, generator: object) -> None:
        if task.noise and step == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as stopping:
        stopping.setattr(Line, "before_step", before_step)
        with pytest.raises(KeyboardInterrupt):
            CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert not (tmp_path / "claim" / "noise-hurts.md").exists()
    taken = steps_taken(monkeypatch)
    CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert taken == [3]
    whole = CLAIM.reproduce(smoke=True, out=tmp_path / "whole")
    again = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert again.verdict == whole.verdict


def test_a_folder_with_another_config_of_a_cell_is_refused(tmp_path, snapshot):
    CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    with pytest.raises(RunError) as error:
        CLAIM.reproduce(smoke=False, out=tmp_path / "claim")
    snapshot("another_config", str(error.value))


def test_without_a_folder_a_claim_makes_one_under_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = CLAIM.reproduce(smoke=True)
    assert outcome.folder.parent == Path("runs")
    assert outcome.folder.name.endswith("-noise-hurts-smoke")
    assert len(outcome.measured["clean"].runs) == 1, "smoke takes one seed"


def measured(name: str, errors: tuple[float, ...], paper: float | None = None) -> Measured:
    results = tuple({"squared_error": error, "train_s": 10.0 + error} for error in errors)
    return Measured(Cell(name, "line", CLEAN, paper), tuple(Path(f"{seed}") for seed in errors), results)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("papers", [True, False])
def test_what_a_person_reads(seeds, papers, snapshot):
    rows = {
        "clean": measured("clean", (0.5, 0.125, 0.25)[:seeds], 0.1 if papers else None),
        "much noise": measured("much noise", (4.0, 3.0, 2.0)[:seeds]),
    }
    outcome = ClaimOutcome(CLAIM, Path("runs/noise"), rows, judge(rows), smoke=seeds == 1)
    snapshot(f"{seeds}_seeds{'_papers' if papers else ''}", outcome.text())


def test_a_claim_that_fails_says_so():
    rows = {"clean": measured("clean", (5.0,)), "much noise": measured("much noise", (4.0,))}
    text = ClaimOutcome(CLAIM, Path("runs/noise"), rows, judge(rows), smoke=False).text()
    assert "The claim does not hold: 5.000 against 4.000" in text
