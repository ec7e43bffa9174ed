"""A chain of stages: each trained into its own folder, finished ones skipped, later ones given the earlier
ones' tasks.

    train_chain     every stage of a chain, in order, or dealt out over processes where they are independent
    stage_run       where a stage lives: the run itself if it is the only one, else RUN/stages/NAME
    chain_result    what all of a chain came to, once every stage is finished
    whole_task      what independent stages are together, each wearing its weights
    FinishedTasks   these, one at a time
    measure_whole   its numbers and pictures
    wear            a stage's weights into its task's model
    best_weights    its newest weights: the averaged ones where there are any
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from rayformer.core.errors import RunError, UserError
from rayformer.core.seeds import generator
from rayformer.engine.checkpoint import put_model, read_checkpoint
from rayformer.engine.fit import Outcome, fit
from rayformer.engine.launch import Launch
from rayformer.engine.plan import Plan
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import Chain, Onlooker, Stage, Task
from rayformer.runs.run import Run

LOG = logging.getLogger(__name__)


def train_chain(
    chain: Chain,
    run: Run,
    seed: int,
    launch: Launch,
    say: Callable[[str], None] = lambda text: None,
    onlooker: Onlooker | None = None,
) -> dict[str, Outcome]:
    """Train what is not finished yet, under the eyes of `onlooker`; the outcome of every stage by name (a
    finished one gives its stored result), up to the one that was interrupted, if one was.

    Independent stages go on where one of them fails; the failures are raised together at the end. Each
    process then knows the outcomes of its own stages only.
    """
    if chain.independent:
        return _train_independent(chain, run, seed, launch, say, onlooker)
    tasks: dict[str, Task] = {}
    outcomes: dict[str, Outcome] = {}
    for stage in chain.stages:
        outcomes[stage.name], tasks[stage.name] = _train_stage(
            chain, stage, tasks, run, seed, launch, say, onlooker
        )
        if outcomes[stage.name].interrupted:
            break
    return outcomes


def _train_independent(
    chain: Chain,
    run: Run,
    seed: int,
    launch: Launch,
    say: Callable[[str], None],
    onlooker: Onlooker | None,
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    faults: list[str] = []
    alone = Launch(launch.device)  # each job trains by itself, whoever else is there
    mine = chain.stages[launch.rank :: launch.world]
    for stage in mine:
        stage_run(chain, stage, run)  # others train in this run, too: it must not pass for an untrained one
    for stage in mine:
        try:
            outcomes[stage.name], _ = _train_stage(chain, stage, {}, run, seed, alone, say, onlooker)
        except UserError as error:
            faults.append(f"{stage.name}: {error}")
            continue
        if outcomes[stage.name].interrupted:
            break
    if faults:
        raise RunError(
            f"{len(faults)} of {len(chain.stages)} stages failed; the finished ones are kept and "
            f"--resume {run.path} trains only what is "
            f"missing\n" + "\n".join(faults)
        )
    return outcomes


def _train_stage(
    chain: Chain,
    stage: Stage,
    earlier: Mapping[str, Task],
    run: Run,
    seed: int,
    launch: Launch,
    say: Callable[[str], None],
    onlooker: Onlooker | None,
) -> tuple[Outcome, Task]:
    """The stage's outcome, and its task wearing the weights that were evaluated."""
    task = stage.task(earlier)  # before its folder is made: a task that is refused leaves none behind
    folder = stage_run(chain, stage, run)
    done = folder.result()
    if done and _is_enough(done, stage.plan):
        say(f"stage {stage.name} is finished already")
        outcome = Outcome(done["steps"], done)
    else:
        outcome = fit(stage, task, folder, seed, launch, onlooker)
        if outcome.interrupted:
            return outcome, task
        if stage.plan.shard and launch.grouped:
            # A model that was split stays split; a new one wears its weights, and the old one, with its
            # process group, can go.
            task = stage.task(earlier)
    wear(task.model, folder)
    task.model.to(launch.device)
    return outcome, task


def stage_run(chain: Chain, stage: Stage, run: Run) -> Run:
    # Independent stages may get company later, so that even one of them has a folder of its own.
    return run if len(chain.stages) == 1 and not chain.independent else run.stage(stage.name)


def _is_enough(done: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a stage was trained as long as its plan asks; a finished run may be told to train longer."""
    by_clock = plan.minutes is not None and done["train_s"] + 0.1 >= 60 * plan.minutes  # kept to a tenth
    return done["steps"] >= plan.steps or by_clock


def chain_result(chain: Chain, run: Run) -> dict[str, Any] | None:
    """The numbers of the last stage, with the seconds of all; of independent stages every number, called
    STAGE/NAME. None while a stage is not finished."""
    results = {stage.name: stage_run(chain, stage, run).result() for stage in chain.stages}
    found = {name: result for name, result in results.items() if result}
    if len(found) < len(results):
        return None
    seconds = round(sum(result["train_s"] for result in found.values()), 1)
    if not chain.independent:
        return {**found[chain.stages[-1].name], "train_s": seconds}
    numbers = {f"{name}/{key}": value for name, result in found.items() for key, value in result.items()}
    return {**numbers, "train_s": seconds}


def whole_task(chain: Chain, run: Run, device: torch.device) -> Task:
    """What the finished stages are together, in evaluation mode. Raises RunError, by name, for those that
    were not trained yet, with the command that trains them."""
    assert chain.whole, "asked only of chains whose stages are something together"
    missing = [stage.name for stage in chain.stages if not stage_run(chain, stage, run).checkpoints()]
    if missing:
        raise RunError(
            f"{run.path}: {', '.join(missing)} of {len(chain.stages)} stages "
            f"{'is' if len(missing) == 1 else 'are'} not trained yet, and the whole needs them all.\n"
            f"`rayformer train --resume {run.path}` trains what is missing and leaves the others as they are."
        )
    task = chain.whole(FinishedTasks(chain, run))
    task.model.to(device).eval()
    return task


class FinishedTasks(Mapping[str, Task]):
    """The tasks of finished stages by name, each wearing its weights. One is built when it is asked for, and
    is the same one as long as somebody holds it: what many large stages are together need not hold them
    all."""

    def __init__(self, chain: Chain, run: Run):
        self._stages = {stage.name: (stage, stage_run(chain, stage, run)) for stage in chain.stages}
        self._held: WeakValueDictionary[str, Task] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Task:
        task = self._held.get(name)
        if task is None:
            stage, folder = self._stages[name]
            task = self._held[name] = stage.task({})
            wear(task.model, folder)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)


def measure_whole(chain: Chain, run: Run, seed: int, device: torch.device) -> dict[str, Any]:
    """The numbers of the whole on the test split; its pictures are kept in the run. Raises as whole_task."""
    task = whole_task(chain, run, device)
    with torch.no_grad(), choose_precision(device, chain.stages[-1].plan.precision).autocast():
        numbers = task.evaluate("test", generator(seed, "evaluate", "test"))
        pictures = task.pictures()
    for name, picture in pictures.items():
        run.save_picture(name, picture)
    return numbers


def wear(model: nn.Module, run: Run) -> int:
    """Put the newest weights of a stage's run into its model; the step they are of. Raises RunError where
    there are none."""
    weights, step = best_weights(run)
    put_model(model, weights)
    return step


def best_weights(run: Run) -> tuple[dict[str, Tensor], int]:
    """Of the newest whole checkpoint, the averaged weights where there are any, and the step they are of."""
    found, remarks = read_checkpoint(run)
    for remark in remarks:
        LOG.warning("%s: %s", run.path, remark)
    if found is None:
        stages = " or ".join(str(stage.path) for _, stage in run.stages())
        if stages:
            raise RunError(f"{run.path} is a chain of stages; the weights are theirs: give {stages}")
        raise RunError(
            f"{run.path} holds no whole checkpoint yet: train it first, or go on with "
            f"--resume {run.root.path}"
        )
    return {**found.tensors["model"], **found.tensors.get("ema", {})}, found.state.step
