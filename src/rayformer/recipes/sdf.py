"""A mesh as a signed distance field: trained in minutes, and taken back out as a mesh.

rayformer train sdf --data my_mesh.obj
rayformer train sdf --data demo --smoke

The field is that of instant-ngp (Müller et al. 2022, arXiv:2201.05989, section 5.2), with an eikonal term;
`--model.kind fourier` and `--model.kind siren` (Sitzmann et al. 2020, arXiv:2006.09661) learn the same shape.
"""

from dataclasses import dataclass

from torch import nn

from rayformer.core.seeds import seeded
from rayformer.data.shapes.shape import ShapeConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.sdf import SDF, SDFConfig
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes.parts.shape import ShapeTask, ShapeTraining, open_shape
from rayformer.recipes.parts.shape_export import SHAPE_EXPORTS


@dataclass(frozen=True, kw_only=True)
class SDFRecipe:
    data: ShapeConfig = ShapeConfig()
    model: SDFConfig = SDFConfig()
    shape: ShapeTraining = ShapeTraining()
    plan: Plan = Plan(
        steps=3000,
        optim=Optim(rate=2e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.01, warmup_steps=50, warmup_from=0.1),
        precision="32",  # 8 bits of a distance of 1 are 2^-8, more than all of the error
        evaluate_every=500,
        save_every=500,
        prefetch=0,
    )


DEFAULT = SDFRecipe()

SMOKE = SDFRecipe(
    model=SDFConfig(grid=HashGridConfig(levels=5, finest=96, log2_rows=14)),
    shape=ShapeTraining(points=2**13, pool=2**15, resolution=64, surface_points=5000),
    plan=Plan(
        steps=250,
        optim=Optim(rate=2e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.01),
        precision="32",
        evaluate_every=125,
        save_every=125,
        prefetch=0,
    ),
)


def build(config: SDFRecipe, setting: Setting) -> Chain:
    frame, read, data = open_shape(config.data, setting)
    if setting.training and config.model.kind == "hash":
        loss = config.model.loss
        twice = loss.eikonal > 0 or loss.normals > 0
        ready = warm_up(setting.device, (config.model.grid.features,), twice=twice)
        data = data | {"remarks": [*data["remarks"], str(ready)]}

    def task(finished: object) -> ShapeTask:
        with seeded(setting.seed, "model"):
            model = SDF(config.model)
        return ShapeTask(model, frame, read, config.shape, setting)

    return Chain(stages=[Stage(name="sdf", task=task, plan=config.plan, groups=groups)], data=data)


RATES = {"hash": 1.0, "fourier": 0.05, "siren": 0.005}
"""Of the networks, times the plan's rate: deep ones take smaller steps (SIREN's is 1e-4)."""


def groups(model: nn.Module) -> list[Group]:
    """The table, of which a step touches few rows, and the network; without a table, the network alone."""
    assert isinstance(model, SDF), f"the groups are those of an SDF, not of a {type(model).__name__}"
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    tables = tuple(name for name in names if name.endswith(".table"))
    rest = tuple(name for name in names if name not in tables)
    network = Group("network", rest, rate=RATES[model.config.kind], decay=1e-6 if tables else None)
    return [Group("table", tables, decay=0.0, sparse=True), network] if tables else [network]


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, exports=SHAPE_EXPORTS)
