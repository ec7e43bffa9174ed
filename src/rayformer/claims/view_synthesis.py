"""The road to radiance fields on one scene, from the same photographs, in the same minutes by the clock.

    rayformer reproduce view-synthesis

Every system of the road learns the drawn scene for two minutes, and all are measured on the same held-out
views: how good their pictures are, how long one takes, and what a run needs on disk to draw it, photographs
included where they are needed.

    lumigraph    photographs blended over a proxy                          Buehler et al. 2001
    fvs          the same, blended by a network                            Riegler and Koltun 2020
    table        V[x, y, z, theta, phi], written down
    plenoxels    voxels with spherical harmonics                           Yu et al. 2022
    dvgo         voxels with a shallow network                             Sun et al. 2022
    deepvoxels   a volume of features, drawn by networks                   Sitzmann et al. 2019
    nerf         one network for all of space                              Mildenhall et al. 2020
    ngp          hash grids and small networks                             Müller et al. 2022
    zipnerf      hash grids that are asked about cones                     Barron et al. 2023

The proxy of the first two is a field too, which takes all of lumigraph's minutes and half of fvs's. What is
put to the test is what these minutes buy: a field that keeps what it knows of a place near that place, in
voxels or grids, beats one network for all of space, and that beats a volume that networks draw from. On a
GPU for a day the order is another: then NeRF is as good as the grids.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.scenes import same_view
from rayformer.data.scenes.scene import SceneConfig
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.nerf import NeRFConfig
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.zipnerf import ZipNeRFConfig
from rayformer.recipes import deepvoxels, ibr, nerf, ngp, voxels, zipnerf
from rayformer.recipes.index import load
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.pictures import Picture

MINUTES = 2.0
"""Of training, for every cell."""
NEAR, FAR = 2.5, 5.5
"""The still life lies within 1.3 of the middle, 4 away."""
VIEWS = 6
"""Held-out views that are measured, of 12."""


def cells(smoke: bool) -> Sequence[Cell]:
    return _small() if smoke else _full()


def _small() -> Sequence[Cell]:
    steps = {"nerf": 30, "ngp": 60, "zipnerf": 30, "voxels": 60, "deepvoxels": 20, "ibr": 10}
    base = {}
    for name, count in steps.items():
        small = load(name).smoke
        data, plan = replace(small.data, width=40), replace(small.plan, steps=count)
        base[name] = replace(small, data=data, plan=plan)
    return _cells(base["ibr"], base["ibr"], base["voxels"], base["deepvoxels"], base["nerf"], base["ngp"],
                  base["zipnerf"])  # fmt: skip


def _full() -> Sequence[Cell]:
    white = SceneConfig(near=NEAR, far=FAR)
    random = replace(white, background="random")
    training = SceneTraining(
        rays=1024, samples=2**15, samples_at_once=2**18, ndc="off", test_views=VIEWS, shown_views=2
    )
    proxy = replace(
        ibr.DEFAULT,
        data=white,
        field=_grid(),
        scene=replace(ibr.DEFAULT.scene, test_views=VIEWS, shown_views=2),
        plan=_timed(ibr.DEFAULT.plan, MINUTES / 2),
    )
    perceptron = nerf.NeRFRecipe(
        data=white,
        model=NeRFConfig(
            width=128, depth=4, skip_after=1, position_octaves=7, coarse_samples=24, fine_samples=24
        ),
        scene=SceneTraining(rays=512, test_views=VIEWS, shown_views=2),
        plan=_timed(
            Plan(
                steps=100_000,
                optim=Optim(rate=5e-3, eps=1e-7),
                schedule=Schedule(kind="exponential", final=0.05),
                evaluate_every=0,
            )
        ),
    )
    cones = replace(
        zipnerf.DEFAULT,
        data=random,
        model=ZipNeRFConfig(
            unbounded=False,
            samples=(32, 24, 16),
            finest=(64, 128, 512),
            log2_rows=17,
            bottleneck=64,
            view_width=64,
            decay=10.0,
            trust_steps=500,
        ),
        scene=replace(training, samples=None, samples_at_once=2**17),
        plan=_timed(
            Plan(
                steps=100_000,
                optim=Optim(rate=1e-2, betas=(0.9, 0.99), eps=1e-15),
                schedule=Schedule(kind="exponential", final=0.05, warmup_steps=50, warmup_from=0.01),
                evaluate_every=0,
            )
        ),
    )
    return _cells(
        replace(proxy, proxy=replace(proxy.proxy, steps=100_000, minutes=MINUTES)),
        replace(proxy, proxy=replace(proxy.proxy, steps=100_000, minutes=MINUTES / 2)),
        replace(
            voxels.DEFAULT,
            data=random,
            scene=replace(voxels.DEFAULT.scene, test_views=VIEWS, shown_views=2),
            plan=_timed(voxels.DEFAULT.plan),
        ),
        replace(
            deepvoxels.DEFAULT,
            data=white,
            scene=replace(deepvoxels.DEFAULT.scene, test_views=VIEWS, shown_views=2),
            plan=_timed(deepvoxels.DEFAULT.plan),
        ),
        perceptron,
        replace(ngp.DEFAULT, data=random, model=_grid(), scene=training, plan=_timed(ngp.DEFAULT.plan)),
        cones,
    )


def _grid() -> NGPConfig:
    return NGPConfig(grid=HashGridConfig(levels=6, finest=512, log2_rows=17))


def _timed(plan: Plan, minutes: float = MINUTES) -> Plan:
    return replace(plan, minutes=minutes, evaluate_every=0)


def _cells(
    blended: ibr.IBRRecipe,
    learned: ibr.IBRRecipe,
    lattice: voxels.VoxelsRecipe,
    volume: deepvoxels.DeepVoxelsRecipe,
    perceptron: nerf.NeRFRecipe,
    hashed: ngp.NGPRecipe,
    cones: zipnerf.ZipNeRFRecipe,
) -> Sequence[Cell]:
    return (
        Cell("lumigraph", "ibr", replace(blended, model=replace(blended.model, method="lumigraph"))),
        Cell("fvs", "ibr", learned),
        *(
            Cell(kind, "voxels", replace(lattice, model=replace(lattice.model, kind=kind)))
            for kind in ("table", "plenoxels", "dvgo")
        ),
        Cell("deepvoxels", "deepvoxels", volume),
        Cell("nerf", "nerf", perceptron),
        Cell("ngp", "ngp", hashed),
        Cell("zipnerf", "zipnerf", cones),
    )


def measure(run: Path) -> Mapping[str, float]:
    """How long a picture takes (median of three after a first one), and what a run needs to draw it."""
    loaded = open_run(run)
    view = loaded.view
    scene = view.window.scene
    camera = (scene.split("test") or scene.views)[0].camera
    times = []
    for _ in range(4):
        start = time.perf_counter()
        view.picture(camera)
        times.append(time.perf_counter() - start)
    stages = [loaded.run, *(stage for _, stage in loaded.run.stages())]
    kept = [done[-1][1] / "model.safetensors" for stage in stages if (done := stage.checkpoints())]
    kept += [path for path in loaded.run.assets.rglob("*") if path.is_file()]
    if loaded.name == "ibr":
        kept += [one.image for one in scene.split("train")]
    return {
        "render_s": statistics.median(times[1:]),
        "disk_mib": sum(path.stat().st_size for path in kept) / 2**20,
    }


def judge(measured: Mapping[str, Measured]) -> Verdict:
    found = {name: row.median("psnr_db") for name, row in measured.items()}
    local = {name: found[name] for name in ("plenoxels", "dvgo", "ngp")}
    holds = min(local.values()) > found["nerf"] > found["deepvoxels"]
    told = ", ".join(f"{name} {value:.2f}" for name, value in local.items())
    return Verdict(
        holds=holds, reason=f"{told}; nerf {found['nerf']:.2f}; deepvoxels {found['deepvoxels']:.2f} dB"
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """One held-out view by every system: those without a network for space, and those with one."""
    names = list(measured)
    halves = {"photographs-and-voxels": names[:5], "networks-and-grids": names[5:]}
    return {title: same_view({name: measured[name] for name in half}) for title, half in halves.items()}


CLAIM = Claim(
    name="view-synthesis",
    statement="in the same few minutes, fields that keep what they know of a place near it beat one network "
    "for all of space, which beats a volume drawn by networks",
    paper="the systems' own papers; no paper has them all on one scene",
    metrics=("psnr_db", "ssim", "render_s", "disk_mib"),
    cells=cells,
    judge=judge,
    draw=draw,
    measure=measure,
)
