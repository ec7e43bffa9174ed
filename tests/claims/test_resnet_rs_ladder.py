"""The ladder of ResNet-RS: every rung changes one thing and keeps the rest, and is judged with its chance."""

from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.resnet_rs_ladder import CLAIM, LONGER, RUNGS, STEPS, cells, judge
from rayformer.core.errors import ConfigError

PAPER = [paper for _, paper, _ in RUNGS]


def measured(numbers, apart: float = 0.2) -> dict[str, Measured]:
    return {
        cell.name: Measured(
            cell,
            (Path("0"), Path("1")),
            tuple({"top1_percent": number + side * apart / 2, "train_s": 1.0} for side in (-1, 1)),
        )
        for cell, number in zip(cells(False), numbers, strict=True)
    }


def differences(one, other, path: str = "") -> set[str]:
    if is_dataclass(one) and type(one) is type(other):
        return set().union(
            *(
                differences(getattr(one, f.name), getattr(other, f.name), f"{path}.{f.name}")
                for f in fields(one)
            )
        )
    return set() if one == other else {path.removeprefix(".")}


@pytest.mark.parametrize("smoke", [False, True])
def test_every_rung_changes_one_thing_and_keeps_what_was_there(smoke):
    configs = [cell.config for cell in cells(smoke)]
    changed = [differences(*pair) for pair in pairwise(configs)]
    assert changed[0] <= {"plan.schedule.kind", "plan.schedule.milestones"}
    assert changed[1:8] == [
        {"plan.steps"},
        {"plan.ema"},
        {"train.mix.smoothing"},
        {"model.drop_path"},
        changed[5],
        {"model.dropout"},
        {"plan.optim.decay"},
    ]
    assert {name.rpartition(".")[0] for name in changed[5]} == {"augment.policy"}
    assert changed[8] == {"model.squeeze"}
    assert changed[9] == {"model.deep_stem", "model.pooled_shortcut", "model.max_pool"}


def test_the_ladder_begins_with_a_plain_resnet_and_ends_with_resnet_rs():
    first, last = cells(False)[0].config, cells(False)[-1].config
    assert (first.model.squeeze, first.model.deep_stem, first.plan.ema) == (0, False, None)
    assert first.plan.schedule.kind == "step"
    assert (last.model.squeeze, last.model.deep_stem, last.model.max_pool) == (0.25, True, False)
    assert (last.plan.steps, last.train.mix.smoothing) == (LONGER * STEPS, 0.1)
    assert last.plan.ema == pytest.approx(1 - 1 / (0.09 * LONGER * STEPS))


def test_the_papers_own_column_bears_the_claim_out():
    verdict = judge(measured(PAPER))
    assert verdict.holds
    assert "all rungs together +4.4 (+4.4)" in verdict.reason
    assert "by training +3.2 (+3.2), by architecture +1.2 (+1.2)" in verdict.reason
    assert "loses: longer -0.5 (-0.5), dropout -0.3 (-0.3)" in verdict.reason


def test_small_rungs_among_noisy_seeds_are_called_chance():
    verdict = judge(measured(PAPER, apart=1.0))
    assert verdict.holds
    assert "within chance: cosine +0.3 (+0.3)" in verdict.reason
    assert "gains: less weight decay +1.5 (+1.5)" in verdict.reason


def test_a_ladder_that_leads_up_by_no_more_than_chance_proves_nothing():
    assert not judge(measured(PAPER, apart=8.0)).holds


def test_a_ladder_that_leads_down_does_not_hold():
    assert not judge(measured(PAPER[::-1])).holds


def test_where_architecture_does_more_than_training_it_does_not_hold():
    assert not judge(measured([79.0] * 9 + [80.0, 83.0])).holds


def test_other_pictures_take_the_place_of_the_drawn_ones(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(CLAIM), "_measured", lambda claim, cell, *_: seen.append(cell.config.data.source) or 1 / 0
    )
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("glyphs-5", "pictures"):
        with pytest.raises(ZeroDivisionError):
            CLAIM.reproduce(smoke=True, out=tmp_path / "claim", source=source)
    assert seen == ["glyphs-5", str(tmp_path / "pictures")]


def test_a_claim_about_its_own_data_takes_no_other(tmp_path, snapshot):
    from rayformer.claims.coarse_to_fine import CLAIM as OTHER

    with pytest.raises(ConfigError) as refusal:
        OTHER.reproduce(smoke=True, out=tmp_path / "claim", source="glyphs")
    snapshot("other_data", str(refusal.value))
    assert not (tmp_path / "claim").exists()


@pytest.mark.slow
def test_the_smoke_size_climbs_every_rung(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert list(outcome.measured) == [name for name, *_ in RUNGS]
    assert "one seed cannot tell" in outcome.verdict.reason
    assert (outcome.folder / "resnet-rs-ladder-ladder.png").exists()
