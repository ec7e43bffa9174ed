"""The task that every radiance field is trained by: rays of photographs in, their colours out.

SceneTraining   what a recipe may change about it
RayPiece        some rays with their colours; RayBatch, a step's worth of them
SceneTask       batches of pixels, the field's own loss, held-out views measured and shown
open_scene      the scene of a run: read from the data once, from the run's own record ever after
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import read_record, write_record
from rayformer.data.scenes.scene import Scene, SceneConfig, Split
from rayformer.engine.task import Setting
from rayformer.fields.parts.scene_field import SceneField
from rayformer.geometry.rays import Rays
from rayformer.metrics.image import NoLpips, open_lpips, psnr_db, ssim
from rayformer.recipes.parts.scene_view import Rendering, Window, render_camera
from rayformer.runs.pictures import Picture, depth_colours, error_colours, side_by_side


@dataclass(frozen=True, kw_only=True)
class SceneTraining:
    rays: int = 1024
    """Rays per step, over all processes."""
    one_image: bool = False
    """Draw the rays of a step from one photograph, as NeRF did for Blender scenes, instead of from all."""
    precrop_steps: int = 0
    """For so many steps, rays go through the middle of the photographs only: a cure for collapse to plain
    background."""
    precrop_share: float = 0.5
    """The middle is this share of the width and of the height."""
    ndc: Literal["auto", "on", "off"] = "auto"
    """Normalised device coordinates; auto takes them where all cameras look the same way."""
    samples_at_once: int | None = None
    """Samples in one piece of a step; without it, what the caches of a processor hold (16384), or 2^20 on a
    GPU."""
    validation_rays: int = 4096
    """Held-out pixels measured while training, the same each time."""
    test_views: int | None = None
    """Measure only so many of the held-out views at the end, evenly spread; none takes all."""
    shown_views: int = 4
    """Held-out views shown as pictures."""
    lpips_backbone: Path | None = None
    """AlexNet's ImageNet weights (torchvision's alexnet-owt-7be5be79.pth), without which LPIPS is not
    measured."""

    def __post_init__(self):
        for name in ("rays", "validation_rays", "shown_views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")
        for name in ("samples_at_once", "test_views"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")
        if self.precrop_steps < 0 or not 0 < self.precrop_share <= 1:
            raise ConfigError(
                "scene.precrop_steps must not be negative and scene.precrop_share must be a share "
                "above 0 and up to 1, "
                f"but they are {self.precrop_steps} and {self.precrop_share}"
            )


@dataclass(frozen=True, eq=False)
class RayPiece:
    rays: Rays
    colours: Float[Tensor, "rays 3"]
    background: Float[Tensor, "rays 3"]

    @property
    def weight(self) -> float:
        return float(len(self.rays))

    def to(self, device: torch.device) -> "RayPiece":
        return RayPiece(self.rays.to(device), self.colours.to(device), self.background.to(device))

    def __getitem__(self, which: slice) -> "RayPiece":
        return RayPiece(self.rays[which], self.colours[which], self.background[which])


@dataclass(frozen=True, eq=False)
class RayBatch:
    whole: RayPiece
    rays_at_once: int
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[RayPiece]:
        starts = range(0, len(self.whole.rays), self.rays_at_once)
        return [self.whole[start : start + self.rays_at_once] for start in starts]


class SceneTask:
    """Train `model`, which must be a SceneField, on the training views of `scene`."""

    def __init__(
        self,
        model: nn.Module,
        scene: Scene,
        options: SceneTraining,
        random_background: bool,
        setting: Setting,
    ):
        self.model, self.scene, self.options = model, scene, options
        self.random_background, self.seed, self.device = random_background, setting.seed, setting.device
        ndc = scene.forward_facing if options.ndc == "auto" else options.ndc == "on"
        self.window = Window(scene, ndc)
        self._shown: dict[str, Picture] = {}

    @property
    def field(self) -> SceneField:
        return self.model  # type: ignore[return-value]  # a module that is a field too

    @cached_property
    def store(self) -> PixelStore:
        return PixelStore(self.scene, "train")

    @cached_property
    def _middle(self) -> Tensor:
        return self.store.centre_index(self.options.precrop_share)

    @cached_property
    def _held_out(self) -> PixelStore:
        """The views measured while training: validation views, or testing ones where there are none.

        Nothing is chosen by them but which checkpoint is marked as best; the result is always that of the
        last one.
        """
        splits: tuple[Split, ...] = ("val", "test", "train")
        return PixelStore(self.scene, next(name for name in splits if self.scene.split(name)))

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None: ...

    def batch(self, split: str, step: int, rank: int, world: int) -> RayBatch:
        """Pixels drawn with replacement from all photographs, or from one."""
        assert split == "train", f"rays are trained on the training views, not on {split!r}"
        draw, count = stream(self.seed, "rays", step), self.options.rays
        if count % world:
            raise ConfigError(
                f"scene.rays must be divisible by the number of processes, {world}, but is {count}: "
                "each gives its gradient as often as the others"
            )
        if step < self.options.precrop_steps:
            index = self._middle[torch.randint(len(self._middle), (count,), generator=draw)]
        elif self.options.one_image:
            first, last = self.store.span(int(torch.randint(len(self.store.views), (), generator=draw)))
            index = torch.randint(first, last, (count,), generator=draw)
        else:
            index = torch.randint(len(self.store), (count,), generator=draw)
        behind = torch.tensor(self.window.background).expand(count, 3)
        if self.random_background:
            behind = torch.rand(count, 3, generator=draw)
        share = slice(rank * count // world, (rank + 1) * count // world)
        piece = self._piece(self.store, index[share], behind[share])
        samples = self.field.samples_per_ray
        return RayBatch(
            piece, self._rays_at_once, {"rays": len(piece.rays), "samples": len(piece.rays) * samples}
        )

    def _piece(self, store: PixelStore, index: Tensor, background: Tensor) -> RayPiece:
        rays, colours, _ = store.rays(index, background if store.background is not None else None)
        return RayPiece(self.scene.to_ndc(rays) if self.window.ndc else rays, colours, background)

    @property
    def _rays_at_once(self) -> int:
        samples = self.options.samples_at_once or (2**14 if self.device.type == "cpu" else 2**20)
        return max(1, samples // self.field.samples_per_ray)

    def loss(self, piece: RayPiece, step: int, generator: Generator) -> Losses:
        return self.field.loss(piece.rays, piece.colours, piece.background, generator)

    # ------------------------------------------------------------------ measuring and showing

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """PSNR over a few held-out pixels, drawn by `generator`, while training ("val"); over whole held-out
        views at the end ("test")."""
        return self._glance(generator) if split == "val" else self._measure()

    def _glance(self, generator: Generator) -> dict[str, float]:
        store = self._held_out
        index = torch.randint(len(store), (self.options.validation_rays,), generator=generator)
        whole = self._piece(store, index, torch.tensor([self.window.background]).expand(len(index), 3))
        error = 0.0
        for piece in RayBatch(whole, self._rays_at_once).split():
            piece = piece.to(self.device)
            seen = self.field.render(piece.rays, piece.background)
            error += (seen.colour.clamp(0, 1) - piece.colours).square().sum().item()
        return {"psnr_db": -10 * np.log10(max(error / (3 * len(index)), 1e-12)).item()}

    def _measure(self) -> dict[str, float]:
        views = self.scene.split("test") or self.scene.split("val")
        if not views:
            raise DataError(
                f"{self.scene.source}: no view is held out, so nothing can be measured; lower "
                "data.holdout_every, or give test views"
            )
        wanted = len(views) if self.options.test_views is None else min(self.options.test_views, len(views))
        rows = [(2 * place + 1) * len(views) // (2 * wanted) for place in range(wanted)]
        shown = {
            rows[place * len(rows) // min(self.options.shown_views, len(rows))]
            for place in range(min(self.options.shown_views, len(rows)))
        }
        lpips = open_lpips(self.options.lpips_backbone)
        numbers: dict[str, list[float]] = {}
        self._shown = {}
        for row in rows:
            # One view's pixels at a time: measuring a thousand views takes no more memory than one.
            store = PixelStore(replace(self.scene, views=(replace(views[row], split="test"),)), "test")
            camera, truth, mask = store.view(0)
            rendering = render_camera(self.field, camera, self.window, self.device)
            predicted = torch.from_numpy(rendering.colour).float() / 255
            if mask is not None:  # pixels that do not count are made to agree
                predicted = torch.where(mask[..., None], predicted, truth)
            scores = _scores(predicted, truth, None if mask is None else mask.float().mean().item())
            if not isinstance(lpips, NoLpips):
                scores["lpips"] = lpips(
                    *(image.permute(2, 0, 1)[None] for image in (predicted, truth))
                ).item()
            for name, value in scores.items():
                numbers.setdefault(name, []).append(value)
            if row in shown:
                name = f"held-out/{row:04d}"
                self._shown[name] = self._beside_the_truth(views[row].name, rendering, truth, scores)
        return {name: float(np.mean(values)) for name, values in numbers.items()}

    def _beside_the_truth(
        self, name: str, rendering: Rendering, truth: Tensor, scores: Mapping[str, float]
    ) -> Picture:
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
            f"{word} {scores[key]:{form}}{unit}"
            for key, (word, form, unit) in spoken.items()
            if key in scores
        )
        return side_by_side(
            [Picture(pixels) for pixels in pictures],
            ["rendered", "photograph", "error, 0 to 0.2", f"depth, {near:.3g} to {far:.3g}"],
            caption=f"held-out view {name}: {said}",
        )  # fmt: skip

    def pictures(self) -> dict[str, Picture]:
        if not self._shown:
            self._measure()
        return self._shown


def _scores(
    predicted: Float[Tensor, "height width 3"], truth: Float[Tensor, "height width 3"], counted: float | None
) -> dict[str, float]:
    """PSNR over the pixels that count (`counted` is their share; elsewhere the pictures agree), and SSIM."""
    one, other = (image.permute(2, 0, 1)[None] for image in (predicted, truth))
    psnr = psnr_db(one, other).item() + (0.0 if not counted else 10 * float(np.log10(counted)))
    return {"psnr_db": min(psnr, 120.0), "ssim": ssim(one, other).item()}


def open_scene(config: SceneConfig, options: SceneTraining, setting: Setting) -> tuple[Scene, dict[str, Any]]:
    """The scene of a run, and what the manifest says of its data.

    In training it is read from the data, and kept without its pixels in the run's assets, where a finished
    run finds its cameras and the frame it was trained in without the photographs.
    """
    path = setting.assets / "scene.json"
    if setting.training:
        scene = read_scene(config)
        write_record(path, scene)
    else:
        scene = read_record(path)
        if setting.other_data:  # in the frame that the field was trained in
            other = read_scene(config, frame=scene.normalisation, distances=(scene.near, scene.far))
            scene = replace(other, forward_facing=scene.forward_facing)  # in NDC only if it was trained in it
    lpips = open_lpips(options.lpips_backbone)
    remarks = [*scene.remarks, *([lpips.reason] if isinstance(lpips, NoLpips) else [])]
    counts = {name: len(scene.split(name)) for name in ("train", "val", "test")}
    return scene, {
        "source": scene.source, "format": scene.format, "fingerprint": scene.fingerprint,
        "views": counts, "remarks": remarks,
    }  # fmt: skip
