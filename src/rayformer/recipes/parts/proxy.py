"""Proxy geometry: how deep everything lies in any view of a scene, from points or from a trained field.

ProxyConfig      what a recipe may say about it
kind_of_proxy    points, a field that another run trained, or one to be trained first
mesh_proxy       the surface through the points of a reconstruction, kept in the run
path_of_field    the run of a field that was named, wherever one stands
field_proxy      a trained field, in its own coordinates or in those of another run
open_sources     the training photographs with their depths, which are kept in the run
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.pixels import PixelStore
from rayformer.data.scenes.scene import Scene
from rayformer.engine.checkpoint import read_tensors, write_tensors
from rayformer.engine.task import Setting
from rayformer.fields.parts.scene_field import SceneField
from rayformer.fields.parts.sources import DepthOf, Source, Sources
from rayformer.geometry.cameras import Camera
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.mesh_depth import mesh_depth
from rayformer.geometry.point_surface import likely_sightings, point_surface
from rayformer.geometry.similarity import Similarity
from rayformer.geometry.warp import depth_of, plane_grid
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.scene_view import SceneView
from rayformer.runs.atomic import write_text

FEWEST_POINTS = 200
"""`auto` makes no surface of fewer points."""
Kind = Literal["points", "run", "train"]


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    source: Literal["auto", "points", "field"] = "auto"
    """points: a surface through the points of a reconstruction; field: a trained radiance field. auto takes
    points where the data have enough of them."""
    field: Path | None = None
    """The run folder of a field that was trained on the same photographs (nerf, ngp, zipnerf); none trains a
    short ngp first, as a stage of its own."""
    steps: int = 1500
    """Steps of that ngp."""
    minutes: float | None = None
    """Stop it by the clock, if it comes before `steps`."""

    def __post_init__(self):
        if self.steps < 1 or (self.minutes is not None and self.minutes <= 0):
            raise ConfigError(
                "proxy.steps must be at least 1 and proxy.minutes above 0, but they are "
                f"{self.steps} and {self.minutes}"
            )
        if self.field is not None and self.source == "points":
            raise ConfigError(
                "proxy.source points and proxy.field exclude each other: a surface through points needs no "
                "field.\nLeave one of them out."
            )


def kind_of_proxy(config: ProxyConfig, scene: Scene, setting: Setting) -> Kind:
    """Raises DataError where points are asked for and the scene has too few."""
    if config.field is not None:
        return "run"
    if not setting.training:
        return "points" if _mesh_file(setting).exists() else "train"
    count = 0 if scene.points is None else len(scene.points)
    if config.source == "points" and count < FEWEST_POINTS:
        raise DataError(
            f"{scene.source}: proxy.source points makes a surface through the points of a reconstruction, at "
            f"least {FEWEST_POINTS}, but the data have {count or 'none'}.\n"
            f"`rayformer scene PHOTOS --out DIR` finds points and cameras for photographs; or take "
            "--proxy.source field, which trains a field first, or --proxy.field RUN, which takes one."
        )
    return "points" if config.source != "field" and count >= FEWEST_POINTS else "train"


# ---------------------------------------------------------------------- points


def _mesh_file(setting: Setting) -> Path:
    return setting.assets / "proxy.safetensors"


def mesh_proxy(scene: Scene, setting: Setting) -> tuple[DepthOf, str]:
    """Depths by the surface through the scene's points, and a remark. Made once in training, read from the
    run ever after. Raises DataError where no surface can be made, RunError where the run has lost it."""
    path = _mesh_file(setting)
    if setting.training and not path.exists():
        assert scene.points is not None, "checked when the kind was chosen"
        cameras = [view.camera for view in scene.split("train")]
        eyes = np.stack([camera.position.numpy() for camera in cameras])
        try:
            mesh = point_surface(scene.points, eyes, likely_sightings(cameras, scene.points))
        except DataError as error:
            raise DataError(
                f"{scene.source}: {error}.\nTake --proxy.source field, which trains a field first."
            ) from error
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, {"vertices": mesh.vertices, "faces": mesh.faces})
    try:
        kept = read_tensors(path)
        mesh = Mesh(kept["vertices"], kept["faces"])
    except (RunError, KeyError) as error:
        raise RunError(
            f"{path} cannot be read, and without it the run does not know how deep anything lies.\n"
            "Train again, or bring the file back."
        ) from error
    remark = (
        f"proxy geometry: a surface of {len(mesh.faces):,} triangles through {len(mesh.vertices):,} points"
    )
    return lambda camera: mesh_depth(camera, mesh), remark


# ---------------------------------------------------------------------- fields


def field_proxy(view: SceneView, move: Similarity | None = None) -> DepthOf:
    """Depths as a field renders them; `move` brings our coordinates into those of the field. Where more of
    the background is seen than of the field there is nothing."""
    assert isinstance(view.field, SceneField), "checked by whoever opened it"

    def depth(camera: Camera) -> torch.Tensor:
        theirs = camera if move is None else camera.at(move.pose(camera.pose))
        distance = torch.from_numpy(view.picture(theirs).depth)
        if view.window.ndc:  # there it is the depth along -z of the scene: where does the ray reach that?
            plane = plane_grid(theirs)
            turn = theirs.pose[2, :3]
            advance = turn[0] * plane[..., 0] - turn[1] * plane[..., 1] - turn[2]
            deep = ((-distance.double() - theirs.pose[2, 3]) / advance).float()
        else:
            deep = depth_of(theirs, distance)
        deep = deep if move is None else deep / move.scale
        return torch.where(deep.isfinite() & (deep > 0), deep, torch.inf)

    return depth


def path_of_field(config: ProxyConfig, setting: Setting) -> Path:
    """Where the run of the field is, whatever folder one stands in; noted while training. Raises RunError
    where it is gone."""
    note = setting.assets / "proxy.json"
    if setting.training and config.field is not None:
        write_text(note, json.dumps({"field": str(config.field.expanduser().resolve())}))
    path = Path(json.loads(note.read_text(encoding="utf-8"))["field"])
    if not path.is_dir():
        raise RunError(
            f"proxy.field {path}: there is no such run folder, and depths come from its field.\n"
            "Bring it back, or leave proxy.field out to have a field trained first."
        )
    return path


def view_of_field(loaded: Loaded, scene: Scene) -> tuple[SceneView, Similarity]:
    """A run's field, and the way into its coordinates. Raises ConfigError where it is no field, or was
    trained on other cameras."""
    path = loaded.run.path
    view = loaded.recipe.render(loaded) if loaded.recipe.render else None
    if not isinstance(view, SceneView) or not isinstance(view.field, SceneField):
        raise ConfigError(
            f"proxy.field {path}: runs of {loaded.name} have no depth of their own.\n"
            "Name a run of a radiance field: nerf, ngp, zipnerf."
        )
    theirs = view.window.scene
    known = {other.name: other.original.pose for other in theirs.views}
    same = [
        view.name for view in scene.views
        if view.name in known and torch.allclose(known[view.name], view.original.pose, atol=1e-6)
    ]  # fmt: skip
    if not same:
        raise ConfigError(
            f"proxy.field {path} was trained on {theirs.source},\n"
            f"which shares no camera with {scene.source}.\n"
            "The field must know the same photographs; without proxy.field one is trained first."
        )
    return view, theirs.normalisation.after(scene.normalisation.inverse())


# ---------------------------------------------------------------------- sources


def open_sources(scene: Scene, depth_of_camera: DepthOf, tolerance: float, setting: Setting) -> Sources:
    """The training views, whole, over the scene's background, with their depths. Raises DataError for a
    photograph that is gone."""
    views = scene.split("train")
    for view in views:
        if not view.image.is_file():
            raise DataError(
                f"{view.image}: the photograph is not there any more,\n"
                "and new views are made of photographs. Bring it back to where it was."
            )
    store = PixelStore(scene, "train")
    path, kept = setting.assets / "depths.safetensors", {}
    ours = not setting.other_data
    if ours and path.exists():
        kept = read_tensors(path)
    names = [view.name if view.scale == 1 else f"{view.name} {view.scale}" for view in views]
    depths = [
        kept[name] if name in kept else depth_of_camera(view.camera).cpu().float()
        for name, view in zip(names, views, strict=True)
    ]
    if ours and not kept and setting.training:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, dict(zip(names, depths, strict=True)))
    sources = []
    for row, depth in enumerate(depths):
        camera, picture, counts = store.view(row)
        sources.append(Source(camera, (picture.permute(2, 0, 1) * 255).round().byte(), depth, counts))
    behind = None if scene.background is None else torch.tensor(scene.background)
    return Sources(tuple(sources), depth_of_camera, tolerance, behind)
