"""Fourier features (Tancik et al. 2020, arXiv:2006.10739): a picture, a sound, a video or a tomogram as a
function of its coordinates.

rayformer train image-field --data my_picture.png
rayformer train image-field --data sound --model.mapping siren
rayformer train image-field --data demo --smoke
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from rayformer.core.seeds import seeded
from rayformer.data.signals.signal import Shape, SignalConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.image_field import ImageField, ImageFieldConfig, Values
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes.parts.signal import SignalTask, SignalTraining, open_signal
from rayformer.recipes.parts.signal_export import SIGNAL_EXPORTS
from rayformer.recipes.parts.tomogram import TomogramTask


@dataclass(frozen=True, kw_only=True)
class ImageFieldRecipe:
    data: SignalConfig = SignalConfig()
    model: ImageFieldConfig = ImageFieldConfig()
    signal: SignalTraining = SignalTraining()
    plan: Plan = Plan(
        steps=2000,
        optim=Optim(rate=1e-3),
        schedule=Schedule(kind="cosine", final=0.05),
        log_every=20,
        evaluate_every=200,
        save_every=500,
    )


DEFAULT = ImageFieldRecipe()

SMOKE = ImageFieldRecipe(
    data=SignalConfig(),
    signal=SignalTraining(points=4096, rays=64, samples=64, validation_points=4096),
    model=ImageFieldConfig(waves=128, width=128),
    plan=replace(DEFAULT.plan, steps=300, optim=Optim(rate=3e-3), evaluate_every=100, save_every=300),
)

RATES = {"none": 3.0, "basic": 3.0, "siren": 0.3, "hash-grid": 10.0}
"""What a mapping's learning rate is times the plan's: coordinates alone need large steps, sines small
ones."""
SECTION_RATE = 3.0
"""The same for sections: sums along lines pull at every place weakly."""
VALUES: dict[str, Values] = {
    "picture": "unit", "video": "unit", "sound": "signed", "tomogram": "positive"
}  # fmt: skip


def build(config: ImageFieldRecipe, setting: Setting) -> Chain:
    signal, data = open_signal(config.data, setting)
    model = as_fine_as_samples(config.model, signal.shape, config.data.held_out)
    remarks = [*data["remarks"], _mapping_remark(model)]
    if setting.training and model.mapping == "hash-grid":
        remarks.append(str(warm_up(setting.device, (model.grid.features,))))

    def task(finished: object) -> SignalTask | TomogramTask:
        shape = signal.shape
        with seeded(setting.seed, "model"):
            field = ImageField(model, shape.dims, shape.channels, VALUES[shape.kind])
        kind = TomogramTask if shape.kind == "tomogram" else SignalTask
        return kind(field, signal, config.signal, setting)

    stage = Stage(
        name="image-field", task=task, plan=config.plan, groups=groups(model.mapping, signal.shape.kind)
    )
    return Chain(stages=[stage], data=data | {"remarks": remarks})


def as_fine_as_samples(model: ImageFieldConfig, shape: Shape, held_out: bool) -> ImageFieldConfig:
    """The config with what it leaves open: waves as fine as what can be learned from the samples, of which
    every other one along an axis is held out."""
    learned = shape.longest / (2 if held_out and shape.kind != "tomogram" else 1)
    sigma = model.sigma or learned * SHARES[shape.kind]
    finest = model.grid.finest or min(max(round(learned), model.grid.coarsest), 2**19)
    return replace(
        model,
        sigma=sigma,
        octaves=model.octaves or max(1.0, math.log2(2 * sigma)),
        omega=model.omega or (3000.0 if shape.kind == "sound" else 30.0),
        grid=replace(model.grid, finest=finest),
    )


SHARES = {"picture": 1 / 25.6, "video": 1 / 16, "sound": 1 / 16, "tomogram": 1 / 20}
"""Sigma as a share of the samples learned along the longest axis: the paper's 10 for pictures of which 256 x
256 pixels are learned, and what did well here for the others."""


def _mapping_remark(model: ImageFieldConfig) -> str:
    match model.mapping:
        case "gaussian":
            return f"{model.waves} waves, sigma {model.sigma:.3g} periods along the longest axis"
        case "positional":
            return (
                f"{model.waves} waves, up to {2 ** (model.octaves or 0):.3g} periods along the longest axis"
            )
        case "hash-grid":
            grid = model.grid
            return f"{grid.levels} grids of {grid.coarsest} to {grid.finest} cells along the longest axis"
        case "siren":
            return f"sines, omega {model.omega:g} in the first layer"
        case _:
            return f"mapping {model.mapping}"


def groups(mapping: str, kind: str = "picture") -> Callable[[nn.Module], list[Group]]:
    """All parameters, at the mapping's rate; the table of a hash grid faster than the network behind it."""

    def of_model(model: nn.Module) -> list[Group]:
        names = [name for name, _ in model.named_parameters()]
        tables = tuple(name for name in names if name.endswith(".table"))
        rest = tuple(name for name in names if name not in tables)
        rate = RATES.get(mapping, 1.0) * (SECTION_RATE if kind == "tomogram" else 1.0)
        if not tables:
            return [Group("network", rest, rate=rate)]
        return [Group("tables", tables, rate=rate, sparse=True), Group("network", rest, rate=rate / 2)]

    return of_model


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, exports=SIGNAL_EXPORTS)
