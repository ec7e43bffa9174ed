"""Run by the tests under torchrun: `two_processes.py RUN ddp|fsdp STEPS` trains the toy line with noise."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from rayformer.engine.chain import train_chain
from rayformer.engine.launch import launched
from rayformer.engine.task import Chain, Stage
from rayformer.runs.run import Run
from tests.engine.toys import PLAN, Line

if __name__ == "__main__":
    path, kind, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    plan = replace(PLAN, steps=steps, shard=kind == "fsdp", ema=0.9, clip=1.0)
    with launched("cpu") as launch:
        run = Run.open(path)
        chain = Chain(stages=[Stage(name="toy", task=lambda _: Line(noise=0.1), plan=plan)])
        train_chain(chain, run, seed=7, launch=launch)
