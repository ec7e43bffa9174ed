"""How fast networks recognise pictures and learn to: ours against timm's, with timm's weights in both.

    GOMP_SPINCOUNT=1000 PYTHONPATH=.venv-peers:src python benchmarks/classifiers.py [--networks vit swin]
        [--modes float32 bf16 default] [--batch 32] [--size 224] [--pairs 7] [--threads 2] [--out FILE.md]

ViT-S/16, Swin-T, ConvNeXt-T and ResNet-RS-50, in one process (`make peers` fetches timm). Inference is a
forward pass in evaluation under `inference_mode`; a training step is forward, cross-entropy, backward and
AdamW, with nothing left out at random. Three modes:

    float32   both in float32, with the same fused optimiser
    bf16      both under autocast to bf16, with the same fused optimiser
    default   as people get them: ours in the precision and with the optimiser that the engine chooses, timm's
              in float32 with torch's AdamW as it comes

The two take turns, each being first in every second pair, so that a busy machine is busy for both. The table
has the median of pictures a second and the median, least and most of the ratio within a pair; "apart" says by
how much their logits differ, as a share of the largest. `--weights-last` lays the weights of our convolutions
with channels last, too; pictures lie so in any case.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import beside_cpu_torch  # noqa: F401
from rayformer.engine.optim import build_optimiser
from rayformer.engine.plan import Optim
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import one_group
from rayformer.nets import convnext, resnet_rs, swin, vit
from rayformer.nets.weights.convnext import CONVNEXT
from rayformer.nets.weights.family import Family
from rayformer.nets.weights.loading import put
from rayformer.nets.weights.resnet_rs import RESNET
from rayformer.nets.weights.swin import SWIN
from rayformer.nets.weights.vit import VIT

CLASSES = 1000
BF16 = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
EQUAL = 0.97
"""A ratio that counts as 1."""


@dataclass(frozen=True)
class Contest:
    title: str
    ours: Callable[[int], nn.Module]
    """For pictures of a size."""
    family: Family
    timm: str
    """What timm calls the network."""
    floors: dict[str, tuple[float, float]]
    """By mode, the least ratio that is asked for, of inference and of training."""


def asked(same: float, inference: float, training: float) -> dict[str, tuple[float, float]]:
    return {"float32": (same, same), "bf16": (same, same), "default": (inference, training)}


def resnet(size: int) -> nn.Module:
    return resnet_rs.ResNet(replace(resnet_rs.SIZES["50"], drop_path=0.0, dropout=0.0), CLASSES)


CONTESTS = {
    "vit": Contest(
        "ViT-S/16",
        lambda size: vit.ViT(replace(vit.SIZES["s"], image_size=size), CLASSES),
        VIT,
        "vit_small_patch16_224",
        asked(1.0, 3.0, 2.5),
    ),
    "swin": Contest(
        "Swin-T",
        lambda size: swin.Swin(swin.SIZES["t"], CLASSES),
        SWIN,
        "swin_tiny_patch4_window7_224",
        asked(1.1, 2.0, 2.0),
    ),
    "convnext": Contest(
        "ConvNeXt-T",
        lambda size: convnext.ConvNeXt(convnext.SIZES["t"], CLASSES),
        CONVNEXT,
        "convnext_tiny",
        asked(1.0, 2.0, 2.0),
    ),
    "resnet-rs": Contest("ResNet-RS-50", resnet, RESNET, "resnetrs50", asked(1.0, 2.0, 2.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=CONTESTS, default=list(CONTESTS), metavar="NAME")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    parser.add_argument("--batch", type=int, default=32, help="pictures at a time")
    parser.add_argument("--size", type=int, default=224, help="their side, in pixels")
    parser.add_argument("--pairs", type=int, default=7, help="timed turns of each, after one that is not")
    parser.add_argument("--repeats", type=int, default=1, help="batches in a turn")
    parser.add_argument("--threads", type=int, help="torch's own choice unless it is said")
    parser.add_argument("--weights-last", action="store_true", help="our weights with channels last, too")
    parser.add_argument("--out", type=Path, help="a markdown file for what is printed")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    precision = choose_precision(torch.device("cpu"))
    say("# Networks that recognise pictures, ours beside timm's\n")
    say(
        f"{datetime.date.today()}, {processor()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}"
    )
    say(f"The engine chooses {precision.name}: {precision.reason}.")
    words = (
        f"--networks {' '.join(options.networks)} --modes {' '.join(options.modes)} --batch {options.batch} "
    )
    words += f"--size {options.size} --pairs {options.pairs} --repeats {options.repeats}"
    words += f" --threads {options.threads}" if options.threads else ""
    words += " --weights-last" if options.weights_last else ""
    say(f"Command: `PYTHONPATH=.venv-peers:src python benchmarks/classifiers.py {words}`\n")
    say(
        "| network | mode | what | ours, pictures/s | timm, pictures/s | ours / timm | least ... most "
        "| asked | apart |"
    )
    say("|---|---|---|---|---|---|---|---|---|")
    for name in options.networks:
        for mode in options.modes:
            for line in contest(CONTESTS[name], mode, options):
                say(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def contest(one: Contest, mode: str, options: argparse.Namespace) -> list[str]:
    """The lines of one network in one mode."""
    import timm  # type: ignore[import-not-found]  # lies in a folder of its own

    theirs = timm.create_model(one.timm, num_classes=CLASSES, **timms_size(one, options.size))
    draw_head(theirs)
    ours = one.ours(options.size)
    put(ours, theirs.state_dict(), one.family, one.timm)
    if options.weights_last:
        ours.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(options.batch, 3, options.size, options.size)
    labels = torch.randint(CLASSES, (options.batch,))
    sides = (MODES[mode](ours, True), MODES[mode](theirs, False))
    lines = []
    for what, make, floor in zip(
        ("inference", "training"), (inference, training), one.floors[mode], strict=True
    ):
        turns = [make(side, images, labels) for side in sides]
        apart = apart_in(turns) if what == "inference" else None
        speeds = taken(turns, options)
        ratios = [mine / other for mine, other in zip(*speeds, strict=True)]
        ratio = statistics.median(ratios)
        held = "yes" if ratio >= floor or (floor == 1 and ratio >= EQUAL) else "no"
        lines.append(
            f"| {one.title} | {mode} | {what} | {statistics.median(speeds[0]):.1f} "
            f"| {statistics.median(speeds[1]):.1f} | {ratio:.2f} | {min(ratios):.2f} ... {max(ratios):.2f} "
            f"| {floor:g}: {held} | {'' if apart is None else f'{apart:.0e}'} |"
        )
    return lines


def timms_size(one: Contest, size: int) -> dict[str, int]:
    """Attention of timm's wants to know the size of the pictures."""
    return {"img_size": size} if one.title.startswith(("ViT", "Swin")) else {}


def draw_head(model: Any) -> None:
    """timm begins some heads at zero, and then all logits are the same."""
    nn.init.normal_(model.get_classifier().weight, std=0.02)


# ---------------------------------------------------------------------- what is timed


@dataclass
class Side:
    """A network as somebody runs it."""

    model: nn.Module
    autocast: Callable[[], Any]
    optimiser: torch.optim.Optimizer


def in_float32(model: nn.Module, own: bool) -> Side:
    return Side(model, nullcontext, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True))


def in_bf16(model: nn.Module, own: bool) -> Side:
    return Side(model, BF16, torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True))


def by_default(model: nn.Module, own: bool) -> Side:
    if not own:
        return Side(model, nullcontext, torch.optim.AdamW(model.parameters(), lr=1e-5))
    engines = build_optimiser(model, one_group(model), Optim(name="adamw", rate=1e-5))
    return Side(model, choose_precision(torch.device("cpu")).autocast, engines)


MODES = {"float32": in_float32, "bf16": in_bf16, "default": by_default}


def inference(side: Side, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    side.model.eval()

    def once() -> Tensor:
        with torch.inference_mode(), side.autocast():
            return side.model(images)

    return once


def training(side: Side, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    side.model.train()

    def once() -> Tensor:
        with side.autocast():
            loss = F.cross_entropy(side.model(images), labels)
        loss.backward()
        side.optimiser.step()
        side.optimiser.zero_grad()
        return loss.detach()

    return once


def apart_in(turns: list[Callable[[], Tensor]]) -> float:
    ours, theirs = (turn().float() for turn in turns)
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def taken(turns: list[Callable[[], Tensor]], options: argparse.Namespace) -> list[list[float]]:
    """Pictures a second of both in every pair, after one turn that is not timed."""
    speeds: list[list[float]] = [[], []]
    for pair in range(options.pairs + 1):
        for place in (0, 1) if pair % 2 else (1, 0):
            start = time.perf_counter()
            for _ in range(options.repeats):
                turns[place]()
            if pair:
                seconds = time.perf_counter() - start
                speeds[place].append(options.batch * options.repeats / seconds)
    return speeds


def processor() -> str:
    """The processor's own name where Linux tells it, with what multiplies bf16."""
    able = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({', '.join(able) or 'no bf16'})"


if __name__ == "__main__":
    main()
