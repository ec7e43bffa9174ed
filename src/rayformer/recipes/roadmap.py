"""The road from ResNet to ConvNeXt (Liu et al. 2022, arXiv:2201.03545, section 2): any network between them.

rayformer train roadmap --data my_pictures --model.patchify true --model.depthwise true
rayformer train roadmap --smoke

Every switch of the road is an option, all off a ResNet with the batch norms, blocks and ReLUs of 2015, all on
a ConvNeXt. To train either end, `resnet-rs` and `convnext` are the recipes; this one is for those who want to
know what one change does. `rayformer reproduce convnext-roadmap` goes all the way.
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.roadmap import Roadmap, RoadmapConfig
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import channel_heat


@dataclass(frozen=True, kw_only=True)
class RoadmapRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    model: RoadmapConfig = RoadmapConfig(depths=(1, 1, 2, 1), width=32, drop_path=0.1)
    train: ClassifierTraining = ClassifierTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="adamw", rate=1e-3, decay=0.05),
        schedule=Schedule(kind="cosine", warmup_steps=100, final=0.01),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = RoadmapRecipe()

SMOKE = RoadmapRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="shifted", padding=2, flip=0.0, policy=PolicyConfig(kind="none")),
    model=RoadmapConfig(depths=(1, 1, 1), width=8),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=200,
        optim=replace(DEFAULT.plan.optim, rate=4e-3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=20),
        evaluate_every=0,
        save_every=100,
    ),
)


def build(config: RoadmapRecipe, setting: Setting) -> Chain:
    return classifier_chain(config, setting, lambda classes: Roadmap(config.model, classes), channel_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports={name: CLASSIFIER_EXPORTS[name] for name in ("onnx", "safetensors")},
)
