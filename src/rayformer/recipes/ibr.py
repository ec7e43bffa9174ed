"""Image-based rendering: new views blended from photographs by how deep everything lies in them. Free View
Synthesis (Riegler and Koltun 2020, arXiv:2008.05511), and two ways that need no training.

rayformer train ibr --data demo --smoke
rayformer train ibr --data my_scene --model.method lumigraph
"""

from dataclasses import dataclass, replace
from typing import Literal

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from rayformer.fields.ibr import FreeView, FVSConfig
from rayformer.fields.lumigraph import Lumigraph, LumigraphConfig, Splatting
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.sources import DepthOf, OpenSources
from rayformer.recipes import ngp
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.leave_one_out import LeaveOneOut, PatchTraining
from rayformer.recipes.parts.proxy import (
    ProxyConfig,
    field_proxy,
    kind_of_proxy,
    mesh_proxy,
    open_sources,
    path_of_field,
    view_of_field,
)
from rayformer.recipes.parts.scene import SceneTraining, open_scene
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import SceneView, view_of


@dataclass(frozen=True, kw_only=True)
class IBRConfig:
    method: Literal["fvs", "lumigraph", "splat"] = "fvs"
    """fvs: Free View Synthesis, a network that blends; lumigraph: blended by angle, resolution and sight;
    splat: pixels of the sources sent to the new view. The last two train nothing."""
    sources: int = 5
    """Photographs that fvs and splat make a picture from: those that see most of it."""
    tolerance: float = 0.01
    """A source sees a place if its own depth there is the same up to this share; the paper: 0.01."""
    fvs: FVSConfig = FVSConfig()
    lumigraph: LumigraphConfig = LumigraphConfig()

    def __post_init__(self):
        if self.sources < 1:
            raise ConfigError(f"model.sources must be at least 1, but is {self.sources}")
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"model.tolerance is a share, above 0 and below 1, but is {self.tolerance}")


@dataclass(frozen=True, kw_only=True)
class IBRRecipe:
    data: SceneConfig = SceneConfig()
    proxy: ProxyConfig = ProxyConfig()
    field: NGPConfig = NGPConfig()
    """The field that is trained first, where the proxy is neither points nor another run."""
    model: IBRConfig = IBRConfig()
    scene: PatchTraining = PatchTraining()
    plan: Plan = Plan(
        steps=20_000,
        optim=Optim(rate=5e-4),
        log_every=20,
        evaluate_every=500,
        save_every=500,
    )


DEFAULT = IBRRecipe()

SMOKE = IBRRecipe(
    data=SceneConfig(width=50),
    proxy=ProxyConfig(steps=120),
    field=ngp.SMOKE.model,
    model=IBRConfig(fvs=FVSConfig(features=(8, 16, 16), merge=(12, 16), convolutions=1)),
    scene=PatchTraining(patch=48, test_views=2, shown_views=2),
    plan=Plan(steps=40, optim=Optim(rate=2e-3), evaluate_every=20, save_every=20),
)

FIELD_RAYS = 1024
"""Rays per step of the field that is trained first."""


def build(config: IBRRecipe, setting: Setting) -> Chain:
    scene, data = open_scene(config.data, config.scene, setting)
    kind = kind_of_proxy(config.proxy, scene, setting)
    stages, remarks = [], list(data["remarks"])
    depth_of: DepthOf | None = None
    if kind == "points":
        depth_of, remark = mesh_proxy(scene, setting)
        remarks.append(remark)
    elif kind == "run":
        path = path_of_field(config.proxy, setting)
        view, move = view_of_field(open_run(path, setting.device.type), scene)
        depth_of = field_proxy(view, move)
        remarks.append(f"proxy geometry: the field of {path}")
    else:
        stage, said = proxy_stage(config, setting)
        stages.append(stage)
        remarks += [text for text in said if text not in remarks]
        remarks.append("proxy geometry: a field that is trained first, as the stage `proxy`")

    def task(finished: object) -> LeaveOneOut:
        ways = depth_of or _depths_of(finished, setting, config)

        def opened():
            return open_sources(scene, ways, config.model.tolerance, setting)

        def model(sources: OpenSources) -> FreeView | Lumigraph | Splatting:
            with seeded(setting.seed, "model"):
                return model_of(config.model, sources)

        return LeaveOneOut(model, opened, scene, config.scene, setting)

    plan = config.plan if config.model.method == "fvs" else replace(config.plan, steps=0, minutes=None)
    stages.append(Stage(name="ibr", task=task, plan=plan))
    return Chain(stages=stages, data=data | {"remarks": remarks})


def model_of(config: IBRConfig, sources: OpenSources) -> FreeView | Lumigraph | Splatting:
    match config.method:
        case "fvs":
            return FreeView(config.fvs, config.sources, sources)
        case "lumigraph":
            return Lumigraph(config.lumigraph, sources)
        case "splat":
            return Splatting(config.sources, sources)


def proxy_stage(config: IBRRecipe, setting: Setting) -> tuple[Stage, list[str]]:
    """The stage that trains an ngp, and its remarks. What it keeps for itself lies in assets/proxy."""
    own = replace(setting, assets=setting.assets / "proxy")
    recipe = replace(
        ngp.DEFAULT,
        data=replace(config.data, background="random"),
        model=config.field,
        scene=SceneTraining(
            rays=FIELD_RAYS, samples=2**15, samples_at_once=2**18, ndc="off", test_views=2, shown_views=2
        ),
        plan=replace(
            ngp.DEFAULT.plan, steps=config.proxy.steps, minutes=config.proxy.minutes, evaluate_every=0
        ),
    )
    chain = ngp.build(recipe, own)
    return replace(chain.stages[0], name="proxy"), list(chain.data["remarks"])


def _depths_of(finished: object, setting: Setting, config: IBRRecipe) -> DepthOf:
    """The depths of the trained stage before."""
    from rayformer.engine.precision import choose_precision

    assert isinstance(finished, dict), "stages are given those before them by name"
    before = finished["proxy"]
    before.model.eval()
    view = SceneView(
        before.field, before.window, setting.device, choose_precision(setting.device, config.plan.precision)
    )
    return field_proxy(view)


RECIPE = Recipe(
    default=DEFAULT,
    smoke=SMOKE,
    build=build,
    render=view_of,
    exports={name: SCENE_EXPORTS[name] for name in ("cameras", "safetensors")},
)
