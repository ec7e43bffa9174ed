"""The task that image-based rendering is trained by: every photograph from the others.

PatchTraining   what a recipe may change about it
PatchPiece      a window of a photograph, and what the others show of it
LeaveOneOut     windows drawn, colours compared, held-out views made from all training views
blend_picture   what a picture was made from: depth, warped sources, their weights
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.scene import Scene
from rayformer.engine.task import Setting
from rayformer.fields.ibr import FreeView
from rayformer.fields.lumigraph import Lumigraph, Splatting
from rayformer.fields.parts.sources import Blend, Look, OpenSources, Source, Sources
from rayformer.geometry.cameras import Camera
from rayformer.losses.perceptual import PerceptualLoss
from rayformer.recipes.parts.held_out import HeldOut, Measuring
from rayformer.recipes.parts.scene_view import Rendering, Window, render_camera
from rayformer.runs.pictures import Picture, depth_colours, side_by_side

MARGIN = 24
"""So many pixels around what is needed of a source, the network sees of it."""
SHOWN_SOURCES = 3
"""Of those that a picture was made from, in the picture about it."""
SHOWN_WIDTH = 320


@dataclass(frozen=True, kw_only=True)
class PatchTraining(Measuring):
    patch: int = 128
    """Side of the window of a photograph that is learned from, in pixels; the paper: 192."""
    patches: int = 1
    """Windows per step, over all processes."""
    validation_views: int = 2
    """Held-out views measured while training."""
    perceptual_weights: Path | None = None
    """ImageNet's weights of VGG-19 (torchvision's vgg19-dcbb9e9d.pth), with which the paper's perceptual loss
    is added; without them colours alone are compared."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("patches", "validation_views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")
        if self.patch < 16:
            raise ConfigError(f"scene.patch must be at least 16 pixels, but is {self.patch}")


@dataclass(frozen=True, eq=False)
class PatchPiece:
    truth: Float[Tensor, "3 height width"]
    counts: Float[Tensor, "height width"]
    """1 where the truth counts."""
    look: Look
    """With windows of the sources, as far as they matter."""

    @property
    def weight(self) -> float:
        return float(self.counts.sum())

    def to(self, device: torch.device) -> "PatchPiece":
        return replace(self, truth=self.truth.to(device), counts=self.counts.to(device))


@dataclass(frozen=True, eq=False)
class PatchBatch:
    pieces: Sequence[PatchPiece]
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[PatchPiece]:
        return self.pieces


class LeaveOneOut:
    """Train what `build` makes of sources on each photograph made from the others."""

    def __init__(
        self,
        build: Callable[[OpenSources], FreeView | Lumigraph | Splatting],
        open_sources: OpenSources,
        scene: Scene,
        options: PatchTraining,
        setting: Setting,
    ):
        self.scene, self.options, self.seed = scene, options, setting.seed
        self._open = open_sources
        self.device = setting.device
        self.model: nn.Module = build(lambda: self.sources)
        self.window = Window(scene)
        self._views = HeldOut(scene, options)
        self._blends: dict[str, Picture] = {}

    @cached_property
    def sources(self) -> Sources:
        return self._open()

    @cached_property
    def _perceptual(self) -> PerceptualLoss | None:
        path = self.options.perceptual_weights
        return PerceptualLoss(path).to(self.device) if path else None

    @property
    def field(self) -> FreeView | Lumigraph | Splatting:
        """What makes the pictures."""
        return self.model  # type: ignore[return-value]  # one of the three, by its recipe

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        """Nothing changes but what is learned."""

    def batch(self, split: str, step: int, rank: int, world: int) -> PatchBatch:
        """Windows of photographs drawn at random."""
        assert split == "train", f"windows are drawn from the training views, not from {split!r}"
        count = self.options.patches
        if count % world:
            raise ConfigError(
                f"scene.patches must be divisible by the number of processes, {world}, but is {count}"
            )
        draw = stream(self.seed, "patches", step)
        numbers = torch.rand(count, 3, generator=draw, dtype=torch.float64).tolist()
        pieces = [self._piece(*row) for row in numbers[rank * count // world : (rank + 1) * count // world]]
        return PatchBatch(pieces, {"patches": len(pieces)})

    def _piece(self, which: float, across: float, down: float) -> PatchPiece:
        assert isinstance(self.model, FreeView), "only the network is trained"
        views = self.sources.views
        row = int(which * len(views))
        whole = views[row].camera
        width, height = min(self.options.patch, whole.width), min(self.options.patch, whole.height)
        left = int(across * (whole.width - width + 1))
        top = int(down * (whole.height - height + 1))
        target = views[row].cropped(left, top, width, height)
        look = self.sources.look(target.camera, self.model.count, depth=target.depth, but=row)
        side = self.options.patch + 2 * MARGIN
        parts = tuple(
            _window(view, found.places[found.seen & look.depth.isfinite()], side)
            for view, found in zip(look.sources, look.warps, strict=True)
        )
        warps = tuple(self.sources.warp(part, look.camera, look.depth) for part in parts)
        counts = torch.ones(height, width) if target.counts is None else target.counts.float()
        return PatchPiece(target.colours(), counts, replace(look, sources=parts, warps=warps))

    def loss(self, piece: PatchPiece, step: int, generator: Generator) -> Losses:
        """The mean absolute difference of colours; with VGG-19's weights, of its features as well."""
        assert isinstance(self.model, FreeView), "only the network is trained"
        pictures = [source.colours()[None].to(piece.truth.device) for source in piece.look.sources]
        if len({picture.shape for picture in pictures}) == 1:
            features = self.model.encode(torch.cat(pictures)).split(1)
        else:
            features = [self.model.encode(picture) for picture in pictures]
        colour, _ = self.model.of_look(piece.look, features)
        error = (colour - piece.truth).abs().mean(dim=0) * piece.counts
        terms = {"colour": error.sum() / piece.counts.sum().clamp(min=1)}
        if self._perceptual:
            counted = colour * piece.counts + piece.truth * (1 - piece.counts)
            terms["perceptual"] = self._perceptual(counted[None], piece.truth[None])
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    # ------------------------------------------------------------------ measuring

    def _render(self, camera: Camera) -> Rendering:
        return render_camera(self.field, camera, self.window, self.device)

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """Held-out views made from all training views: a few on "val", all that were asked for on "test"."""
        if split != "val":
            return self._measure()
        views = self.scene.split("val") or self.scene.split("test")
        if not views:
            return {}
        few = replace(
            self.options, test_views=self.options.validation_views, shown_views=1, lpips_backbone=None
        )
        held_out = HeldOut(
            replace(self.scene, views=tuple(replace(view, split="test") for view in views)), few
        )
        return held_out.measure(self._render)

    def _measure(self) -> dict[str, float]:
        self._blends = {}
        return self._views.measure(self._render)

    def pictures(self) -> dict[str, Picture]:
        """Held-out views beside the truth, and what some of them were made from."""
        if not self._views.shown:
            self._measure()
        shown = dict(self._views.shown)
        for name in self._views.shown:
            view = self._views.views[int(name.split("/")[1])]
            with torch.no_grad():
                blend = self.field.blend(view.camera)
            names = [self.scene.split("train")[row].name for row in blend.look.rows]
            shown[name.replace("held-out", "made-of")] = blend_picture(blend, view.name, names)
        return shown


def _window(view: Source, places: Float[Tensor, "points 2"], side: int) -> Source:
    """The part of a source, at most `side` wide and high, around the middle of `places`."""
    width, height = min(side, view.camera.width), min(side, view.camera.height)
    size = torch.tensor([view.camera.width, view.camera.height], dtype=torch.float64)
    low, high = (places.amin(dim=0), places.amax(dim=0)) if len(places) else (0 * size, size)
    start = ((low + high) / 2 - torch.tensor([width, height]) / 2).round().long()
    left = int(start[0].clamp(0, view.camera.width - width))
    top = int(start[1].clamp(0, view.camera.height - height))
    return view.cropped(left, top, width, height)


def blend_picture(blend: Blend, name: str, sources: Sequence[str]) -> Picture:
    """Depth of the proxy, sources as the new view sees them, how much each gave, and what came of it."""
    every = max(1, blend.look.camera.width // SHOWN_WIDTH)
    depth = blend.look.depth.cpu().numpy()[::every, ::every]
    there = depth[np.isfinite(depth)]
    near, far = np.percentile(there, [1, 99]).tolist() if there.size else (0.0, 1.0)
    depth = np.where(np.isfinite(depth), depth, np.nan)
    panels, labels = [depth_colours(depth, near, max(far, near + 1e-6))], ["proxy depth"]
    for number in range(min(SHOWN_SOURCES, len(sources))):
        weight = blend.weights[number, ::every, ::every, None].expand(-1, -1, 3)
        panels += [_bytes(blend.warped[number, :, ::every, ::every].permute(1, 2, 0)), _bytes(weight)]
        labels += [f"source {number + 1}", "its weight"]
    panels.append(_bytes(blend.colour[::every, ::every]))
    labels.append("together")
    said = ", ".join(sources[:SHOWN_SOURCES]) + (", ..." if len(sources) > SHOWN_SOURCES else "")
    return side_by_side(
        [Picture(panel) for panel in panels], labels,
        caption=f"held-out view {name}: what it was made of, first of all {said}",
    )  # fmt: skip


def _bytes(colour: Float[Tensor, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.ascontiguousarray((colour.float().clamp(0, 1) * 255).round().byte().cpu().numpy())
