"""DeepVoxels (Sitzmann et al. 2019, arXiv:1812.01024): posed photographs gathered in a volume of features,
new views drawn from it by networks.

    rayformer train deepvoxels --data my_photos --data.width 128
    rayformer train deepvoxels --data demo --smoke

Measured on one thread of two busy cores of an AMD EPYC with AVX512-BF16, November 2026, on the drawn still life:

    rayformer train deepvoxels --data demo --smoke --data.width 64 --model.cells 20 --model.features 12 --plan.steps 1500

    1,500 steps, about 4 minutes of processor time: 22.5 dB, SSIM 0.840 on 4 held-out views. The smoke size, at
    48 px: 19.3 dB after 400 steps, half a minute of processor time. The paper's are 28.0 to 33.5 dB on its own
    four scenes at 512 px, after 400 epochs on a GPU.
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded
from rayformer.data.scenes.record import read_record
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.fields.deepvoxels import DeepVoxels, DeepVoxelsConfig
from rayformer.geometry.cameras import Camera
from rayformer.recipes.parts.field_space import SpaceConfig, open_space
from rayformer.recipes.parts.scene import open_scene
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of
from rayformer.recipes.parts.view_pairs import PairTask, PairTraining, neighbours


@dataclass(frozen=True, kw_only=True)
class DeepVoxelsRecipe:
    data: SceneConfig = SceneConfig(width=128)
    space: SpaceConfig = SpaceConfig(kind="box")
    model: DeepVoxelsConfig = DeepVoxelsConfig()
    scene: PairTraining = PairTraining()
    plan: Plan = Plan(
        steps=10_000,
        optim=Optim(rate=2e-3),
        schedule=Schedule(kind="cosine", final=0.05),
        evaluate_every=500,
        save_every=500,
    )

    def __post_init__(self):
        if self.space.kind != "box":
            raise ConfigError(
                f"space.kind must be box for deepvoxels, but is {self.space.kind}: its voxels fill a "
                "cube, and there are none outside"
            )
        if self.data.background == "random":
            raise ConfigError(
                "data.background must be white or black for deepvoxels, but is random: its networks draw the "
                "background too, and can learn one only"
            )
        if self.data.scales != (1,):
            raise ConfigError(
                f"data.scales must be 1 for deepvoxels, but is {self.data.scales}: its networks know "
                "pixels of one size"
            )
        if self.plan.accumulate != 1 or self.plan.shard:
            raise ConfigError(
                "plan.accumulate and plan.shard cannot be used with deepvoxels, whose volume is carried on "
                "by whole networks between steps.\nscene.sources takes more views in a step."
            )


DEFAULT = DeepVoxelsRecipe()

SMOKE = DeepVoxelsRecipe(
    data=SceneConfig(width=48),
    model=DeepVoxelsConfig(
        cells=16, features=8, stride=2, extract_width=8, inpaint_width=8, draw_width=16, most=32
    ),
    scene=PairTraining(test_views=4, shown_views=2),
    plan=Plan(steps=400, optim=Optim(rate=2e-3), evaluate_every=100, save_every=100),
)


def build(config: DeepVoxelsRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    place = open_space(scene, config.space, ndc=False, cells=config.model.cells, setting=setting)
    trained_on = read_record(setting.assets / "scene.json") if setting.other_data else scene
    cameras = [view.camera for view in trained_on.split("train")]
    if setting.training:
        neighbours(torch.stack([camera.pose for camera in cameras]))  # refuses a single view
    remarks = [*data["remarks"], place.remark, _columns(config.model, cameras)]
    precision = choose_precision(setting.device, config.plan.precision)

    def task(finished: object) -> PairTask:
        with seeded(setting.seed, "model"):
            model = DeepVoxels(config.model, place.space, cameras)
        return PairTask(model, scene, config.scene, precision, setting)

    return Chain(
        stages=[Stage(name="deepvoxels", task=task, plan=config.plan)], data=data | {"remarks": remarks}
    )


def _columns(config: DeepVoxelsConfig, cameras: Sequence[Camera]) -> str:
    stride = config.stride_of(cameras)
    sizes = {(-(-camera.width // stride), -(-camera.height // stride)) for camera in cameras}
    width, height = max(sizes)
    return (
        f"pictures are drawn from {width} x {height} columns through {config.cells}^3 voxels, one for every "
        f"{stride} x {stride} pixels" + (", or fewer where a photograph is smaller" if len(sizes) > 1 else "")
    )


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    render=view_of,
    exports={name: SCENE_EXPORTS[name] for name in ("cameras", "safetensors")},
)
