"""ViT (Dosovitskiy et al. 2020, arXiv:2010.11929): pictures into classes by attention between their patches.

rayformer train vit --data my_pictures
rayformer train vit --data my_pictures --size s --from vit_small.safetensors
rayformer train vit --smoke
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.vit import SIZES, ViT, ViTConfig
from rayformer.nets.weights.vit import VIT
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain, sized
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import attention_heat


@dataclass(frozen=True, kw_only=True)
class ViTRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    size: str | None = None
    """A published size, ti, s, b, l or h, which then takes the place of the model's width, depth, heads,
    patches and expansion."""
    model: ViTConfig = ViTConfig(patch_size=8, width=192, depth=6, heads=3, drop_path=0.1)
    train: ClassifierTraining = ClassifierTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="adamw", rate=1e-3, decay=0.05),
        schedule=Schedule(kind="cosine", warmup_steps=100, final=0.01),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = ViTRecipe()

SMOKE = ViTRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="centre", crop_share=1.0, flip=0.0, policy=PolicyConfig(kind="none")),
    model=ViTConfig(patch_size=8, width=64, depth=3, heads=2),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=600,
        optim=replace(DEFAULT.plan.optim, rate=2e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=30),
        evaluate_every=0,
        save_every=300,
    ),
)


def build(config: ViTRecipe, setting: Setting) -> Chain:
    model = replace(sized(config.model, SIZES, config.size), image_size=config.augment.size)
    return classifier_chain(config, setting, lambda classes: ViT(model, classes), attention_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=CLASSIFIER_EXPORTS,
    begin=begun_from(VIT),
)
