"""The one loop: its gradient, its exactness, its guard, and what it leaves behind."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from rayformer.core.errors import ConfigError, DataError, Diverged, RunError
from rayformer.engine.chain import train_chain, wear
from rayformer.engine.checkpoint import open_checkpoint, put_model, read_checkpoint
from rayformer.engine.fit import Trainer, fit
from rayformer.engine.launch import Launch, launched
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.progress import Watch
from rayformer.engine.task import Chain, Group, Stage
from rayformer.runs.run import Run
from tests.engine.toys import PLAN, Aside, Counting, Diverging, Growing, Line, Reborn, Rivals, chain_of

ROOT = Path(__file__).parents[2]
HERE = Launch(torch.device("cpu"))


def train(path: Path, task, plan: Plan = PLAN, seed: int = 7) -> Run:
    run = Run.open(path) if path.exists() else Run.create(path, "toy", {})
    train_chain(chain_of(task, plan), run, seed, HERE)
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    checkpoint, _ = read_checkpoint(run)
    return {
        f"{file}.{name}": value
        for file, tensors in checkpoint.tensors.items()
        for name, value in tensors.items()
    }


def assert_same_bits(a: Run, b: Run) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("task", [Line, Growing, Counting], ids=["line", "growing", "counting"])
def test_each_kind_of_task_learns(task, tmp_path):
    run = train(tmp_path / "run", task(), replace(PLAN, steps=100))
    log = run.metrics()
    assert log[-1]["train/loss"] < 0.3 * log[0]["train/loss"]
    assert run.result()["squared_error"] < 0.3


@pytest.mark.parametrize("name", ["adam", "adamw", "bert-adam", "sgd", "lars"])
def test_every_optimiser_descends(name, tmp_path):
    run = train(
        tmp_path / "run", Line(), replace(PLAN, steps=80, optim=Optim(name=name, rate=0.05, trust=0.5))
    )
    log = run.metrics()
    assert log[-1]["train/loss"] < 0.5 * log[0]["train/loss"]


def test_rivals_train_in_the_same_loop_and_neither_sees_the_others_gradient():
    task = Rivals()
    batch = task.batch("train", 0, 0, 1).split()[0]
    losses = task.loss(batch, 0, torch.Generator())
    maker, critic = task.model["maker"].weight, task.model["critic"].weight
    assert torch.autograd.grad(losses.terms["critic"], maker, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(losses.terms["maker"], critic, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(losses.total, [maker, critic])[0].abs().sum() > 0


# ---------------------------------------------------------------- the gradient of the whole batch


def gradients(sizes: tuple[int, ...], accumulate: int = 1) -> dict[str, torch.Tensor]:
    """The gradient of one step as the optimiser would see it."""
    task, seen = Line(sizes=sizes), {}
    plan = replace(PLAN, steps=1, accumulate=accumulate)
    run = Run.create(None, "toy", {})
    trainer = Trainer(Stage(name="toy", task=lambda _: task, plan=plan), task, run, 7, HERE)
    trainer.optimiser.step = lambda: seen.update(
        {name: p.grad.clone() for name, p in task.model.named_parameters()}
    )
    trainer.take_step(0, 0.0, [task.batch("train", part, 0, 1) for part in range(accumulate)])
    return seen


def test_pieces_of_any_size_give_the_gradient_of_the_whole_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = gradients((32,))
    for sizes in [(8, 8, 8, 8), (1, 31), (5, 20, 7)]:
        pieces = gradients(sizes)
        for name in whole:
            torch.testing.assert_close(pieces[name], whole[name])


def test_accumulated_batches_give_the_gradient_of_their_union(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Line(sizes=(32,))
    union = [task.batch("train", part, 0, 1).points for part in range(3)]
    inputs, targets = torch.cat([p.inputs for p in union]), torch.cat([p.targets for p in union])
    (task.model(inputs) - targets).square().mean().backward()
    accumulated = gradients((32,), accumulate=3)
    for name, parameter in task.model.named_parameters():
        torch.testing.assert_close(accumulated[name], parameter.grad)


def test_clipping_bounds_the_step_of_plain_sgd(tmp_path):
    task = Line()
    before = [p.detach().clone() for p in task.model.parameters()]
    train(
        tmp_path / "run",
        task,
        replace(PLAN, steps=1, clip=0.01, optim=Optim(name="sgd", rate=1.0, momentum=0.0)),
    )
    moved = torch.cat(
        [(p.detach() - b).flatten() for p, b in zip(task.model.parameters(), before, strict=True)]
    )
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_units_are_clipped_before_the_step_and_only_where_their_gradient_is_long(tmp_path):
    plan = replace(PLAN, steps=1, optim=Optim(name="sgd", rate=1.0, momentum=0.0), clip_units=0.01)
    before = {name: value.detach().clone() for name, value in Line().model.named_parameters()}
    after = weights(train(tmp_path / "run", Line(), plan))
    for name, value in before.items():
        moved, size = (
            x.reshape(len(x) if value.ndim > 1 else 1, -1) for x in (after[f"model.{name}"] - value, value)
        )
        assert (moved.norm(dim=1) <= 0.01 * size.norm(dim=1) * (1 + 1e-3)).all(), name
    free = weights(train(tmp_path / "free", Line(), replace(plan, clip_units=1e9)))
    unclipped = weights(train(tmp_path / "unclipped", Line(), replace(plan, clip_units=None)))
    assert all(torch.equal(free[name], unclipped[name]) for name in free)
    assert not torch.equal(free["model.0.weight"], after["model.0.weight"])


def test_groups_have_rates_of_their_own_and_must_hold_every_parameter_once(tmp_path):
    task = Line()

    def frozen_first(model):
        return [
            Group("first", ("0.weight", "0.bias"), rate=0.0),
            Group("rest", ("2.weight", "2.bias")),
        ]

    before = task.model[0].weight.detach().clone()
    chain = Chain(stages=[Stage(name="toy", task=lambda _: task, plan=PLAN, groups=frozen_first)])
    train_chain(chain, Run.create(tmp_path / "run", "toy", {}), 0, HERE)
    assert torch.equal(task.model[0].weight, before)
    half = Stage(
        name="toy", task=lambda _: task, plan=PLAN, groups=lambda model: [Group("first", ("0.weight",))]
    )
    with pytest.raises(ConfigError, match=r"exactly once; missing: \['0.bias'"):
        train_chain(Chain(stages=[half]), Run.create(tmp_path / "other", "toy", {}), 0, HERE)


# ---------------------------------------------------------------- exactness


@pytest.mark.parametrize(
    "task", [lambda: Line(noise=0.1), Growing, Counting], ids=["line", "growing", "counting"]
)
@pytest.mark.parametrize("ema", [None, 0.9])
def test_training_on_from_a_checkpoint_gives_the_same_bits(task, ema, tmp_path):
    plan = replace(PLAN, steps=20, ema=ema, schedule=Schedule(kind="cosine", warmup_steps=3))
    whole = train(tmp_path / "whole", task(), plan)
    for stop in (3, 10):  # before and after the table grows
        trainer_run = Run.create(tmp_path / f"parts{stop}", "toy", {})
        stage = Stage(name="toy", task=lambda _: None, plan=plan)
        first = Trainer(stage, toy := task(), trainer_run, 7, HERE)
        first.watch = Watch("toy", 20, shown=False)
        event = threading.Event()
        original = toy.before_step
        toy.before_step = lambda step, g, o=original, e=event, s=stop: (
            o(step, g),
            e.set() if step == s - 1 else None,
        )
        assert first.train(event)
        first.save()
        assert read_checkpoint(trainer_run)[0].state.step == stop
        train(trainer_run.path, task(), plan)
        assert_same_bits(whole, trainer_run)
        steps = [line["step"] for line in trainer_run.metrics() if "train/loss" in line]
        assert steps == sorted(set(steps))


LONG = replace(PLAN, steps=100, save_every=50, ema=0.9)
KILLED = """
import os, sys
from pathlib import Path
import torch
from tests.engine.test_fit import LONG, Line, train
torch.set_num_threads(1)
path, kill_at, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
task = Line(noise=0.1)
def before_step(step, generator):
    if step == kill_at:
        os.kill(os.getpid(), number)
task.before_step = before_step
run = train(path, task, LONG)
sys.exit(0 if run.result() else 130)
"""


def train_killed(path: Path, kill_at: int, number: int) -> int:
    """The exit status of a process that trains the line and gets a signal before step `kill_at`."""
    command = [sys.executable, "-c", KILLED, str(path), str(kill_at), str(int(number))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False).returncode


def test_a_hundred_steps_equal_fifty_a_kill_and_fifty_more_bit_for_bit(tmp_path):
    assert train_killed(tmp_path / "killed", 73, signal.SIGKILL) == -signal.SIGKILL
    assert [step for step, _ in Run.open(tmp_path / "killed").checkpoints()] == [50]
    killed = train(tmp_path / "killed", Line(noise=0.1), LONG)
    whole = train(tmp_path / "whole", Line(noise=0.1), LONG)
    assert_same_bits(whole, killed)
    assert losses(whole) == losses(killed)


def test_ctrl_c_finishes_the_step_saves_and_leaves_a_resumable_run(tmp_path):
    assert train_killed(tmp_path / "stopped", 41, signal.SIGINT) == 130
    assert [step for step, _ in Run.open(tmp_path / "stopped").checkpoints()] == [42]
    stopped = train(tmp_path / "stopped", Line(noise=0.1), LONG)
    assert_same_bits(train(tmp_path / "whole", Line(noise=0.1), LONG), stopped)


def interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_in_the_last_step_is_not_forgotten(tmp_path):
    task = Line()
    task.before_step = lambda step, generator: interrupt() if step == PLAN.steps - 1 else None
    run = Run.create(tmp_path / "run", "toy", {})
    assert train_chain(chain_of(task), run, 7, HERE)["toy"].interrupted
    assert run.result() is None
    assert train(run.path, Line()).result()["steps"] == PLAN.steps


def test_ctrl_c_while_the_result_is_measured_keeps_the_training(tmp_path, capsys):
    task = Line()
    task.evaluate = interrupt
    run = Run.create(tmp_path / "run", "toy", {})
    assert train_chain(chain_of(task), run, 7, HERE)["toy"].interrupted
    assert f"step 20 is saved, go on with --resume {run.path}" in capsys.readouterr().err
    assert [step for step, _ in run.checkpoints()] == [PLAN.steps]
    before = run.metrics()
    assert train(run.path, Line()).result()["steps"] == PLAN.steps
    assert run.metrics() == before


def test_a_finished_run_goes_on_when_its_plan_grows_and_only_then(tmp_path):
    plan = replace(PLAN, schedule=Schedule(kind="constant"))
    run = train(tmp_path / "run", Line(noise=0.1), plan)
    before = run.metrics()
    train(run.path, Line(noise=0.1), plan)
    assert run.metrics() == before
    train(run.path, Line(noise=0.1), replace(plan, steps=35))
    assert run.result()["steps"] == 35
    assert_same_bits(train(tmp_path / "whole", Line(noise=0.1), replace(plan, steps=35)), run)


# ---------------------------------------------------------------- the guard


@pytest.mark.parametrize("where", ["nan", "inf", "gradient"])
def test_a_value_that_is_not_finite_stops_before_the_weights_are_touched(where, tmp_path, snapshot):
    run = Run.create(tmp_path / "run", "toy", {})
    task = Diverging(step=12, where=where)
    with pytest.raises(Diverged) as error:
        train_chain(chain_of(task, replace(PLAN, save_every=5)), run, 7, HERE)
    snapshot(f"diverged_{where}", str(error.value))
    assert [step for step, _ in run.checkpoints()] == [5, 10]
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    assert all(torch.isfinite(p).all() for p in task.model.parameters())


# ---------------------------------------------------------------- checkpoints


def test_the_last_two_checkpoints_and_the_best_are_kept(tmp_path):
    task = Line()
    values = iter([3.0, 1.0, 2.0, 2.5, 4.0, 9.0])
    task.evaluate = lambda split, generator: {"squared_error": next(values)}
    run = train(tmp_path / "run", task, replace(PLAN, steps=24, evaluate_every=4, save_every=4))
    assert [step for step, _ in run.checkpoints()] == [8, 20, 24]
    assert json.loads((run.checkpoints()[-1][1] / "state.json").read_text())["best_step"] == 8


@pytest.mark.parametrize("harm", ["short", "bits", "no state", "half a state"])
def test_a_torn_newest_checkpoint_is_named_and_the_one_before_it_is_used(harm, tmp_path, capsys):
    run = train(tmp_path / "run", Line(), replace(PLAN, steps=20, save_every=10))
    newest = run.checkpoints()[-1][1]
    model, state = newest / "model.safetensors", newest / "state.json"
    if harm == "short":
        model.write_bytes(model.read_bytes()[:-7])
    elif harm == "bits":
        model.write_bytes(model.read_bytes()[:-7] + b"garbage")
    elif harm == "no state":
        state.unlink()
    else:
        state.write_text(state.read_text()[:20])
    checkpoint, remarks = read_checkpoint(run)
    assert checkpoint.state.step == 10
    assert len(remarks) == 1
    assert "20" in remarks[0]
    assert "passed over" in remarks[0]
    whole = train(tmp_path / "whole", Line(), replace(PLAN, steps=20, save_every=10))
    (run.path / "result.json").unlink()
    train(run.path, Line(), replace(PLAN, steps=20, save_every=10))
    assert "passed over" in capsys.readouterr().err
    assert_same_bits(whole, run)


def test_a_full_disk_while_saving_leaves_the_last_good_checkpoint(tmp_path):
    """The file size limit stands in for the disk: the system refuses further bytes in the same place."""
    run = train(tmp_path / "run", Line(width=4000), replace(PLAN, steps=2, save_every=1))
    (run.path / "result.json").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # the log still fits, 130 kB of weights do not
    try:
        with pytest.raises(RunError, match="could not save the checkpoint of step 3") as error:
            train(run.path, Line(width=4000), replace(PLAN, steps=4, save_every=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "step 2, survives" in str(error.value)
    assert [step for step, _ in run.checkpoints()] == [1, 2]
    assert not list((run.path / "checkpoints").glob(".*"))
    whole = train(tmp_path / "whole", Line(width=4000), replace(PLAN, steps=4, save_every=1))
    train(run.path, Line(width=4000), replace(PLAN, steps=4, save_every=1))
    assert_same_bits(whole, run)


def test_tied_weights_are_stored_once_and_come_back_tied(tmp_path):
    class Tied(Line):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(
                nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 1)
            )
            self.model[1].weight = self.model[0].weight

    run = train(tmp_path / "run", Tied())
    stored = open_checkpoint(run.checkpoints()[-1][1]).tensors["model"]
    assert torch.equal(stored["0.weight"], stored["1.weight"])
    size = (run.checkpoints()[-1][1] / "model.safetensors").stat().st_size
    assert size < 16 * 4 + 5 * 4 + 600
    fresh = Tied()
    put_model(fresh.model, stored)
    assert fresh.model[1].weight is fresh.model[0].weight


def test_a_checkpoint_of_another_model_is_refused_with_the_names(tmp_path):
    run = train(tmp_path / "run", Line())
    with pytest.raises(RunError, match=r"another model; missing: \['critic"):
        put_model(Rivals().model, open_checkpoint(run.checkpoints()[-1][1]).tensors["model"])


# ---------------------------------------------------------------- averages, schedules, the clock


def test_the_average_is_what_is_evaluated_and_worn(tmp_path):
    task = Line()
    seen = []
    task.evaluate = lambda split, generator: (
        seen.append(task.model[0].weight.detach().clone()) or {"squared_error": 0.0}
    )
    plan = replace(PLAN, ema=0.9)
    run = Run.create(tmp_path / "run", "toy", {})
    fit(Stage(name="toy", task=lambda _: task, plan=plan), task, run, 7, HERE)
    stored = open_checkpoint(run.checkpoints()[-1][1]).tensors
    assert torch.equal(seen[-1], stored["ema"]["0.weight"])
    assert torch.equal(task.model[0].weight, stored["model"]["0.weight"])
    assert not torch.equal(stored["ema"]["0.weight"], stored["model"]["0.weight"])
    wear(task.model, run)
    assert torch.equal(task.model[0].weight, stored["ema"]["0.weight"])


@pytest.mark.parametrize("task", [Growing, Reborn])
def test_the_average_of_a_replaced_parameter_starts_anew(task, tmp_path):
    """After one more step it is 6/15 of the new start and 9/15 of the weights, with nothing of the old."""
    run = train(tmp_path / "run", task(), replace(PLAN, steps=6, ema=0.99))
    stored = open_checkpoint(run.checkpoints()[-1][1]).tensors
    name = "values" if task is Growing else "0.weight"
    toy = task()
    start = torch.full_like(toy.model[0].weight, 0.25) if task is Reborn else None
    if start is None:
        before = train(tmp_path / "before", toy, replace(PLAN, steps=5))
        put_model(toy.model, open_checkpoint(before.checkpoints()[-1][1]).tensors["model"])
        toy.model.grow()
        start = toy.model.values.detach()
    share = (1 + 5) / (10 + 5)
    torch.testing.assert_close(
        stored["ema"][name], share * start + (1 - share) * stored["model"][name], rtol=1e-5, atol=1e-6
    )


def test_a_value_that_is_no_number_is_never_the_best(tmp_path):
    task, values = Line(), iter([float("nan"), 3.0, float("nan"), 2.0, 5.0])
    task.evaluate = lambda split, generator: {"squared_error": next(values)}
    run = train(tmp_path / "run", task, replace(PLAN, steps=20, evaluate_every=4, save_every=4))
    state = json.loads((run.checkpoints()[-1][1] / "state.json").read_text())
    assert (state["best"], state["best_step"]) == (2.0, 16)


def test_what_a_thread_meets_while_making_batches_ahead_is_raised_by_the_loop(tmp_path):
    task = Line()
    whole = task.batch

    def batch(split: str, step: int, rank: int, world: int):
        if step == 9:
            raise DataError("the photograph of step 9 cannot be read")
        return whole(split, step, rank, world)

    task.batch = batch
    with pytest.raises(DataError, match="step 9"):
        train(tmp_path / "run", task, replace(PLAN, prefetch=3, save_every=4))
    assert [step for step, _ in Run.open(tmp_path / "run").checkpoints()] == [4, 8]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_batches_made_ahead_change_no_bit(tmp_path):
    runs = [
        train(tmp_path / f"{ahead}", Line(noise=0.1), replace(PLAN, prefetch=ahead, accumulate=2))
        for ahead in (0, 3)
    ]
    assert_same_bits(*runs)


CLOCK = replace(PLAN, steps=10**6, minutes=0.01, log_every=5, schedule=Schedule(kind="cosine"))


def test_minutes_end_the_training_before_its_steps_and_no_resume_adds_to_them(tmp_path):
    run = train(tmp_path / "run", Line(), CLOCK)
    log = [line for line in run.metrics() if "train/rate" in line]
    assert 10 < run.result()["steps"] < 10**6
    assert run.result()["train_s"] == pytest.approx(0.6, abs=0.3)
    assert log[-1]["train/rate"] < 0.5 * log[0]["train/rate"]
    steps = run.result()["steps"]
    train(run.path, Line(), CLOCK)
    assert run.result()["steps"] == steps
    (run.path / "result.json").unlink()
    train(run.path, Line(), CLOCK)
    assert run.result()["steps"] == steps
    train(run.path, Line(), replace(CLOCK, minutes=0.02))
    assert run.result()["steps"] > steps
    assert run.result()["train_s"] == pytest.approx(1.2, abs=0.3)


# ---------------------------------------------------------------- chains


class Fine(Line):
    """A second stage that starts from the first one's model."""

    def __init__(self, first: Line):
        super().__init__()
        self.model = first.model


def test_a_later_stage_stands_on_the_earlier_and_finished_ones_are_not_trained_again(tmp_path):
    def chain(second_steps: int) -> Chain:
        return Chain(
            stages=[
                Stage(name="coarse", task=lambda done: Line(), plan=replace(PLAN, steps=30)),
                Stage(
                    name="fine",
                    task=lambda done: Fine(done["coarse"]),
                    plan=replace(PLAN, steps=second_steps),
                ),
            ]
        )

    run = Run.create(tmp_path / "run", "toy", {})
    outcomes = train_chain(chain(30), run, 7, HERE)
    assert run.stage("fine").metrics()[0]["train/loss"] < 0.7 * run.stage("coarse").metrics()[0]["train/loss"]
    said = []
    again = train_chain(chain(30), run, 7, HERE, said.append)
    assert said == ["stage coarse is finished already", "stage fine is finished already"]
    assert again["fine"].result == outcomes["fine"].result | {
        k: again["fine"].result[k] for k in ("steps", "train_s")
    }


def test_independent_stages_are_dealt_out_and_a_failed_one_loses_no_other(tmp_path):
    broken = True

    def block(name: str) -> Line:
        return Diverging(step=3, where="nan") if broken and name == "b" else Line()

    names = "abcd"
    chain = Chain(
        independent=True,
        stages=[Stage(name=name, task=lambda _, name=name: block(name), plan=PLAN) for name in names],
    )
    run = Run.create(tmp_path / "run", "toy", {})
    with pytest.raises(RunError, match="1 of 4 stages failed") as error:
        train_chain(chain, run, 7, Launch(torch.device("cpu"), rank=1, world=2))
    assert "b: stage 'b', step 3" in str(error.value)
    assert [name for name in names if run.stage(name).result()] == ["d"]
    train_chain(chain, run, 7, Launch(torch.device("cpu"), rank=0, world=2))
    assert [name for name in names if run.stage(name).result()] == ["a", "c", "d"]
    broken = False
    said = []
    train_chain(chain, run, 7, HERE, said.append)
    assert [name for name in names if run.stage(name).result()] == list(names)
    assert len(said) == 3


# ---------------------------------------------------------------- several processes


def two_processes(folder: Path, steps: int, *kinds: str) -> None:
    """What `two_processes.py` says of itself, done; one start for all, since starting takes longest."""
    for kind in kinds:
        if not (folder / kind).exists():
            Run.create(folder / kind, "toy", {})
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(ROOT / "tests" / "engine" / "two_processes.py"), str(folder), str(steps), *kinds,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=200, env=environment
    )
    assert done.returncode == 0, textwrap.shorten(done.stderr[-3000:], 3000)


def losses(run: Run) -> list[float]:
    return [line["train/loss"] for line in run.metrics() if "train/loss" in line]


TWO = replace(PLAN, steps=6, ema=0.9, clip=1.0)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    kinds = (
        "ddp", "accumulate", "fsdp", "parts", "growing", "aside", "units-ddp", "units-fsdp",
        "full-ddp", "full-fsdp",
    )  # fmt: skip
    two_processes(folder, TWO.steps, *kinds)
    return folder


@pytest.mark.parametrize(
    "kind", ["ddp", "accumulate", "fsdp", "parts", "growing", "aside", "units-ddp", "units-fsdp"]
)
def test_two_processes_give_the_loss_of_one_with_the_same_global_batch(kind, by_two, tmp_path):
    plan = replace(TWO, accumulate=2) if kind == "accumulate" or "units" in kind else TWO
    plan = replace(plan, clip_units=0.01) if "units" in kind else plan
    task = {"growing": Growing, "aside": Aside}.get(kind, lambda: Line(noise=0.1))
    one, two = train(tmp_path / "one", task(), plan), Run.open(by_two / kind)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    # What two processes wrote, one reads: the same names, shapes and (up to the order of sums) values.
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(second[name], first[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_goes_on_from_where_two_stopped(kind, by_two, tmp_path):
    shutil.copytree(by_two / kind, tmp_path / "two")
    go_on = train(tmp_path / "two", Line(noise=0.1), replace(TWO, steps=10))
    whole = train(tmp_path / "whole", Line(noise=0.1), replace(TWO, steps=10))
    assert losses(go_on) == pytest.approx(losses(whole), rel=1e-4)


def test_two_processes_resume_what_they_split(by_two, tmp_path):
    shutil.copytree(by_two / "fsdp", tmp_path / "fsdp")
    two_processes(tmp_path, 8, "fsdp")
    whole = train(tmp_path / "whole", Line(noise=0.1), replace(TWO, steps=8))
    assert losses(Run.open(tmp_path / "fsdp")) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.parametrize("kind", ["full-ddp", "full-fsdp"])
def test_a_disk_that_is_full_for_one_process_stops_all_of_them(kind, by_two):
    said = [(by_two / kind / f"said-{rank}.txt").read_text() for rank in (0, 1)]
    assert all("could not save the checkpoint of step 6" in text for text in said)
    assert "File too large" in said[0]
    assert not list((by_two / kind / "checkpoints").iterdir())


def test_processes_cannot_share_a_device_that_has_no_way_between_them(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="2 processes cannot train together on mps"), launched("mps"):
        pass


def test_whoever_opens_a_run_is_told_of_a_torn_checkpoint(tmp_path, caplog):
    run = train(tmp_path / "run", Line(), replace(PLAN, steps=20, save_every=10))
    (run.checkpoints()[-1][1] / "model.safetensors").write_bytes(b"torn")
    assert wear(Line().model, run) == 10
    assert "checkpoint of step 20 was passed over" in caplog.text
