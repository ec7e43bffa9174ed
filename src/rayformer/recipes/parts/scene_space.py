"""A trained scene as a function of space: what export asks, whatever the field and its coordinates.

    SceneSpace      density and colour at places in scene coordinates; what the training cameras see of them
    Glimpse         the surface points that one view shows, with their colours
    Sight           a box, and where in it the training cameras look

A field answers everywhere, also where no photograph has ever looked, and there it answers at random. So
nothing is exported of places that too few training views have in sight.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.normalise import arrangement
from rayformer.data.scenes.scene import View, evenly
from rayformer.fields.parts.scene_field import SceneField
from rayformer.fields.parts.volume import composite
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.lens import Lens
from rayformer.geometry.ndc import ndc_points, ndc_stretch, points_from_ndc
from rayformer.geometry.poses import focus_point
from rayformer.geometry.rays import camera_rays, pixel_grid
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.scene_view import SAMPLES_AT_ONCE, SceneView

Box = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]
"""Low and high corner."""

SIGHT_CELLS = 48
"""What the cameras have in sight is found out on a lattice of so many cells along the box's longest side."""
GLANCES = 24
"""Training views that the box is found from, small."""
GLANCE_WIDTH = 64
SPARE = 0.1
"""The box is larger than what is seen by this share of its longest side, on every side."""
REACH = 3.0
"""Where cameras do not stand around something, what is farther off than so many times the median is
background."""
TILT = 0.7
"""Directions for a mean colour lean from the normal by the arc tangent of this: 35 degrees."""
HALF_AT = 0.01
"""A threshold never asks for more than that half of the light stays in this share of the box's side."""
FOGGIEST = 10
"""A threshold is never lower than one in so many of that density: else any fog would have a surface."""
MISSED = 100
"""One ray in so many may miss the surface that it should end at."""
FOG = 0.05
"""How far before the mean depth of a ray its matter is looked for, as a share of the box's side."""
SKIN = 8
"""Samples of the short ray that reads the colour of a surface."""


@dataclass(frozen=True, eq=False)
class Glimpse:
    points: Float[Tensor, "points 3"]
    """In scene coordinates."""
    colours: UInt8[Tensor, "points 3"]


@dataclass(frozen=True, eq=False)
class SceneSpace:
    view: SceneView

    @property
    def training_views(self) -> tuple[View, ...]:
        scene = self.view.window.scene
        return scene.split("train") or scene.views

    @property
    def to_input(self) -> Similarity:
        """From the scene's coordinates to those of the data."""
        return self.view.window.scene.normalisation.inverse()

    # ------------------------------------------------------------------ asking the field

    @property
    def field(self) -> SceneField:
        assert isinstance(self.view.field, SceneField), "only a field is a function of space"
        return self.view.field

    @torch.no_grad()
    def radiance(
        self, places: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Density in 1 / scene unit and colour at scene coordinates, in float32 on the processor, piece by
        piece."""
        at_once = SAMPLES_AT_ONCE.get(self.view.device.type, 2**20)
        pairs = [
            self._piece(place.float(), direction.float())
            for place, direction in zip(places.split(at_once), directions.split(at_once), strict=True)
        ]
        if not pairs:
            return torch.zeros(0), torch.zeros(0, 3)
        return torch.cat([density for density, _ in pairs]), torch.cat([colour for _, colour in pairs])

    def _piece(self, places: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        device, asked = self.view.device, places
        if self.view.window.ndc:
            before = places[:, 2] < -1  # nearer than the near plane there is nothing
            asked = torch.where(before[:, None], places, torch.tensor([0.0, 0.0, -1.0]))
            stretch = ndc_stretch(asked) * before
            asked = ndc_points(asked, *self._ndc_camera)
        with self.view.precision.autocast():
            density, colour = self.field.radiance(asked.to(device), directions.to(device))
        density, colour = density.float().cpu(), colour.float().cpu()
        return (density * stretch if self.view.window.ndc else density), colour

    @property
    def _ndc_camera(self) -> tuple[float, float, int, int]:
        camera = self.view.window.scene.views[0].camera
        return camera.fx, camera.fy, camera.width, camera.height

    def density(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """In 1 / scene unit. Fields whose density sees the direction do not exist."""
        return self.radiance(places, torch.tensor([[0.0, 0.0, -1.0]]).expand(len(places), 3))[0]

    def surface_colour(
        self,
        places: Float[Tensor, "points 3"],
        normals: Float[Tensor, "points 3"],
        depth: float,
        several: bool = False,
    ) -> Float[Tensor, "points 3"]:
        """The colour of surface points, each looked at against its outward normal; the mean over that and
        four leaning directions with `several`.

        It is that of a short ray, which begins `depth` before the surface and ends as far behind it: a field
        has its colours from rays, and what it answers at one single place may belong to nothing.
        """
        leans = (
            [(0.0, 0.0), (TILT, 0.0), (-TILT, 0.0), (0.0, TILT), (0.0, -TILT)] if several else [(0.0, 0.0)]
        )
        across = torch.where(
            normals[:, :1].abs() < 0.9, torch.eye(3)[:1].to(normals), torch.eye(3)[1:2].to(normals)
        )
        across = torch.nn.functional.normalize(torch.linalg.cross(normals, across), dim=-1)
        beside = torch.linalg.cross(normals, across)
        total = torch.zeros_like(places)
        for one, other in leans:
            outward = torch.nn.functional.normalize(normals + one * across + other * beside, dim=-1)
            total += self._skin(places, -outward, depth)
        return total / len(leans)

    def _skin(self, places: Tensor, directions: Tensor, depth: float) -> Tensor:
        ways = (torch.arange(SKIN).to(places) / (SKIN - 1) * 2 - 1) * depth
        colours = []
        # A few at once: each is asked for at SKIN places.
        for place, direction in zip(places.split(2**17), directions.split(2**17), strict=True):
            samples = place[:, None] + ways[:, None] * direction[:, None]
            along = direction[:, None].expand_as(samples)
            density, colour = self.radiance(samples.flatten(0, 1), along.flatten(0, 1))
            density, colour = density.view(-1, SKIN), colour.view(-1, SKIN, 3)
            lengths = torch.full_like(density, float(ways[1] - ways[0]))
            seen = composite(density, colour, lengths.cumsum(dim=1), lengths)
            some = seen.opacity[:, None]
            colours.append(torch.where(some > 1e-3, seen.colour / some.clamp(min=1e-6), colour[:, SKIN // 2]))
        return torch.cat(colours).to(places) if colours else torch.zeros_like(places)

    # ------------------------------------------------------------------ what the cameras see

    def in_sight(self, places: Float[Tensor, "points 3"], least: int) -> Bool[Tensor, "points"]:
        """Which places lie in the picture of at least `least` training views, or of all if there are fewer,
        between near and far. Lenses are left out of it."""
        scene, views = self.view.window.scene, self.training_views
        seen = torch.zeros(len(places), dtype=torch.int32)
        for view in views:
            camera = replace(view.camera, lens=Lens())
            pixels, depth = project(camera, places)
            distance = (places - camera.position.to(places)).norm(dim=-1)
            near = scene.near if view.near is None else view.near
            far = scene.far if view.far is None else view.far
            inside = (
                (pixels >= 0).all(dim=-1) & (pixels[:, 0] <= camera.width) & (pixels[:, 1] <= camera.height)
            )
            seen += inside & (depth > 0) & (distance >= near) & ((distance <= far) | self.view.window.ndc)
        return seen >= min(least, len(views))

    def sight(self, box: Box, frame: Similarity, least: int) -> "Sight":
        """The box, in coordinates that `frame` brings into the scene's, and where in it at least `least`
        training views look. Raises DataError if they look at nothing of it."""
        lattice = Lattice.over(*box, SIGHT_CELLS)
        seen = self.in_sight(frame.points(lattice.planes(0, lattice.shape[0])), least).view(lattice.shape)
        if not seen.any():
            raise DataError(
                f"no {'training view looks' if least < 2 else f'{least} training views look'} into the box "
                f"{spell_box(box)}, so nothing is known of it.\n"
                "Give another box, in the coordinates of the input data, or none to have one found."
            )
        return Sight(self, lattice, frame, seen)

    @torch.no_grad()
    def glimpse(self, camera: Camera, opacity: float) -> Glimpse:
        """The surface points that `camera` sees, where the field is at least so opaque and the surface is not
        torn: across the edge of a thing, a mean distance is that of nothing."""
        places, colour, opaque = self._looked(camera)
        distance = (places - camera.position.to(places)).norm(dim=-1)
        whole = _untorn(distance.view(camera.height, camera.width), camera.fx).flatten()
        kept = (opaque >= opacity) & whole & places.isfinite().all(dim=-1)
        return Glimpse(places[kept], (colour[kept].clamp(0, 1) * 255).round().byte())

    def _looked(self, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
        """Of every pixel: the mean place of what it shows, its colour, its opacity."""
        window, field, device = self.view.window, self.field, self.view.device
        pixels = pixel_grid(camera.width, camera.height)
        found = []
        at_once = max(1, SAMPLES_AT_ONCE.get(device.type, 2**20) // field.samples_per_ray)
        for part in pixels.split(at_once):
            rays = window.rays(camera, part)
            with self.view.precision.autocast():
                seen = field.render(rays.to(device), torch.zeros(len(rays), 3, device=device))
            opaque = seen.opacity.float().cpu()
            places = rays.points(seen.mean_depth.float().cpu()[:, None])[:, 0]
            if window.ndc:
                places[:, 2].clamp_(max=1 - 1e-4)
                places = points_from_ndc(places, *self._ndc_camera)
            colour = seen.colour.float().cpu() / opaque.clamp(min=1e-6)[:, None]
            found.append((places, colour, opaque))
        places, colour, opaque = (torch.cat(parts) for parts in zip(*found, strict=True))
        return places, colour, opaque

    @torch.no_grad()
    def not_hidden(self, places: Float[Tensor, "points 3"], margin: float) -> Bool[Tensor, "points"]:
        """Which places some training view sees: there is nothing before them, nearer to the camera by more
        than `margin`."""
        seen = torch.zeros(len(places), dtype=torch.bool)
        for view in evenly(self.training_views, 2 * GLANCES):
            camera = replace(view.camera.at_most(3 * GLANCE_WIDTH), lens=Lens())
            shown, _, opaque = self._looked(camera)
            ends = (shown - camera.position.to(shown)).norm(dim=-1)
            ends[opaque < 0.5] = math.inf
            pixels, depth = project(camera, places)
            x, y = pixels.floor().long().unbind(-1)
            inside = (depth > 0) & (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
            distance = (places - camera.position.to(places)).norm(dim=-1)
            seen[inside] |= distance[inside] <= ends[(y * camera.width + x)[inside]].to(places) + margin
        return seen

    @cached_property
    def _glances(self) -> list[tuple[Tensor, Tensor]]:
        """The surface points that some training views see, made small, and where each view stands."""
        cameras = [view.camera.at_most(GLANCE_WIDTH) for view in evenly(self.training_views, GLANCES)]
        return [(self.glimpse(camera, 0.9).points, camera.position.float()) for camera in cameras]

    @cached_property
    def usual_threshold(self) -> float:
        """The density, in 1 / scene unit, at which matter begins: so low that hardly a ray which ends at
        something opaque fails to meet it there, and never so high that a hundredth of what is seen, the
        longest side of `auto_box`, would take more than half of the light. Raises DataError as that does.

        Fields are of many minds. A field that was trained for long is hard: its density jumps by hundreds,
        and the second rule holds. One trained for minutes, or a thing that shines, is a fog that grows opaque
        over a tenth of its size, and the second rule alone would leave holes in it.
        """
        met = self._met_at_ends
        return min(self._hard, max(float(met[len(met) // MISSED]), self._hard / FOGGIEST))

    @cached_property
    def _hard(self) -> float:
        """The density, in 1 / scene unit, that lets half of the light through a hundredth of what is seen."""
        return math.log(2) / (HALF_AT * self.side)

    @cached_property
    def _met_at_ends(self) -> Float[Tensor, "rays"]:
        """The highest density that each of many rays meets about where it ends, in rising order.

        Raises DataError if it is so low for most that nothing begins anywhere: an untrained field is a fog
        that fills all of space, and rays end in it although there is nothing.
        """
        (low, high), met = self.auto_box, []
        ways = torch.linspace(-FOG, FOG / 5, 24) * self.side
        for points, eye in self._glances:
            points = points[((points >= low) & (points <= high)).all(dim=-1)]
            along = torch.nn.functional.normalize(points - eye, dim=-1)
            samples = (points[:, None] + ways[:, None] * along[:, None]).flatten(0, 1)
            met.append(self.density(samples).view(-1, len(ways)).amax(dim=1))
        densest = torch.cat(met).sort().values
        least = self._hard / FOGGIEST
        if densest[len(densest) // 2] < least:
            raise DataError(
                "the field is a fog without surfaces, so it has learned nothing that could be exported.\n"
                f"Half of the rays end where it is at most {densest[len(densest) // 2]:.4g} per scene unit "
                f"dense, a surface takes {least:.4g}, and the highest met is {densest[-1]:.4g}.\n"
                "Train longer, or otherwise: look at RUN/pictures first."
            )
        return densest

    def refuse_fog(self) -> None:
        """Raise DataError if the training views see nothing opaque, or a fog without surfaces."""
        assert len(self._met_at_ends), "a box is found around things that are seen"

    @cached_property
    def auto_box(self) -> Box:
        """The box, in scene coordinates, that holds nearly all that the training views see.

        Where cameras stand around something, what lies beyond their circle is background; elsewhere, what is
        far off. Raises DataError if nothing opaque is seen.
        """
        views = self.training_views
        poses = torch.stack([view.camera.pose for view in views])
        kind = arrangement(poses)
        centre = focus_point(poses) if kind == "around" else None
        places = torch.cat([points for points, _ in self._glances]).double()
        distance = torch.cat([(points - eye).norm(dim=-1) for points, eye in self._glances])
        if centre is not None:
            circle = (poses[:, :3, 3] - centre).norm(dim=-1).max()
            near = (places - centre).norm(dim=-1) <= circle
        else:
            near = distance <= REACH * (distance.median() if len(distance) else 1.0)
        places = places[near]
        if len(places) < 10:
            lowest, highest = self._met_on_rays()
            raise DataError(
                "the training views see nothing that is 90% opaque, so the field has learned nothing that "
                "could be exported.\n"
                f"Densities along their rays run from {lowest:.4g} to {highest:.4g} per scene unit.\n"
                "Train longer, or otherwise: look at RUN/pictures first."
            )
        ranks = (torch.tensor([0.01, 0.99]) * (len(places) - 1)).round().long()
        low, high = places.sort(dim=0).values[ranks].unbind(0)
        spare = SPARE * (high - low).max().clamp(min=1e-6)
        return low - spare, high + spare

    @property
    def side(self) -> float:
        """The longest side of all that is seen. Raises DataError as `auto_box` does."""
        low, high = self.auto_box
        return float((high - low).max())

    def _met_on_rays(self) -> tuple[float, float]:
        """The range of the densities along the rays of some training views."""
        scene, found = self.view.window.scene, []
        for view in evenly(self.training_views, GLANCES // 4):
            camera = view.camera.at_most(GLANCE_WIDTH // 2)
            rays = camera_rays(camera, near=scene.near, far=scene.far)
            share = torch.linspace(0, 1, 32)
            ways = rays.near[:, None] + share * (rays.far - rays.near)[:, None]
            found.append(self.density(rays.points(ways).flatten(0, 1)))
        densities = torch.cat(found)
        return float(densities.min()), float(densities.max())


@dataclass(frozen=True, eq=False)
class Sight:
    """Where in a box the training views look, to within a cell, and the field there."""

    space: SceneSpace
    lattice: Lattice
    frame: Similarity
    """From the box's coordinates to the scene's."""
    cells: Bool[Tensor, "_ _ _"]

    def holds(self, places: Float[Tensor, "points 3"]) -> Bool[Tensor, "points"]:
        return self._of(self.cells, places)

    def density(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """In 1 / scene unit, up to a cell beyond what is in sight; 0 farther out, where nobody is asked.

        The cell makes the difference: a surface that only stands where the sight ends lies outside of it,
        and can be told from one that is there.
        """
        asked = self._of(self._wider, places)
        found = torch.zeros(len(places))
        found[asked] = self.space.density(self.frame.points(places[asked]))
        return found

    @cached_property
    def _wider(self) -> Bool[Tensor, "_ _ _"]:
        grown = torch.nn.functional.max_pool3d(self.cells[None].float(), kernel_size=3, stride=1, padding=1)
        return grown[0] > 0

    def _of(self, cells: Tensor, places: Tensor) -> Tensor:
        index = ((places - self.lattice.low) / self.lattice.step).round().long().clamp(min=0)
        first, second, third = index.minimum(torch.tensor(cells.shape) - 1).unbind(-1)
        return cells[first, second, third]


def _untorn(distance: Float[Tensor, "height width"], focal: float) -> Bool[Tensor, "height width"]:
    """Pixels whose distance differs from none of their four neighbours' by more than ten times the pixel's
    width there: a surface would have to be looked at along an angle of 6 degrees."""
    room = 10 * distance / focal
    whole = torch.ones_like(distance, dtype=torch.bool)
    for axis in (0, 1):
        jump = distance.diff(dim=axis).abs()
        for start in (0, 1):  # seen from the one pixel, and from its neighbour
            fits = jump <= room.narrow(axis, start, jump.shape[axis])
            whole.narrow(axis, start, jump.shape[axis]).logical_and_(fits)
    return whole


def spell_box(box: Box) -> str:
    return " to ".join("(" + ", ".join(f"{value:.4g}" for value in corner.tolist()) + ")" for corner in box)
