"""NeRF in the wild (Martin-Brualla et al. 2021, arXiv:2008.02268): many lights, and passers-by.

    rayformer train nerfw --data my_photos
    rayformer train nerfw --data demo --smoke
    rayformer train nerfw --data demo --data.perturb both --model.trunk nerf

The smoke size harms the drawn scene on purpose (data.perturb both), so that there is something to undo.
"""

from dataclasses import dataclass, replace
from typing import Literal

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import Scene, SceneConfig
from rayformer.engine.plan import Plan
from rayformer.engine.task import Chain, Group, Recipe, Setting, Stage
from rayformer.fields.nerf import NeRFConfig
from rayformer.fields.nerfw import NeRFW
from rayformer.fields.nerfw_packed import NeRFWPacked
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.in_the_wild import WildConfig, WildField
from rayformer.kernels.warm_up import warm_up
from rayformer.recipes import ngp
from rayformer.recipes.parts.field_space import FieldSpace, SpaceConfig, fitted_scene, open_space
from rayformer.recipes.parts.scene import SceneTask, SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of

NERF_RATE = 1 / 60
"""What the plan's learning rate, which is one for hash grids, is multiplied by for the trunk nerf."""
PASSERS_RATE = 1 / 30
"""And, on the trunk ngp, for what passes by: a network that is as quick as a table takes the scene for
something that passes before the table has learned it."""
CODES_RATE = 1 / 3
"""And for the codes that tell photographs apart by what passes: each is asked for by few rays of a step, and
must first find out which part of its photograph is hidden."""


@dataclass(frozen=True, kw_only=True)
class NeRFWModel(WildConfig):
    trunk: Literal["ngp", "nerf"] = "ngp"
    """What codes and passers-by are added to: ngp learns in minutes, nerf is the paper's. On nerf a step
    takes scene.rays rays, whatever scene.samples, at a sixtieth of the plan's rate."""
    ngp: NGPConfig = NGPConfig()
    """Of the trunk ngp, if it is that."""
    nerf: NeRFConfig = NeRFConfig()
    """Of the trunk nerf, if it is that."""

    def __post_init__(self):
        super().__post_init__()
        if self.trunk == "ngp" and self.ngp.exposure:
            raise ConfigError(
                "model.ngp.exposure learns of each photograph what model.appearance learns too, and what "
                "passes by would not be brightened with it.\nLeave it off here."
            )


@dataclass(frozen=True, kw_only=True)
class NeRFWRecipe:
    data: SceneConfig = SceneConfig(background="random")
    space: SpaceConfig = SpaceConfig()
    model: NeRFWModel = NeRFWModel()
    scene: SceneTraining = SceneTraining(rays=1024, samples=2**15, samples_at_once=2**18, ndc="off")
    plan: Plan = ngp.DEFAULT.plan


DEFAULT = NeRFWRecipe()

SMOKE = NeRFWRecipe(
    data=SceneConfig(width=50, background="random", perturb="both"),
    model=NeRFWModel(
        transient_width=32,
        ngp=ngp.SMOKE.model,
        nerf=NeRFConfig(
            width=64, depth=4, skip_after=1, position_octaves=6, coarse_samples=24, fine_samples=24
        ),
    ),
    scene=ngp.SMOKE.scene,
    plan=replace(ngp.SMOKE.plan, steps=200, evaluate_every=100, save_every=100),
)


def build(config: NeRFWRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    if setting.training:
        _refuse_too_few(scene)
    remarks = [*data["remarks"], *_about_light(config)]
    if config.model.trunk == "nerf":
        training = config.scene
        if training.samples_at_once == DEFAULT.scene.samples_at_once:
            training = replace(training, samples_at_once=None)  # a hash grid likes more at once
        return _chain(config, scene, replace(training, samples=None), data, remarks, setting, None)
    model = config.model.ngp
    place = open_space(scene, config.space, config.scene.in_ndc(scene), model.occupancy.cells, setting)
    scene = fitted_scene(scene, place.space, config.space)
    remarks.append(place.remark)
    if setting.training:
        ready = warm_up(
            setting.device, (model.grid.features,), contracted=place.space.contracted,
            cone=model.cone if place.space.contracted else 0.0, of_places=config.scene.move_cameras,
        )  # fmt: skip
        remarks.append(str(ready))
    return _chain(config, scene, config.scene, data, remarks, setting, place)


def _chain(
    config: NeRFWRecipe,
    scene: Scene,
    training: SceneTraining,
    data: dict,
    remarks: list[str],
    setting: Setting,
    place: FieldSpace | None,
) -> Chain:
    """One stage; `place` is where the trunk ngp lies, None for the trunk nerf."""
    views = len(scene.split("train"))

    def task(finished: object) -> SceneTask:
        with seeded(setting.seed, "model"):
            model = _field(config.model, place, views)
        return SceneTask(model, scene, training, config.data.background == "random", setting)

    groups = scene_groups(training, _of_nerf if place is None else _of_ngp)
    stage = Stage(name="nerfw", task=task, plan=config.plan, groups=groups)
    return Chain(stages=[stage], data=data | {"remarks": remarks})


def _field(model: NeRFWModel, place: FieldSpace | None, views: int) -> WildField:
    if place is None:
        return NeRFW(model, model.nerf, views)
    field = NeRFWPacked(model, ngp.as_fine_as_pixels(model.ngp, place), place.space, views)
    if place.open_cells is not None:
        field.trunk.occupancy.hide(place.open_cells)
    return field


def _of_nerf(names: list[str]) -> list[Group]:
    return [Group("networks", tuple(names), rate=NERF_RATE)]


def _of_ngp(names: list[str]) -> list[Group]:
    passers = [name for name in names if name.startswith("head.")]
    codes = tuple(name for name in passers if name.startswith("head.codes."))
    groups = ngp.groups([name for name in names if name not in passers])
    if passers:
        network = tuple(name for name in passers if name not in codes)
        groups += [Group("passers", network, rate=PASSERS_RATE), Group("who", codes, rate=CODES_RATE)]
    return groups


def _about_light(config: NeRFWRecipe) -> list[str]:
    if not config.model.appearance:
        return []
    how = {
        "half": "the light of held-out photographs is fitted to their left halves, and their right halves "
        "are judged; numbers named usual_... are those of whole photographs in the mean light of all",
        "first": "held-out photographs are judged whole, in the light of the first training photograph",
        "usual": "held-out photographs are judged whole, in the mean light of all training photographs",
    }
    return [how[config.scene.held_out_light]]


def _refuse_too_few(scene: Scene) -> None:
    """Raise DataError where there is nothing to tell lights apart by, or nothing to measure."""
    train = len(scene.split("train"))
    if train < 2:
        raise DataError(
            f"{scene.source}: only one photograph is left to train on, which shows the scene in one light "
            "and from one side.\nGive at least two for training, better dozens, and one or more to be held "
            "out."
        )
    if not (scene.split("test") or scene.split("val")):
        raise DataError(
            f"{scene.source}: all {train} photographs are for training, and none is held out, so that no "
            "light could be fitted and nothing measured.\nLower data.holdout_every, or give test views."
        )


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, render=view_of, exports=SCENE_EXPORTS)
