"""NFNet (Brock et al. 2021, arXiv:2102.06171): a ConvNet without norms, the one that
matches vision transformers at scale. In the place of norms, gradients are clipped unit by unit
(`plan.clip_units`, sec. 4.1), but for the head, as in the paper, and for the gains of the branches.

rayformer train nfnet --data my_pictures
rayformer train nfnet --data my_pictures --size f0 --augment.size 192 --from timm/dm_nfnet_f0.dm_in1k
rayformer train nfnet --smoke
"""

from dataclasses import dataclass, replace

from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.nets.nfnet import SIZES, NFNet, NFNetConfig
from rayformer.nets.weights.nfnet import NFNET
from rayformer.recipes.parts.classifier import ClassifierTraining, classifier_chain, sized
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classifier_start import begun_from
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.heat import channel_heat


@dataclass(frozen=True, kw_only=True)
class NFNetRecipe:
    data: ImagesConfig = ImagesConfig()
    augment: AugmentConfig = AugmentConfig(size=64)
    size: str | None = None
    """A published size, f0 to f7, which then takes the place of all of the model but what is left out
    at random."""
    model: NFNetConfig = NFNetConfig(
        depths=(1, 2, 4, 2),
        widths=(64, 128, 256, 256),
        stem_width=32,
        stem_halvings=1,
        group_width=32,
        last_width=512,
        drop_path=0.1,
    )
    train: ClassifierTraining = ClassifierTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="sgd", rate=0.1, decay=2e-5, nesterov=True),
        schedule=Schedule(kind="cosine", warmup_steps=100, final=0.01),
        clip_units=0.01,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = NFNetRecipe()

SMOKE = NFNetRecipe(
    data=ImagesConfig(source="glyphs"),
    augment=AugmentConfig(size=32, crop="shifted", padding=2, flip=0.0, policy=PolicyConfig(kind="none")),
    model=NFNetConfig(
        depths=(1, 1, 1), widths=(32, 64, 64), stem_width=16, stem_halvings=1, group_width=16, last_width=128
    ),
    train=ClassifierTraining(batch=64, mix=MixConfig(mixup=0.0, cutmix=0.0), shown=6),
    plan=replace(
        DEFAULT.plan,
        steps=300,
        optim=replace(DEFAULT.plan.optim, rate=0.3),
        schedule=replace(DEFAULT.plan.schedule, warmup_steps=20),
        evaluate_every=0,
        save_every=150,
    ),
)


def build(config: NFNetRecipe, setting: Setting) -> Chain:
    model = sized(config.model, SIZES, config.size)
    return classifier_chain(config, setting, lambda classes: NFNet(model, classes), channel_heat)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports=CLASSIFIER_EXPORTS,
    begin=begun_from(NFNET),
)
