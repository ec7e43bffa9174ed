"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545): a ConvNet with all that transformers taught.

rayformer train convnext --data my_pictures
rayformer train convnext --data my_pictures --size t --augment.size 224 --from timm/convnext_tiny.fb_in1k
rayformer train convnext --smoke
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.convnext import SIZES, ConvNeXt, ConvNeXtConfig
from rayformer.nets.weights.convnext import CONVNEXT
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain, sized
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import channel_heat


@dataclass(frozen=True, kw_only=True)
class ConvNeXtRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    size: str | None = None
    """A published size, t, s, b, l or xl, which then takes the place of all of the model but layer
    scale and what is left out at random."""
    model: ConvNeXtConfig = ConvNeXtConfig(
        depths=(2, 2, 4, 2), widths=(40, 80, 160, 320), patch_size=2, drop_path=0.1
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


DEFAULT = ConvNeXtRecipe()

SMOKE = ConvNeXtRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="shifted", padding=2, flip=0.0, policy=PolicyConfig(kind="none")),
    model=ConvNeXtConfig(depths=(1, 1, 1), widths=(16, 32, 64), patch_size=2, layer_scale=0.0),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=200,
        optim=replace(DEFAULT.plan.optim, rate=4e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=15),
        evaluate_every=0,
        save_every=100,
    ),
)


def build(config: ConvNeXtRecipe, setting: Setting) -> Chain:
    model = sized(config.model, SIZES, config.size)
    return classifier_chain(config, setting, lambda classes: ConvNeXt(model, classes), channel_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=CLASSIFIER_EXPORTS,
    begin=begun_from(CONVNEXT),
)
