"""Where a grid field lies: the cube of space that it divides, found from the scene's cameras and pictures.

    SpaceConfig     what a recipe may say about it
    FieldSpace      the cube, and which of its cells can matter
    open_space      both, found once in training and read from the run ever after
    fitted_scene    the scene with rays that reach as far as the cube

Two things are known of a place before anything is learned. Where no training camera looks, nothing can be
learned. And where a picture is transparent, nothing stands along its rays: what is left when all
transparent rays are cut away is the visual hull (Laurentini 1994), and the cube is fitted to it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.pixels import load_view
from rayformer.data.scenes.scene import Scene, View, evenly
from rayformer.engine.task import Setting
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lens import Lens
from rayformer.geometry.poses import focus_point
from rayformer.kernels.marching import Space, place_in_space
from rayformer.runs.atomic import write_text

CELLS = 48
"""The cube is looked at in so many cells along each axis; finer grids take over the answer of the cell
around.
"""
MOST_VIEWS = 60
"""Of more training views, so many are asked, evenly spread."""
OFTEN = 0.4
"""The cube is fitted to what at least this share of the views could see, of as many as see the most of any
cell. What few look at stays when they show nothing empty there, and it would be the sides of most cubes."""
SMALL = 160
"""Pictures are made at most so wide before they carve; a pixel then is transparent only if all of it was."""


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    kind: Literal["auto", "box", "contracted"] = "auto"
    """box: a cube, and nothing outside; contracted: a cube, and all of space around it, ever coarser. auto
    takes a box for pictures with transparent surroundings and for NDC, and all of space for photographs."""
    half: float | None = None
    """Half of the cube's side, in scene units; none takes what cameras and transparent pixels suggest."""
    reach: float = 8.0
    """How far from the camera rays go through contracted space, in half sides of the cube."""
    carve: bool = True
    """Cut away what transparent pixels show to be empty, and fit a box to what is left."""

    def __post_init__(self):
        if (self.half is not None and self.half <= 0) or self.reach <= 0:
            raise ConfigError(
                f"space.half and space.reach must be above 0, but they are {self.half} and {self.reach}."
            )


@dataclass(frozen=True, eq=False)
class FieldSpace:
    space: Space
    open_cells: Bool[Tensor, "cells cells cells"] | None
    """Cells that some camera sees and no transparent pixel rules out; None where a run is opened, which
    holds them.
    """
    footprint: float
    """How wide a pixel is at the cube's middle, in scene units: the median over training views."""
    remark: str


def open_space(
    scene: Scene,
    config: SpaceConfig,
    ndc: bool,
    cells: int,
    setting: Setting,
    centre: tuple[float, float, float] | None = None,
    name: str = "space",
) -> FieldSpace:
    """The cube, and of its `cells` along each axis those that can matter.

    `centre` is where its middle lies, if not where the cameras suggest; `name` tells it from other cubes of
    the run. Raises DataError where no training camera looks into the cube, and RunError where a run does not
    know it any more.
    """
    path = setting.assets / f"{name}.json"
    if not setting.training:
        return _kept(path)
    space, remark = _first_guess(scene, config, ndc, centre)
    seen = torch.ones(cells, cells, cells, dtype=torch.bool)
    if not ndc:
        views = evenly(scene.split("train") or scene.views, MOST_VIEWS)
        carving = config.carve and scene.background is not None
        silhouettes = [_silhouette(view) for view in views] if carving else []
        if carving and config.half is None and not space.contracted:
            sightings = _sightings(views, space)
            space = _fitted(space, _carved(silhouettes, space) & (sightings >= OFTEN * sightings.max()))
            remark += f"; fitted to what transparent pixels leave, {2 * space.half:.3g} across"
        coarse = (_sightings(views, space) > 0) & _carved(silhouettes, space)
        if not coarse.any():
            raise _nothing_in_sight(space, views)
        # Whatever the two grids' cells are: one is open if it touches an open one.
        seen = F.adaptive_max_pool3d(_grown(coarse)[None].float(), cells)[0] > 0
        remark += f"; {seen.float().mean():.0%} of it can hold something"
    footprint = _footprint(scene, space, ndc)
    kept = {
        "centre": space.centre, "half": space.half, "contracted": space.contracted, "footprint": footprint,
        "remark": remark,
    }  # fmt: skip
    write_text(path, json.dumps(kept, indent=2))
    return FieldSpace(space, seen, footprint, remark)


def _footprint(scene: Scene, space: Space, ndc: bool) -> float:
    views = scene.split("train") or scene.views
    if ndc:  # where a picture is 2 across
        return 2 / max(view.camera.width for view in views)
    centre = torch.tensor(space.centre)
    away = [max((view.camera.pose[:3, 3] - centre).norm().item(), scene.near) for view in views]
    widths = [distance / view.camera.fx for distance, view in zip(away, views, strict=True)]
    return sorted(widths)[len(widths) // 2]


def _kept(path: Path) -> FieldSpace:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        space = Space(tuple(kept["centre"]), kept["half"], kept["contracted"])
        return FieldSpace(space, None, kept["footprint"], kept["remark"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}), and without it the run does not know "
            "where its field lies.\nTrain again, or bring the file back."
        ) from error


def _first_guess(
    scene: Scene, config: SpaceConfig, ndc: bool, centre: tuple[float, float, float] | None
) -> tuple[Space, str]:
    if ndc:
        return Space((0.0, 0.0, 0.0), config.half or 1.25), "the field fills the box of NDC"
    poses = torch.stack([view.camera.pose for view in scene.split("train") or scene.views])
    contracted = config.kind == "contracted" or (config.kind == "auto" and scene.background is None)
    middle = _before_the_cameras(scene, poses) if scene.forward_facing else focus_point(poses)
    middle = middle if centre is None else torch.tensor(centre, dtype=poses.dtype)
    farthest = (poses[:, :3, 3] - middle).norm(dim=-1).max().item()
    # Cameras that stand in one place have no distance to it; what they see begins at near.
    half = config.half or (max(farthest, scene.near) if contracted else (scene.far - scene.near) / 2)
    x, y, z = middle.tolist()
    where = f"{2 * half:.3g} scene units across round ({x:z.2f}, {y:z.2f}, {z:z.2f})"
    if contracted:
        return Space((x, y, z), half, True), f"the field fills all of space, undistorted in a cube {where}"
    return Space((x, y, z), half), f"the field fills a box {where}, with nothing outside"


def _before_the_cameras(scene: Scene, poses: Float[Tensor, "views 4 4"]) -> Float[Tensor, "3"]:
    """The middle of what cameras that look the same way have before them: of the points of a reconstruction,
    or else a guess from where rays begin, since cameras that look the same way meet nowhere."""
    stand = poses[:, :3, 3].mean(dim=0)
    ahead = -poses[:, :3, 2].mean(dim=0)
    ahead = ahead / ahead.norm()
    distance = 2.5 * scene.near
    if scene.points is not None and len(scene.points):
        depths = (torch.from_numpy(scene.points).to(stand) - stand) @ ahead
        distance = max(depths.median().item(), scene.near)
    return stand + distance * ahead


def fitted_scene(scene: Scene, space: Space, config: SpaceConfig) -> Scene:
    """The scene; in contracted space, its rays run on until `reach`."""
    if not space.contracted:
        return scene
    far = space.half * config.reach
    views = tuple(replace(view, far=None if view.far is None else far) for view in scene.views)
    return replace(scene, far=far, views=views)


def _middles(space: Space) -> Float[Tensor, "points 3"]:
    axis = (torch.arange(CELLS) + 0.5) / CELLS
    return place_in_space(torch.cartesian_prod(axis, axis, axis), space)


def _sightings(views: list[View], space: Space) -> Int[Tensor, "cells cells cells"]:
    """Of how many cameras each cell's middle lies before and in the picture, a tenth of which is added on
    every side: for the lens, which is passed over here, and for the rest of the cell."""
    points = _middles(space)
    seen = torch.zeros(len(points), dtype=torch.int64)
    for view in views:
        pixels, depth = project(replace(view.camera, lens=Lens()), points)
        across = pixels / torch.tensor([view.camera.width, view.camera.height])
        seen += (depth > 0) & ((across > -0.1) & (across < 1.1)).all(dim=-1)
    return seen.view(CELLS, CELLS, CELLS)


def _silhouette(view: View) -> tuple[Camera, Int[Tensor, "height width"]]:
    """A view's camera for a small picture, and how many of its pixels above and left of each corner are not
    transparent: four of these numbers make those in a box."""
    camera = view.camera.at_most(SMALL)
    picture, _ = load_view(replace(view, camera=camera))
    solid = picture[..., 3] > 0 if picture.shape[-1] == 4 else np.ones(picture.shape[:2], bool)
    return camera, F.pad(torch.from_numpy(solid).long().cumsum(0).cumsum(1), (1, 0, 1, 0))


def _carved(
    silhouettes: list[tuple[Camera, Int[Tensor, "height width"]]], space: Space
) -> Bool[Tensor, "cells cells cells"]:
    """Cells that no view shows to be empty. A view does so where it sees the cell's middle, and every pixel
    that the ball around the cell may touch is transparent."""
    points = _middles(space)
    radii = _radii(space)
    left = torch.ones(len(points), dtype=torch.bool)
    for camera, counts in silhouettes:
        pixels, depth = project(camera, points)
        # A ball of radius r at depth d and slope s reaches at most f r (1 + |s|) / (d - r) pixels.
        focal, middle = torch.tensor([[camera.fx, camera.fy], [camera.cx, camera.cy]])
        slope = (pixels - middle).abs() / focal
        reach = focal * (1 + slope) * (radii / (depth - radii).clamp(min=1e-9))[:, None]
        size = torch.tensor([camera.width, camera.height])
        there = (depth > radii) & ((pixels >= 0) & (pixels < size)).all(dim=-1)
        low = (pixels - reach).floor().clamp(min=torch.zeros(2))[there].long()
        high = ((pixels + reach).floor() + 1).clamp(max=size)[there].long()
        (x0, y0), (x1, y1) = low.unbind(-1), high.unbind(-1)
        left[there] &= counts[y1, x1] - counts[y0, x1] - counts[y1, x0] + counts[y0, x0] > 0
    return left.view(CELLS, CELLS, CELLS)


def _radii(space: Space) -> Float[Tensor, "points"]:
    """How far the corners of each cell lie from its middle, at most; without bound on the faces of
    contracted space.
    """
    axis, half = (torch.arange(CELLS) + 0.5) / CELLS, 0.5 / CELLS
    middles = torch.cartesian_prod(axis, axis, axis)
    corners = half * (2.0 * torch.cartesian_prod(*[torch.arange(2)] * 3) - 1)
    far = [
        (place_in_space(middles + corner, space) - place_in_space(middles, space)).norm(dim=-1)
        for corner in corners
    ]
    return torch.stack(far).amax(dim=0)


def _grown(cells: Bool[Tensor, "cells cells cells"]) -> Bool[Tensor, "cells cells cells"]:
    """The cells and their neighbours."""
    return F.max_pool3d(cells[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def _fitted(space: Space, left: Bool[Tensor, "cells cells cells"]) -> Space:
    """The smallest cube around what is left, with a cell to spare on every side; never a larger one than
    before.
    """
    places = left.nonzero().float()
    if not len(places):
        return space
    low, high = (places.min(dim=0).values - 1) / CELLS, (places.max(dim=0).values + 2) / CELLS
    ends = place_in_space(torch.stack([low, high]), space)
    centre, half = ends.mean(dim=0), (ends[1] - ends[0]).max().item() / 2
    if half >= space.half:
        return space
    x, y, z = centre.tolist()
    return Space((x, y, z), half)


def _nothing_in_sight(space: Space, views: list[View]) -> DataError:
    a, b, c = space.centre
    x, y, z = torch.stack([view.camera.pose[:3, 3] for view in views]).mean(dim=0).tolist()
    return DataError(
        f"no training camera sees anything of the field's box, {2 * space.half:.3g} scene units across round "
        f"({a:z.2f}, {b:z.2f}, {c:z.2f}).\n"
        f"The cameras stand round ({x:z.2f}, {y:z.2f}, {z:z.2f}), and must look at it; pictures must not be "
        "all transparent.\nSet space.half, or take all of space with --space.kind contracted."
    )
