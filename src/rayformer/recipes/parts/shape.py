"""The task that every field of distances is trained by: places in, how far they are from a mesh out.

ShapeTraining   what a recipe may change about it
ShapePiece      some places with their distances; ShapeBatch, a step's worth of them
ShapeTask       batches of places, the field's own loss; distances, volumes and surfaces compared, and shown
Frame           where a shape lies in the field's cube: what a finished run keeps of its mesh
open_shape      the shape of a run: read for training, and again where a finished run is measured
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError, DataError, MissingExtra, RunError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.shapes.read import read_shape
from rayformer.data.shapes.samples import Samples, about_surface, in_cube, joined, on_surface
from rayformer.data.shapes.shape import Shape, ShapeConfig
from rayformer.engine.task import Setting
from rayformer.fields.sdf import SDF
from rayformer.geometry.isosurface import isosurface
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.similarity import Similarity
from rayformer.metrics.shapes import chamfer, volume_iou
from rayformer.recipes.parts.shape_view import pictures_of
from rayformer.runs.atomic import write_text
from rayformer.runs.pictures import Picture

HELD_OUT = 2**15
"""Places measured that were never trained on: so many in all of the cube, and so many about the surface."""
NEAR = 0.02
"""Standard deviation of the held-out places about the surface, in half sides of the cube."""
AT_ONCE = 2**16
"""Places that a field is asked at once."""


@dataclass(frozen=True, kw_only=True)
class ShapeTraining:
    points: int = 2**14
    """Places per step, over all processes."""
    surface_share: float = 0.3
    """Share of them drawn on the surface, by area, where the distance is 0 and the normal known."""
    near_share: float = 0.4
    """Share drawn about the surface; the rest is drawn anywhere in the cube. instant-ngp takes 1/2, 3/8 and
    1/8; in short trainings more places anywhere did better, on the surface too."""
    widths: tuple[float, ...] = (0.05, 0.01, 0.0025)
    """How far about the surface: standard deviations, in half sides of the cube, each as often as the
    others."""
    pool: int | None = 2**20
    """Places off the surface whose distances are measured before the first step, and then drawn from; none
    measures new ones in every step, which takes longer than the step itself."""
    points_at_once: int = 2**13
    """Places in one piece of a step."""
    resolution: int = 192
    """Voxels along the cube's side, for the mesh that is measured and shown at the end."""
    surface_points: int = 30_000
    """Points drawn on each of two surfaces to measure how far they are apart."""

    def __post_init__(self):
        for name in ("points", "points_at_once", "surface_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"shape.{name} must be at least 1, but is {getattr(self, name)}")
        shares = (self.surface_share, self.near_share)
        if min(shares) < 0 or sum(shares) > 1 or self.surface_share == 0:
            raise ConfigError(
                "shape.surface_share must be above 0, near_share not negative, and both together at most 1, "
                f"but they are {shares[0]:g} and {shares[1]:g}"
            )
        if not self.widths or min(self.widths) <= 0:
            raise ConfigError(f"shape.widths must be one length or more, above 0, but are {self.widths}")
        if self.pool is not None and self.pool < 1:
            raise ConfigError(f"shape.pool must be at least 1 place, or none, but is {self.pool}")
        if not 8 <= self.resolution <= 1024:
            raise ConfigError(f"shape.resolution must be 8 to 1024 voxels, but is {self.resolution}")

    def counts(self, points: int) -> tuple[int, int, int]:
        """Of so many places: on the surface, about it, anywhere."""
        surface = round(points * self.surface_share)
        near = min(round(points * self.near_share), points - surface)
        return surface, near, points - surface - near


@dataclass(frozen=True, eq=False)
class ShapePiece:
    samples: Samples
    on_surface: Bool[Tensor, "points"]
    sloped: Bool[Tensor, "points"]
    """Where slopes are asked."""

    @property
    def weight(self) -> float:
        return float(len(self.samples))

    def to(self, device: torch.device) -> "ShapePiece":
        return ShapePiece(self.samples.to(device), self.on_surface.to(device), self.sloped.to(device))

    def __getitem__(self, which: slice) -> "ShapePiece":
        return ShapePiece(self.samples[which], self.on_surface[which], self.sloped[which])


@dataclass(frozen=True, eq=False)
class ShapeBatch:
    whole: ShapePiece
    at_once: int
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[ShapePiece]:
        starts = range(0, len(self.whole.samples), self.at_once)
        return [self.whole[start : start + self.at_once] for start in starts]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a shape lies in the field's cube."""

    move: Similarity
    """From the data's coordinates to the cube's."""
    diagonal: float
    """Of the box around the shape, in half sides of the cube."""


class ShapeTask:
    """Train `model` on the shape that `read` gives; a finished run may never ask for it."""

    def __init__(
        self, model: SDF, frame: Frame, read: Callable[[], Shape], options: ShapeTraining, setting: Setting
    ):
        self.model, self.frame, self.options = model, frame, options
        self.seed, self.device = setting.seed, setting.device
        self._read = read

    @cached_property
    def shape(self) -> Shape:
        return self._read()

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        """Nothing but the weights ever changes."""

    def batch(self, split: str, step: int, rank: int, world: int) -> ShapeBatch:
        """Places on the surface, drawn anew, and others out of the pool, shuffled together."""
        assert split == "train", f"places are drawn about the mesh, there is no split {split!r} of them"
        count = self.options.points
        if count % world:
            raise ConfigError(
                f"shape.points must be divisible by the number of processes, {world}, but is {count}: "
                "each gives its gradient as often as the others"
            )
        draw = stream(self.seed, "places", step)
        surface, near, anywhere = self.options.counts(count)
        samples = joined([on_surface(self.shape, surface, draw), self._off_surface(near, anywhere, draw)])
        order = torch.randperm(count, generator=draw)
        share = order[rank * count // world : (rank + 1) * count // world]
        sloped = torch.arange(rank * count // world, (rank + 1) * count // world)
        piece = ShapePiece(samples[share], share < surface, sloped % self.model.config.loss.sloped == 0)
        return ShapeBatch(piece, self.options.points_at_once, {"points": len(share)})

    def _off_surface(self, near: int, anywhere: int, draw: Generator) -> Samples:
        if self.options.pool is None:
            return self._measured(near, anywhere, draw)
        return self._pool[torch.randint(len(self._pool), (near + anywhere,), generator=draw)]

    @cached_property
    def _pool(self) -> Samples:
        """The same for the same seed, so that a resumed run has the one that it was begun with."""
        assert self.options.pool is not None, "only asked for where there is one"
        _, near, anywhere = self.options.counts(self.options.points)
        about = round(self.options.pool * near / max(near + anywhere, 1))
        return self._measured(about, self.options.pool - about, stream(self.seed, "pool"))

    def _measured(self, near: int, anywhere: int, draw: Generator) -> Samples:
        about = about_surface(self.shape, near, self.options.widths, draw)
        return joined([about, in_cube(self.shape, anywhere, draw)])

    def loss(self, piece: ShapePiece, step: int, generator: Generator) -> Losses:
        samples = piece.samples
        share = self.options.counts(self.options.points)[0] / self.options.points
        return self.model.loss(
            samples.places, samples.distance, samples.normals, piece.on_surface, piece.sloped, share
        )

    # ------------------------------------------------------------------ measuring and showing

    def distance(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """The learned distance at places in the cube, on the processor and in float64 like them."""
        parts = [self.model(part.float().to(self.device)).double().cpu() for part in places.split(AT_ONCE)]
        return torch.cat(parts) if parts else places.new_zeros(0)

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """Distances, signs and volumes at places that were not trained on; at the end ("test") also how far
        the learned surface is from the true one."""
        shape, percent = self.shape, 100 / self.frame.diagonal
        anywhere = in_cube(shape, HELD_OUT, stream(self.seed, "held out", "anywhere"))
        about = about_surface(shape, HELD_OUT, (NEAR,), stream(self.seed, "held out", "about"))
        errors, right, shared = [], [], []
        for samples in (anywhere, about):
            found, truth = self.distance(samples.places.double()), samples.distance.double()
            errors.append(float((found - truth).abs().mean()))
            right.append(float(((found < 0) == (truth < 0)).double().mean()))
            shared.append(volume_iou(found < 0, truth < 0))
        numbers = {
            "distance_error_percent": percent * errors[0],
            "near_distance_error_percent": percent * errors[1],
            "sign_accuracy": right[0],
            "near_sign_accuracy": right[1],
            "iou": shared[0],
            "near_iou": shared[1],
        }
        if split == "val":
            return {"near_distance_error_percent": numbers["near_distance_error_percent"], **numbers}
        learned = self.surface(self.options.resolution)
        if not len(learned.faces):
            return numbers
        apart = chamfer(
            learned, shape.mesh, stream(self.seed, "held out", "surfaces"), self.options.surface_points
        )
        return {
            "chamfer_percent": percent * apart.mean,
            "learned_to_true_chamfer_percent": percent * apart.forth,
            "true_to_learned_chamfer_percent": percent * apart.back,
            "normal_consistency": apart.normals,
            **numbers,
        }

    @torch.no_grad()
    def surface(self, resolution: int) -> Mesh:
        """Where the learned distance is zero, as triangles in the cube; without any where it never is."""
        corner = torch.ones(3, dtype=torch.float64)
        lattice = Lattice.over(-corner, corner, resolution)
        return isosurface(depth_of(self.distance, lattice.step), lattice, threshold=1.0).mesh

    @torch.no_grad()
    def pictures(self) -> dict[str, Picture]:
        return pictures_of(self.distance, self.shape)


def depth_of(distance: Callable[[Tensor], Tensor], step: float) -> Callable[[Tensor], Tensor]:
    """A density for `isosurface`, whose threshold is 1: 1 on the surface, 2 from a step inside on, 0 from a
    step outside on, and straight between."""
    return lambda places: 1 - (distance(places) / step).clamp(-1, 1)


# ---------------------------------------------------------------------- the shape of a run


def open_shape(config: ShapeConfig, setting: Setting) -> tuple[Frame, Callable[[], Shape], dict[str, Any]]:
    """Where the shape lies, how to get at it, and what the manifest says of the data.

    In training the mesh is read, and its frame kept in the run's assets; a finished run exports its surface
    without the mesh, and reads it again only to be measured.
    """
    path = setting.assets / "shape.json"
    if setting.training:
        _need_marching_cubes()
        shape = read_shape(config)
        kept = {
            "scale": shape.frame.scale,
            "translation": shape.frame.translation.tolist(),
            "diagonal": shape.diagonal,
            "data": _manifest(shape),
        }
        write_text(path, json.dumps(kept, indent=1))
        return Frame(shape.frame, shape.diagonal), lambda: shape, kept["data"]
    frame, data = _kept(path)

    def read() -> Shape:
        again = read_shape(config, frame.move)
        if not setting.other_data and again.fingerprint != data["fingerprint"]:
            raise DataError(
                f"{config.source} is not the mesh that this run was trained on: its fingerprint is "
                f"{again.fingerprint}, not {data['fingerprint']}.\n"
                "Bring the old one back, or measure against this one with `rayformer eval RUN --data MESH`."
            )
        return again

    return frame, read, data


def _manifest(shape: Shape) -> dict[str, Any]:
    counts = {"vertices": len(shape.mesh.vertices), "faces": len(shape.mesh.faces)}
    kind = "drawn shape" if shape.format == "drawn" else f".{shape.format} mesh"
    told = f"{kind}: {counts['faces']:,} triangles"
    return {
        "source": shape.source, "format": shape.format, "fingerprint": shape.fingerprint, **counts,
        "closed": shape.closed, "remarks": [told, *shape.remarks],
    }  # fmt: skip


def _kept(path: Path) -> tuple[Frame, dict[str, Any]]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        turn = torch.eye(3, dtype=torch.float64)
        move = Similarity(kept["scale"], turn, torch.tensor(kept["translation"], dtype=torch.float64))
        return Frame(move, kept["diagonal"]), kept["data"]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path}: the frame of the run's shape cannot be read ({type(error).__name__}).\n"
            "Without it nothing says where the field lies; train again."
        ) from error


def _need_marching_cubes() -> None:
    """Said before minutes are spent, not after."""
    from importlib.util import find_spec

    if find_spec("skimage") is None:
        raise MissingExtra("mesh", "making a mesh of the trained field")
