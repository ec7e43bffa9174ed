"""A scene in a window: what the viewer needs to know of it, of a finished run and of one that trains.

show_of          a trained scene as the viewer wants it
along_the_axis   distances along rays into depth along the camera's axis, which is what a window composites by
view_run         a window on a finished run, until Ctrl-C
TrainingWindow   a window on a run that trains: the engine's onlooker
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from rayformer.core.errors import DataError, UserError
from rayformer.data.scenes.pixels import load_view
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import Scene, SceneConfig, View
from rayformer.engine.task import Task
from rayformer.fields.parts.scene_field import PictureMaker
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import average_up, focus_point
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.scene_view import Rendering, SceneView, Window, render_camera
from rayformer.runs.run import Run
from rayformer.viewer.address import Address
from rayformer.viewer.desk import Style
from rayformer.viewer.pace import Allowance
from rayformer.viewer.show import Drawn, Photo, Show
from rayformer.viewer.window import BrowserWindow

LOG = logging.getLogger(__name__)

MOST_PHOTOS = 200
"""Photographs in a window; of more, so many are taken evenly. A browser draws each by itself."""
THUMBNAIL = 128
"""The longer side of a photograph in the window, in pixels."""
SHARE = 0.25
"""Of the time of a training run, what a window may take."""
TRAINING_PICTURE_S = 2.0
"""The finest picture of a run that trains may take so long to draw."""
NOBODY_S = 10.0
"""A window on a run that has ended closes when nobody has looked for so long."""


def show_of(view: SceneView, title: str, draw: Callable[[Camera, Style], Drawn] | None = None) -> Show:
    """Everything that a window shows of a scene. `draw` stands in for the view's own pictures."""
    scene, window = view.window.scene, view.window
    whole = isinstance(view.field, PictureMaker)  # networks that see pixels beside each other
    views = scene.split("train") or scene.views
    poses = torch.stack([taken.camera.pose for taken in views])
    places = np.linspace(0, len(views) - 1, min(MOST_PHOTOS, len(views))).astype(int)
    positions = poses[:, :3, 3]
    spread = (positions - positions.mean(dim=0)).norm(dim=-1).median().item()
    return Show(
        title=title,
        draw=draw or drawing(view),
        photos=[
            Photo(taken.name, taken.camera, _thumbnail(taken, window))
            for taken in (views[place] for place in places)
        ],
        photos_in_all=len(views),
        points=_points(scene),
        start=_clearest(view.cameras(view.usual_path, 36), positions),
        centre=focus_point(poses).float(),
        up=average_up(poses).float(),
        near=float(scene.near),
        far=float(scene.far),
        has_range=not (window.ndc or whole),
        whole=whole,
        unit=spread if spread > 0 else float(scene.far) / 4,
        normalisation=scene.normalisation,
    )


def _clearest(cameras: Sequence[Camera], positions: Float[torch.Tensor, "views 3"]) -> Camera:
    """The one of `cameras` that stands farthest from every place of a photograph: from the others, the
    nearest photograph would fill the picture."""
    gaps = torch.cdist(torch.stack([camera.position for camera in cameras]), positions).min(dim=1).values
    return cameras[int(gaps.argmax())]


def drawing(view: SceneView) -> Callable[[Camera, Style], Drawn]:
    """The view's pictures, in the style that somebody chose."""

    def draw(camera: Camera, style: Style) -> Drawn:
        window = replace(view.window, near=style.near, far=style.far, behind=style.background)
        with view.precision.autocast():
            rendering = render_camera(view.field, camera, window, view.device)
        return Drawn(rendering.colour, along_the_axis(rendering, camera, window))

    return draw


def along_the_axis(rendering: Rendering, camera: Camera, window: Window) -> Float[np.ndarray, "height width"]:
    """How deep each pixel lies along the axis of the camera, a pinhole, in scene units; NaN where nothing
    is."""
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    if not window.ndc:
        stretch = np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)
        return (rendering.depth / stretch).astype(np.float32)
    # There the depth is that along the axis of the scene, -z, from its origin: the point is where the
    # pixel's ray, which advances by 1 along the camera's axis, comes to that plane.
    turn = camera.pose[2, :3].numpy()
    advance = turn[0] * x[None] - turn[1] * y[:, None] - turn[2]
    return ((-rendering.depth - camera.pose[2, 3].item()) / advance).astype(np.float32)


def _points(
    scene: Scene,
) -> Callable[[], tuple[Float[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"] | None] | None]:
    """The points of a reconstruction: the scene's own while it trains, of a finished run those of its data,
    which it keeps no copy of."""

    def load() -> tuple[Float[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"] | None] | None:
        read = scene
        if scene.points is None and Path(scene.source).exists():
            config = SceneConfig(source=scene.source)
            try:
                read = read_scene(config, frame=scene.normalisation, distances=(scene.near, scene.far))
            except UserError:  # moved, or changed: it can be looked at without
                return None
        return None if read.points is None else (read.points, read.point_colours)

    return load


def _thumbnail(view: View, window: Window) -> Callable[[], UInt8[np.ndarray, "height width 3"] | None]:
    def load() -> UInt8[np.ndarray, "height width 3"] | None:
        camera = view.camera
        share = min(1.0, THUMBNAIL / max(camera.width, camera.height))
        small = camera.scaled(max(1, round(camera.width * share)), max(1, round(camera.height * share)))
        try:
            pixels, _ = load_view(replace(view, camera=small, mask=None))
        except DataError:  # a run can be looked at without the photographs it was trained on
            return None
        if pixels.shape[2] == 3:
            return pixels
        alpha = pixels[..., 3:] / 255
        behind = np.array(window.background) * 255
        return (pixels[..., :3] * alpha + behind * (1 - alpha)).round().astype(np.uint8)

    return load


def view_run(loaded: Loaded, address: Address, say: Callable[[str], None]) -> None:
    """Show a finished run at `address` until KeyboardInterrupt ends it. `say` gets the address once the page
    can be opened."""
    show = show_of(loaded.view, loaded.run.name)
    with BrowserWindow(show, loaded.run, address) as window:
        window.note(f"step {loaded.step:,}")
        say(address.url)
        while True:
            window.work(1.0)


class TrainingWindow:
    """The engine's onlooker: pictures of the model as it is, for whoever has the page open.

    All drawing happens in the thread that trains, between two steps, for at most `SHARE` of the time. A
    fault of the window closes the window and leaves the training alone.
    """

    def __init__(self, address: Address, run: Run, view_of: Callable[[Task], SceneView]):
        """`view_of` makes the view of a task whose model trains."""
        self.address, self.run, self.view_of = address, run, view_of
        self._allowance = Allowance(SHARE)
        self._window: BrowserWindow | None = None
        self._task: Task | None = None
        self._began = 0.0
        self._closed = False

    def wants(self, task: Task, step: int) -> bool:
        """Whether somebody waits for a picture, and there is time for one."""
        if self._closed:
            return False
        try:
            if task is not self._task:
                self._open(task)
        except Exception as error:
            return self._fail(error)
        self._began = time.monotonic()
        assert self._window is not None, "opened above"
        return self._allowance.left_s() > 0 and self._window.is_waited_for(again=True)

    def look(self, task: Task, step: int) -> None:
        """Draw what is waited for, as long as is allowed; the model stands in evaluation mode."""
        assert self._window is not None, "look comes after wants"
        try:
            self._window.note(f"training, step {step:,}")
            self._window.work(self._allowance.left_s(), wait=False)
        except Exception as error:
            self._fail(error)
        finally:
            self._allowance.spend(self._began)

    def stay(self, say: Callable[[str], None]) -> None:
        """Once the training is over: go on showing its last weights, as long as somebody looks or until
        Ctrl-C."""
        if self._window is None or self._task is None or self._closed or not self._window.visitors:
            self.close()
            return
        say(f"- {self.address.url} stays open while somebody looks; Ctrl-C closes it")
        self._task.model.eval()
        self._window.note("training is over")
        self._window.relax()
        seen = time.monotonic()
        try:
            while time.monotonic() - seen < NOBODY_S:
                self._window.work(1.0)
                if self._window.visitors:
                    seen = time.monotonic()
            say("- nobody looks any more; the window is closed")
        except KeyboardInterrupt:
            say("- the window is closed")
        finally:
            self.close()

    def close(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None
        self._closed = True

    def _open(self, task: Task) -> None:
        """A window on `task`, or on another stage's task in its place."""
        if self._window is not None:
            self._window.close()
        show = show_of(self.view_of(task), self.run.name)
        # With a quarter of the time, about four pictures a second while a camera moves.
        self._window = BrowserWindow(
            show, self.run, self.address, moving_s=0.06, longest_s=TRAINING_PICTURE_S
        )
        self._task = task
        LOG.info("watch at %s (at most %.0f %% of the time goes into it)", self.address.url, 100 * SHARE)

    def _fail(self, error: Exception) -> bool:
        LOG.warning("the window is closed, and training goes on: %s: %s", type(error).__name__, error)
        self.close()
        return False
