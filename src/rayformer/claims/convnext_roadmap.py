"""From ResNet to ConvNeXt, one change a step (Liu et al. 2022, section 2 and figure 2).

    rayformer reproduce convnext-roadmap

The road of `nets/roadmap.py` at a quarter of its width and with a third of its blocks, at the ratios of the
paper: stages of 1, 1, 2, 1 blocks become 1, 1, 3, 1, and 16 channels become 24. Pictures have 64 pixels, so
that the stem may be the paper's. All steps are trained alike, as the paper trains them: AdamW, a cosine,
smooth labels, moved and mirrored pictures; and equally long in steps, not in seconds. The paper's numbers are
of ImageNet at 224 pixels and full size.

What each step gains is set beside what it gained in the paper, and beside what two seeds differ by anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import METRIC, climbs, doubt, forward_flops, percent, stairs, told
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.nets.roadmap import PAPER, STEPS, RoadmapConfig
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.classifier import ClassifierTraining
from rayformer.recipes.roadmap import RoadmapRecipe
from rayformer.runs.pictures import Picture

NARROWER = 4
DEPTHS: Mapping[tuple[int, ...], tuple[int, ...]] = {(3, 4, 6, 3): (1, 1, 2, 1), (3, 3, 9, 3): (1, 1, 3, 1)}
"""Blocks of the stages, a third of the paper's."""
SMOKE_DEPTHS: Mapping[tuple[int, ...], tuple[int, ...]] = {(3, 4, 6, 3): (1, 1), (3, 3, 9, 3): (1, 2)}
TRAINING_STEPS = 400


def cells(smoke: bool) -> Sequence[Cell]:
    steps = 3 if smoke else TRAINING_STEPS
    base = RoadmapRecipe(
        data=ImagesConfig(source="glyphs-20" if smoke else "shapes"),
        augment=AugmentConfig(
            size=32 if smoke else 64, crop="shifted", padding=4, policy=PolicyConfig(kind="none")
        ),
        train=ClassifierTraining(batch=16 if smoke else 64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=0),
        plan=Plan(
            steps=steps,
            optim=Optim(name="adamw", rate=2e-3, decay=0.05),
            schedule=Schedule(kind="cosine", warmup_steps=steps // 10, final=0.01),
            clip=1.0,
            evaluate_every=0,
            save_every=0,
        ),
    )
    return [
        Cell(name, "roadmap", replace(base, model=smaller(config, smoke)), PAPER[name][0])
        for name, config in STEPS.items()
    ]


def smaller(config: RoadmapConfig, smoke: bool) -> RoadmapConfig:
    """The same step of the road, in small."""
    depths = (SMOKE_DEPTHS if smoke else DEPTHS)[config.depths]
    return replace(config, depths=depths, width=config.width // (16 if smoke else NARROWER))


def measure(run: Path) -> Mapping[str, float]:
    """Top-1 in percent, and what a picture costs."""
    loaded = open_run(run, "cpu")
    mflop = forward_flops(loaded.model, loaded.config.augment.size) / 1e6
    return {**percent(run), "mflop_per_image": mflop}


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """The end of the road is better than its beginning by more than chance."""
    steps, doubted = climbs(measured), doubt(measured)
    whole = sum(step.gain for step in steps)
    known = doubted < float("inf")
    # Of the steps that did something in the paper too: three moved nothing there by more than a tenth.
    moving = [step for step in steps if abs(step.paper) > 0.15]
    agree = sum((step.gain > 0) == (step.paper > 0) for step in moving)
    certain = f"chance may make {doubted:.1f}" if known else "chance unknown"
    return Verdict(
        holds=whole > (doubted if known else 0),
        reason=f"in points, the paper's in brackets: the whole road {whole:+.1f} (+3.2), {certain}; "
        f"{agree} of the {len(moving)} steps that count in the paper go the same way here. "
        f"{told(steps, doubted)}",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    source = next(iter(measured.values())).cell.config.data.source
    return {"road": stairs(measured, f"from ResNet to ConvNeXt on {source.rstrip('/').rpartition('/')[2]}")}


CLAIM = Claim(
    name="convnext-roadmap",
    statement="step by step a ResNet becomes a ConvNeXt, and recognises better at its end",
    paper="Liu et al. 2022, section 2 and figure 2",
    metrics=(METRIC, "mflop_per_image"),
    cells=cells,
    judge=judge,
    draw=draw,
    seeds=(0, 1),
    measure=measure,
    any_data=True,
)
