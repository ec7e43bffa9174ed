"""A long drive as blocks: each trained by itself, and all of them aligned, merged and measured as one street.

BlockTask      a SceneTask that measures each held-out view in its own light and at its own exposure
StreetTask     all blocks together, never trained: aligned, merged, measured and shown
"""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from rayformer.core.errors import ConfigError, did_you_mean
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.scenes.scene import Scene, View, evenly
from rayformer.engine.task import Setting
from rayformer.fields.blocknerf import (
    Block,
    LitStreet,
    Street,
    StreetConfig,
    seen_by_both,
)
from rayformer.fields.parts.scene_field import SceneField
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays, camera_rays
from rayformer.recipes.parts.held_out import HeldOut, Measuring, Render
from rayformer.recipes.parts.light import Fit, fitted_code, fitted_to_half
from rayformer.recipes.parts.scene import SceneTask
from rayformer.recipes.parts.scene_view import Rendering, Window, render_camera
from rayformer.recipes.parts.street_plan import BlockPlan, StreetPlan, positions, view_taken_by
from rayformer.runs.atomic import write_text
from rayformer.runs.pictures import Picture, side_by_side

LOG = logging.getLogger(__name__)

BLOCK_VIEWS = 6
"""Held-out photographs that a block is measured on by itself, at most; the street is measured on all."""
OVERLAP_VIEWS = 24
"""Photographs whose rays two neighbours are compared on: so many of those that both hold, evenly."""
OVERLAP_RAYS = 8192
"""Rays of them, those included of which one of the two did not see the end."""


# ---------------------------------------------------------------------- one block


class BlockTask(SceneTask):
    """Training is that of any scene. A held-out photograph is measured with the code of its light, where the
    block has one, and at the exposure that it was taken with."""

    def __init__(
        self,
        model: Block,
        plan: StreetPlan,
        scene: Scene,
        options: Any,
        random_background: bool,
        setting: Setting,
    ):
        super().__init__(model, scene, options, random_background, setting)
        # Rays of photographs all end somewhere. Before one colour a dark photograph could be light that is
        # let through, and haze is learned sooner than walls.
        self.random_background = random_background
        self.plan, self.block = plan, model
        few = replace(options, test_views=min(options.test_views or BLOCK_VIEWS, BLOCK_VIEWS))
        self._views = HeldOut(scene, few)

    def as_taken(self, view: View) -> SceneField:
        """The block in the light and at the exposure of a photograph, as far as these are known."""
        return self.block.seen(self.block.code_named(view.light), self.plan.exposure(view))

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """As every scene's; no numbers "test" of a block in which no view is held out."""
        if split == "val":
            return self._glance_as_taken(generator)
        if not self._views.views:
            return {}
        return self._views.measure(
            lambda camera: render_camera(
                self.as_taken(view_taken_by(self.scene, camera)), camera, self.window, self.device
            )
        )

    def _glance_as_taken(self, generator: Generator) -> dict[str, float]:
        store = self._held_out
        index = torch.randint(len(store), (self.options.validation_rays,), generator=generator)
        whole = self._piece(store, index, torch.tensor([self.window.background]).expand(len(index), 3))
        whole, told = whole.to(self.device), None
        if self.block.look_size:
            looks = [
                self.block.look(self.block.code_named(view.light), self.plan.exposure(view))
                for view in store.views
            ]
            told = torch.stack(looks)[whole.rays.view]
        seen = self.block.render(whole.rays, whole.background, told)
        error = (seen.colour.clamp(0, 1) - whole.colours).square().mean().item()
        return {"psnr_db": -10 * math.log10(max(error, 1e-12))}

    def pictures(self) -> dict[str, Picture]:
        if not self._views.shown and self._views.views:
            self.evaluate("test", stream(self.seed, "evaluate", "test"))
        return self._views.shown


# ---------------------------------------------------------------------- all blocks


class StreetTask:
    """The trained blocks together. `field` makes whole pictures, in the light that the config asks for."""

    def __init__(
        self,
        plans: Sequence[BlockPlan],
        plan: StreetPlan,
        tasks: Sequence[BlockTask],
        scene: Scene,
        config: StreetConfig,
        options: Measuring,
        setting: Setting,
    ):
        self.plans, self.plan, self.scene, self.config = list(plans), plan, scene, config
        self.seed, self.device, self.assets = setting.seed, setting.device, setting.assets
        self.window = Window(scene)
        reaches = [(task.scene.near, task.scene.far) for task in tasks]
        self.model = Street(config, [task.block for task in tasks], [plan.site for plan in plans], reaches)
        self.root = root_of(self.plans, scene, config)
        self._views = HeldOut(scene, options)
        self._seams: dict[str, Picture] = {}
        self._said_beyond = False

    # ------------------------------------------------------------------ light

    @property
    def light(self) -> str | None:
        """The light that pictures show, by name; None for the mean of the root's."""
        told = self.plans[self.root].photographed
        if self.config.light is not None:
            return self.known_light(self.config.light)
        if not told.names or self._codes_of_photographs:  # one to a photograph, none more usual than another
            return None
        return told.names[Counter(told.codes).most_common(1)[0][0]]

    def known_light(self, name: str) -> str:
        """What a light, or the light of a photograph, is called in the codes of the blocks. Raises
        ConfigError where no block has learned it."""
        return known_light(self.plans, self.scene, name)

    def root_of(self, light: str | None) -> int:
        """The block that the others are aligned to: the root, or the nearest to it that has learned the
        light."""
        knowing = [row for row, plan in enumerate(self.plans) if light in plan.photographed.names]
        return min(knowing, key=lambda row: abs(row - self.root), default=self.root)

    @property
    def field(self) -> "LitByName":
        return LitByName(
            self, LitStreet(self.model, self.codes(self.light), self.units(self.config.exposure))
        )

    def units(self, exposure: float | None) -> float | None:
        """An exposure of the data in the street's units; None: the usual one."""
        return None if exposure is None or self.plan.unit is None else exposure / self.plan.unit

    def codes(self, light: str | None) -> tuple[Tensor, ...]:
        """Of every block, in a light: aligned to the root's, or its own of that name."""
        return self.aligned(light) if self.config.align else self.named(light)

    def named(self, light: str | None) -> tuple[Tensor, ...]:
        """Each block's own code of the light, or its usual one where it has none of that name."""
        return tuple(self.model.block(row).code_named(light) for row in range(len(self.plans)))

    def unaligned(self, light: str | None) -> tuple[Tensor, ...]:
        """The root in the light, every other block as it usually is: where nothing is known of lights."""
        usual = [self.model.block(row).usual_code() for row in range(len(self.plans))]
        root = self.root_of(light)
        usual[root] = self.named(light)[root]
        return tuple(usual)

    def aligned(self, light: str | None) -> tuple[Tensor, ...]:
        """Every block's code, moved until it looks like its neighbour on the side of the root, from the root
        on outwards. Kept in RUN/assets, by what it depends on."""
        path, key = self.assets / "aligned.json", self._fingerprint(light)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            kept = {}
        if key not in kept:
            # Of other weights there is no use any more; of other lights of these there may be.
            kept = {other: codes for other, codes in kept.items() if other[:16] == key[:16]}
            kept[key] = [code.tolist() for code in self._align(light)]
            write_text(path, json.dumps(kept) + "\n")
        return tuple(torch.tensor(code, dtype=torch.float32, device=self.device) for code in kept[key])

    def _fingerprint(self, light: str | None) -> str:
        """Changes with the weights that colour depends on, which make its first half, and with all else that
        alignment goes by."""
        weights = hashlib.sha256(repr([plan.name for plan in self.plans]).encode())
        for name, value in self.model.state_dict().items():
            if "to_colour" in name or "codes" in name:
                weights.update(value.detach().cpu().contiguous().numpy().tobytes())
        config = self.config
        asked = (config.align_steps, config.align_rays, config.align_rate, self.root, light, self.seed)
        return weights.hexdigest()[:16] + hashlib.sha256(repr(asked).encode()).hexdigest()[:16]

    def _align(self, light: str | None) -> list[Tensor]:
        codes = [code.detach() for code in self.unaligned(light)]
        root = self.root_of(light)
        after = [(number - 1, number) for number in range(root + 1, len(codes))]
        before = [(number + 1, number) for number in range(root - 1, -1, -1)]
        for known, number in [*after, *before]:
            rays, wanted = self.overlap(known, number, codes[known])
            if not len(rays):
                LOG.warning(
                    "%s is not aligned: it and %s saw nothing in common",
                    self.plans[number].name, self.plans[known].name,
                )  # fmt: skip
            elif len(codes[number]):
                codes[number] = self._moved(number, codes[number], rays, wanted)
        return codes

    def _moved(self, number: int, start: Tensor, rays: Rays, wanted: Tensor) -> Tensor:
        """The code under which a block, which stays as it is, shows `rays` most nearly as `wanted`."""
        config, name = self.config, self.plans[number].name
        black = torch.zeros(config.align_rays, 3, device=self.device)

        def sight(step: int) -> tuple[Rays, Tensor, Tensor]:
            draw = stream(self.seed, "align", name, step)
            index = torch.randint(len(rays), (config.align_rays,), generator=draw).to(self.device)
            return rays[index], wanted[index], black

        fit = Fit(config.align_steps, config.align_rays, config.align_rate)
        return fitted_code(self.model.block(number), sight, start, fit)

    @torch.no_grad()
    def overlap(
        self, one: int, other: int, code: Float[Tensor, "features"]
    ) -> tuple[Rays, Float[Tensor, "rays 3"]]:
        """Rays of photographs that two blocks hold, as far as both saw their ends, and their colours in the
        first one under `code`."""
        shared = [view for view in self.scene.views if self._held_by_both(view, one, other)]
        shared = evenly(shared, OVERLAP_VIEWS)
        if not shared:
            nothing = camera_rays(self.scene.views[0].camera, torch.empty(0, 2))
            return nothing.to(self.device), torch.empty(0, 3, device=self.device)
        draw = stream(self.seed, "overlap", self.plans[one].name, self.plans[other].name)
        each = OVERLAP_RAYS // len(shared)
        near, far = (
            pick(self.model.reaches[one][end], self.model.reaches[other][end])
            for pick, end in ((max, 0), (min, 1))
        )
        parts = []
        for view in shared:
            size = torch.tensor([view.camera.width, view.camera.height])
            pixels = torch.rand(each, 2, dtype=torch.float64, generator=draw) * size
            parts.append(camera_rays(view.camera, pixels, near=near, far=far))
        names = ("origins", "directions", "view_directions", "near", "far", "radii")
        rays = Rays(*(torch.cat([getattr(part, name) for part in parts]) for name in names)).to(self.device)
        rays = rays[seen_by_both(self.model, one, other, rays)]
        black = torch.zeros(len(rays), 3, device=self.device)
        return rays, self.model.block(one).in_light(code).render(rays, black).colour.clamp(0, 1)

    def _held_by_both(self, view: View, one: int, other: int) -> bool:
        place = view.camera.position[None]
        return self.plans[one].site.holds(place)[0] and self.plans[other].site.holds(place)[0]

    def seam(self, codes: Sequence[Tensor]) -> float:
        """The mean difference of two neighbours' colours over what both saw, 0 to 1, over all seams."""
        errors = []
        for one in range(len(self.plans) - 1):
            rays, colours = self.overlap(one, one + 1, codes[one])
            if len(rays):
                black = torch.zeros(len(rays), 3, device=self.device)
                other = self.model.block(one + 1).in_light(codes[one + 1]).render(rays, black).colour
                errors.append((other.clamp(0, 1) - colours).abs().mean().item())
        return float(np.mean(errors)) if errors else math.nan

    # ------------------------------------------------------------------ measuring and showing

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """Whole held-out views as the street has them, each in its own light and at its own exposure; the
        same of the nearest block alone; what training a block takes in memory; and of every seam, before and
        after alignment."""

        def merge(how: Any) -> Render:
            def render(camera: Camera) -> Rendering:
                view = view_taken_by(self.scene, camera)
                return render_camera(self.as_taken(view, how), camera, self.window, self.device)

            return render

        def nearest(alone: Scene, camera: Camera) -> Mapping[str, Render]:
            return {"nearest": merge("nearest")} if len(self.plans) > 1 else {}

        fitted = self._fitted_to_half if self._codes_of_photographs else None
        numbers = self._views.measure(merge(None), nearest, fitted)
        numbers["job_mib"] = max(map(self._job_mib, range(len(self.plans))))
        if len(self.plans) > 1:
            numbers["seam_error"] = self.seam(self.codes(self.light))
            numbers["unaligned_seam_error"] = self.seam(self.unaligned(self.light))
            self._seams = self._seam_pictures()
        return numbers

    def _job_mib(self, row: int) -> float:
        """What training a block keeps in memory beside what every process does: its parameters with their
        gradients and Adam's two moments, its buffers, and its photographs."""
        block, names = self.model.block(row), set(self.plans[row].views)
        learned = sum(value.nbytes for value in block.parameters())
        kept = sum(value.nbytes for value in block.buffers())
        views = [view.camera for view in self.scene.split("train") if view.name in names]
        pixels = 3 * sum(camera.width * camera.height for camera in views)
        return (4 * learned + kept + pixels) / 2**20

    @property
    def _codes_of_photographs(self) -> bool:
        """Whether nobody can know the code of a new photograph."""
        told = self.plans[self.root].photographed
        return len(told.names) > 0 and len(told.names) == len(told.codes)

    def _fitted_to_half(self, alone: Scene) -> Render:
        """A held-out photograph with codes fitted to its left half, of every block that lends to it."""
        (view,) = alone.views
        exposure, weights = self.plan.exposure(view), self.model.weights(view.camera)
        codes = [self.model.block(number).usual_code() for number in range(len(self.plans))]
        for number in weights.nonzero()[:, 0].tolist():
            near, far = self.model.reaches[number]
            window = replace(self.window, near=near, far=far)
            block = self.model.block(number).at(exposure)
            codes[number] = fitted_to_half(block, alone, window, self.device, self.seed)
        lit = LitStreet(self.model, tuple(codes), exposure)
        return lambda camera: render_camera(lit, camera, self.window, self.device)

    def as_taken(self, view: View, merge: Any = None) -> LitStreet:
        """The street in the light and at the exposure of a photograph, as far as these are known."""
        codes = tuple(self.model.block(row).code_named(view.light) for row in range(len(self.plans)))
        return LitStreet(self.model, codes, self.plan.exposure(view), merge)

    def _seam_pictures(self) -> dict[str, Picture]:
        """Each seam from a photograph's place half way between two blocks: one block, the other before and
        after it was aligned, and both merged."""
        pictures = {}
        behind = torch.tensor(self.window.background, device=self.device)
        for one in range(len(self.plans) - 1):
            view = self._view_between(one)
            if view is None:
                continue
            known, moved = (one, one + 1) if self.root_of(self.light) <= one else (one + 1, one)
            exposure = self.units(self.config.exposure)
            lit, dark = (
                LitStreet(self.model, codes, exposure)
                for codes in (self.codes(self.light), self.unaligned(self.light))
            )
            made = [
                lit.alone(known, view.camera, behind)[0],
                dark.alone(moved, view.camera, behind)[0],
                lit.alone(moved, view.camera, behind)[0],
                lit.picture(view.camera, behind)[0],
            ]
            names = [self.plans[number].name for number in (known, moved)]
            pictures[f"seams/{one:02d}-{one + 1:02d}"] = side_by_side(
                [Picture((colour * 255).round().byte().cpu().numpy()) for colour in made],
                [names[0], f"{names[1]} before", f"{names[1]} aligned", "merged"],
                caption=f"from {view.name}, between {names[0]} and {names[1]}",
            )
        return pictures

    def _view_between(self, one: int) -> View | None:
        """Of the photographs that two neighbours hold, one as far from both, that looks along the street."""
        sites = [self.plans[number].site for number in (one, one + 1)]
        shared = [view for view in self.scene.views if self._held_by_both(view, one, one + 1)]
        if not shared:
            return None
        onward = torch.tensor(sites[1].centre) - torch.tensor(sites[0].centre)
        onward = (onward / onward.norm()).double()
        first, second = (site.distances(positions(shared)) for site in sites)
        ahead = torch.stack([view.camera.direction for view in shared]) @ onward
        away = (first - second).abs() / sites[0].radius - 0.5 * ahead.abs()
        return shared[int(away.argmin())]

    def pictures(self) -> dict[str, Picture]:
        if not self._views.shown:
            self.evaluate("test", stream(self.seed, "evaluate", "test"))
        return {**self._views.shown, **self._seams}

    def say_beyond(self, camera: Camera) -> None:
        """Once: that a camera stands outside all blocks."""
        if not self._said_beyond and self.model.beyond(camera):
            self._said_beyond = True
            LOG.warning(
                "a camera stands outside the radius of every block; the nearest one makes its picture"
            )

    # ------------------------------------------------------------------ what is never asked

    def before_step(self, step: int, generator: Generator) -> None:
        raise AssertionError("blocks are trained one by one, the street never is")

    def batch(self, split: str, step: int, rank: int, world: int) -> Any:
        raise AssertionError("blocks are trained one by one, the street never is")

    def loss(self, piece: Any, step: int, generator: Generator) -> Losses:
        raise AssertionError("blocks are trained one by one, the street never is")


@dataclass(frozen=True, eq=False)
class LitByName:
    """LitPictures: the street in its lights by their names; it says where a camera has left the street."""

    task: StreetTask
    lit: LitStreet

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        self.task.say_beyond(camera)
        return self.lit.picture(camera, background)

    def code_named(self, name: str) -> Float[Tensor, "features"]:
        """The codes of all blocks one after the other."""
        return torch.cat(self.task.codes(self.task.known_light(name)))

    def in_light(self, code: Float[Tensor, "features"]) -> "LitByName":
        codes = tuple(code.view(len(self.task.plans), -1).unbind())
        return replace(self, lit=replace(self.lit, codes=codes))

    def at(self, exposure: float) -> "LitByName":
        if self.task.plan.unit is None:
            raise ConfigError(
                "--exposure cannot be given: the photographs of this run have no exposures that it could "
                "learn from.\nWrite 'exposure' into each frame of transforms.json, and train again."
            )
        return replace(self, lit=replace(self.lit, exposure=self.task.units(exposure)))


def root_of(plans: Sequence[BlockPlan], scene: Scene, config: StreetConfig) -> int:
    """The place among `plans` of the block that others are aligned to. Raises ConfigError where it is not
    among them, and where no block knows the light that is asked for."""
    numbers = [plan.number for plan in plans]
    if config.root is not None and config.root not in numbers:
        raise ConfigError(
            f"street.root names block {config.root}, which is not among those of this street: "
            f"{', '.join(map(str, numbers))}."
        )
    if config.light is not None:
        known_light(plans, scene, config.light)
    return len(plans) // 2 if config.root is None else numbers.index(config.root)


def known_light(plans: Sequence[BlockPlan], scene: Scene, name: str) -> str:
    """What a light, or the light of a training photograph, is called in the blocks' codes. Raises ConfigError
    where no block has learned it."""
    learned = {light for plan in plans for light in plan.photographed.names}
    of_photograph = {view.name: view.light for view in scene.split("train")}
    found = name if name in learned else of_photograph.get(name)
    if found not in learned:
        some = sorted(learned)
        raise ConfigError(
            f"no block has learned a light, or a photograph, called {name!r}."
            f"{did_you_mean(name, [*learned, *of_photograph])}\n"
            f"They know {', '.join(some[:4]) or 'no lights'}{' ...' if len(some) > 4 else ''}."
        )
    return str(found)
