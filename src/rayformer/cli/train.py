"""`rayformer train`: a recipe and its config into a run folder; or a run folder, trained further.

run           read the job; train it; write the report; say where everything is
Job           all that one command line asks for
read_job      the command line -> Job
MAY_CHANGE    what a resumed run may be told anew
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayformer.cli.abilities import begun_run
from rayformer.cli.options import Options, add_device, add_json, whole_number
from rayformer.cli.output import give, is_first_process, number_lines, say
from rayformer.cli.recipe_options import add_fields, changed, configure
from rayformer.cli.view import HOST, claimed, port_number
from rayformer.core.config import from_plain
from rayformer.core.errors import ConfigError
from rayformer.recipes.index import ENTRIES, entry, load

INTERRUPTED = 130

MAY_CHANGE = ("plan.steps", "plan.minutes")
"""How long. Anything else would make it another run."""


def run(words: Sequence[str], usage: str) -> int:
    if {"-h", "--help"} & set(words):
        return _explain(words, usage)
    job = read_job(words, usage)
    address = claimed(HOST, job.view_port) if job.view and is_first_process() else None

    from rayformer.recipes.open_run import (
        train,
    )  # torch comes in here, after every refusal that needs no torch

    outcome = train(
        job.recipe, job.config, out=job.out, seed=job.seed, device=job.device,
        resume=job.resume, start=job.start, smoke=job.smoke, defaults=job.defaults, view=address,
    )  # fmt: skip
    path = outcome.run.path
    summary = {"run": path, "interrupted": outcome.interrupted, "result": outcome.result}
    if outcome.interrupted:
        give(summary, job.json, f"run  {path}")  # the engine has said how to go on
        return INTERRUPTED
    if is_first_process():
        from rayformer.report.page import write_report

        page = write_report(path)
        give(
            {**summary, "report": page},
            job.json,
            number_lines({**_of_the_whole(outcome.result), "run": path, "report": page}),
        )
    if outcome.window:
        outcome.window.stay(say)
    return 0


def _of_the_whole(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where stages are something together, without the numbers of each, of which there may be hundreds: the
    report and --json have them."""
    whole = {name: value for name, value in result.items() if "/" not in name}
    return whole if whole.keys() - {"train_s"} else result


@dataclass(frozen=True, kw_only=True)
class Job:
    recipe: str
    config: Any
    defaults: Any
    """The config that the options started from."""
    smoke: bool
    seed: int
    out: Path | None
    device: str
    resume: Path | None
    start: str | None
    """Weights to start from: a run folder or a safetensors file."""
    view: bool
    view_port: int | None
    json: bool


def read_job(words: Sequence[str], usage: str) -> Job:
    """The words behind `rayformer train`, checked. Raises ConfigError; RunError if --resume names no run."""
    name, words = _recipe_first(words)
    options = _options(usage)
    values, fields = options.parse_known_args(words)
    fixed = {
        "out": values.out,
        "device": values.device,
        "resume": values.resume,
        "start": values.start,
        "view": values.view or values.view_port is not None,
        "view_port": values.view_port,
        "json": values.json,
    }

    if values.resume is None:
        if name is None:
            known = ", ".join(entry.name for entry in ENTRIES)
            raise ConfigError(
                f"{options.command} needs a recipe as its first word, or --resume RUN.\n"
                f"Recipes: {known}; `rayformer list` tells more."
            )
        if fixed["view"]:
            _refuse_unwatchable(name)
        base = _base(name, values.smoke)
        config = configure(base, fields, f"{options.command} {name}", options.helps())
        return Job(
            recipe=name, config=config, defaults=base, smoke=values.smoke, seed=values.seed or 0, **fixed
        )

    run = begun_run(values.resume)
    manifest = run.manifest
    recipe, seed, smoke = manifest["recipe"], manifest.get("seed", 0), manifest.get("smoke", False)
    if fixed["view"]:
        _refuse_unwatchable(recipe)
    base = from_plain(load(recipe).config, manifest["config"], where=str(run.path / "run.yaml"))
    config = configure(base, fields, f"{options.command} {recipe}", options.helps())
    may_change = (*MAY_CHANGE, *load(recipe).may_change)
    other = [f"--{field}" for field in changed(base, config) if field not in may_change]
    other += ["--seed"] if values.seed not in (None, seed) else []
    other += [
        option
        for option, given in (("--out", values.out), ("--from", values.start), ("--smoke", values.smoke))
        if given
    ]
    other += [f"the recipe {name}"] if name not in (None, recipe) else []
    if other:
        raise ConfigError(
            f"{', '.join(other)} cannot be given with --resume: the {recipe} run goes on as it was begun.\n"
            f"Only --{' and --'.join(may_change)} may change.\n"
            f"For anything else begin a new run; --from {run.path} starts it from these weights."
        )
    return Job(recipe=recipe, config=config, defaults=base, smoke=smoke, seed=seed, **fixed)


def _options(usage: str) -> Options:
    does = "Train a recipe into a run folder. Every field of its config is an option by its dotted name."
    options = Options(usage, does, help_action="store_true")  # help waits until the recipe is known
    options.add_argument(
        "--out", metavar="RUN", type=Path, help="the run folder to make (default: runs/DATE-TIME-RECIPE)"
    )
    options.add_argument(
        "--smoke", action="store_true", help="shrunk until it ends within a minute on two cores"
    )
    add_device(options)
    options.add_argument(
        "--seed", metavar="N", type=whole_number, help="every random number follows from it (default: 0)"
    )
    options.add_argument(
        "--resume",
        metavar="RUN",
        type=Path,
        help="go on with a run, with the recipe and config it was begun with",
    )
    options.add_argument(
        "--from", metavar="RUN|FILE.safetensors", dest="start", help="start from its weights"
    )
    options.add_argument(
        "--view", action="store_true", help="watch in the browser while it trains, for a quarter of the time"
    )
    options.add_argument(
        "--view-port",
        metavar="N",
        type=port_number,
        help="--view on this port (default: 8080, or the next one that is free)",
    )
    add_json(options)
    return options


def _refuse_unwatchable(recipe: str) -> None:
    if "view" not in entry(recipe).abilities:
        able = ", ".join(other.name for other in ENTRIES if "view" in other.abilities)
        raise ConfigError(
            f"--view: a {recipe} run cannot be watched in the browser; runs of {able} can.\n"
            "Leave it out, and see the pictures in the report."
        )


def _explain(words: Sequence[str], usage: str) -> int:
    """`train --help`; with a recipe, every field of its config too."""
    name, words = _recipe_first(words)
    options = _options(usage)
    options.add_argument("--data", metavar="SOURCE", help="what to train on; short for --data.source")
    if name:
        add_fields(options, _base(name, smoke="--smoke" in words))
        options.usage = usage.replace("RECIPE", name)
        options.epilog = "A switch is set by --NAME and --no-NAME too; a dash may stand for an underscore."
    else:
        options.epilog = "`rayformer train RECIPE --help` explains every field. Recipes: " + ", ".join(
            entry.name for entry in ENTRIES
        )
    options.print_help()
    return 0


def _recipe_first(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe, if the line starts with one, and the rest. Elsewhere it would be the value of an option."""
    if words and not words[0].startswith("-"):
        return entry(words[0]).name, list(words[1:])
    return None, list(words)


def _base(name: str, smoke: bool) -> Any:
    recipe = load(name)
    return recipe.smoke if smoke else recipe.default
