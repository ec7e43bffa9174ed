"""A model is watched while it trains, and trains as if nobody watched."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from rayformer.engine.fit import Trainer, fit
from rayformer.engine.launch import Launch
from rayformer.engine.plan import Plan
from rayformer.engine.task import Stage
from rayformer.runs.run import Run
from tests.engine.test_fit import assert_same_bits
from tests.engine.toys import PLAN, Line

HERE = Launch(torch.device("cpu"))


class Watcher:
    """Looks after every second step, and notes how the model stood."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool, bool, torch.Tensor]] = []

    def wants(self, task: Line, step: int) -> bool:
        return step % 2 == 0

    def look(self, task: Line, step: int) -> None:
        output = task.model(torch.ones(1, 4))
        weights = next(task.model.parameters()).detach().clone()
        self.seen.append((step, task.model.training, output.requires_grad, weights))


def train(path, plan: Plan, onlooker: Watcher | None) -> Run:
    task = Line(noise=0.1)
    task.model.append(nn.BatchNorm1d(1))  # training mode would show in its buffers
    run = Run.open(path) if path.exists() else Run.create(path, "toy", {})
    fit(Stage(name="toy", task=lambda _: task, plan=plan), task, run, 7, HERE, onlooker)
    assert task.model.training
    return run


@pytest.mark.parametrize("ema", [None, 0.9], ids=["weights", "averaged"])
def test_a_run_that_is_watched_is_to_the_last_bit_the_run_that_is_not(tmp_path, ema):
    plan, watcher = replace(PLAN, ema=ema), Watcher()
    alone = train(tmp_path / "alone", plan, None)
    watched = train(tmp_path / "watched", plan, watcher)
    assert [step for step, *_ in watcher.seen] == list(range(2, 21, 2))
    assert_same_bits(alone, watched)


def test_a_run_resumed_under_other_eyes_is_the_unbroken_one(tmp_path):
    unbroken = train(tmp_path / "unbroken", PLAN, None)
    train(tmp_path / "cut", replace(PLAN, steps=9), Watcher())
    assert_same_bits(unbroken, train(tmp_path / "cut", PLAN, None))


def test_the_onlooker_meets_the_model_in_evaluation_mode_without_gradients(tmp_path):
    watcher = Watcher()
    train(tmp_path / "run", PLAN, watcher)
    assert not any(training or graded for _, training, graded, _ in watcher.seen)


def test_the_onlooker_sees_the_averaged_weights_where_there_are_any(tmp_path):
    task, watcher = Line(), Watcher()
    run = Run.create(tmp_path / "run", "toy", {})
    trainer = Trainer(
        Stage(name="toy", task=lambda _: task, plan=replace(PLAN, ema=0.9)), task, run, 7, HERE, watcher
    )
    trainer.ema.average = {name: torch.full_like(value, 0.5) for name, value in trainer.ema.average.items()}
    own = next(task.model.parameters()).detach().clone()
    trainer.let_look()
    ((_, _, _, seen),) = watcher.seen
    assert (seen == 0.5).all()
    assert torch.equal(next(task.model.parameters()), own)


def test_the_clock_of_the_run_stands_still_while_somebody_looks(tmp_path, monkeypatch):
    task, now = Line(), [100.0]
    monkeypatch.setattr("rayformer.engine.fit.time.monotonic", lambda: now[0])

    class Slow(Watcher):
        def look(self, task: Line, step: int) -> None:
            now[0] += 60.0

    run = Run.create(tmp_path / "run", "toy", {})
    trainer = Trainer(Stage(name="toy", task=lambda _: task, plan=PLAN), task, run, 7, HERE, Slow())
    trainer.let_look()
    assert now[0] - trainer.began == 0.0


def test_a_fault_of_the_onlooker_leaves_the_model_as_it_was(tmp_path):
    class Clumsy(Watcher):
        def look(self, task: Line, step: int) -> None:
            raise RuntimeError("dropped it")

    task = Line()
    run = Run.create(tmp_path / "run", "toy", {})
    trainer = Trainer(
        Stage(name="toy", task=lambda _: task, plan=replace(PLAN, ema=0.9)), task, run, 7, HERE, Clumsy()
    )
    own = next(task.model.parameters()).detach().clone()
    with pytest.raises(RuntimeError, match="dropped it"):
        trainer.let_look()
    assert task.model.training
    assert torch.equal(next(task.model.parameters()), own)
