"""ConvNets against transformers at the same compute (Smith et al. 2023, arXiv:2310.16764: "ConvNets match
vision transformers at scale").

    rayformer reproduce cnn-vs-transformer

ResNet-RS, ConvNeXt and NFNet against ViT and Swin, each at three sizes of about 12, 40 and 100 million
operations a picture, for pictures of 32 pixels. A size has its minutes, the same for all five networks; what
they compute in them is counted, and so both readings of "the same compute" are in the table and the picture:
the same seconds, and the same number of operations. Everybody sees the same pictures, moved and mirrored,
with smooth labels, and is trained by its own recipe's optimiser and rates.

The paper, on JFT-4B and ImageNet: NFNets at 400 to 110,000 TPU hours have 88 to 90.4 %, as ViTs have at the
same budgets, and the held-out loss of either is a straight line on log axes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import METRIC, PASSES, forward_flops, percent
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.nets.convnext import ConvNeXtConfig
from rayformer.nets.nfnet import NFNetConfig
from rayformer.nets.resnet_rs import ResNetConfig
from rayformer.nets.swin import SwinConfig
from rayformer.nets.vit import ViTConfig
from rayformer.recipes.index import load
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.classifier import ClassifierTraining
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

MINUTES = {"small": 0.5, "medium": 1.2, "large": 2.3}
"""Of training, for every network of a size."""
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "resnet-rs": {
        "small": ResNetConfig(depths=(1, 1, 1), width=16, stem_halvings=1),
        "medium": ResNetConfig(depths=(2, 2, 2), width=24, stem_halvings=1),
        "large": ResNetConfig(depths=(2, 3, 2), width=36, stem_halvings=1),
    },
    "convnext": {
        "small": ConvNeXtConfig(depths=(1, 1, 2), widths=(24, 48, 96), patch_size=2),
        "medium": ConvNeXtConfig(depths=(2, 2, 4), widths=(32, 64, 128), patch_size=2),
        "large": ConvNeXtConfig(depths=(2, 2, 6), widths=(48, 96, 192), patch_size=2),
    },
    "nfnet": {
        "small": NFNetConfig(
            depths=(1, 2, 2), widths=(32, 64, 128), stem_width=16, stem_halvings=1, group_width=16,
            last_width=256,
        ),
        "medium": NFNetConfig(
            depths=(1, 2, 2), widths=(64, 128, 256), stem_width=32, stem_halvings=1, group_width=32,
            last_width=512,
        ),
        "large": NFNetConfig(
            depths=(2, 4, 6), widths=(64, 128, 256), stem_width=32, stem_halvings=1, group_width=32,
            last_width=512,
        ),
    },
    "vit": {
        "small": ViTConfig(image_size=32, patch_size=4, width=48, depth=3, heads=3, pool="mean"),
        "medium": ViTConfig(image_size=32, patch_size=4, width=72, depth=4, heads=3, pool="mean"),
        "large": ViTConfig(image_size=32, patch_size=4, width=96, depth=6, heads=3, pool="mean"),
    },
    "swin": {
        "small": SwinConfig(patch_size=2, width=20, depths=(2, 2), heads=(2, 4), window=4),
        "medium": SwinConfig(patch_size=2, width=32, depths=(2, 2, 2), heads=(2, 4, 8), window=4),
        "large": SwinConfig(patch_size=2, width=48, depths=(2, 2, 2), heads=(3, 6, 12), window=4),
    },
}  # fmt: skip
CONVNETS = ("resnet-rs", "convnext", "nfnet")
TRANSFORMERS = ("vit", "swin")
SIMILAR = 5.0
"""Points of top-1 between the best of either kind that count as about equal."""


def cells(smoke: bool) -> Sequence[Cell]:
    return [
        Cell(f"{name} {size}", name, _config(name, network, MINUTES[size], smoke))
        for name, sizes in NETWORKS.items()
        for size, network in sizes.items()
    ]


def _config(name: str, network: Any, minutes: float, smoke: bool) -> Any:
    recipe = load(name).default
    length = {"steps": 2} if smoke else {"steps": 1_000_000, "minutes": minutes}
    return replace(
        recipe,
        data=ImagesConfig(source="glyphs-20" if smoke else "shapes"),
        augment=AugmentConfig(size=32, crop="shifted", padding=3, policy=PolicyConfig(kind="none")),
        model=network,
        train=ClassifierTraining(batch=8 if smoke else 64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=0),
        plan=replace(recipe.plan, **length, evaluate_every=0, save_every=0),
    )


def measure(run: Path) -> Mapping[str, float]:
    """Top-1 in percent, what a picture costs, and all that was computed to learn."""
    loaded = open_run(run, "cpu")
    flops = forward_flops(loaded.model, loaded.config.augment.size)
    images = loaded.step * loaded.config.train.batch
    return {
        **percent(run),
        "mflop_per_image": flops / 1e6,
        "thousand_images": images / 1000,
        "training_tflop": PASSES * flops * images / 1e12,
    }


def best(measured: Mapping[str, Measured], names: Sequence[str], size: str) -> tuple[str, float]:
    """Of some networks the one that recognises most, at one size."""
    found = {name: measured[f"{name} {size}"].median(METRIC) for name in names}
    name = max(found, key=lambda name: found[name])
    return name, found[name]


def slope(measured: Mapping[str, Measured], names: Sequence[str]) -> float:
    """How fast the share of mistakes falls with compute: its power, from a line through all points of some
    networks on log axes."""
    points = [
        (math.log(row.median("training_tflop")), math.log(max(100 - row.median(METRIC), 0.1)))
        for name in names
        for row in (measured[f"{name} {size}"] for size in MINUTES)
    ]
    compute, mistakes = np.array(points).T
    return float(np.polyfit(compute, mistakes, 1)[0])


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """At the largest size, the best of both kinds are within `SIMILAR` points."""
    told, apart = [], 0.0
    for size in MINUTES:
        (convnet, one), (transformer, other) = (
            best(measured, names, size) for names in (CONVNETS, TRANSFORMERS)
        )
        apart = one - other
        told.append(f"{size} {convnet} {one:.1f} against {transformer} {other:.1f} ({apart:+.1f})")
    fall = [slope(measured, names) for names in (CONVNETS, TRANSFORMERS)]
    return Verdict(
        holds=abs(apart) <= SIMILAR,
        reason=f"best ConvNet against best transformer in the same minutes, top-1 in %: {'; '.join(told)}; "
        f"about equal is within {SIMILAR:g}. Mistakes go with compute to the power of {fall[0]:.2f} "
        f"(ConvNets) and {fall[1]:.2f} (transformers)",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """The share of mistakes against what was computed, and against seconds."""

    def onto(figure: Any) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        looks = zip(NETWORKS, ("tab:blue", "tab:cyan", "navy", "tab:orange", "tab:red"), "os^Dv", strict=True)
        for name, colour, mark in looks:
            rows = [measured[f"{name} {size}"] for size in MINUTES]
            mistakes = [100 - row.median(METRIC) for row in rows]
            line = "-" if name in CONVNETS else "--"
            for axes, metric in zip(panels, ("training_tflop", "train_s"), strict=True):
                axes.plot(
                    [row.median(metric) for row in rows], mistakes, line, color=colour, marker=mark,
                    label=name,
                )  # fmt: skip
        for axes, label in zip(panels, ("training compute, 10¹² operations", "training, s"), strict=True):
            axes.set(xlabel=label, xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter("{x:g}")
            axes.tick_params(which="both", labelsize=8)
            axes.grid(which="both", color="0.92")
        panels[0].set(ylabel="mistakes, % of held-out pictures")
        panels[1].legend(fontsize=8)

    caption = (
        "mistakes against training compute, counted and by the clock: ConvNets solid, transformers dashed"
    )
    return {"compute": curves(onto, (10, 4.6), caption)}


CLAIM = Claim(
    name="cnn-vs-transformer",
    statement="with the same compute, ConvNets and transformers recognise pictures about equally well",
    paper="Smith et al. 2023, arXiv:2310.16764",
    metrics=(METRIC, "mflop_per_image", "thousand_images", "training_tflop"),
    cells=cells,
    judge=judge,
    draw=draw,
    measure=measure,
    any_data=True,
)
