"""`rayformer scene`: photographs or a video in, a scene with cameras out."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rayformer.cli.options import Options, add_json, at_least_one, whole_number
from rayformer.cli.output import give, number_lines, say

PHASES = {
    "photographs": "photographs read",
    "looking through the video": "the video looked through",
    "frames": "frames taken",
    "features": "photographs searched for features",
    "pairs": "pairs to compare chosen",
    "matches": "pairs compared",
    "cameras": "cameras placed and adjusted",
    "lens": "axes of the lens adjusted",
}


def run(words: Sequence[str], usage: str) -> int:
    options = Options(usage, "Where photographs were taken from: structure from motion into transforms.json.")
    options.add_argument(
        "source", metavar="PHOTOS_OR_VIDEO", type=Path, help="a folder of photographs, or a video file"
    )
    options.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="the scene; must not exist, or be empty"
    )
    options.add_argument(
        "--longest",
        metavar="PIXELS",
        type=at_least_one,
        default=1600,
        help="scale larger photographs down to this longest side (default: 1600)",
    )
    options.add_argument(
        "--frames",
        metavar="N",
        type=at_least_one,
        help="how many frames to take from a video, the sharpest of each stretch of time (default: 100)",
    )
    options.add_argument(
        "--pairs",
        metavar="auto|all|likely",
        type=_pairs,
        default="auto",
        help="photographs to compare: all with all, or neighbours and those that look alike; auto compares "
        "all of up to 60 photographs or 25 frames (default: auto)",
    )
    options.add_argument(
        "--own-lens",
        action="store_true",
        help="a lens of its own for every photograph: many cameras took them, or one with a zoom",
    )
    options.add_argument(
        "--seed",
        metavar="N",
        type=whole_number,
        default=0,
        help="every random number follows from it (default: 0)",
    )
    add_json(options)
    values = options.read(words)

    from rayformer.data.scenes.from_photos import Wishes, make_scene

    if values.frames and values.source.is_dir():
        say("- --frames is for videos; of photographs, all are taken")
    wishes = Wishes(
        longest=values.longest,
        frames=values.frames or 100,
        pairs=values.pairs,
        own_lens=values.own_lens,
        seed=values.seed,
    )
    made = make_scene(values.source.expanduser(), values.out.expanduser(), wishes, Progress())
    for remark in made.remarks:
        say(f"- {remark}")
    say(f"- {made.registered} of {made.frames} images registered")
    files = {name: made.folder / name for name in ("transforms.json", "points.ply", "preview.png")}
    shown = {
        "scene": made.folder,
        "registered": f"{made.registered} of {made.frames}",
        "points": made.points,
        "error": f"{made.pixels_off:.2f} pixels",
        "time": f"{made.seconds:.0f} s",
        "look at": files["preview.png"],
        "train": f"rayformer train ngp --data {made.folder}",
    }
    give({**asdict(made), "files": list(files.values())}, values.json, number_lines(shown))
    return 0


def _pairs(text: str) -> str:
    if text not in ("auto", "all", "likely"):
        raise argparse.ArgumentTypeError(f"must be auto, all or likely, but is {text!r}")
    return text


class Progress:
    """A line on stderr for every phase that ends; on a terminal, one that counts while it lasts."""

    def __init__(self):
        self.phase, self.began, self.ended = "", 0.0, True

    def __call__(self, phase: str, done: int, of: int) -> None:
        if phase not in PHASES:
            return
        if phase != self.phase:
            self.phase, self.began, self.ended = phase, time.monotonic(), False
        if self.ended:
            return
        if done == of:
            self.ended = True
            count = f"{of} " if of > 1 else ""
            say(f"{self._over()}- {count}{PHASES[phase]}, {time.monotonic() - self.began:.1f} s")
        elif sys.stderr.isatty():
            print(
                f"{self._over()}  {phase} {done}{f' of {of}' * bool(of)}", end="", file=sys.stderr, flush=True
            )

    def _over(self) -> str:
        return "\r\x1b[K" if sys.stderr.isatty() else ""
