"""Block-NeRF (Tancik et al. 2022, arXiv:2202.05263): a street of any length, as fields that share it.

rayformer train blocknerf --data town
rayformer train blocknerf --data town --smoke
rayformer render runs/town --path along
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import Scene, SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.plan import Plan
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.blocknerf import Block, BlockConfig, StreetConfig
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes import ngp
from rayformer.recipes.parts.field_space import SpaceConfig, fitted_scene, open_space
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.scene import SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import SceneView
from rayformer.recipes.parts.street import BlockTask, StreetTask, root_of
from rayformer.recipes.parts.street_plan import BlockPlan, BlocksConfig, StreetPlan, block_scene, open_street


@dataclass(frozen=True, kw_only=True)
class BlockNeRFRecipe:
    data: SceneConfig = SceneConfig(source="town", background="random")
    blocks: BlocksConfig = BlocksConfig()
    space: SpaceConfig = SpaceConfig()
    model: NGPConfig = NGPConfig(
        # A street is seen from within, at all distances, so steps grow with distance. So long a step takes
        # a hundredth of the light in the first fog already, and by the usual bar no cell would ever be empty:
        # with it a minute's block stayed a haze (21.5 dB, walls at wrong depths; now 22.8).
        grid=HashGridConfig(finest=384),
        occupancy=OccupancyConfig(opaque=0.06),
        steps_across=96,
        cone=0.06,
        fog=0.25,
        # In so short a time the direction of a ray is the easiest explanation of its colour, and a wrong one.
        directions=2,
        distortion=3e-3,
    )
    block: BlockConfig = BlockConfig()
    street: StreetConfig = StreetConfig()
    scene: SceneTraining = SceneTraining(rays=1024, samples=2**14, samples_at_once=2**18, ndc="off")
    plan: Plan = replace(ngp.DEFAULT.plan, minutes=1.0, optim=replace(ngp.DEFAULT.plan.optim, rate=2e-2))


DEFAULT = BlockNeRFRecipe()

SMOKE = BlockNeRFRecipe(
    data=SceneConfig(source="town", width=48, background="random"),
    blocks=BlocksConfig(count=2),
    model=replace(
        ngp.SMOKE.model, steps_across=96, cone=DEFAULT.model.cone, occupancy=DEFAULT.model.occupancy
    ),
    block=BlockConfig(visibility_width=32, visibility_depth=2),
    street=StreetConfig(align_steps=30, align_rays=256),
    scene=replace(ngp.SMOKE.scene, test_views=6),
    plan=replace(ngp.SMOKE.plan, steps=120, optim=DEFAULT.plan.optim, evaluate_every=0, save_every=60),
)


def build(config: BlockNeRFRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    plan, remarks = open_street(scene, config.blocks, config.block, setting)
    chosen = plan.chosen(config.blocks.only)
    root_of(chosen, scene, config.street)  # refused now, and not when all is trained
    if setting.training:
        ready = warm_up(
            setting.device, (config.model.grid.features,), contracted=config.space.kind != "box",
            cone=config.model.cone, of_places=config.scene.move_cameras,
        )  # fmt: skip
        remarks = [*remarks, str(ready)]

    def task(block: BlockPlan) -> BlockTask:
        return block_task(config, scene, plan, block, setting)

    def whole(finished: Mapping[str, Any]) -> StreetTask:
        tasks = [finished[block.name] for block in chosen]
        return StreetTask(chosen, plan, tasks, scene, config.street, config.scene, setting)

    stages = [
        Stage(
            name=block.name,
            task=lambda _, block=block: task(block),
            plan=config.plan,
            groups=scene_groups(config.scene, groups),
        )
        for block in chosen
    ]
    data = data | {"remarks": [*data["remarks"], *remarks]}
    return Chain(stages=stages, data=data, independent=True, whole=whole)


def block_task(
    config: BlockNeRFRecipe, scene: Scene, plan: StreetPlan, block: BlockPlan, setting: Setting
) -> BlockTask:
    """One block, in a cube of its own: its radius about its centre as it is, all else contracted."""
    here = block_scene(scene, block.site)
    space = replace(config.space, half=config.space.half or block.site.radius)
    place = open_space(
        here, space, False, config.model.occupancy.cells, setting, block.site.centre, f"space-{block.name}"
    )
    here = fitted_scene(here, place.space, space)
    with seeded(setting.seed, "model", block.name):
        model = Block(
            config.block, ngp.as_fine_as_pixels(config.model, place), place.space, block.photographed
        )
    if place.open_cells is not None:
        model.trunk.occupancy.hide(place.open_cells)
    return BlockTask(model, plan, here, config.scene, config.data.background == "random", setting)


def groups(names: list[str]) -> list[Group]:
    """Those of the trunk, and the codes: few steps touch each of them, and nothing pulls them to zero."""
    codes = tuple(name for name in names if "codes." in name)
    rest = ngp.groups([name for name in names if name not in codes])
    return [*rest, Group("codes", codes, decay=0.0)] if codes else rest


def view_of(loaded: Loaded) -> SceneView:
    """The whole street; or one block, in its usual light, where a stage is opened or trains."""
    task = loaded.task
    return SceneView(task.field, task.window, loaded.device, loaded.precision, usual="along")


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    render=view_of,
    exports={name: SCENE_EXPORTS[name] for name in ("cameras", "safetensors")},
    may_change=("blocks.only", *(f"street.{field.name}" for field in fields(StreetConfig))),
)
