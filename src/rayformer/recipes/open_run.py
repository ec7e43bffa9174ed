"""From a recipe's name to a trained run, and from a run folder back to a model.

train      begin a run or go on with one
open_run   a run folder opened, weights and all
load       only its model, ready to use: `rayformer.load`
evaluate   its numbers, measured anew, on its own data or on others
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rayformer.core.config import from_plain, to_plain
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.core.seeds import generator
from rayformer.engine.chain import (
    best_weights,
    chain_result,
    measure_whole,
    stage_run,
    train_chain,
    wear,
    whole_task,
)
from rayformer.engine.checkpoint import put_model, read_tensors
from rayformer.engine.launch import Launch, launched, pick_device
from rayformer.engine.precision import choose_precision
from rayformer.engine.progress import Watch
from rayformer.engine.task import Chain, Recipe, Setting, Stage, Task
from rayformer.nets.weights.files import found
from rayformer.recipes import index
from rayformer.recipes.parts.open import Loaded
from rayformer.runs.run import Run
from rayformer.viewer.address import Address

if TYPE_CHECKING:
    from rayformer.recipes.parts.scene_window import TrainingWindow


@dataclass(frozen=True)
class TrainOutcome:
    run: Run
    result: dict[str, Any]
    interrupted: bool
    window: "TrainingWindow | None" = None
    """Where the training was watched, still open."""


def train(
    name: str,
    config: Any,
    *,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: Path | None = None,
    start: str | None = None,
    smoke: bool = False,
    defaults: Any = None,
    view: Address | None = None,
) -> TrainOutcome:
    """Train recipe `name` with `config` into the run folder `out`, or go on with the run `resume`.

    `start` names weights to begin from: a run folder or a safetensors file. `defaults` is the config that
    options changed, for the report. `view` is where the training can be watched in the browser. A resumed run
    keeps its seed and its start; its config is noted anew, as it may train longer than it was begun to.
    Raises UserError of every kind; the run folder is removed again if nothing was trained, whatever the
    reason.
    """
    recipe = index.load(name)
    device_here = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    config, rank = _with_whole_path(config), int(os.environ.get("RANK", "0"))
    asked = {
        "config": to_plain(config),
        "defaults": to_plain(defaults if defaults is not None else config),
        "smoke": smoke,
        "seed": seed,
        **({"from": _weights_to_begin_from(start, recipe)} if start else {}),
    }
    run = _run_of(name, asked, out, resume, rank)
    as_before = run.manifest.get("config") == asked["config"]
    seed, start = run.manifest.get("seed", seed), run.manifest.get("from")
    setting = Setting(seed=seed, device=device_here, assets=run.assets, start=start)
    watch = Watch(name, 1, shown=rank == 0)
    window: TrainingWindow | None = None
    try:
        chain = recipe.build(config, setting)
        precision = choose_precision(setting.device, chain.stages[0].plan.precision)
        _refuse_other_data(run, chain)
        with launched(device, group=not chain.independent) as launch:
            if launch.leads:
                found = {
                    "data": dict(chain.data),
                    "device": _describe(setting.device),
                    "precision": {"name": precision.name, "why": precision.reason},
                    "processes": launch.world,
                }
                if resume:
                    run.note_resume(_steps_done(run))
                # A run that was killed before it had read its data is resumed without knowing them.
                run.note({"config": asked["config"], **({} if "data" in run.manifest else found)})
            for text in chain.data.get("remarks", []):
                watch.say(f"- {text}")
            watch.say(f"- {_describe(setting.device)}, {precision.name}: {precision.reason}")
            watch.say(f"- run folder: {run.path}")
            trained = _started(chain, start, recipe, watch, run) if start else chain
            if view and launch.leads:
                _refuse_what_cannot_be_watched(chain, launch)
                window = _window(view, name, recipe, config, seed, run, chain, launch.device)
            outcomes = train_chain(trained, run, seed, launch, watch.say, window)
    except BaseException:
        if window:
            window.close()
        if not resume and rank == 0:
            run.remove_if_untrained()
        raise
    interrupted = any(outcome.interrupted for outcome in outcomes.values())
    result = None if interrupted else chain_result(chain, run)
    if result and chain.whole:
        kept = run.result() or {}
        if as_before and result.items() <= kept.items():  # measured already, and nothing was trained since
            result = kept
        else:
            watch.say("measuring the whole")
            result = {**measure_whole(chain, run, seed, device_here), **result}
    if result and (len(chain.stages) > 1 or chain.independent) and (rank == 0 or chain.independent):
        run.write_result(result)  # of independent stages, by whoever comes last
    if interrupted and window:
        window.close()
        window = None
    return TrainOutcome(run, result or {}, interrupted, window)


def open_run(path: Path | str, device: str = "auto", source: str | None = None) -> Loaded:
    """The run at `path`, its models wearing their newest weights (averaged ones where there are any), in
    evaluation mode. The folder of a stage, RUN/stages/NAME, gives the chain as far as that stage, or that
    stage alone where stages are independent.

    `source` puts other data in the place of the run's own. Raises RunError where there is no run, or
    nothing trained yet.
    """
    opened = Run.open(path)
    run, manifest = opened.root, opened.manifest
    name = manifest["recipe"]
    recipe = index.load(name)
    if "config" not in manifest:
        raise RunError(
            f"{run.path}/run.yaml holds no config: the run was stopped before it began; train again"
        )
    config = from_plain(recipe.config, manifest["config"], where=str(run.path / "run.yaml"))
    if source is not None:
        config = _with_whole_path(replace(config, data=replace(config.data, source=source)))
    where = pick_device(device)
    setting = Setting(
        seed=manifest["seed"],
        device=where,
        assets=run.assets,
        training=False,
        other_data=source is not None,
    )
    chain = recipe.build(config, setting)
    tasks: dict[str, Task] = {}
    step, whole = 0, None
    if chain.whole and opened == run:
        whole = whole_task(chain, run, where)
        step = max(stage_run(chain, stage, run).checkpoints()[-1][0] for stage in chain.stages)
    for stage in chain.stages if whole is None else ():
        if chain.independent and opened != run and stage.name != opened.name:
            continue
        task = stage.task({} if chain.independent else tasks)
        step = wear(task.model, stage_run(chain, stage, run))
        task.model.to(where).eval()
        tasks[stage.name] = task
        if opened != run and stage.name == opened.name:
            break
    precision = choose_precision(where, chain.stages[-1].plan.precision)
    return Loaded(
        run=run, name=name, recipe=recipe, config=config, seed=manifest["seed"], chain=chain, tasks=tasks,
        step=step, device=where, precision=precision, whole=whole,
    )  # fmt: skip


def load(path: Path | str, device: str = "cpu") -> nn.Module:
    """The trained model of the run at `path`, on `device`, in evaluation mode. Raises RunError where there
    is none."""
    return open_run(path, device).model


def evaluate(path: Path | str, source: str | None = None, device: str = "auto") -> dict[str, Any]:
    """The numbers of the run at `path` on the held-out split of its own data, or of `source`."""
    loaded = open_run(path, device, source)
    with torch.no_grad(), loaded.precision.autocast():
        return loaded.task.evaluate("test", generator(loaded.seed, "evaluate", "test", device="cpu"))


# ---------------------------------------------------------------------- beginning a run


def _run_of(name: str, asked: Mapping[str, Any], out: Path | None, resume: Path | None, rank: int) -> Run:
    """The run folder: made by the leading process, waited for by the others. What was asked for stands in it
    from the first moment, so that it can be resumed whenever it dies."""
    if resume:
        run = Run.open(resume).root
        if run.manifest["recipe"] != name:
            raise RunError(f"{run.path} is a run of {run.manifest['recipe']} and cannot go on as {name}")
        return run
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and out is None:
        raise ConfigError("several processes need one run folder: name it with --out RUN")
    if rank == 0:
        return Run.create(out, name, asked)
    assert out is not None, "checked above"
    for _ in range(600):
        if (out / "run.yaml").exists():
            return Run.open(out)
        time.sleep(0.1)
    raise RunError(f"{out}: the leading process has not made the run folder within a minute")


def _with_whole_path(config: Any) -> Any:
    """The config with its data source as an absolute path, so that a run can be opened from any working
    directory. A name is no path: `--data town --out town` does not read what it is about to write."""
    data = getattr(config, "data", None)
    source = getattr(data, "source", None)
    if not isinstance(source, str) or getattr(data, "named", False) or not Path(source).expanduser().exists():
        return config
    return replace(config, data=replace(config.data, source=str(Path(source).expanduser().resolve())))


def _refuse_other_data(run: Run, chain: Chain) -> None:
    before, now = run.manifest.get("data", {}).get("fingerprint"), chain.data.get("fingerprint")
    if before is not None and before != now:
        raise DataError(
            f"{chain.data.get('source')} is not the data that {run.path} was begun with: its "
            f"fingerprint is {now}, not {before}\n"
            f"bring the old data back, or begin a new run from these weights with --from {run.path}"
        )


def _refuse_what_cannot_be_watched(chain: Chain, launch: Launch) -> None:
    if launch.grouped and any(stage.plan.shard for stage in chain.stages):
        raise ConfigError(
            "--view cannot be given with plan.shard: a model split over processes has nobody who could draw "
            "it alone\n"
            "leave one of them out"
        )


def _window(
    view: Address, name: str, recipe: Recipe, config: Any, seed: int, run: Run, chain: Chain, device: Any
) -> "TrainingWindow":
    """The window on whichever task of the chain trains."""
    from rayformer.recipes.parts.scene_window import TrainingWindow

    assert recipe.render, f"the index promises that {name} can be viewed"
    render = recipe.render

    def view_of(task: Task) -> Any:
        return render(
            Loaded(
                run=run, name=name, recipe=recipe, config=config, seed=seed, chain=chain,
                tasks={name: task}, step=0, device=device,
                precision=choose_precision(device, chain.stages[-1].plan.precision),
            )
        )  # fmt: skip

    return TrainingWindow(view, run, view_of)


def _steps_done(run: Run) -> int:
    """Steps that are safe on the disk, over all stages."""
    folders = [run, *(stage for _, stage in run.stages())]
    return sum(done[-1][0] for folder in folders if (done := folder.checkpoints()))


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def _weights_to_begin_from(start: str, recipe: Recipe) -> str:
    """`start`, as an absolute path if it is one; asked before anything slow begins. Raises DataError for
    neither a path nor a name on the hub. Where the recipe does not know of published weights, raises
    ConfigError for what is neither a folder nor a safetensors file, RunError for a folder that is no run."""
    path = Path(start).expanduser().resolve()
    if recipe.begin is not None:
        return str(path) if isinstance(found(start), Path) else start
    if path.is_dir():
        Run.open(path)
    elif not (path.suffix == ".safetensors" and path.is_file()):
        raise ConfigError(f"--from must be a run folder or a .safetensors file, but is {start!r}")
    return str(path)


def _started(chain: Chain, start: str, recipe: Recipe, watch: Watch, run: Run) -> Chain:
    """The chain whose first stage begins from given weights, or each of them where they are independent;
    those that have begun go on instead. They begin as the recipe says, or from all weights, of the same
    shapes."""

    def begun(stage: Stage) -> Stage:
        def task(finished: Mapping[str, Task]) -> Task:
            begun, path = stage.task(finished), Path(start)
            if recipe.begin is not None:
                for line in recipe.begin(begun.model, start):
                    watch.say(f"- {line}")
                return begun
            if path.is_dir():
                weights, step = best_weights(Run.open(path))
                watch.say(f"- begins from the weights of {path}, step {step}")
            else:
                weights = read_tensors(path)
                watch.say(f"- begins from the weights in {path}")
            put_model(begun.model, weights, source=start, resize=False)
            return begun

        return replace(stage, task=task)

    if chain.independent:
        done = {name for name, folder in run.stages() if folder.checkpoints()}
        return replace(
            chain, stages=[stage if stage.name in done else begun(stage) for stage in chain.stages]
        )
    if _steps_done(run):
        return chain
    return replace(chain, stages=[begun(chain.stages[0]), *chain.stages[1:]])
