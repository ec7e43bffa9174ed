"""Independent stages that are something together: measured once all are there, named where some are not."""

import gc
import math
import weakref
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Generator

from rayformer.core.errors import RunError
from rayformer.engine.chain import (
    FinishedTasks,
    best_weights,
    chain_result,
    measure_whole,
    stage_run,
    train_chain,
    whole_task,
)
from rayformer.engine.launch import Launch
from rayformer.engine.task import Chain, Stage, Task
from rayformer.runs.pictures import read_caption
from rayformer.runs.run import Run
from tests.engine.toys import PLAN, Line

HERE = Launch(torch.device("cpu"))


class Mean(Line):
    """The mean of several lines' errors."""

    def __init__(self, lines: Mapping[str, Line]):
        super().__init__()
        self.model = torch.nn.ModuleDict({name: line.model for name, line in lines.items()})
        self.lines = dict(lines)

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        assert not self.model.training, "what is measured is not in training"
        errors = [line.evaluate(split, generator)["squared_error"] for line in self.lines.values()]
        return {"mean_error": sum(errors) / len(errors)}


def chain(names: str = "abc", steps: int = 6, whole: bool = True) -> Chain:
    plan = replace(PLAN, steps=steps)
    stages = [Stage(name=name, task=lambda _, name=name: Line(ord(name)), plan=plan) for name in names]

    def together(tasks: Mapping[str, Task]) -> Task:
        return Mean(tasks)  # type: ignore[arg-type]  # toys, all of them

    return Chain(stages=stages, independent=True, whole=together if whole else None)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", "toy", {})


def test_the_whole_is_measured_on_the_weights_of_its_stages(run):
    train_chain(chain(), run, 7, HERE)
    numbers = measure_whole(chain(), run, 7, HERE.device)
    of_stages = [run.stage(name).result()["squared_error"] for name in "abc"]
    assert numbers["mean_error"] == pytest.approx(math.fsum(of_stages) / 3, rel=1e-6)
    assert [name for name, *_ in run.pictures()] == ["held-out/grey"]
    assert read_caption(run.path / "pictures" / "held-out" / "grey.png") == "a grey square"


def test_finished_tasks_are_built_when_they_are_asked_for_and_kept_no_longer_than_they_are_held(run):
    train_chain(chain(), run, 7, HERE)
    tasks = FinishedTasks(chain(), run)
    assert (list(tasks), len(tasks)) == (["a", "b", "c"], 3)
    one = tasks["b"]
    assert tasks["b"] is one
    kept = best_weights(run.stage("b"))[0]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in one.model.state_dict().items())
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


def test_stages_that_are_missing_are_named_with_the_command_that_trains_them(run, snapshot, tmp_path):
    train_chain(chain("a"), run, 7, HERE)
    assert chain_result(chain(), run) is None
    with pytest.raises(RunError) as refusal:
        whole_task(chain(), run, HERE.device)
    snapshot("missing_stages", str(refusal.value))


def test_an_independent_stage_has_a_folder_of_its_own_even_alone(run):
    assert stage_run(chain("a"), chain("a").stages[0], run).path == run.path / "stages" / "a"
    alone = replace(chain("a"), independent=False)
    assert stage_run(alone, alone.stages[0], run).path == run.path


def test_a_stage_that_is_added_later_leaves_the_others_bit_for_bit(run):
    train_chain(chain("ab"), run, 7, HERE)

    def bits(name: str) -> bytes:
        (_, folder), *_ = run.stage(name).checkpoints()
        return (folder / "model.safetensors").read_bytes()

    before, said = [bits(name) for name in "ab"], []
    train_chain(chain("abc"), run, 7, HERE, said.append)
    assert [bits(name) for name in "ab"] == before
    assert said == ["stage a is finished already", "stage b is finished already"]
    assert run.stage("c").result()
