"""PSNR against time for the ways to feed a network coordinates, on one picture.

    python benchmarks/image_field.py --data PICTURE [--seconds 60] [--width 512] [--out FOLDER]

Every mapping learns all pixels of the picture for the same number of seconds through the package's own loop,
at the recipe's own settings but for the number of points in a step, and is looked at every few seconds at a
lattice of pixels; the looks do not count. Without --data the drawn landscape is taken. Writes image_field.md
(the table), image_field.png (the curves) and image_field_pictures.png (what each has learned) into FOLDER.
"""

import argparse
import datetime
import platform
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rayformer.core.config import to_plain
from rayformer.data.signals.signal import SignalConfig, places_of
from rayformer.engine.fit import fit
from rayformer.engine.launch import Launch, pick_device
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import Setting
from rayformer.fields.image_field import ImageFieldConfig
from rayformer.metrics.signal import psnr_db
from rayformer.recipes.image_field import RECIPE
from rayformer.recipes.parts.signal import SignalTraining, asked, sampled
from rayformer.recipes.parts.signal_pictures import bytes_of, curves
from rayformer.runs.pictures import Picture, save_png, side_by_side
from rayformer.runs.run import Run

MAPPINGS = ("none", "basic", "positional", "gaussian", "siren", "hash-grid")
LATTICE = 20_000
"""Pixels that are looked at."""


class Over(Exception):
    """The time is up."""


class Looks:
    """An onlooker that measures a lattice of pixels every `every` seconds and leaves at the end. Its own
    time does not count."""

    def __init__(self, task, seconds: float, every: float):
        self.seconds, self.every = seconds, every
        shape = task.opened.shape
        apart = (
            max(1, round((np.prod(shape.sizes) / LATTICE) ** 0.5)) | 1
        )  # odd, so that no grid keeps step with it
        rows = torch.arange(0, shape.sizes[0], apart)[:, None] * shape.sizes[1]
        chosen = (rows + torch.arange(0, shape.sizes[1], apart)).flatten()
        self.places = places_of(shape)[chosen]
        self.truth = torch.from_numpy(task.signal.values).flatten(0, -2)[chosen]
        self.began, self.looking, self.last, self.found = None, 0.0, 0.0, []

    def elapsed(self) -> float:
        """Seconds of training since the first step, in which much is loaded that later ones have."""
        self.began = self.began or time.perf_counter()
        return time.perf_counter() - self.began - self.looking

    def wants(self, task, step: int) -> bool:
        return self.elapsed() - self.last >= self.every or self.elapsed() >= self.seconds

    def look(self, task, step: int) -> None:
        self.last, began = self.elapsed(), time.perf_counter()
        learned = asked(task.model, self.places, task.device).clamp(0, 1)
        self.found.append((self.last, step, float(psnr_db(learned, self.truth))))
        self.looking += time.perf_counter() - began
        if self.last >= self.seconds:
            raise Over


def measure(
    mapping: str, source: str, asked_for: argparse.Namespace, folder: Path
) -> tuple[list, np.ndarray, int]:
    device = pick_device("auto")
    config = replace(
        RECIPE.default,
        data=SignalConfig(source=source, width=asked_for.width, held_out=False),
        model=ImageFieldConfig(mapping=mapping),
        signal=SignalTraining(points=asked_for.points),
        plan=replace(
            RECIPE.default.plan,
            steps=10**7,
            minutes=asked_for.seconds / 60 * 1.02,
            evaluate_every=0,
            save_every=0,
        ),
    )
    run = Run.create(folder / mapping, "image-field", {"config": to_plain(config), "seed": 0})
    chain = RECIPE.build(config, Setting(seed=0, device=device, assets=run.assets))
    (stage,) = chain.stages
    task = stage.task({})
    looks = Looks(task, asked_for.seconds, asked_for.every)
    with suppress(Over):
        fit(stage, task, run, 0, Launch(device), looks)
    with torch.no_grad(), choose_precision(device).autocast():
        learned = sampled(task.model, task.opened.shape, device)
    return looks.found, learned, sum(weight.numel() for weight in task.model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="demo", help="a picture, or the name of one")
    parser.add_argument("--width", type=int, help="scale it down to so many pixels across")
    parser.add_argument("--seconds", type=float, default=60, help="of training, for each mapping")
    parser.add_argument("--every", type=float, default=2, help="seconds between looks")
    parser.add_argument("--points", type=int, default=16_384, help="pixels in a step")
    parser.add_argument("--mappings", nargs="+", default=MAPPINGS, choices=MAPPINGS)
    parser.add_argument("--out", type=Path, default=Path(), help="where to write the table and the pictures")
    asked_for = parser.parse_args()
    found, pictures = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for mapping in asked_for.mappings:
            looks, learned, size = measure(mapping, asked_for.data, asked_for, Path(folder))
            found[mapping], pictures[mapping] = (looks, size), Picture(bytes_of(learned))
    asked_for.out.mkdir(parents=True, exist_ok=True)
    table = report(asked_for, found)
    (asked_for.out / "image_field.md").write_text(table, encoding="utf-8")
    print(table)

    def onto(figure) -> None:
        axes = figure.add_subplot()
        for mapping, (looks, _) in found.items():
            axes.plot([second for second, _, _ in looks], [psnr for _, _, psnr in looks], label=mapping)
        axes.set(xlabel="seconds of training", ylabel="PSNR of all pixels [dB]", xscale="log")
        axes.legend()
        axes.grid(alpha=0.3)

    save_png(asked_for.out / "image_field.png", curves(onto, (8, 5), "PSNR against seconds of training"))
    labels = [f"{mapping}: {looks[-1][2]:.1f} dB" for mapping, (looks, _) in found.items()]
    beside = side_by_side(list(pictures.values()), labels, f"after {asked_for.seconds:g} s each")
    save_png(asked_for.out / "image_field_pictures.png", beside)


def report(asked_for: argparse.Namespace, found: dict) -> str:
    at = [asked_for.seconds / share for share in (12, 4, 1)]
    name = Path(asked_for.data).name
    lines = [
        "# PSNR against time of image fields",
        "",
        "Every mapping learns all pixels for the same time; the script stands beside this page.",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; {choose_precision(pick_device('auto')).reason}",
        f"Command: `python benchmarks/image_field.py --data {name} --seconds {asked_for.seconds:g} "
        f"--points {asked_for.points}" + (f" --width {asked_for.width}`" if asked_for.width else "`"),
        "",
        "| mapping | parameters | steps | " + " | ".join(f"dB after {second:.0f} s" for second in at) + " |",
        "|---|---|---|" + "---|" * len(at),
    ]
    for mapping, (looks, size) in found.items():
        then = [min(looks, key=lambda look, second=second: abs(look[0] - second))[2] for second in at]
        cells = " | ".join(f"{psnr:.2f}" for psnr in then)
        lines.append(f"| {mapping} | {size:,} | {looks[-1][1]} | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
