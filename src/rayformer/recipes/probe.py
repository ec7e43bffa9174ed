"""Probes: what the features of a network know, told by readers on top of it while it stays as it is. A linear
layer behind a batch norm (He et al. 2021, arXiv:2111.06377, A.1), logistic regression, and nearest neighbours
(Wu et al. 2018, arXiv:1805.01978).

rayformer train probe --from runs/mine --data my_pictures
rayformer train probe --net vit --size s --from vit_small.safetensors --data my_pictures
rayformer train probe --from runs/mine --smoke
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from rayformer.core.errors import RunError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting
from rayformer.recipes.parts.body import AsSeen, Net, body_from, keep, kept, weights_into
from rayformer.recipes.parts.classifier import open_pictures
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.classify import predict
from rayformer.recipes.parts.probes import Probe, ProbeTraining, probe_chain


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    data: ImagesConfig = ImagesConfig()
    net: Net | None = None
    """Where --from names weights by themselves: of which network they are. A run says so itself."""
    size: str | None = None
    """And of which published size, for instance s of vit or 50 of resnet-rs."""
    augment: AsSeen = AsSeen()
    probe: ProbeTraining = ProbeTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(name="lars", rate=6.4),
        schedule=Schedule(kind="cosine", warmup_steps=200),
        evaluate_every=500,
        save_every=1000,
    )


DEFAULT = ProbeRecipe()

SMOKE = ProbeRecipe(
    data=ImagesConfig(source="glyphs"),
    probe=ProbeTraining(shown=6),
    plan=replace(
        DEFAULT.plan, steps=300, schedule=Schedule(kind="cosine", warmup_steps=30), evaluate_every=0
    ),
)


def build(config: ProbeRecipe, setting: Setting) -> Chain:
    """The body is that of `--from` once, and that of RUN/assets/body.json ever after."""
    path = setting.assets / "body.json"
    if path.exists():
        body = kept(path)
    elif setting.training:
        body = body_from(setting.start, config.net, config.size, config.augment)
        keep(body, path)
    else:
        raise RunError(f"{setting.assets.parent} was stopped before it had read its network: train again.")
    data, found = open_pictures(config.data, setting)
    return probe_chain(body, data, found, config.probe, config.plan, setting)


def begin(model: nn.Module, source: str) -> Sequence[str]:
    assert isinstance(model, Probe), "a probe run trains a probe"
    return weights_into(model.body, model.family, source)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    predict=predict,
    exports={name: CLASSIFIER_EXPORTS[name] for name in ("onnx", "safetensors")},
    begin=begin,
)
