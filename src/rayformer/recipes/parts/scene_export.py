"""A trained scene in forms that other programs read, in the coordinates of the input data.

MeshOptions, write_mesh_of       the surface as coloured triangles: PLY, OBJ, GLB
CloudOptions, write_cloud_of     what the training views see, as coloured points: PLY
GridOptions, write_grid_of       the voxels that hold matter, with density and colour: safetensors, npz
CameraOptions, write_cameras_of  the cameras, as transforms.json with the photographs
SCENE_EXPORTS                    these and the weights, by the name of the format: what a recipe lists

Everything is asked of a SceneSpace, which knows nothing of which field it is. A field has no surface of its
own: density grows over some length, and a mesh needs a threshold. The usual one (`usual_threshold`) comes
from what the training views see and not from the resolution, so that a finer mesh is of the same surface.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import evenly
from rayformer.data.scenes.write import write_transforms
from rayformer.engine.task import Export
from rayformer.geometry.isosurface import isosurface
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.scene_space import Box, SceneSpace, spell_box
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.baked_grid import BakedGrid, write_grid
from rayformer.runs.ply import write_points
from rayformer.runs.shapes import write_mesh

Corners = tuple[float, float, float, float, float, float]

HIDDEN = 0.02
"""So far behind what a view shows, as a share of all that is seen, a surface counts as hidden from it: a mean
depth lies behind the surface, the farther the foggier the field."""
FINEST = 2048
"""Voxels along a side: 8 billion questions."""


@dataclass(frozen=True, kw_only=True)
class MeshOptions:
    resolution: int = 256
    """Voxels along the longest side of the box."""
    threshold: float | None = None
    """The density, in 1 / scene unit, at which matter begins; none takes one that 99 in 100 rays which end at
    something opaque also meet."""
    box: Corners | None = None
    """What to export: x y z of the low corner, then of the high one, in the coordinates of the input data;
    none takes the box around nearly all that the training views see."""
    min_views: int = 2
    """Leave out what fewer training views have in their picture, where nothing told the field what is
    there."""
    min_share: float = 0.001
    """Leave out pieces with less than this share of the largest one's area: they float about; 0 keeps all."""
    keep_largest: bool = False
    """Keep the largest piece alone."""
    seen_only: bool = False
    """Leave out what is hidden from every training view: insides, undersides. The mesh is then open there."""
    close: bool = False
    """Close the mesh where the box cuts it, for printing in 3-D."""
    colour: Literal["normal", "mean"] = "normal"
    """Vertices are coloured as seen along their normal, or as the mean over five directions about it."""

    def __post_init__(self):
        _check_resolution(self.resolution)
        _check_positive("threshold", self.threshold)
        _check_box(self.box)
        _check_views(self.min_views)
        _check_share("min_share", self.min_share)


@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    views: int | None = 40
    """Training views that are looked through, evenly spread; none takes all."""
    width: int | None = 320
    """Pixels across, at most; none takes the photographs' own width."""
    spacing: float | None = None
    """One point in each cube of this side, the mean of those in it, in units of the input data; none takes a
    1/400 of the longest side of what is seen; 0 keeps every point."""
    min_opacity: float = 0.9
    """Leave out pixels through which more of the background shines than 1 minus this."""
    box: Corners | None = None
    """Keep only what lies within: x y z of the low corner, then of the high one, in the coordinates of the
    input data; none keeps all."""

    def __post_init__(self):
        for name in ("views", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, but is {value}")
        if self.spacing is not None and not 0 <= self.spacing < math.inf:
            raise ConfigError(f"spacing must be 0 or more and finite, but is {self.spacing:g}")
        _check_share("min_opacity", self.min_opacity)
        _check_box(self.box)


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    resolution: int = 128
    """Voxels along the longest side of the box."""
    min_alpha: float = 0.05
    """Keep voxels that take at least this share of the light that falls straight through them."""
    box: Corners | None = None
    """What to export: x y z of the low corner, then of the high one, in the coordinates of the input data;
    none takes the box around nearly all that the training views see."""
    min_views: int = 2
    """Leave out what fewer training views have in their picture, where nothing told the field what is
    there."""

    def __post_init__(self):
        _check_resolution(self.resolution)
        _check_share("min_alpha", self.min_alpha)
        if self.min_alpha in (0, 1):
            raise ConfigError(f"min_alpha must lie between 0 and 1, but is {self.min_alpha:g}")
        _check_box(self.box)
        _check_views(self.min_views)


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    photos: bool = True
    """Copy the photographs and masks beside transforms.json; without, it says where they were."""


# ---------------------------------------------------------------------- mesh


def write_mesh_of(loaded: Loaded, options: MeshOptions, path: Path) -> dict[str, Any]:
    """The surface where the density passes the threshold. Raises DataError where it does so nowhere."""
    space = _space(loaded)
    box, frame = _place(space, options.box, loaded)
    lattice = Lattice.over(*box, options.resolution)
    with _named(loaded):
        sight = space.sight(box, frame, options.min_views)
        threshold = options.threshold or space.usual_threshold
    surface = isosurface(sight.density, lattice, threshold, close=options.close)
    seen = sight.holds(surface.mesh.vertices)[surface.mesh.faces].all(dim=1)
    mesh = surface.mesh.only(seen)
    if options.seen_only:
        there = space.not_hidden(frame.points(mesh.vertices).float(), HIDDEN * space.side)
        mesh = mesh.only(there[mesh.faces].any(dim=1))
    mesh = mesh.without_small(1.0 if options.keep_largest else options.min_share)
    if not len(mesh.faces):
        raise DataError(
            f"{loaded.run.path}: there is no surface to export. "
            f"{_nowhere(surface.lowest, surface.highest, threshold, options.min_views)}\n"
            f"That is within the box {_spell_input_box(space, box, frame)} of the input's coordinates.\n"
            + (
                "Lower the threshold or choose another box; or train longer: look at RUN/pictures first."
                if surface.highest < threshold
                else "Raise the threshold, lower min_views, or choose a larger box."
            )
        )
    in_scene = mesh.moved(frame)
    colour = space.surface_colour(
        in_scene.vertices.float(),
        in_scene.normals.float(),
        depth=2 * lattice.step * frame.scale,
        several=options.colour == "mean",
    )
    final = in_scene.moved(space.to_input)
    write_mesh(path, final.vertices.numpy(), final.faces.numpy(), final.normals.numpy(), _bytes(colour))
    return {
        "vertices": len(final.vertices),
        "faces": len(final.faces),
        "threshold": threshold,
        "densest": surface.highest,
        "closed": final.is_closed,
        "box": _input_corners(final.vertices),
    }


def _nowhere(lowest: float, highest: float, threshold: float, min_views: int) -> str:
    found = f"densities run from {lowest:.4g} to {highest:.4g} per scene unit"
    if highest < threshold:
        return f"The field is nowhere as dense as {threshold:.4g}: {found}."
    if lowest >= threshold:
        return f"The field is denser than {threshold:.4g} everywhere: {found}."
    return f"Where it passes {threshold:.4g}, fewer than {min_views} training views look: {found}."


# ---------------------------------------------------------------------- cloud


def write_cloud_of(loaded: Loaded, options: CloudOptions, path: Path) -> dict[str, Any]:
    """Where the training views see something opaque, thinned. Raises DataError where they see nothing."""
    space = _space(loaded)
    points, colours = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
    for view in evenly(space.training_views, options.views):
        seen = space.glimpse(view.camera.at_most(options.width), options.min_opacity)
        there = space.to_input.points(seen.points.double()).numpy()
        kept = _within(there, options.box)
        points.append(there[kept])
        colours.append(seen.colours.numpy()[kept])
    places, shades = np.concatenate(points), np.concatenate(colours)
    if len(places):
        with _named(loaded):
            space.refuse_fog()
    else:
        where = "inside the box" if options.box else "at all"
        raise DataError(
            f"{loaded.run.path}: the training views see nothing {where} that is at least "
            f"{options.min_opacity:.0%} opaque, so there are no points to export.\n"
            "Lower min_opacity, choose another box, or train longer: look at RUN/pictures first."
        )
    seen_points = len(places)
    side = float((np.quantile(places, 0.99, axis=0) - np.quantile(places, 0.01, axis=0)).max())
    spacing = side / 400 if options.spacing is None else options.spacing
    if spacing > 0:
        places, shades = thinned(places, shades, spacing)
    write_points(path, places, shades)
    return {"points": len(places), "seen": seen_points, "spacing": spacing}


def thinned(
    points: Float[np.ndarray, "points 3"], colours: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray]:
    """One point for each cube of side `spacing` that holds any: the mean of those in it, and of their
    colours."""
    cells = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    mean = [
        np.stack([np.bincount(which, values[:, axis]) / counts for axis in range(3)], axis=1)
        for values in (points, colours)
    ]
    return mean[0], np.rint(mean[1]).astype(np.uint8)


# ---------------------------------------------------------------------- grid


def write_grid_of(loaded: Loaded, options: GridOptions, path: Path) -> dict[str, Any]:
    """The voxels that are opaque enough in their middles. Raises DataError where none is."""
    space = _space(loaded)
    box, frame = _place(space, options.box, loaded)
    lattice = Lattice.over(*box, options.resolution).centred()
    with _named(loaded):
        space.refuse_fog()
        sight = space.sight(box, frame, options.min_views)
    length = lattice.step * frame.scale  # of a voxel, in scene units
    at_once = max(1, 2**22 // lattice.per_plane)
    cells, found, colours, densest = [], [], [], 0.0
    for start in range(0, lattice.shape[0], at_once):
        end = min(start + at_once, lattice.shape[0])
        places = lattice.planes(start, end)
        values = (sight.density(places) * sight.holds(places)).view(-1, *lattice.shape[1:])
        densest = max(densest, float(values.max()))
        there = (-torch.expm1(-values * length) >= options.min_alpha).nonzero()
        index = there + torch.tensor([start, 0, 0])
        cells.append(index)
        found.append(values[tuple(there.T)])
        colours.append(_mean_colour(space, frame.points(lattice.at(index.double())).float()))
    which, dense, colour = torch.cat(cells), torch.cat(found), torch.cat(colours)
    if not len(which):
        raise DataError(
            f"{loaded.run.path}: no voxel takes {options.min_alpha:.0%} of the light, so there is nothing to "
            f"export: the densest has {densest:.4g} per scene unit, and takes "
            f"{-math.expm1(-densest * length):.2%}.\n"
            f"That is within the box {_spell_input_box(space, box, frame)} of the input's coordinates.\n"
            "Lower min_alpha, choose another box, or train longer: look at RUN/pictures first."
        )
    to_input = torch.eye(4, dtype=torch.float64)
    whole = space.to_input.after(frame)
    to_input[:3, :3], to_input[:3, 3] = whole.scale * whole.rotation, whole.translation
    grid = BakedGrid(
        cells=which.int().numpy(),
        density=(dense * frame.scale).float().numpy(),
        colour=_bytes(colour),
        shape=np.array(lattice.shape, np.int32),
        low=(lattice.low - lattice.step / 2).numpy(),
        step=np.array([lattice.step]),
        to_input=to_input.numpy(),
    )
    write_grid(path, grid)
    return {
        "voxels": len(which),
        "of": math.prod(lattice.shape),
        "shape": "x".join(map(str, lattice.shape)),
        "densest": densest,
    }


def _mean_colour(space: SceneSpace, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Seen along six directions, those of the axes, and averaged."""
    total = torch.zeros_like(places)
    for direction in torch.cat([torch.eye(3), -torch.eye(3)]):
        total += space.radiance(places, direction.expand(len(places), 3))[1]
    return total / 6


# ---------------------------------------------------------------------- cameras


def write_cameras_of(loaded: Loaded, options: CameraOptions, path: Path) -> dict[str, Any]:
    """transforms.json in a folder, with what the data gave. Raises DataError where a photograph is gone."""
    scene = _space(loaded).view.window.scene
    if options.photos:  # with the data at hand there may be points, which the run does not keep
        for file in (file for view in scene.views for file in (view.image, view.mask) if file):
            if not file.is_file():
                raise DataError(
                    f"{file}: the run's photograph is not there any more.\n"
                    "Bring it back, or write the cameras alone with --no-photos."
                )
        again = read_scene(loaded.config.data, frame=scene.normalisation, distances=(scene.near, scene.far))
        scene = replace(scene, points=again.points, point_colours=again.point_colours)
    write_transforms(scene, path, photos=options.photos)
    return {"views": len(scene.views), "points": 0 if scene.points is None else len(scene.points)}


# ---------------------------------------------------------------------- what they share


def _space(loaded: Loaded) -> SceneSpace:
    return SceneSpace(loaded.view)


def _place(space: SceneSpace, corners: Corners | None, loaded: Loaded) -> tuple[Box, Similarity]:
    """The box, and where its coordinates lie in the scene: those of the data if a person gave it, those of
    the scene, which stands upright, if it was found."""
    if corners is None:
        with _named(loaded):
            return space.auto_box, Similarity.identity()
    low, high = torch.tensor(corners, dtype=torch.float64).view(2, 3)
    return (low, high), space.to_input.inverse()


@contextmanager
def _named(loaded: Loaded) -> Iterator[None]:
    """Let what is wrong be said with the run that it is wrong with."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{loaded.run.path}: {error}") from None


def _input_corners(points: Float[Tensor, "points 3"]) -> str:
    return spell_box((points.min(dim=0).values, points.max(dim=0).values))


def _spell_input_box(space: SceneSpace, box: Box, frame: Similarity) -> str:
    """The box in the data's coordinates; one that stands askew in them, by what encloses it."""
    corners = torch.cartesian_prod(*torch.stack(box).T)
    return _input_corners(space.to_input.after(frame).points(corners))


def _within(points: np.ndarray, box: Corners | None) -> np.ndarray:
    if box is None:
        return np.ones(len(points), dtype=bool)
    return np.all((points >= box[:3]) & (points <= box[3:]), axis=1)


def _bytes(colour: Float[Tensor, "points 3"]) -> np.ndarray:
    return (colour.clamp(0, 1) * 255).round().byte().numpy()


def _check_resolution(resolution: int) -> None:
    if not 4 <= resolution <= FINEST:
        raise ConfigError(
            f"resolution must be 4 to {FINEST} voxels along the box's longest side, but is {resolution}.\n"
            "Time grows with its cube, memory with its square: 512 asks the field 134 million times."
        )


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ConfigError(f"{name} must be above 0 and finite, but is {value:g}")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a share, 0 to 1, but is {value:g}")


def _check_views(least: int) -> None:
    if least < 0:
        raise ConfigError(f"min_views must not be negative, but is {least}")


def _check_box(box: Corners | None) -> None:
    if box is not None and not all(low < high for low, high in zip(box[:3], box[3:], strict=True)):
        shown = " ".join(f"{value:g}" for value in box)
        raise ConfigError(
            f"box must be x y z of the low corner, then x y z of the high one, but {shown} has a low "
            "coordinate that is not below its high one"
        )


SCENE_EXPORTS = {
    "mesh": Export(
        does="the surface as triangles with colours",
        options=MeshOptions(),
        write=write_mesh_of,
        name="mesh",
        suffixes=(".ply", ".obj", ".glb"),
    ),
    "ply": Export(
        does="a cloud of coloured points: what the training views see",
        options=CloudOptions(),
        write=write_cloud_of,
        name="cloud",
        suffixes=(".ply",),
    ),
    "grid": Export(
        does="the voxels that hold matter, with density and mean colour",
        options=GridOptions(),
        write=write_grid_of,
        name="grid",
        suffixes=(".safetensors", ".npz"),
    ),
    "cameras": Export(
        does="the cameras as transforms.json, with the photographs, in a folder",
        options=CameraOptions(),
        write=write_cameras_of,
        name="cameras",
    ),
    "safetensors": WEIGHTS,
}
