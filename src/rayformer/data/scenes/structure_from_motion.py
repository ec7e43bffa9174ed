"""Structure from motion: where each photograph was taken from, found from the photographs alone.

    Solution        a COLMAP model on disk, and how many photographs it places
    find_cameras    frames in, a solution out; the work is done by pycolmap in a process of its own
    child_failed    the error for a process that died, by the phase it died in

pycolmap aborts on some inputs, and a process that aborts takes everything with it. The process that runs it
(`mapper.py`) is therefore watched from here, and its death becomes an error like any other.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rayformer.core.errors import DataError, MissingExtra
from rayformer.data.scenes.frames import Frame, Frames, Report

CHILD = (sys.executable, "-m", "rayformer.data.scenes.mapper")
ALL_PAIRS_UP_TO = 60
"""Photographs in no order that are all compared with each other: 1,770 pairs, about a minute on two cores."""
ALL_FRAMES_UP_TO = 25
"""The same for the frames of a video, of which the neighbours are known."""
FULL_LENS_FROM = 20
"""Photographs of one lens from which on four terms of distortion are looked for; before, one."""
MOST_THREADS = 8
"""SIFT holds about 400 MB per thread at 1600 pixels."""

Pairs = Literal["auto", "all", "likely"]


@dataclass(frozen=True)
class Solution:
    folder: Path
    """Holds sparse/0, the largest reconstruction, as COLMAP writes it."""
    registered: frozenset[str]
    """Names of the frames that it places."""
    sizes: tuple[int, ...]
    """Frames in every reconstruction that came about, the largest first."""
    pixels_off: float
    """Mean distance between where points appear and where the cameras say that they must."""
    matched_pairs: int
    """Pairs of frames that show the same things."""
    all_pairs: bool = True
    """Whether all were compared with all."""


def require_pycolmap() -> None:
    if find_spec("pycolmap") is None:
        raise MissingExtra("scene", "finding where photographs were taken from")


def find_cameras(
    gathered: Frames,
    images: Path,
    folder: Path,
    report: Report,
    pairs: Pairs = "auto",
    own_lens: bool = False,
    seed: int = 0,
) -> Solution:
    """The cameras of the frames in `images`; working files and the model go into `folder`.

    Raises MissingExtra without pycolmap, DataError where its process dies, naming the phase.
    """
    require_pycolmap()
    folder.mkdir(parents=True, exist_ok=True)
    job = folder / "job.json"
    few = len(gathered.frames) <= (ALL_FRAMES_UP_TO if gathered.ordered else ALL_PAIRS_UP_TO)
    plan = {
        "images": str(images),
        "folder": str(folder),
        "order": [frame.name for frame in gathered.frames],
        "groups": [_group(frames) for frames in same_lens(gathered.frames, own_lens)],
        "pairs": ("all" if few else "likely") if pairs == "auto" else pairs,
        "threads": threads(),
        "seed": seed,
    }
    job.write_text(json.dumps(plan), encoding="utf-8")
    outcome = _watched([*CHILD, str(job)], folder / "log.txt", report)
    return Solution(
        folder,
        frozenset(outcome["registered"]),
        tuple(outcome["sizes"]),
        outcome["pixels_off"],
        outcome["matched"],
        plan["pairs"] == "all",
    )


def same_lens(frames: Sequence[Frame], own_lens: bool = False) -> list[list[Frame]]:
    """Frames that one camera with one zoom took: those of one size that say the same of their lens."""
    if own_lens:
        return [[frame] for frame in frames]

    def key(frame: Frame) -> tuple:
        return (frame.width, frame.height, frame.lens)

    return [list(group) for _, group in groupby(sorted(frames, key=key), key)]


def _group(frames: Sequence[Frame]) -> dict[str, Any]:
    return {
        "names": [frame.name for frame in frames],
        "model": "OPENCV" if len(frames) >= FULL_LENS_FROM else "SIMPLE_RADIAL",
        "focal": frames[0].focal,
        "width": frames[0].width,
        "height": frames[0].height,
    }


def threads() -> int:
    """The cores that this process may use, as OMP_NUM_THREADS has it where that says less; memory allows
    eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, MOST_THREADS, int(wished) if wished.isdecimal() else cores))


# ------------------------------------------------------------------------------------------ the process


def _watched(command: Sequence[str], log: Path, report: Report) -> dict[str, Any]:
    """Run the command until it ends; what it said last. Killed with this process, whatever ends it."""
    phase, outcome = "start", None
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        try:
            assert process.stdout, "the pipe was asked for"
            for line in process.stdout:
                said = json.loads(line)
                if "registered" in said:
                    outcome = said
                else:
                    phase = said["phase"]
                    report(phase, said.get("done", 0), said.get("of", 0))
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
    if status != 0 or outcome is None:
        raise child_failed(phase, status, log)
    return outcome


def child_failed(phase: str, status: int, log: Path) -> DataError:
    """What to say of a process that ended with `status` in a phase, and wrote `log` before."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "it said nothing"
    advice = {
        "start": "pycolmap may not fit this machine: pip install --force-reinstall 'rayformer[scene]'.",
        "features": "Smaller frames need less memory: --longest 1000.",
        "pairs": "Compare all photographs instead: --pairs all.",
        "matches": "Smaller frames have fewer features to compare: --longest 1000.",
    }.get(phase, "Another order of things may pass: --seed 1, --longest 1200, or fewer photographs.")
    if status < 0:
        number = -status
        name = signal.Signals(number).name if number in list(signal.Signals) else f"signal {number}"
        how = f"was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")
    else:
        how = f"ended with status {status}"
    return DataError(
        f"structure from motion died in the phase {phase!r}: its process {how}.\n"
        f"Its last line: {last[:300]}\n{advice}"
    )
