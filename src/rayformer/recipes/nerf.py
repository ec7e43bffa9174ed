"""NeRF (Mildenhall et al. 2020, arXiv:2003.08934): posed photographs in, new views with depth out.

    rayformer train nerf --data my_photos
    rayformer train nerf --data demo --smoke

The paper's settings ask for days on a large GPU: 500,000 steps on NeRF's lego reach 32.54 dB there. Measured on two
cores of an AMD EPYC with AVX512-BF16, November 2026, on the drawn still life at 100 px:

    rayformer train nerf --data demo --data.near 2.5 --data.far 5.5 --model.width 128 --model.depth 4 --model.skip-after 1 --model.position-octaves 7 --model.coarse-samples 24 --model.fine-samples 24 --scene.rays 512 --scene.samples-at-once 8192 --scene.precrop-steps 0 --plan.steps 20000 --plan.minutes 4 --plan.optim.rate 5e-3 --plan.schedule.final 0.05

    4 minutes, 2,006 steps: 24.7 dB, SSIM 0.909 on 12 held-out views. The smoke size, at 40 px: under a minute.
"""  # noqa: E501

from dataclasses import dataclass

from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.recipes.parts.scene import SceneTask, SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of


@dataclass(frozen=True, kw_only=True)
class NeRFRecipe:
    data: SceneConfig = SceneConfig()
    model: NeRFConfig = NeRFConfig()
    scene: SceneTraining = SceneTraining(precrop_steps=500)
    plan: Plan = Plan(
        steps=200_000,
        optim=Optim(rate=5e-4, eps=1e-7),
        schedule=Schedule(kind="exponential", final=0.1),
        log_every=20,
        evaluate_every=1000,
        save_every=1000,
    )


DEFAULT = NeRFRecipe()

SMOKE = NeRFRecipe(
    data=SceneConfig(width=40),
    model=NeRFConfig(width=64, depth=4, skip_after=1, position_octaves=6, coarse_samples=24, fine_samples=24),
    scene=SceneTraining(rays=512, test_views=2, shown_views=2, validation_rays=512),
    plan=Plan(
        steps=300,
        optim=Optim(rate=2e-3, eps=1e-7),
        schedule=Schedule(kind="exponential", final=0.1),
        evaluate_every=150,
        save_every=150,
    ),
)


def build(config: NeRFRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)

    def task(finished: object) -> SceneTask:
        with seeded(setting.seed, "model"):
            model = NeRF(config.model)
        return SceneTask(model, scene, config.scene, config.data.background == "random", setting)

    stage = Stage(name="nerf", task=task, plan=config.plan, groups=scene_groups(config.scene))
    return Chain(stages=[stage], data=data)


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, render=view_of, exports=SCENE_EXPORTS)
