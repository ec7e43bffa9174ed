"""Swin (Liu et al. 2021, arXiv:2103.14030): attention in windows that shift, at a cost linear in pixels.

rayformer train swin --data my_pictures
rayformer train swin --data pictures --size t --augment.size 224 --from microsoft/swin-tiny-patch4-window7-224
rayformer train swin --smoke
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.swin import SIZES, Swin, SwinConfig
from rayformer.nets.weights.swin import SWIN
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain, sized
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import channel_heat


@dataclass(frozen=True, kw_only=True)
class SwinRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    size: str | None = None
    """A published size, t, s, b or l, which then takes the place of all of the model but its biases, eps,
    checkpointing and what is left out at random."""
    model: SwinConfig = SwinConfig(
        patch_size=2, width=48, depths=(2, 2, 4), heads=(2, 4, 8), window=4, drop_path=0.1
    )
    train: ClassifierTraining = ClassifierTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="adamw", rate=1e-3, decay=0.05),
        schedule=Schedule(kind="cosine", warmup_steps=100, final=0.01),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = SwinRecipe()

SMOKE = SwinRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="centre", crop_share=1.0, flip=0.0, policy=PolicyConfig(kind="none")),
    model=SwinConfig(patch_size=4, width=48, depths=(2, 2), heads=(3, 6), window=4),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=300,
        optim=replace(DEFAULT.plan.optim, rate=2e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=30),
        evaluate_every=0,
        save_every=150,
    ),
)


def build(config: SwinRecipe, setting: Setting) -> Chain:
    model = sized(config.model, SIZES, config.size)
    return classifier_chain(config, setting, lambda classes: Swin(model, classes), channel_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=CLASSIFIER_EXPORTS,
    begin=begun_from(SWIN),
)
