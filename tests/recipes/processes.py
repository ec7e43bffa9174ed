"""What tests of whole trainings share: the command line in a process of its own, and runs compared bit by
bit."""

import os
import subprocess
import sys

import torch

from rayformer.engine.checkpoint import read_checkpoint
from rayformer.runs.run import Run


def command(*words: str, kill_after: int | None = None) -> subprocess.CompletedProcess:
    """`rayformer WORDS` in a process of its own, killed once it has logged `kill_after` steps."""
    watch = (
        "import os, signal, sys\n"
        "from rayformer.runs.run import Run\n"
        "log = Run.log\n"
        "def logged(self, step, **numbers):\n"
        "    log(self, step, **numbers)\n"
        f"    if step == {kill_after}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Run.log = logged\n"
        "from rayformer.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    how = ["-m", "rayformer"] if kill_after is None else ["-c", watch]
    return subprocess.run(
        [sys.executable, *how, *words],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


def assert_same_bits(one: Run, other: Run) -> None:
    first, second = (read_checkpoint(run)[0].tensors for run in (one, other))
    assert first.keys() == second.keys()
    for file in first:
        assert first[file].keys() == second[file].keys()
        for name in first[file]:
            assert torch.equal(first[file][name], second[file][name]), name
