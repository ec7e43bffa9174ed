"""Instant-NGP (Müller et al. 2022, arXiv:2201.05989): posed photographs in, new views in minutes on a laptop.

rayformer train ngp --data my_photos
rayformer train ngp --data demo --smoke
"""

from dataclasses import dataclass, replace

from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.ngp import NGP, NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes.parts.field_space import FieldSpace, SpaceConfig, fitted_scene, open_space
from rayformer.recipes.parts.scene import SceneTask, SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of


@dataclass(frozen=True, kw_only=True)
class NGPRecipe:
    data: SceneConfig = SceneConfig(background="random")
    space: SpaceConfig = SpaceConfig()
    model: NGPConfig = NGPConfig()
    scene: SceneTraining = SceneTraining(rays=4096, samples=2**15, samples_at_once=2**18, ndc="off")
    plan: Plan = Plan(
        steps=20_000,
        optim=Optim(rate=3e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.02, warmup_steps=50, warmup_from=0.1),
        log_every=20,
        evaluate_every=500,
        save_every=500,
        prefetch=0,  # how many rays a step takes is found out just before it
    )


DEFAULT = NGPRecipe()

SMOKE = NGPRecipe(
    data=SceneConfig(width=50, background="random"),
    model=NGPConfig(
        grid=HashGridConfig(levels=6, finest=256, log2_rows=14),
        occupancy=OccupancyConfig(cells=32, asked=8192),
        steps_across=128,
    ),
    scene=SceneTraining(
        rays=1024,
        samples=2**14,
        samples_at_once=2**18,
        ndc="off",
        test_views=2,
        shown_views=2,
        validation_rays=512,
    ),
    plan=Plan(
        steps=300,
        optim=Optim(rate=3e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="cosine", final=0.05),
        evaluate_every=150,
        save_every=150,
        prefetch=0,
    ),
)


def build(config: NGPRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    place = open_space(scene, config.space, config.scene.in_ndc(scene), config.model.occupancy.cells, setting)
    scene = fitted_scene(scene, place.space, config.space)
    remarks = [*data["remarks"], place.remark]
    if setting.training:
        ready = warm_up(
            setting.device, (config.model.grid.features,), contracted=place.space.contracted,
            cone=config.model.cone if place.space.contracted else 0.0, of_places=config.scene.move_cameras,
        )  # fmt: skip
        remarks.append(str(ready))
    data = data | {"remarks": remarks}

    def task(finished: object) -> SceneTask:
        with seeded(setting.seed, "model"):
            model = NGP(as_fine_as_pixels(config.model, place), place.space, views=len(scene.split("train")))
        if place.open_cells is not None:
            model.occupancy.hide(place.open_cells)
        return SceneTask(model, scene, config.scene, config.data.background == "random", setting)

    stage = Stage(name="ngp", task=task, plan=config.plan, groups=scene_groups(config.scene, groups))
    return Chain(stages=[stage], data=data)


def as_fine_as_pixels(model: NGPConfig, place: FieldSpace) -> NGPConfig:
    """The config with what it leaves open: the finest grid has two cells to a pixel's width at the cube's
    middle, and a step is three quarters of one; in contracted space, where steps grow from the camera on,
    256 steps do."""
    pixels = 2 * place.space.half / place.footprint
    finest = 2 * pixels * (2 if place.space.contracted else 1)
    steps = 256 if place.space.contracted else round(min(max(pixels / 0.75, 64), 1024))
    finest = model.grid.finest or round(min(max(finest, model.grid.coarsest, 128), 4096))
    grid = replace(model.grid, finest=finest)
    return replace(model, grid=grid, steps_across=model.steps_across or steps)


def groups(names: list[str]) -> list[Group]:
    """The table, of which a step touches few rows, and the networks, with a little decay (instant-ngp, sec.
    4).
    """
    tables = tuple(name for name in names if name.endswith(".table"))
    rest = tuple(name for name in names if name not in tables)
    return [Group("tables", tables, decay=0.0, sparse=True), Group("networks", rest, rate=1 / 3, decay=1e-6)]


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, render=view_of, exports=SCENE_EXPORTS)
