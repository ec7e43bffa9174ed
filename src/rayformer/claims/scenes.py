"""What claims about scenes share: the size they are tested at, and pictures of one view by every cell."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rayformer.claims.claim import Measured
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.fields.nerf import NeRFConfig
from rayformer.recipes.nerf import RECIPE, NeRFRecipe
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.pictures import Picture, side_by_side


def modest_nerf(smoke: bool) -> NeRFRecipe:
    """NeRF on the drawn scene at a size that two cores train in minutes; the smoke size with True."""
    if smoke:
        return RECIPE.smoke
    return NeRFRecipe(
        data=SceneConfig(near=2.5, far=5.5),  # the still life lies within 1.3 of the middle, 4 away
        model=NeRFConfig(
            width=128, depth=4, skip_after=1, position_octaves=7, coarse_samples=24, fine_samples=24
        ),
        scene=SceneTraining(rays=512, shown_views=3),
        plan=Plan(
            steps=1000,
            optim=Optim(rate=5e-3, eps=1e-7),
            schedule=Schedule(kind="exponential", final=0.05),
            evaluate_every=500,
            save_every=500,
        ),
    )


def same_view(measured: Mapping[str, Measured], number: int = 0) -> Picture:
    """Held-out view `number` as every cell renders it, beside the photograph."""
    panels, labels = [], []
    for name, row in measured.items():
        photograph, rendered = render_view(row, number)
        if not panels:
            panels.append(photograph)
            labels.append("photograph")
        panels.append(rendered)
        labels.append(f"{name}: {row.results[0]['psnr_db']:.1f} dB")
    return side_by_side(panels, labels, caption=f"one held-out view; {'; '.join(labels[1:])}")


def render_view(row: Measured, number: int = 0, scale: int = 1) -> tuple[Picture, Picture]:
    """Held-out view `number` at one of its sizes: the photograph, and what the first run of a cell makes of
    it."""
    loaded = open_run(row.runs[0])
    scene = loaded.task.scene
    view = [view for view in scene.split("test") if view.scale == scale][number]
    photograph = PixelStore(replace(scene, views=(view,)), "test").view(0)[1]
    rendered = loaded.view.picture(view.camera).colour
    return Picture((photograph.numpy() * 255).round().astype(np.uint8)), Picture(rendered)


def two_views(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """The first two held-out views: what claims about picture quality show."""
    return {f"view-{number}": same_view(measured, number) for number in range(2)}
