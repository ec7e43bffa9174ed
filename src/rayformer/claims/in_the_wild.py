"""Photographs harmed on purpose, and what each half of NeRF in the wild makes good (Martin-Brualla et al.
2021, table of the perturbed lego scene).

    rayformer reproduce in-the-wild

All but the first training photograph of the drawn scene have their colours changed, an occluder put before
them, or both (`data/scenes/perturb.py`); held-out ones stay as they are. The trunk alone, Instant-NGP, learns
from each, and then with codes for light (A), with what passes by and its doubt (U), or with both (W). Every
cell has the same three minutes. Held-out views are measured whole, by all cells alike: those with codes show
them in the light of the first photograph, the one that nobody harmed, as the paper's released protocol has it
for this test. The smoke size has the two rows of most harm once more on the paper's own trunk.

The paper, on NeRF's lego: clean 32.89 dB; colours 23.38, with A 30.66; occluders 19.35, with U 23.47; both
15.73, with W 22.19.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.data.scenes.perturb import Harm
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import Scene, SceneConfig, Split, View
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.ngp import NGPConfig
from rayformer.recipes.nerfw import RECIPE, NeRFWModel, NeRFWRecipe
from rayformer.recipes.open_run import open_run
from rayformer.recipes.parts.scene import SceneTraining
from rayformer.runs.pictures import Picture, side_by_side

MINUTES = 3.0
"""Of training, for every cell."""
ROWS: tuple[tuple[str, Harm, bool, bool, float], ...] = (
    ("clean", "none", False, False, 32.89),
    ("colours", "colour", False, False, 23.38),
    ("colours A", "colour", True, False, 30.66),
    ("occluders", "occluders", False, False, 19.35),
    ("occluders U", "occluders", False, True, 23.47),
    ("both", "both", False, False, 15.73),
    ("both W", "both", True, True, 22.19),
)
"""Name, harm, appearance, transient, and the paper's number."""
PAIRS = (("colours", "colours A"), ("occluders", "occluders U"), ("both", "both W"))
"""The trunk alone, and what is to make good its harm."""


def cells(smoke: bool) -> Sequence[Cell]:
    if smoke:
        base = replace(RECIPE.smoke, plan=replace(RECIPE.smoke.plan, steps=60))
        perceptron = replace(base, model=replace(base.model, trunk="nerf"))
        return (*rows(base), *(_renamed(cell, "perceptron ") for cell in rows(perceptron)[-2:]))
    # The still life lies within 1.3 of the middle, 4 away.
    return rows(modest(SceneConfig(near=2.5, far=5.5, background="random"), MINUTES))


def modest(data: SceneConfig, minutes: float) -> NeRFWRecipe:
    """The recipe on small photographs of one thing, at a size that two cores train in minutes. The error is
    the paper's, squared wherever a colour can be wrong: Huber's, the trunk's own, bears occluders almost as
    well as doubt does."""
    return NeRFWRecipe(
        data=data,
        model=NeRFWModel(ngp=NGPConfig(grid=HashGridConfig(levels=6, finest=512, log2_rows=17), huber=1.0)),
        scene=SceneTraining(rays=1024, samples=2**15, samples_at_once=2**18, ndc="off", shown_views=3),
        plan=replace(RECIPE.default.plan, minutes=minutes),
    )


def rows(base: NeRFWRecipe) -> list[Cell]:
    """The rows of the paper's table, each a change of `base`."""
    return [
        Cell(
            name,
            "nerfw",
            replace(
                base,
                data=replace(base.data, perturb=harm),
                model=replace(base.model, appearance=appearance, transient=transient),
                scene=replace(base.scene, held_out_light="first"),
            ),
            paper,
        )
        for name, harm, appearance, transient, paper in ROWS
    ]


def _renamed(cell: Cell, before: str) -> Cell:
    """The cell under another name, with nothing of the paper's beside it."""
    return replace(cell, name=before + cell.name, paper=None)


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """Each half makes good its own harm, and nothing is better than not to be harmed."""
    found = {name: row.median("psnr_db") for name, row in measured.items()}
    gains = {mended: found[mended] - found[harmed] for harmed, mended in PAIRS}
    best = max(found[name] for name, *_ in ROWS[1:])
    told = [f"{name} gains {gain:+.2f} dB over the trunk alone" for name, gain in gains.items()]
    order = sorted((name for name, *_ in ROWS), key=lambda name: -found[name])
    return Verdict(
        holds=min(gains.values()) > 0 and found["clean"] >= best,
        reason=f"{'; '.join(told)}; best to worst: {'; '.join(order)}",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    """One held-out view by every cell, in the light that it is measured in; and a harmed photograph beside
    it."""
    return {f"view-{number}": _one_view(measured, number) for number in range(2)}


def _one_view(measured: Mapping[str, Measured], number: int) -> Picture:
    panels, labels = [], []
    for name, row in measured.items():
        loaded = open_run(row.runs[0])
        scene = loaded.task.scene
        view = scene.split("test")[number]
        if not panels:
            panels.append(_photograph(scene, view, "test"))
            labels.append("held-out photograph")
        eye = loaded.view
        if loaded.config.model.appearance:
            (eye,) = eye.in_lights([scene.split("train")[0].name], 1)
        panels.append(Picture(eye.picture(view.camera).colour))
        labels.append(f"{name}: {row.results[0]['psnr_db']:.1f} dB")
        if name == "both":
            panels.insert(1, _photograph(scene, scene.split("train")[number + 1], "train"))
            labels.insert(1, "a harmed one for training")
    return side_by_side(panels, labels, caption=f"one held-out view; {'; '.join(labels[2:])}, over all views")


def _photograph(scene: Scene, view: View, split: Split) -> Picture:
    pixels = PixelStore(replace(scene, views=(view,)), split).view(0)[1]
    return Picture((pixels.numpy() * 255).round().astype(np.uint8))


CLAIM = Claim(
    name="in-the-wild",
    statement="codes of light make good changed colours, doubt makes good what passes by, "
    "and both together make good both",
    paper="Martin-Brualla et al. 2021, table of the perturbed lego scene",
    metrics=("psnr_db", "ssim"),
    cells=cells,
    judge=judge,
    draw=draw,
)
