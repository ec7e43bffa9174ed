"""The ladder from a plain ResNet to ResNet-RS, rung by rung (Bello et al. 2021, table 1).

    rayformer reproduce resnet-rs-ladder
    rayformer reproduce resnet-rs-ladder --data cifar10

The paper changes a ResNet-200 on ImageNet at 256 pixels one thing at a time, and keeps what it has: eight
rungs are how it is trained, the last two what it is made of. Here a small ResNet climbs the same ladder on
drawn solids (or on other labelled pictures) seen at 32 pixels, a hundred of each class: few, so that a minute
is enough to see each of them many times, as the paper's 350 epochs do, and there is something to hold a
network back from. Everything but its size is the paper's, with times in proportion: "longer" is four times as
long, as from 90 to 350 epochs; the average remembers as large a share of the training; rates, decays and
shares are those for small networks (ResNet-RS-50).

What each rung gains is set beside what it gained in the paper, and beside what two seeds differ by anyway:
small rungs cannot be told from chance at this size, and the verdict says which. It asks two things of the
ladder as a whole: that it leads up, and, which is the paper's point, that training does more for it than
architecture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import climbs, doubt, percent, stairs, told
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.nets.resnet_rs import PLAIN
from rayformer.recipes.parts.classifier import ClassifierTraining
from rayformer.recipes.resnet_rs import ResNetRSRecipe
from rayformer.runs.pictures import Picture

STEPS = 250
"""Of the first two rungs."""
LONGER = 4
PER_CLASS = 100
"""Pictures to learn from."""
REMEMBERED = 0.09
"""Share of the training that the average of weights spans: the paper's 10,000 of 109,475 steps."""
RANDAUGMENT = PolicyConfig(
    kind="timm", layers=2, magnitude=10.0, spread=0.0, most=10.0, chance=1.0, increasing=False
)
"""Two operations on every picture, at the paper's magnitude for ResNet-RS-50."""


def first(smoke: bool) -> ResNetRSRecipe:
    """A ResNet of 2015 as it was trained then: falling by a tenth thrice."""
    steps = 4 if smoke else STEPS
    return ResNetRSRecipe(
        data=ImagesConfig(source="glyphs-20" if smoke else "shapes", per_class=PER_CLASS),
        augment=AugmentConfig(
            size=32, crop="resized", area=(0.3, 1.0), policy=PolicyConfig(kind="none"), crop_share=1.0
        ),
        model=replace(
            PLAIN, depths=(1, 1) if smoke else (2, 2, 2), width=8 if smoke else 12, stem_halvings=1
        ),
        train=ClassifierTraining(
            batch=16 if smoke else 64, mix=MixConfig(mixup=0.0, cutmix=0.0, smoothing=0.0), shown=0
        ),
        plan=Plan(
            steps=steps,
            optim=Optim(name="sgd", rate=0.1, decay=1e-4),
            schedule=Schedule(
                kind="step", milestones=(1 / 3, 2 / 3, 8 / 9), gamma=0.1, warmup_steps=steps // 18
            ),
            evaluate_every=0,
            save_every=0,
        ),
    )


def _cosine(config: ResNetRSRecipe) -> ResNetRSRecipe:
    schedule = Schedule(kind="cosine", warmup_steps=config.plan.schedule.warmup_steps)
    return replace(config, plan=replace(config.plan, schedule=schedule))


def _longer(config: ResNetRSRecipe) -> ResNetRSRecipe:
    return replace(config, plan=replace(config.plan, steps=LONGER * config.plan.steps))


def _average(config: ResNetRSRecipe) -> ResNetRSRecipe:
    span = max(2.0, REMEMBERED * config.plan.steps)
    return replace(config, plan=replace(config.plan, ema=1 - 1 / span))


def _smoothing(config: ResNetRSRecipe) -> ResNetRSRecipe:
    mix = replace(config.train.mix, smoothing=0.1)
    return replace(config, train=replace(config.train, mix=mix))


def _randaugment(config: ResNetRSRecipe) -> ResNetRSRecipe:
    return replace(config, augment=replace(config.augment, policy=RANDAUGMENT))


def _less_decay(config: ResNetRSRecipe) -> ResNetRSRecipe:
    return replace(config, plan=replace(config.plan, optim=replace(config.plan.optim, decay=4e-5)))


def _model(**changes: Any) -> Callable[[ResNetRSRecipe], ResNetRSRecipe]:
    return lambda config: replace(config, model=replace(config.model, **changes))


RUNGS: tuple[tuple[str, float, Callable[[ResNetRSRecipe], ResNetRSRecipe]], ...] = (
    ("ResNet", 79.0, lambda config: config),
    ("cosine", 79.3, _cosine),
    ("longer", 78.8, _longer),
    ("average of weights", 79.1, _average),
    ("label smoothing", 80.4, _smoothing),
    ("stochastic depth", 80.6, _model(drop_path=0.1)),
    ("RandAugment", 81.0, _randaugment),
    ("dropout", 80.7, _model(dropout=0.25)),
    ("less weight decay", 82.2, _less_decay),
    ("squeeze and excite", 82.9, _model(squeeze=0.25)),
    ("ResNet-D", 83.4, _model(deep_stem=True, pooled_shortcut=True, max_pool=False)),
)
"""Name, the paper's top-1 from there on, and what changes."""
TRAINED = "less weight decay"
"""The last rung that is a matter of training."""


def cells(smoke: bool) -> Sequence[Cell]:
    made, config = [], first(smoke)
    for name, paper, change in RUNGS:
        config = change(config)
        made.append(Cell(name, "resnet-rs", config, paper))
    return made


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """The ladder leads up by more than chance, and training leads further up than architecture."""
    steps, doubted = climbs(measured), doubt(measured)
    names = [step.name for step in steps]
    by_training = sum(step.gain for step in steps[: names.index(TRAINED) + 1])
    by_network = sum(step.gain for step in steps[names.index(TRAINED) + 1 :])
    whole = by_training + by_network
    certain = f"chance may make {doubted:.1f}" if doubted < float("inf") else "chance unknown"
    return Verdict(
        holds=whole > (doubted if doubted < float("inf") else 0) and by_training > by_network,
        reason=f"in points, the paper's in brackets: all rungs together {whole:+.1f} (+4.4), {certain}; "
        f"by training {by_training:+.1f} (+3.2), by architecture {by_network:+.1f} (+1.2). "
        f"{told(steps, doubted)}",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    source = next(iter(measured.values())).cell.config.data.source
    return {
        "ladder": stairs(measured, f"from ResNet to ResNet-RS on {source.rstrip('/').rpartition('/')[2]}")
    }


CLAIM = Claim(
    name="resnet-rs-ladder",
    statement="rung by rung a ResNet climbs, more by how it is trained than by what it is made of",
    paper="Bello et al. 2021, table 1",
    metrics=("top1_percent", "cross_entropy_nats"),
    cells=cells,
    judge=judge,
    draw=draw,
    seeds=(0, 1),
    measure=percent,
    any_data=True,
)
