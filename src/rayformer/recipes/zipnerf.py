"""Zip-NeRF (Barron et al. 2023, arXiv:2304.06706): posed photographs in, views at any distance without
aliasing out.

    rayformer train zipnerf --data my_photos
    rayformer train zipnerf --data demo --smoke

The paper's settings want a GPU: 25,000 steps of 65,536 rays took it about an hour on eight V100 and reach
28.54 dB on the mip-NeRF 360 scenes. Measured on two busy cores of an AMD EPYC with AVX512-BF16, November 2026,
on the drawn still life at 100 px:

    rayformer train zipnerf --data demo --data.near 2.5 --data.far 5.5 --model.unbounded false --model.samples 32 24 16 --model.finest 64 128 512 --model.log2-rows 17 --model.bottleneck 64 --model.view-width 64 --model.decay 10 --model.trust-steps 1500 --scene.rays 1024 --scene.samples-at-once 131072 --plan.steps 1500 --plan.schedule.warmup-steps 50 --plan.schedule.final 0.05

    1,500 steps, 4 minutes of processor time: 29.9 dB, SSIM 0.979 on 12 held-out views. The smoke size, at 40 px:
    20 seconds.
"""  # noqa: E501

from dataclasses import dataclass

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.fields.zipnerf import ZipNeRF, ZipNeRFConfig
from rayformer.recipes.parts.scene import SceneTask, SceneTraining, open_scene, scene_groups
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import view_of


@dataclass(frozen=True, kw_only=True)
class ZipNeRFRecipe:
    data: SceneConfig = SceneConfig(background="random")
    model: ZipNeRFConfig = ZipNeRFConfig()
    scene: SceneTraining = SceneTraining(rays=65_536, ndc="off")
    plan: Plan = Plan(
        steps=25_000,
        optim=Optim(rate=1e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="exponential", final=0.1, warmup_steps=2500, warmup_from=1e-8),
        log_every=20,
        evaluate_every=1000,
        save_every=1000,
    )

    def __post_init__(self):
        if self.scene.ndc != "off":
            raise ConfigError(
                f"scene.ndc must be off for zipnerf, but is {self.scene.ndc}: a pixel's cone is none any\n"
                "more in normalised device coordinates. Contracted space (model.unbounded) serves instead."
            )


DEFAULT = ZipNeRFRecipe()

SMOKE = ZipNeRFRecipe(
    data=SceneConfig(width=40, near=2.5, far=5.5),
    model=ZipNeRFConfig(
        unbounded=False,
        samples=(24, 16, 12),
        finest=(64, 128, 256),
        log2_rows=15,
        features=2,
        width=32,
        bottleneck=32,
        view_width=32,
        decay=10.0,
        trust_steps=200,
    ),
    scene=SceneTraining(
        rays=512, ndc="off", test_views=2, shown_views=2, validation_rays=512, samples_at_once=2**17
    ),
    plan=Plan(
        steps=200,
        optim=Optim(rate=1e-2, betas=(0.9, 0.99), eps=1e-15),
        schedule=Schedule(kind="exponential", final=0.1, warmup_steps=20, warmup_from=1e-8),
        evaluate_every=100,
        save_every=100,
    ),
)


def build(config: ZipNeRFRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)

    def task(finished: object) -> SceneTask:
        with seeded(setting.seed, "model"):
            model = ZipNeRF(config.model)
        return SceneTask(model, scene, config.scene, config.data.background == "random", setting)

    stage = Stage(name="zipnerf", task=task, plan=config.plan, groups=scene_groups(config.scene))
    return Chain(stages=[stage], data=data)


RECIPE = Recipe(default=DEFAULT, smoke=SMOKE, build=build, render=view_of, exports=SCENE_EXPORTS)
