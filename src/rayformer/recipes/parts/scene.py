"""The task that every radiance field is trained by: rays of photographs in, their colours out.

SceneTraining   what a recipe may change about it
RayPiece        some rays with their colours; RayBatch, a step's worth of them
SceneTask       batches of pixels, the field's own loss, held-out views measured and shown
open_scene      the scene of a run: read from the data once, from the run's own record ever after
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.pixels import PixelStore, filled_store
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import read_record, write_record
from rayformer.data.scenes.scene import Scene, SceneConfig, Split
from rayformer.engine.task import Group, Setting
from rayformer.fields.parts.moved_cameras import MovedCameras, move_rays, turned
from rayformer.fields.parts.scene_field import AppearingField, ChangingField, SceneField
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays
from rayformer.recipes.parts.held_out import HeldOut, Measuring, Render
from rayformer.recipes.parts.light import fitted_to_half, wild_pictures
from rayformer.recipes.parts.scene_view import Window, render_camera
from rayformer.runs.pictures import Picture

FIT_STEPS, FIT_RAYS, FIT_RATE = 80, 1024, 2e-3
"""How a held-out view's pose is fitted: Adam, with a rate that falls to zero."""


@dataclass(frozen=True, kw_only=True)
class SceneTraining(Measuring):
    rays: int = 1024
    """Rays per step, over all processes."""
    samples: int | None = None
    """Aim at so many samples per step, over all processes: as a field learns where nothing is, a ray needs
    fewer samples and a step takes more rays, up to 16 times `rays`. none keeps to `rays`."""
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
    held_out_light: Literal["half", "first", "usual"] = "half"
    """Of fields that know the light of each photograph, how held-out ones are measured: half fits the light
    to their left halves and judges the right ones; first and usual take whole views, in the light of the
    first training photograph, or in the mean of all."""
    move_cameras: bool = False
    """Learn a small turn and shift of every training camera with the field, for poses that are not exact.
    Held-out views are then measured twice: at their given poses, and at poses fitted to them."""
    camera_rate: float = 0.05
    """The cameras' learning rate, as a share of the plan's."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("rays", "validation_rays"):
            if getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")
        for name in ("samples", "samples_at_once"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"scene.{name} must be at least 1, but is {getattr(self, name)}")
        if self.camera_rate <= 0:
            raise ConfigError(f"scene.camera_rate must be above 0, but is {self.camera_rate}")
        if self.precrop_steps < 0 or not 0 < self.precrop_share <= 1:
            raise ConfigError(
                "scene.precrop_steps must not be negative and scene.precrop_share must be a share "
                "above 0 and up to 1, "
                f"but they are {self.precrop_steps} and {self.precrop_share}"
            )

    def in_ndc(self, scene: Scene) -> bool:
        """Whether the scene is trained in normalised device coordinates."""
        return scene.forward_facing if self.ndc == "auto" else self.ndc == "on"


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
        self.scene, self.options = scene, options
        # Where no photograph is transparent there is nothing to see through to, and a colour that changes
        # with every look would have to be hidden behind fog.
        self.random_background = random_background and scene.background is not None
        self.seed, self.device = setting.seed, setting.device
        ndc = options.in_ndc(scene)
        if ndc and options.move_cameras:
            raise ConfigError(
                "scene.move_cameras turns cameras in the world, which normalised device coordinates have "
                "left.\nAdd --scene.ndc off, or leave the cameras where they are."
            )
        self.model = MovedCameras(model, len(scene.split("train"))) if options.move_cameras else model
        self.window = Window(scene, ndc)
        self._views = HeldOut(scene, options)

    @property
    def field(self) -> SceneField:
        """What is rendered; where cameras are learned, the field without them."""
        model = self.model.field if isinstance(self.model, MovedCameras) else self.model
        return model  # type: ignore[return-value]  # a module that is a field too

    @property
    def _appearing(self) -> AppearingField | None:
        """The field, if it learns the light of each photograph."""
        field = self.field
        return field if isinstance(field, AppearingField) and field.code_size else None

    @property
    def _lit(self) -> SceneField:
        """The field in the light that views without a code of their own are seen in."""
        field = self._appearing
        if field is None:
            return self.field
        first = self.options.held_out_light == "first"
        return field.in_light(field.code_of(0) if first else field.usual_code())

    @cached_property
    def store(self) -> PixelStore:
        return filled_store(self.scene, "train")

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
        return filled_store(self.scene, next(name for name in splits if self.scene.split(name)))

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        if isinstance(self.model, ChangingField):
            self.model.before_step(step, generator, lambda count: self._some_rays(step, count))

    def _some_rays(self, step: int, count: int) -> Rays:
        index = torch.randint(len(self.store), (count,), generator=stream(self.seed, "some rays", step))
        return self._piece(self.store, index, torch.zeros(count, 3)).rays

    def _ray_count(self, world: int) -> int:
        """Rays of a step: a multiple of the number of processes."""
        if self.options.samples is None:
            return self.options.rays
        count = self.options.samples // self.field.samples_per_ray
        return min(max(count // world, 1), 16 * self.options.rays // world) * world

    def batch(self, split: str, step: int, rank: int, world: int) -> RayBatch:
        """Pixels drawn with replacement from all photographs, or from one."""
        assert split == "train", f"rays are trained on the training views, not on {split!r}"
        draw, count = stream(self.seed, "rays", step), self._ray_count(world)
        if count % world:
            raise ConfigError(
                f"scene.rays must be divisible by the number of processes, {world}, but is {count}: "
                "each gives its gradient as often as the others"
            )
        if step < self.options.precrop_steps:
            index = self._middle[torch.randint(len(self._middle), (count,), generator=draw)]
        elif self.options.one_image:
            rows = self.store.rows
            first, last = self.store.span(int(rows[torch.randint(len(rows), (), generator=draw)]))
            index = torch.randint(first, last, (count,), generator=draw)
        else:
            index = self.store.draw(count, draw)
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
        rays, colours, view = store.rays(index, background if store.background is not None else None)
        rays = self.scene.to_ndc(rays) if self.window.ndc else rays
        return RayPiece(rays.replaced(view=view), colours, background)

    @property
    def _rays_at_once(self) -> int:
        samples = self.options.samples_at_once or (2**14 if self.device.type == "cpu" else 2**20)
        return max(1, samples // self.field.samples_per_ray)

    def loss(self, piece: RayPiece, step: int, generator: Generator) -> Losses:
        return self.model.loss(piece.rays, piece.colours, piece.background, generator)  # type: ignore[operator]

    # ------------------------------------------------------------------ measuring and showing

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """PSNR over a few held-out pixels, drawn by `generator`, while training ("val"); over whole held-out
        views at the end ("test")."""
        return self._glance(generator) if split == "val" else self._measure()

    def _glance(self, generator: Generator) -> dict[str, float]:
        store = self._held_out
        index = torch.randint(len(store), (self.options.validation_rays,), generator=generator)
        whole = self._piece(store, index, torch.tensor([self.window.background]).expand(len(index), 3))
        error, lit = 0.0, self._lit
        for piece in RayBatch(whole, self._rays_at_once).split():
            piece = piece.to(self.device)
            seen = lit.render(piece.rays, piece.background)
            error += (seen.colour.clamp(0, 1) - piece.colours).square().sum().item()
        return {"psnr_db": -10 * np.log10(max(error / (3 * len(index)), 1e-12)).item()}

    def _measure(self) -> dict[str, float]:
        lit, fits = self._lit, self._appearing and self.options.held_out_light == "half"
        return self._views.measure(
            lambda camera: render_camera(lit, camera, self.window, self.device),
            self._at_fitted_poses if self.options.move_cameras else None,
            self._in_fitted_light if fits else None,
        )

    def _in_fitted_light(self, alone: Scene) -> Render:
        field = self._appearing
        assert field is not None, "only a field that knows of light has one fitted"
        lit = field.in_light(fitted_to_half(field, alone, self.window, self.device, self.seed))
        return lambda camera: render_camera(lit, camera, self.window, self.device)

    def _at_fitted_poses(self, alone: Scene, camera: Camera) -> Mapping[str, Render]:
        fitted = self._fitted(alone, camera)
        return {"fitted_pose": lambda _: render_camera(self.field, fitted, self.window, self.device)}

    def _fitted(self, alone: Scene, camera: Camera) -> Camera:
        """A held-out view's camera, moved to where the field, which stays as it is, explains its picture
        best.
        """
        store = PixelStore(alone, "test")
        shift, turn = torch.zeros(1, 3), torch.zeros(1, 3)
        shift, turn = (value.to(self.device).requires_grad_() for value in (shift, turn))
        optimiser = torch.optim.Adam([shift, turn], lr=FIT_RATE)
        behind = torch.tensor([self.window.background])
        with torch.enable_grad():
            for step in range(FIT_STEPS):
                optimiser.param_groups[0]["lr"] = FIT_RATE * (1 - step / FIT_STEPS)
                index = torch.randint(
                    len(store), (FIT_RAYS,), generator=stream(self.seed, "fit a pose", step)
                )
                piece = self._piece(store, index, behind.expand(FIT_RAYS, 3)).to(self.device)
                view = torch.zeros_like(index).to(self.device)
                moved = move_rays(piece.rays, shift, turn, view)
                error = (self.field.render(moved, piece.background).colour - piece.colours).square().mean()
                shift.grad, turn.grad = torch.autograd.grad(error, (shift, turn))
                optimiser.step()
        axes = turned(camera.pose[:3, :3].T.float(), turn.detach().cpu().expand(3, 3)).T
        pose = camera.pose.clone()
        pose[:3, :3], pose[:3, 3] = axes, camera.pose[:3, 3] + shift.detach().cpu()[0]
        return camera.at(pose)

    def pictures(self) -> dict[str, Picture]:
        if not self._views.shown:
            self._measure()
        if not isinstance(self.field, AppearingField):
            return self._views.shown
        return self._views.shown | wild_pictures(self.field, self.scene, self.window, self.device)


def scene_groups(
    options: SceneTraining,
    of_field: Callable[[list[str]], list[Group]] = lambda names: [Group("field", tuple(names))],
) -> Callable[[nn.Module], list[Group]]:
    """Parameter groups of a scene's model: those of its field, and of its cameras where they are learned."""

    def groups(model: nn.Module) -> list[Group]:
        names = [name for name, value in model.named_parameters() if value.requires_grad]
        if not options.move_cameras:
            return of_field(names)
        cameras = [name for name in names if name in ("shift", "turn")]
        rest = [name for name in names if name not in cameras]
        return [*of_field(rest), Group("cameras", tuple(cameras), rate=options.camera_rate, decay=0.0)]

    return groups


def open_scene(config: SceneConfig, options: Measuring, setting: Setting) -> tuple[Scene, dict[str, Any]]:
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
    remarks = [*scene.remarks, *options.remarks()]
    counts = {name: len(scene.split(name)) for name in ("train", "val", "test")}
    return scene, {
        "source": scene.source, "format": scene.format, "fingerprint": scene.fingerprint,
        "views": counts, "remarks": remarks,
    }  # fmt: skip
