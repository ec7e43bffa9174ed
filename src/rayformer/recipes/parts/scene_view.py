"""A trained scene as something to look at: cameras in, pictures with depth out.

Rendering      one picture: colour as bytes, depth in scene units
Window         what a camera needs to know of a scene: where rays begin and end, what is behind, NDC or
               not
render_camera  any field, any camera, any size of picture in bounded memory
code_named     the light of a training photograph, by its name
SceneView      what `rayformer render` and the viewer ask: the usual flights, and the picture of a camera
view_of        the SceneView of an opened run, whichever field it trained
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from rayformer.core.errors import ConfigError, did_you_mean
from rayformer.data.scenes.scene import Scene, View
from rayformer.engine.precision import Precision
from rayformer.fields.parts.scene_field import (
    AppearingField,
    LitPictures,
    PictureMaker,
    RoundedField,
    SceneField,
)
from rayformer.geometry.cameras import Camera
from rayformer.geometry.paths import along, keyframes, orbit, spiral, through
from rayformer.geometry.rays import Rays, camera_rays
from rayformer.recipes.parts.open import Loaded

SAMPLES_AT_ONCE = {"cpu": 2**15}
"""Samples per call of the field: on a processor as many as its caches hold, elsewhere 2**20."""


@dataclass(frozen=True, eq=False)
class Rendering:
    colour: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]
    """Distance along the ray in scene units (along the axis of the camera in NDC); NaN where there is
    nothing."""


@dataclass(frozen=True, eq=False)
class Window:
    scene: Scene
    ndc: bool = False
    near: float | None = None
    """Where rays begin, in scene units, if not where the scene says; NDC knows no other. Likewise far."""
    far: float | None = None
    behind: tuple[float, float, float] | None = None
    """What is behind everything, if not what the scene says."""

    def rays(self, camera: Camera, pixels: Float[torch.Tensor, "rays 2"]) -> Rays:
        """The camera's rays through `pixels`, ready for the field."""
        near = self.scene.near if self.near is None else self.near
        far = self.scene.far if self.far is None else self.far
        rays = camera_rays(camera, pixels, near=near, far=far)
        return self.scene.to_ndc(rays) if self.ndc else rays

    @property
    def background(self) -> tuple[float, float, float]:
        """What is behind everything; black behind photographs, which have nothing behind."""
        return self.behind or self.scene.background or (0.0, 0.0, 0.0)


@torch.no_grad()
def render_camera(
    field: SceneField | PictureMaker, camera: Camera, window: Window, device: torch.device
) -> Rendering:
    """The picture that `camera` takes of the field. Memory beyond the picture itself does not grow with its
    size, unless the picture is made whole."""
    if isinstance(field, PictureMaker):
        seen, distance = field.picture(camera, torch.tensor(window.background, device=device))
        return Rendering(
            (seen.clamp(0, 1) * 255).round().byte().cpu().numpy(), distance.float().cpu().numpy()
        )
    colour = np.empty((camera.height * camera.width, 3), np.uint8)
    depth = np.empty(camera.height * camera.width, np.float32)
    background = torch.tensor([window.background], device=device)
    at_once = rays_at_once(field, device)
    for start in range(0, len(colour), at_once):
        index = torch.arange(start, min(start + at_once, len(colour)))
        pixels = torch.stack([index % camera.width, index // camera.width], dim=-1).double() + 0.5
        rays = window.rays(camera, pixels).to(device)
        seen = field.render(rays, background.expand(len(rays), 3))
        place = slice(start, start + len(rays))
        colour[place] = (seen.colour.clamp(0, 1) * 255).round().byte().cpu().numpy()
        distance = seen.mean_depth.float()
        if (
            window.ndc
        ):  # NDC reaches 1 at infinity: z = 1 / (1 - t), in units of the near plane, which lies at 1
            distance = 1 / (1 - distance).clamp(min=1e-6)
        depth[place] = torch.where(seen.opacity > 0.5, distance, torch.nan).cpu().numpy()
    shape = (camera.height, camera.width)
    return Rendering(colour.reshape(*shape, 3), depth.reshape(shape))


def rays_at_once(field: SceneField, device: torch.device) -> int:
    """Rays that `field` is best given in one call."""
    if isinstance(field, RoundedField):
        return field.rays_at_once
    return max(1, SAMPLES_AT_ONCE.get(device.type, 2**20) // field.samples_per_ray)


def code_named(field: AppearingField, views: Sequence[View], name: str) -> Float[torch.Tensor, "features"]:
    """The code of the training view called `name`, which may be its file's name alone, without the suffix
    too. Raises ConfigError for a name of none of `views`, or of several."""
    for called in (str, _file_name, _stem):
        rows = [row for row, view in enumerate(views) if view.scale == 1 and called(view.name) == name]
        if len(rows) == 1:
            return field.code_of(rows[0])
    raise ConfigError(
        f"--light must name a photograph that the run was trained on, but {name!r} is none of its "
        f"{len(views)}.{did_you_mean(name, [view.name for view in views])}\n"
        f"They are called as {views[0].name} is, and listed in assets/scene.json of the run."
    )


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def _stem(name: str) -> str:
    return _file_name(name).rpartition(".")[0]


PATHS = ("orbit", "spiral", "along", "test", "still")


@dataclass(frozen=True, eq=False)
class SceneView:
    field: SceneField | PictureMaker
    window: Window
    device: torch.device
    precision: Precision
    usual: str | None = None
    """The usual flight, if not the one that suits most scenes."""

    def cameras(self, path: str, frames: int = 120, size: tuple[int, int] | None = None) -> list[Camera]:
        """The cameras of a flight: orbit, spiral, along (down the street that the cameras went), test
        (through the held-out poses), still (at the first of them), or a camera-path file.

        `size` is (width, height) in pixels; without it, that of the first training view. Raises ConfigError
        for an unknown path and DataError for a broken file.
        """
        scene = self.window.scene
        views = scene.split("train") or scene.views
        poses = torch.stack([view.camera.pose for view in views])
        usual = _pinhole(views[0].camera, size)
        if path == "orbit":
            return [replace(usual, pose=pose) for pose in orbit(poses, frames)]
        if path == "spiral":
            return [replace(usual, pose=pose) for pose in spiral(poses, frames, scene.near, scene.far)]
        if path == "along":
            return [replace(usual, pose=pose) for pose in along(poses, frames)]
        if path == "test":
            held_out = torch.stack([view.camera.pose for view in scene.split("test") or views])
            return [replace(usual, pose=pose) for pose in through(held_out, frames)]
        if path == "still":
            stands = (scene.split("test") or views)[0].camera
            return [_pinhole(stands, size)] * frames
        if Path(path).suffix != ".json":
            raise ConfigError(
                f"--path must be {', '.join(PATHS)} or a camera-path file (.json), but is "
                f"{path!r}.{did_you_mean(path, PATHS)}"
            )
        flight = keyframes(Path(path), size or (usual.width, usual.height))
        # A file speaks the data's coordinates, which its author knows; the field lives in the scene's.
        return [replace(camera, pose=scene.normalisation.pose(camera.pose)) for camera in flight.cameras]

    @property
    def usual_path(self) -> str:
        """The flight that suits the scene: before it where all photographs face it, else around it."""
        if self.usual:
            return self.usual
        return "spiral" if self.window.scene.forward_facing else "orbit"

    def fps(self, path: str) -> float | None:
        """Frames per second as a camera-path file has it; None for the usual flights."""
        return None if path in PATHS else keyframes(Path(path), (1, 1)).fps

    def in_lights(self, names: Sequence[str], frames: int) -> list["SceneView"]:
        """The same for each of so many frames, in the light of one training photograph, or passing evenly
        from that of the first through all others to that of the last.

        Raises ConfigError where the field has one light only, and for a name of no training photograph.
        """
        field, train = self.field, self.window.scene.split("train")
        with torch.no_grad():
            if isinstance(field, LitPictures):
                codes = torch.stack([field.code_named(name) for name in names])
            elif isinstance(field, AppearingField) and field.code_size:
                codes = torch.stack([code_named(field, train, name) for name in names])
            else:
                raise _one_light()
        place = torch.linspace(0, len(names) - 1, frames, device=codes.device)
        before = place.long().clamp(max=max(len(names) - 2, 0))
        share = (place - before)[:, None]
        passing = codes[before] * (1 - share) + codes[(before + 1).clamp(max=len(names) - 1)] * share
        return [replace(self, field=field.in_light(code)) for code in passing]

    def at_exposure(self, exposure: float) -> "SceneView":
        """The same as photographs of that exposure show it, in the data's units. Raises ConfigError where the
        run learned nothing of exposures."""
        if not isinstance(self.field, LitPictures):
            raise ConfigError(
                "--exposure asks how bright photographs are, which this run did not learn apart from the "
                "scene.\nTrain blocknerf, on data that know the exposure of each photograph."
            )
        return replace(self, field=self.field.at(exposure))

    def picture(self, camera: Camera) -> Rendering:
        with self.precision.autocast():
            return render_camera(self.field, camera, self.window, self.device)


def view_of(loaded: Loaded) -> SceneView:
    task = loaded.task
    return SceneView(task.field, task.window, loaded.device, loaded.precision)


def _one_light() -> ConfigError:
    return ConfigError(
        "--light asks for the light of a photograph, but this run learned one light for all of them.\n"
        "Train nerfw, with model.appearance, to tell them apart."
    )


def _pinhole(camera: Camera, size: tuple[int, int] | None) -> Camera:
    """The camera without its lens, at another size if one is given; the field of view across the height
    stays."""
    width, height = size or (camera.width, camera.height)
    zoom = height / camera.height
    return Camera(
        width=width,
        height=height,
        fx=camera.fx * zoom,
        fy=camera.fy * zoom,
        cx=width / 2,
        cy=height / 2,
        pose=camera.pose,
    )
