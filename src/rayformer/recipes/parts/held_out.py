"""Held-out views measured and shown, whatever made their pictures.

Measuring   what a recipe may change about it
HeldOut     pictures of held-out views against photographs: numbers, and panels beside the truth
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import SCALES, Scene, evenly
from rayformer.geometry.cameras import Camera
from rayformer.metrics.image import NoLpips, open_lpips, psnr_db, ssim
from rayformer.recipes.parts.scene_view import Rendering
from rayformer.runs.pictures import Picture, depth_colours, error_colours, side_by_side

Render = Callable[[Camera], Rendering]
Extra = Callable[[Scene, Camera], Mapping[str, Render]]
"""Of a scene of one held-out view, and its camera: further ways to render it, by what their numbers are
called first. "fitted_pose" gives fitted_pose_psnr_db."""

Fitted = Callable[[Scene], Render]
"""Of a scene of one held-out view, how to render it after its left half, and no more of it, was looked at."""


@dataclass(frozen=True, kw_only=True)
class Measuring:
    test_views: int | None = None
    """Measure only so many of the held-out views at the end, evenly spread; none takes all."""
    shown_views: int = 4
    """Held-out views shown as pictures."""
    lpips_backbone: Path | None = None
    """AlexNet's ImageNet weights (torchvision's alexnet-owt-7be5be79.pth), without which LPIPS is not
    measured."""

    def __post_init__(self):
        for name in ("shown_views", "test_views"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {value}")

    def remarks(self) -> list[str]:
        """What a person should know before training: why LPIPS will not be measured."""
        lpips = open_lpips(self.lpips_backbone)
        return [lpips.reason] if isinstance(lpips, NoLpips) else []


class HeldOut:
    """The held-out views of `scene`: its testing ones, or those for validation where there are none."""

    def __init__(self, scene: Scene, options: Measuring):
        self.scene, self.options = scene, options
        self.views = scene.split("test") or scene.split("val")
        self.shown: dict[str, Picture] = {}
        """Of the last measuring."""

    def measure(
        self, render: Render, extra: Extra | None = None, fitted: Fitted | None = None
    ) -> dict[str, float]:
        """Means over whole held-out views: psnr_db, ssim, and lpips where its weights are; by size, where
        photographs are there in several; with and without masks, where there are any; and the same for what
        `extra` gives.

        With `fitted`, which may look at left halves, these are the numbers of the right halves as it renders
        them; those of whole views by `render` stand beside them, as usual_psnr_db and usual_ssim. Raises
        DataError if nothing can be measured."""
        if not self.views:
            raise DataError(
                f"{self.scene.source}: no view is held out, so nothing can be measured; lower "
                "data.holdout_every, or give test views"
            )
        full = sum(view.scale == 1 for view in self.views)
        sizes = len(self.views) // full  # photographs in full size come first, then all of them smaller
        rows = evenly(range(full), self.options.test_views)
        wanted = min(self.options.shown_views, len(rows))
        shown = {rows[place * len(rows) // wanted] for place in range(wanted)}
        lpips = open_lpips(self.options.lpips_backbone)
        numbers: dict[str, list[float]] = {}
        self.shown = {}
        for row in [row + size * full for size in range(sizes) for row in rows]:
            view = self.views[row]
            # One view's pixels at a time: measuring a thousand views takes no more memory than one.
            alone = replace(self.scene, views=(replace(view, split="test"),))
            camera, truth, mask = PixelStore(alone, "test").view(0)
            rendering = (fitted(alone) if fitted else render)(camera)
            half = camera.width // 2 if fitted else 0
            scores = told = self._scores(rendering, truth, mask, lpips if view.scale == 1 else None, half)
            if sizes > 1 and scores:
                told = scores | {f"{SCALES[view.scale]}_psnr_db": scores["psnr_db"]}
            if fitted and scores:
                usual = self._scores(render(camera), truth, mask, lpips if view.scale == 1 else None)
                told = told | {f"usual_{key}": value for key, value in usual.items()}
            for name, other in extra(alone, camera).items() if extra and scores else ():
                found = self._scores(other(camera), truth, mask, None)
                told = told | {f"{name}_{key}": value for key, value in found.items()}
            if any(view.left_out for view in self.views):
                other, name = ("ignore", "whole") if self.scene.masks == "use" else ("use", "masked")
                _, _, mask = PixelStore(replace(alone, masks=other), "test").view(0)
                both = self._scores(rendering, truth, mask, lpips if view.scale == 1 else None, half)
                told = told | {f"{name}_{key}": value for key, value in both.items()}
            for name, value in told.items():
                numbers.setdefault(name, []).append(value)
            if row in shown:
                self.shown[f"held-out/{row:04d}"] = beside_the_truth(
                    view.name,
                    rendering,
                    truth,
                    scores,
                    " (right half, in light fitted to the left)" if fitted else "",
                )
        if "psnr_db" not in numbers:
            raise DataError(
                f"{self.scene.source}: the masks of the held-out views leave no pixel to measure; "
                "white pixels of a mask count.\n"
                "Turn the masks round, or take whole photographs with data.masks ignore."
            )
        plain = ("psnr_db", "ssim", "lpips")
        names = sorted(numbers, key=lambda name: plain.index(name) if name in plain else len(plain))
        return {name: float(np.mean(numbers[name])) for name in names}

    def _scores(
        self, rendering: Rendering, truth: Tensor, mask: Tensor | None, lpips: Any, first: int = 0
    ) -> dict[str, float]:
        """The scores of columns from `first` on."""
        predicted = torch.from_numpy(rendering.colour[:, first:]).float() / 255
        return scores(predicted, truth[:, first:], None if mask is None else mask[:, first:], lpips)


def scores(
    predicted: Float[Tensor, "height width 3"],
    truth: Float[Tensor, "height width 3"],
    mask: Bool[Tensor, "height width"] | None,
    lpips: Any,
) -> dict[str, float]:
    """PSNR over the pixels that count; SSIM, and LPIPS where it can be had, of pictures that agree in all
    others, unless `lpips` is None, for these want large pictures. Nothing where no pixel counts."""
    counted = 1.0 if mask is None else mask.float().mean().item()
    if counted == 0:
        return {}
    if mask is not None:
        predicted = torch.where(mask[..., None], predicted, truth)
    one, other = (image.permute(2, 0, 1)[None] for image in (predicted, truth))
    psnr = psnr_db(one, other).item() + 10 * float(np.log10(counted))
    found = {"psnr_db": min(psnr, 120.0)}
    if lpips is None:
        return found
    found["ssim"] = ssim(one, other).item()
    return found if isinstance(lpips, NoLpips) else found | {"lpips": lpips(one, other).item()}


def beside_the_truth(
    name: str,
    rendering: Rendering,
    truth: Float[Tensor, "height width 3"],
    scores: Mapping[str, float],
    remark: str = "",
) -> Picture:
    """A rendered view, its photograph, where they differ, and how far away what is seen lies."""
    exact = truth.numpy()
    error = np.abs(rendering.colour / np.float32(255) - exact).mean(axis=-1)
    there = rendering.depth[np.isfinite(rendering.depth)]
    near, far = np.percentile(there, [1, 99]).tolist() if there.size else (0.0, 1.0)
    pictures = [
        rendering.colour,
        (exact * 255).round().astype(np.uint8),
        error_colours(error),
        depth_colours(rendering.depth, near, max(far, near + 1e-6)),
    ]
    spoken = {
        "psnr_db": ("PSNR", ".2f", " dB"),
        "ssim": ("SSIM", ".3f", ""),
        "lpips": ("LPIPS", ".3f", ""),
    }
    said = ", ".join(
        f"{word} {scores[key]:{form}}{unit}" for key, (word, form, unit) in spoken.items() if key in scores
    )
    return side_by_side(
        [Picture(pixels) for pixels in pictures],
        ["rendered", "photograph", "error, 0 to 0.2", f"depth, {near:.3g} to {far:.3g}"],
        caption=f"held-out view {name}: {said}{remark}",
    )
