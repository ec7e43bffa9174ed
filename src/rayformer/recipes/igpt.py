"""Image GPT (Chen et al. 2020, "Generative pretraining from pixels"): pictures learned as sequences of
colours, drawn pixel by pixel, and recognised by what was learned.

rayformer train igpt --data my_pictures
rayformer train igpt --data my_pictures --model.objective bert
rayformer train igpt --data my_pictures --from runs/mine/stages/pretrain --plan.steps 0 --tune.steps 3000
rayformer train igpt --smoke
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded, stream
from rayformer.data.images.batches import ImageBatches
from rayformer.data.images.erase import EraseConfig
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.palette import Palette, PaletteConfig, fitted_palette, read_palette
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig, EvalTransform
from rayformer.engine.chain import best_weights
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage, Task
from rayformer.nets.igpt import IGPT, SIZES, IGPTConfig
from rayformer.nets.weights.files import beside
from rayformer.nets.weights.igpt import IGPT_WEIGHTS
from rayformer.nets.weights.loading import load, put
from rayformer.recipes.parts.classifier import MEASURED_AT_ONCE, OpenPictures, open_pictures, sized
from rayformer.recipes.parts.pixel_exports import PIXEL_EXPORTS, predict
from rayformer.recipes.parts.pixel_task import Drawing, PixelTask, PixelTraining, refuse_too_long
from rayformer.runs.run import Run

PALETTE, THEIR_PALETTE = "palette.npy", "preprocessor_config.json"
"""In RUN/assets, and beside weights on the Hugging Face hub."""
FITTED_PICTURES = 2000
"""Pictures, at most, that the pixels come from to which a palette is fitted."""


@dataclass(frozen=True, kw_only=True)
class IGPTRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(
        size=16,
        area=(0.6, 1.0),
        colours="half",
        crop_share=1.0,
        policy=PolicyConfig(kind="none"),
        erase=EraseConfig(chance=0.0),
    )
    palette: PaletteConfig = PaletteConfig()
    size: str | None = None
    """A published size, s, m or l, which then takes the place of the model's width, depth and heads."""
    model: IGPTConfig = IGPTConfig(width=128, depth=8, heads=4)
    train: PixelTraining = PixelTraining()
    draw: Drawing = Drawing()
    plan: Plan = Plan(
        steps=3000,
        optim=Optim(name="adam", rate=3e-3, betas=(0.9, 0.95)),
        schedule=Schedule(kind="cosine", warmup_steps=100),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )
    tune: Plan = Plan(
        steps=1000,
        optim=Optim(name="adam", rate=1e-3, betas=(0.9, 0.95)),
        schedule=Schedule(kind="cosine", warmup_steps=50),
        clip=1.0,
        evaluate_every=250,
        save_every=500,
    )
    """The second stage, in which classes are learned too, all weights moving and both losses counting. No
    steps: there is none."""


DEFAULT = IGPTRecipe()

SMOKE = IGPTRecipe(
    data=ImagesConfig(source="glyphs-60"),
    augment=replace(DEFAULT.augment, size=12, area=(0.9, 1.0), flip=0.0),
    palette=PaletteConfig(colours=32, pixels=10_000),
    model=IGPTConfig(width=48, depth=3, heads=3),
    train=PixelTraining(batch=32, masks=2, probed=300, shown=8),
    plan=replace(DEFAULT.plan, steps=150, evaluate_every=0, save_every=75),
    tune=replace(DEFAULT.tune, steps=60, evaluate_every=0, save_every=30),
)


def build(config: IGPTRecipe, setting: Setting) -> Chain:
    """One stage or two: pixels alone, then pixels and classes."""
    model, side = sized(config.model, SIZES, config.size), config.augment.size
    if setting.training:
        precision = choose_precision(setting.device, config.plan.precision)
        refuse_too_long(model, side, config.palette.colours, config.train, precision, setting.device)
    data, found = open_pictures(config.data, setting)
    palette = palette_of(config, data, setting)

    def task(network: IGPT) -> PixelTask:
        return PixelTask(network, palette, data, config.augment, config.train, config.draw, setting)

    def pretrain(_: Mapping[str, Task]) -> PixelTask:
        with seeded(setting.seed, "model"):
            return task(IGPT(model, side, len(palette)))

    def tune(finished: Mapping[str, Task]) -> PixelTask:
        with seeded(setting.seed, "head"):
            network = IGPT(model, side, len(palette), len(data.classes))
        network.load_state_dict(finished["pretrain"].model.state_dict(), strict=False)  # all but the head
        return task(network)

    stages = [Stage(name="pretrain", task=pretrain, plan=config.plan, groups=groups)]
    if config.tune.steps:
        stages.append(Stage(name="tune", task=tune, plan=config.tune, groups=groups))
    return Chain(stages=stages, data={**found, "palette": len(palette)} if found else found)


def groups(model: nn.Module) -> list[Group]:
    """What decays, where the plan has a decay, and what does not."""
    assert isinstance(model, IGPT), "this recipe trains one kind of network"
    names: dict[bool, list[str]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        names[model.undecayed(name, parameter)].append(name)
    return [Group("decayed", tuple(names[False])), Group("undecayed", tuple(names[True]), decay=0.0)]


def palette_of(config: IGPTRecipe, data: OpenPictures, setting: Setting) -> Palette:
    """That of the run, once it has one: the one that was named, that of the run to begin from, or one fitted
    to the training pictures. Weights by themselves know numbers of colours and not which these are."""
    kept = setting.assets / PALETTE
    if kept.is_file():
        return read_palette(kept)
    if config.palette.file is not None:
        palette = read_palette(config.palette.file)
    elif setting.start is not None:
        palette = _palette_with(setting.start)
    else:
        pixels = _some_pixels(config, data, setting.seed)
        palette = fitted_palette(pixels, config.palette.colours, stream(setting.seed, "palette"))
    palette.write(kept)
    return palette


def _palette_with(start: str) -> Palette:
    if is_run(start):
        return read_palette(Run.open(start).root.assets / PALETTE)
    theirs = beside(start, (THEIR_PALETTE,)) / THEIR_PALETTE
    if theirs.is_file():
        return read_palette(theirs)
    raise ConfigError(
        f"{start}: weights know colours by their numbers, and nothing beside them says which these are.\n"
        "Name the palette with --palette.file: RUN/assets/palette.npy of a run, the authors' "
        f"kmeans_centers.npy,\nor {THEIR_PALETTE} of a network on the Hugging Face hub."
    )


def _some_pixels(config: IGPTRecipe, data: OpenPictures, seed: int) -> torch.Tensor:
    """Equally many of many training pictures, as the network sees these, in [-1, 1]."""
    part = data.split("train")
    assert part is not None, "data always have a training part"
    chance = np.random.default_rng(stream(seed, "palette", "pixels"))
    count = min(len(part), FITTED_PICTURES)
    part = part.only(np.sort(chance.permutation(len(part))[:count]))
    batches = ImageBatches(part, EvalTransform(config.augment), MEASURED_AT_ONCE, seed)
    each = min(-(-config.palette.pixels // count), config.augment.size**2)
    normalisation = batches.transform.normalisation
    mean, deviation = (torch.tensor(values) for values in (normalisation.mean, normalisation.deviation))
    found = []
    for first in range(0, count, MEASURED_AT_ONCE):
        images, _ = batches.in_order(first, first + MEASURED_AT_ONCE)
        pixels = images.flatten(2).transpose(1, 2)
        places = np.stack([chance.permutation(pixels.shape[1])[:each] for _ in pixels])
        chosen = pixels.take_along_dim(torch.from_numpy(places)[..., None], dim=1)
        found.append((2 * (chosen * deviation + mean) - 1).flatten(0, 1))
    return torch.cat(found)


def is_run(source: str) -> bool:
    """Whether it is a run, or a stage of one."""
    return Path(source).is_dir() and (Run(Path(source)).root.path / "run.yaml").is_file()


def begin(model: nn.Module, source: str) -> Sequence[str]:
    """Weights of a run, a file, a folder or the hub; what to say of them."""
    assert isinstance(model, IGPT), "this recipe trains one kind of network"
    if is_run(source):
        weights, step = best_weights(Run.open(source))
        return put(model, weights, IGPT_WEIGHTS, f"{source}, step {step}").lines()
    return load(model, source, IGPT_WEIGHTS).lines()


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=PIXEL_EXPORTS,
    begin=begin,
)
