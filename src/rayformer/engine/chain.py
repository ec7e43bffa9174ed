"""A chain of stages: each trained into its own folder, finished ones skipped, later ones given the earlier
ones' tasks.

    train_chain     every stage of a chain, in order, or dealt out over processes where they are independent
    stage_run       where a stage lives: the run itself if it is the only one, else RUN/stages/NAME
    wear            a finished stage's weights into its task's model: the averaged ones where there are any
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from rayformer.core.errors import RunError, UserError
from rayformer.engine.checkpoint import open_checkpoint, put_model, read_checkpoint
from rayformer.engine.fit import Outcome, fit
from rayformer.engine.launch import Launch
from rayformer.engine.task import Chain, Stage, Task
from rayformer.runs.run import Run


def train_chain(
    chain: Chain, run: Run, seed: int, launch: Launch, say: Callable[[str], None] = lambda text: None
) -> dict[str, Outcome]:
    """Train what is not finished yet; the outcome of every stage by name (a finished one gives its stored
    result).

    Independent stages go on where one of them fails; the failures are raised together at the end.
    """
    if chain.independent:
        return _train_independent(chain, run, seed, launch, say)
    tasks: dict[str, Task] = {}
    outcomes: dict[str, Outcome] = {}
    for stage in chain.stages:
        outcomes[stage.name], tasks[stage.name] = _train_stage(chain, stage, tasks, run, seed, launch, say)
        if outcomes[stage.name].interrupted:
            break
    return outcomes


def _train_independent(
    chain: Chain, run: Run, seed: int, launch: Launch, say: Callable[[str], None]
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    faults: list[str] = []
    alone = Launch(launch.device)  # each job trains by itself, whoever else is there
    for stage in chain.stages[launch.rank :: launch.world]:
        try:
            outcomes[stage.name], _ = _train_stage(chain, stage, {}, run, seed, alone, say)
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
) -> tuple[Outcome, Task]:
    """The stage's outcome, and its task wearing the weights that were evaluated."""
    folder = stage_run(chain, stage, run)
    task = stage.task(earlier)
    if folder.result():
        say(f"stage {stage.name} is finished already")
        outcome = Outcome(stage.plan.steps, folder.result() or {})
    else:
        outcome = fit(stage, task, folder, seed, launch)
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
    return run if len(chain.stages) == 1 else run.stage(stage.name)


def wear(model: nn.Module, run: Run, checkpoint: Path | None = None) -> int:
    """Put the weights of a checkpoint (the newest whole one) into `model`, the averaged ones where there
    are any; the step they are of."""
    found = open_checkpoint(checkpoint) if checkpoint else read_checkpoint(run)[0]
    if found is None:
        raise RunError(
            f"{run.path} holds no whole checkpoint yet: train it first, or go on with --resume {run.path}"
        )
    put_model(model, {**found.tensors["model"], **found.tensors.get("ema", {})})
    return found.state.step
