"""The task of a network that makes one view of a scene from others: some views in, their neighbours out.

PairTraining   what a recipe may change about it
PairPiece      a source view and the two views to be drawn with its help; PairBatch, a step's worth of them
PairTask       pairs drawn, the volume carried on from step to step, held-out views measured and shown
neighbours     training views by how near they are to each other
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.pixels import PixelStore, filled_store
from rayformer.data.scenes.scene import Scene, Split, evenly
from rayformer.engine.precision import Precision
from rayformer.engine.task import Setting
from rayformer.fields.deepvoxels import DeepVoxels, Shot
from rayformer.metrics.image import psnr_db
from rayformer.recipes.parts.held_out import HeldOut, Measuring
from rayformer.recipes.parts.scene_view import Window, render_camera
from rayformer.runs.pictures import Picture


@dataclass(frozen=True, kw_only=True)
class PairTraining(Measuring):
    sources: int = 1
    """Source views per step, over all processes. With each, two views are drawn: one that it is near to, and
    one from anywhere."""
    near: int = 4
    """The source is one of so many training views nearest to the first that is drawn."""
    glances: int = 2
    """Held-out views measured while training, evenly spread."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("sources", "near", "glances"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class PairPiece:
    source: Shot
    targets: tuple[Shot, ...]
    weight: float = 1.0

    def to(self, device: torch.device) -> "PairPiece":
        return PairPiece(self.source.to(device), tuple(shot.to(device) for shot in self.targets), self.weight)


@dataclass(frozen=True, eq=False)
class PairBatch:
    pieces: Sequence[PairPiece]
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[PairPiece]:
        return self.pieces


class PairTask:
    """Train `model` on the training views of `scene`.

    Before step n the volume takes in the sources of step n - 1, with the weights that step n - 1 left: the
    order of the views, the volume and the weights are all that a step depends on, and all of them are in a
    checkpoint or follow from the seed. So a resumed run is the unbroken one, and every process, whatever its
    share of a batch, keeps the same volume.
    """

    def __init__(
        self, model: DeepVoxels, scene: Scene, options: PairTraining, precision: Precision, setting: Setting
    ):
        self.model, self.scene, self.options, self.precision = model, scene, options, precision
        self.seed, self.device = setting.seed, setting.device
        self.window = Window(scene)
        self._views = HeldOut(scene, options)

    @property
    def field(self) -> DeepVoxels:
        return self.model

    @cached_property
    def store(self) -> PixelStore:
        return filled_store(self.scene, "train")

    @cached_property
    def _near(self) -> Int[Tensor, "views _"]:
        poses = torch.stack([view.camera.pose for view in self.store.views])
        return neighbours(poses)[:, : self.options.near]

    @cached_property
    def _glanced_at(self) -> list[Shot]:
        """The views measured while training: validation views, or testing ones where there are none.

        Nothing is chosen by them but which checkpoint is marked as best; the result is always that of the
        last one.
        """
        splits: tuple[Split, ...] = ("val", "test", "train")
        store = filled_store(self.scene, next(name for name in splits if self.scene.split(name)))
        return [shot_of(store, row) for row in evenly(range(len(store.views)), self.options.glances)]

    # ------------------------------------------------------------------ training

    def drawn_rows(self, step: int) -> list[tuple[int, int, int]]:
        """The views of a step, by their places among the training views: for each source, itself, the view
        that it is near to, and one from anywhere."""
        draw, near = stream(self.seed, "pairs", step), self._near
        rows = []
        for _ in range(self.options.sources):
            target, anywhere = torch.randint(len(near), (2,), generator=draw).tolist()
            place = torch.randint(near.shape[1], (), generator=draw)
            rows.append((int(near[target, place]), target, anywhere))
        return rows

    def before_step(self, step: int, generator: Generator) -> None:
        """Carry the volume on by the sources of the step before."""
        if step == 0:
            return
        with self.precision.autocast():
            for source, _, _ in self.drawn_rows(step - 1):
                self.model.absorb(shot_of(self.store, source).to(self.device))

    def batch(self, split: str, step: int, rank: int, world: int) -> PairBatch:
        assert split == "train", f"pairs are of training views, not of {split!r}"
        count = self.options.sources
        if count % world:
            raise ConfigError(
                f"scene.sources must be divisible by the number of processes, {world}, but is {count}: "
                "each gives its gradient as often as the others"
            )
        rows = self.drawn_rows(step)[rank * count // world : (rank + 1) * count // world]
        pieces = [
            PairPiece(shot_of(self.store, source), (shot_of(self.store, one), shot_of(self.store, other)))
            for source, one, other in rows
        ]
        return PairBatch(pieces, {"pictures": 2 * len(pieces)})

    def loss(self, piece: PairPiece, step: int, generator: Generator) -> Losses:
        return self.model.loss(piece.source, piece.targets, generator)

    # ------------------------------------------------------------------ looking

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """PSNR over a few held-out views while training ("val"), over all of them at the end ("test"). They
        are drawn from the volume as it is, so that a run shows what was measured without its photographs."""
        if split == "val":
            return {"psnr_db": sum(map(self._glance, self._glanced_at)) / len(self._glanced_at)}
        return self._views.measure(lambda camera: render_camera(self.model, camera, self.window, self.device))

    def _glance(self, shot: Shot) -> float:
        seen, _ = self.model.picture(shot.camera, torch.tensor(self.window.background, device=self.device))
        one, other = (image.cpu().permute(2, 0, 1)[None] for image in (seen, shot.colours))
        return min(psnr_db(one, other).item(), 120.0)

    def pictures(self) -> dict[str, Picture]:
        if not self._views.shown:
            self.evaluate("test", stream(self.seed, "pictures"))
        return self._views.shown


def shot_of(store: PixelStore, row: int) -> Shot:
    """One view of a store, whole."""
    camera, colours, counted = store.view(row)
    return Shot(camera, colours, counted)


def neighbours(poses: Float[Tensor, "views 4 4"]) -> Int[Tensor, "views _"]:
    """Of each view all others, the nearest first. Near is who stands near and looks the same way: distances
    in units of the cameras' spread and angles in radians, added up. Raises DataError for a single view."""
    if len(poses) < 2:
        raise DataError(
            "one training view has no neighbours, and this system learns from pairs of them.\n"
            "Give at least two training views: more photographs, a higher data.views, a higher "
            "data.holdout_every."
        )
    positions, directions = poses[:, :3, 3], -poses[:, :3, 2]
    spread = (positions - positions.mean(dim=0)).norm(dim=-1).mean().clamp(min=1e-9)
    angles = torch.acos((directions @ directions.T).clamp(-1, 1))
    apart = torch.cdist(positions, positions) / spread + angles
    apart.fill_diagonal_(torch.inf)  # also a view that another one doubles is no neighbour of itself
    return apart.argsort(dim=1, stable=True)[:, :-1]
