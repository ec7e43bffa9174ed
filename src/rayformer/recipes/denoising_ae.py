"""Denoising autoencoders (Vincent et al. 2008, ICML; 2010, JMLR 11): layers that learn, one after the other,
to make spoiled pictures good again, and then, all together, classes.

rayformer train denoising-ae --data my_pictures
rayformer train denoising-ae --noise.kind salt-and-pepper --noise.share 0.4 --labels 10
rayformer train denoising-ae --no-pretrain
rayformer train denoising-ae --smoke
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded
from rayformer.data.images.erase import EraseConfig
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.nets.denoising_ae import DenoisingConfig, DenoisingNet, NoiseConfig, layer_of
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_groups, open_pictures
from rayformer.recipes.parts.denoising import (
    EXPORTS,
    FINE_TUNE,
    FineTuning,
    LayerTask,
    begun,
    few_labels,
    predict,
)
from rayformer.recipes.parts.heat import gradient_heat


@dataclass(frozen=True, kw_only=True)
class DenoisingRecipe:
    data: ImagesConfig = ImagesConfig(source="glyphs")
    augment: AugmentConfig = AugmentConfig(
        size=32,
        crop="shifted",
        padding=0,
        flip=0.0,
        policy=PolicyConfig(kind="none"),
        erase=EraseConfig(chance=0.0),
        colours="none",
    )
    model: DenoisingConfig = DenoisingConfig()
    noise: NoiseConfig = NoiseConfig()
    pretrain: bool = True
    """Every layer learns to denoise before classes are learned. Without it classes are learned at once: by
    the plain network, or upon the layers of --from."""
    labels: int | None = None
    """Classes are learned from this many pictures of each class at most, while layers learn to denoise from
    all. none: classes from all, too."""
    denoise: Plan = Plan(
        steps=2000,
        optim=Optim(name="adam", rate=3e-3),
        evaluate_every=0,
        save_every=1000,
    )
    """Of every layer."""
    train: ClassifierTraining = ClassifierTraining(mix=MixConfig(mixup=0.0, cutmix=0.0, smoothing=0.0))
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="adam", rate=3e-3),
        schedule=Schedule(kind="cosine"),
        evaluate_every=500,
        save_every=500,
    )
    """Of the fine-tuning."""

    def __post_init__(self):
        if self.augment.colours != "none":
            raise ConfigError(
                "augment.colours must be none, as what is spoiled and restored lies in [0, 1], "
                f"but is {self.augment.colours}."
            )
        if self.labels is not None and self.labels < 1:
            raise ConfigError(f"labels must be at least 1, or none, but is {self.labels}.")


DEFAULT = DenoisingRecipe()

SMOKE = replace(
    DEFAULT,
    model=DenoisingConfig(widths=(400, 400)),
    train=replace(DEFAULT.train, batch=64, shown=6),
    denoise=replace(DEFAULT.denoise, steps=400, save_every=200),
    plan=replace(DEFAULT.plan, steps=400, evaluate_every=0, save_every=200),
)


def build(config: DenoisingRecipe, setting: Setting) -> Chain:
    """A stage for every layer, from the pixels up, then one for all of them and the classes."""
    data, found = open_pictures(config.data, setting)
    network = replace(config.model, image_size=config.augment.size)
    names = [f"layer-{number + 1}" for number in range(len(network.widths))] if config.pretrain else []

    def layer(number: int, earlier: Mapping[str, Any]) -> LayerTask:
        below = [earlier[name].model.eval().requires_grad_(False) for name in names[:number]]
        with seeded(setting.seed, "layer", number):
            model = layer_of(network, number)
        return LayerTask(model, below, data, config.augment, network, config.noise, config.train, setting)

    def fine_tuning(earlier: Mapping[str, Any]) -> FineTuning:
        with seeded(setting.seed, "model"):
            model = DenoisingNet(network, len(data.classes))
        if names:
            model.take([earlier[name].model for name in names])
        if config.train.tune == "head":
            model.requires_grad_(False).get_submodule("head").requires_grad_(True)
        pictures = few_labels(data, config.labels)
        return FineTuning(model, pictures, config.augment, config.train, setting, gradient_heat)

    stages = [
        Stage(name=name, task=lambda earlier, number=number: layer(number, earlier), plan=config.denoise)
        for number, name in enumerate(names)
    ]
    last = Stage(
        name=FINE_TUNE,
        task=fine_tuning,
        plan=config.plan,
        groups=lambda model: classifier_groups(model, config.train.layer_decay),
    )
    return Chain(stages=[*stages, last], data=found)


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, predict=predict, exports=EXPORTS, begin=begun)
