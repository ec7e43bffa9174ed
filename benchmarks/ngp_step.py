"""Where the time of an Instant-NGP training step goes, and how long a picture takes.

    python benchmarks/ngp_step.py [--data FOLDER] [--warm-up 300] [--steps 60] [--run RUN]

The recipe with its defaults (options of the recipe may follow ours), whole steps through the engine:
drawing the rays, forward, backward, Adam. The first `--warm-up` steps are not timed; by then kernels are
compiled and the occupancy grid knows what is empty. After that each step and each of its phases is timed by
itself, and the table has medians over `--steps` steps:

    rays         pixels drawn, their rays and colours
    occupancy    the grid of what is empty, looked at anew; in every 16th step only, so a mean over all steps
    march        rays through that grid, to samples
    look-up      of all samples in the hash grid, without gradients, and of those that are seen, with
    networks     density of all, then density and colour of those that are seen; forward
    composite    samples to colours of rays, twice; forward
    backward     of everything
    optimiser    Adam, of which the table's rows that were touched
    rest         what is left of the whole step

Samples are those that the march gave, counted, before any is passed over; "with gradient" are those that
networks and table learn from. With `--run`, a trained scene is rendered at 270 x 480 from five of its
held-out poses as well, colour and depth, after one that is not timed.
"""

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kernels import name_of
from rayformer.cli.main import share_the_cores
from rayformer.cli.recipe_options import configure
from rayformer.core.config import to_plain
from rayformer.engine.fit import Trainer
from rayformer.engine.launch import Launch, pick_device
from rayformer.engine.progress import Watch
from rayformer.engine.task import Setting
from rayformer.fields import ngp
from rayformer.recipes import index
from rayformer.recipes.open_run import open_run
from rayformer.runs.run import Run

PHASES = ("rays", "occupancy", "march", "look-up", "networks", "composite", "backward", "optimiser")
SIZE = (270, 480)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="demo", help="a folder of posed photographs, or demo")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--warm-up", type=int, default=300, help="steps before the clock starts")
    parser.add_argument("--steps", type=int, default=60, help="steps timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="render from this trained run, too")
    asked, words = parser.parse_known_args()
    share_the_cores()
    device = pick_device(asked.device)
    print(f"{datetime.date.today()}, {name_of(device)}, torch {torch.__version__}")
    given = f"--data {Path(asked.data).name} --warm-up {asked.warm_up} --steps {asked.steps} "
    given += f"--seed {asked.seed} --device {asked.device} {' '.join(words)}"
    print(f"Command: `python benchmarks/ngp_step.py {given.strip()}`\n")
    with tempfile.TemporaryDirectory() as folder:
        report(*measure(asked, words, device, Path(folder)))
    if asked.run:
        render(asked.run, asked.device)


# ---------------------------------------------------------------------- the step


class Clock:
    """Seconds by phase. A phase within a phase belongs to the outer one."""

    def __init__(self, device: torch.device):
        self.device, self.inside = device, ""
        self.spent: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.counts = {"marched": 0, "learned": 0}

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if self.inside:
            yield
            return
        self.inside, start = name, self.now()
        try:
            yield
        finally:
            self.spent[name] += self.now() - start
            self.inside = ""

    def timed(self, name: str, function: Callable, count: str | None = None) -> Callable:
        """`function` as a phase; `count` is the number to which the length of its (first) result adds."""

        def call(*given: Any, **named: Any) -> Any:
            outermost = not self.inside
            with self.phase(name):
                result = function(*given, **named)
            if count and outermost:
                self.counts[count] += len(result[0] if isinstance(result, tuple) else result)
            return result

        return call

    def taken(self) -> tuple[dict[str, float], dict[str, int]]:
        """What was spent and counted since the last time."""
        spent, counts = self.spent, self.counts
        self.spent, self.counts = dict.fromkeys(PHASES, 0.0), dict.fromkeys(counts, 0)
        return spent, counts


def measure(
    asked: argparse.Namespace, words: list[str], device: torch.device, folder: Path
) -> tuple[list[float], list[dict[str, float]], list[dict[str, int]]]:
    """Of every timed step: seconds, seconds by phase, and numbers of rays and samples."""
    recipe = index.load("ngp")
    config = configure(recipe.default, ["--data", asked.data, *words], "ngp_step.py")
    run = Run.create(folder / "run", "ngp", {"config": to_plain(config), "seed": asked.seed})
    chain = recipe.build(config, Setting(seed=asked.seed, device=device, assets=run.assets))
    (stage,) = chain.stages
    task = stage.task({})
    trainer = Trainer(stage, task, run, asked.seed, Launch(device))
    clock = Clock(device)
    attach(clock, task, trainer)
    totals, phases, counts = [], [], []
    with Watch("ngp", asked.warm_up + asked.steps, shown=True) as watch:
        for step in range(asked.warm_up + asked.steps):
            start = clock.now()
            batch = task.batch("train", step, 0, 1)
            trainer.take_step(step, step / stage.plan.steps, [batch])
            total = clock.now() - start
            spent, counted = clock.taken()
            if step >= asked.warm_up:
                totals.append(total)
                phases.append(spent)
                counts.append({"rays": len(batch.whole.rays), **counted})
            watch.moved(step + 1, (step + 1) / (asked.warm_up + asked.steps))
    return totals, phases, counts


def attach(clock: Clock, task: Any, trainer: Trainer) -> None:
    """Put the clock around everything that is a phase."""
    model = task.model
    task.batch = clock.timed("rays", task.batch)
    task.before_step = clock.timed("occupancy", task.before_step)
    model._march = clock.timed("march", model._march, count="marched")
    model.field.grid.forward = clock.timed("look-up", model.field.grid.forward)
    model.field.density = clock.timed("networks", model.field.density)
    model.field.forward = clock.timed("networks", model.field.forward, count="learned")
    ngp.known_features = clock.timed("look-up", ngp.known_features)
    ngp.composite_packed = clock.timed("composite", ngp.composite_packed)
    torch.Tensor.backward = clock.timed("backward", torch.Tensor.backward)
    trainer.optimiser.step = clock.timed("optimiser", trainer.optimiser.step)


def report(totals: list[float], phases: list[dict[str, float]], counts: list[dict[str, int]]) -> None:
    def median(name: str) -> float:
        return statistics.median(count[name] for count in counts)

    speeds = [count["marched"] / total / 1e6 for count, total in zip(counts, totals, strict=True)]
    whole = statistics.median(totals)
    print(
        f"{statistics.median(speeds):.2f} M samples/s, whole step (least {min(speeds):.2f}, "
        f"most {max(speeds):.2f}): {median('rays'):,.0f} rays, {median('marched'):,.0f} samples of which "
        f"{median('learned'):,.0f} with gradient, {1e3 * whole:.1f} ms a step.\n"
    )
    print("| phase | ms a step | share |")
    print("|---|---|---|")
    known = 0.0
    for phase in PHASES:
        each = [spent[phase] for spent in phases]
        taken = statistics.mean(each) if phase == "occupancy" else statistics.median(each)
        known += 0 if phase == "occupancy" else taken
        print(f"| {phase} | {1e3 * taken:.2f} | {taken / whole:.0%} |")
    print(f"| rest | {1e3 * max(0.0, whole - known):.2f} | {max(0.0, 1 - known / whole):.0%} |")


# ---------------------------------------------------------------------- the picture


def render(path: Path, device: str) -> None:
    loaded = open_run(path, device)
    if loaded.recipe.render is None:
        raise SystemExit(f"{path} is a run of {loaded.name}, which renders nothing")
    scene = loaded.recipe.render(loaded)
    cameras = scene.cameras("test", 6, SIZE)
    seconds = []
    for camera in cameras:
        start = time.perf_counter()
        scene.picture(camera)  # bytes on the processor: nothing is left running
        seconds.append(time.perf_counter() - start)
    timed = seconds[1:]
    print(
        f"\nA picture of 270 x 480 of {path.name} ({loaded.name}, step {loaded.step}): "
        f"{statistics.median(timed):.2f} s (median of {len(timed)}, {min(timed):.2f} ... {max(timed):.2f})."
    )


if __name__ == "__main__":
    main()
