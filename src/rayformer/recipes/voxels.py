"""Voxels (Plenoxels, Yu et al. 2022; DVGO, Sun et al. 2022; and the table V[x, y, z, theta, phi] written
down): posed photographs in, new views in minutes, without a network or nearly so.

rayformer train voxels --data my_photos
rayformer train voxels --data demo --model.kind plenoxels
rayformer train voxels --data demo --smoke
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.voxels import Voxels, VoxelsConfig
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes.parts.field_space import SpaceConfig, fitted_scene, open_space
from rayformer.recipes.parts.scene import SceneTask, SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of


@dataclass(frozen=True, kw_only=True)
class VoxelsRecipe:
    data: SceneConfig = SceneConfig(background="random")
    space: SpaceConfig = SpaceConfig()
    model: VoxelsConfig = VoxelsConfig()
    scene: SceneTraining = SceneTraining(rays=4096, samples=2**17, samples_at_once=2**18, ndc="off")
    plan: Plan = Plan(
        steps=20_000,
        optim=Optim(rate=0.1, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="exponential", final=0.05),
        log_every=20,
        evaluate_every=500,
        save_every=500,
        prefetch=0,  # how many rays a step takes is found out just before it
    )


DEFAULT = VoxelsRecipe()

SMOKE = VoxelsRecipe(
    data=SceneConfig(width=50, background="random"),
    model=VoxelsConfig(sides=(24, 40), grow_at=(60,), cells=32),
    scene=SceneTraining(
        rays=1024,
        samples=2**15,
        samples_at_once=2**18,
        ndc="off",
        test_views=2,
        shown_views=2,
        validation_rays=512,
    ),
    plan=replace(DEFAULT.plan, steps=200, evaluate_every=100, save_every=100),
)

RATES = {"plenoxels": (1.0, 0.2), "dvgo": (1.0, 0.3), "table": (1.0, 0.2)}
"""How fast density and colour learn, as shares of the plan's rate."""


def build(config: VoxelsRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    place = open_space(scene, config.space, config.scene.in_ndc(scene), config.model.cells, setting)
    scene = fitted_scene(scene, place.space, config.space)
    remarks = [*data["remarks"], place.remark, memory(config.model)]
    if setting.training:
        ready = warm_up(
            setting.device, (), voxels=(1, config.model.colour_channels), contracted=place.space.contracted,
            cone=config.model.cone if place.space.contracted else 0.0, of_places=config.scene.move_cameras,
        )  # fmt: skip
        remarks.append(str(ready))
    data = data | {"remarks": remarks}

    def task(finished: object) -> SceneTask:
        with seeded(setting.seed, "model"):
            model = Voxels(config.model, place.space)
        if place.open_cells is not None:
            model.hide(place.open_cells)
        return SceneTask(model, scene, config.scene, config.data.background == "random", setting)

    stage = Stage(
        name="voxels", task=task, plan=config.plan, groups=scene_groups(config.scene, groups(config.model))
    )
    return Chain(stages=[stage], data=data)


def memory(model: VoxelsConfig) -> str:
    """What the finest grid would take if all of its voxels were kept."""
    side, numbers = model.sides[-1], model.numbers
    whole = 4 * numbers * side**3 / 1e9
    return (
        f"{numbers} numbers a voxel: {side}^3 voxels would take {whole:.3g} GB, and three times as much with "
        "what Adam keeps; those near matter are kept"
    )


def groups(model: VoxelsConfig) -> Callable[[list[str]], list[Group]]:
    """The tables, of which a step touches few rows, and the network."""

    def of(names: list[str]) -> list[Group]:
        density, colour = RATES[model.kind]
        by_table = {
            "density": tuple(name for name in names if name.endswith("tables.density")),
            "colour": tuple(name for name in names if name.endswith("tables.colour")),
        }
        rest = tuple(name for name in names if name not in (*by_table["density"], *by_table["colour"]))
        return [
            Group("density", by_table["density"], rate=density, decay=0.0, sparse=True),
            Group("colour", by_table["colour"], rate=colour, decay=0.0, sparse=True),
            Group("network", rest, rate=0.03, decay=0.0),
        ]

    return of


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, render=view_of, exports=SCENE_EXPORTS)
