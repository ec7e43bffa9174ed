"""Run by the tests under torchrun: `two_processes.py FOLDER STEPS KIND ...` trains one toy of each kind, one
after the other, into FOLDER/KIND.

    ddp        the line with noise, copied over the processes
    accumulate the same, with two batches for each step
    fsdp       the same, split over them; parts: with its layers gathered one at a time
    growing    a task that replaces its parameter on the way
    units-ddp, units-fsdp    gradients clipped unit by unit, of two batches for each step
    aside      a task that notes a term which is no part of its loss
    full-ddp   the disk of the leading process is full; what each process says is left in said-RANK.txt
    full-fsdp  the same, while both processes write
"""

import resource
import sys
from dataclasses import replace
from pathlib import Path

import torch

from rayformer.core.errors import RunError
from rayformer.engine.chain import train_chain
from rayformer.engine.launch import launched
from rayformer.engine.task import Chain, Stage, whole_model
from rayformer.runs.run import Run
from tests.engine.toys import PLAN, Aside, Growing, Line

TASKS = {"growing": Growing, "aside": Aside, "full": lambda: Line(width=4000)}

if __name__ == "__main__":
    folder, steps, kinds = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    with launched("cpu") as launch:
        for kind in kinds:
            what, _, how = kind.rpartition("-")
            plan = replace(PLAN, steps=steps, shard=how in ("fsdp", "parts"), ema=0.9, clip=1.0)
            if what == "units":
                plan = replace(plan, clip_units=0.01)
            if kind == "accumulate" or what == "units":
                plan = replace(plan, accumulate=2)
            stage = Stage(
                name="toy",
                task=lambda _, what=what or how: TASKS.get(what, lambda: Line(noise=0.1))(),
                plan=plan,
                shards=(lambda model: [model[0], model[2]]) if kind == "parts" else whole_model,
            )
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            if what == "full" and launch.leads:
                # Stands in for the disk: the log still fits, the weights do not.
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
            try:
                train_chain(Chain(stages=[stage]), Run.open(folder / kind), seed=7, launch=launch)
            except RunError as error:
                (folder / kind / f"said-{launch.rank}.txt").write_text(str(error))
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
