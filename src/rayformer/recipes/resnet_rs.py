"""ResNet-RS (Bello et al. 2021, arXiv:2103.07579): a ResNet, trained and scaled as one does today.

rayformer train resnet-rs --data my_pictures
rayformer train resnet-rs --data my_pictures --size 50 --augment.size 160 --from timm/resnetrs50.tf_in1k
rayformer train resnet-rs --smoke

Fashion-MNIST: 93.3 % of the test pictures after 14 minutes on two cores; the command is in docs/resnet-rs.md.
The paper's ResNet-RS-50 has 78.8 % on ImageNet at 160 pixels, after 350 epochs.
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.resnet_rs import SIZES, ResNet, ResNetConfig
from rayformer.nets.weights.resnet_rs import RESNET
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain, sized
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import channel_heat


@dataclass(frozen=True, kw_only=True)
class ResNetRSRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    size: str | None = None
    """A published size, 50 to 420, plain-50 or plain-200, which takes the place of all of the model but
    what is left out at random."""
    model: ResNetConfig = ResNetConfig(depths=(2, 2, 2, 2), width=32, stem_halvings=1, drop_path=0.1)
    train: ClassifierTraining = ClassifierTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="sgd", rate=0.1, decay=4e-5, nesterov=True),
        schedule=Schedule(kind="cosine", warmup_steps=100, final=0.01),
        clip=1.0,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = ResNetRSRecipe()

SMOKE = ResNetRSRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="shifted", padding=2, flip=0.0, policy=PolicyConfig(kind="none")),
    model=ResNetConfig(depths=(1, 1, 1), width=16, stem_halvings=1),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=200,
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=20),
        evaluate_every=0,
        save_every=100,
    ),
)


def build(config: ResNetRSRecipe, setting: Setting) -> Chain:
    model = sized(config.model, SIZES, config.size)
    return classifier_chain(config, setting, lambda classes: ResNet(model, classes), channel_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=CLASSIFIER_EXPORTS,
    begin=begun_from(RESNET),
)
