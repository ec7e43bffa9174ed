"""A trained scene as a function of space: what export asks, whatever the field and its coordinates.

    SceneSpace      density and colour at places in scene coordinates; what the training cameras see of them
    Glimpse         the surface points that one view shows, with their colours
    auto_box        the box that holds what the cameras look at

A field answers everywhere, also where no photograph has ever looked, and there it answers at random. So a
place that too few training views have in sight counts as empty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.normalise import arrangement
from rayformer.data.scenes.scene import View
from rayformer.fields.parts.volume import composite
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.lens import Lens
from rayformer.geometry.ndc import ndc_points, ndc_stretch, points_from_ndc
from rayformer.geometry.poses import focus_point
from rayformer.geometry.rays import pixel_grid
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.scene_view import SAMPLES_AT_ONCE, SceneView

Box = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]
"""Low and high corner."""

SIGHT_CELLS = 48
"""What the cameras have in sight is found out on a lattice of so many cells along the box's longest side."""
GLANCES = 24
"""Training views that the box is found from, small."""
GLANCE_WIDTH = 64
SPARE = 0.05
"""The box is larger than what is seen by this share of its longest side, on every side."""
REACH = 3.0
"""Where cameras do not stand around something, what is farther off than so many times the median is
background."""
TILT = 0.7
"""Directions for a mean colour lean from the normal by the arc tangent of this: 35 degrees."""
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
            density, colour = self.view.field.radiance(asked.to(device), directions.to(device))
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
        leans = [(0.0, 0.0), (TILT, 0.0), (-TILT, 0.0), (0.0, TILT), (0.0, -TILT)] if several else [(0.0, 0.0)]
        across = torch.where(normals[:, :1].abs() < 0.9, torch.eye(3)[:1].to(normals), torch.eye(3)[1:2].to(normals))
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
            inside = (pixels >= 0).all(dim=-1) & (pixels[:, 0] <= camera.width) & (pixels[:, 1] <= camera.height)
            seen += inside & (depth > 0) & (distance >= near) & ((distance <= far) | self.view.window.ndc)
        return seen >= min(least, len(views))

    def seen_density(self, box: Box, frame: Similarity, least: int) -> Callable[[Tensor], Tensor]:
        """`density` of places in the coordinates that `frame` brings into the scene's, 0 where fewer than
        `least` training views look. Raises DataError if none looks into the box at all."""
        lattice = Lattice.over(*box, SIGHT_CELLS)
        sight = self.in_sight(frame.points(lattice.planes(0, lattice.shape[0])), least).view(lattice.shape)
        if not sight.any():
            raise DataError(
                f"no {'training view looks' if least < 2 else f'{least} training views look'} into the box "
                f"{spell_box(box)}, so nothing is known of it.\n"
                "Give another box, in the coordinates of the input data, or leave the option out to have one found."
            )
        ends = torch.tensor(lattice.shape) - 1

        def density(places: Tensor) -> Tensor:
            cell = ((places - lattice.low) / lattice.step).round().long().clamp(min=0).minimum(ends)
            known = sight[cell[:, 0], cell[:, 1], cell[:, 2]]
            found = torch.zeros(len(places))
            found[known] = self.density(frame.points(places[known]))
            return found

        return density

    @torch.no_grad()
    def glimpse(self, camera: Camera, opacity: float) -> Glimpse:
        """The surface points that `camera` sees, where the field is at least so opaque and the surface is not
        torn: across the edge of a thing, a mean distance is that of nothing."""
        window, field, device = self.view.window, self.view.field, self.view.device
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
        distance = (places - camera.position.to(places)).norm(dim=-1)
        whole = _untorn(distance.view(camera.height, camera.width), camera.fx).flatten()
        kept = (opaque >= opacity) & whole & places.isfinite().all(dim=-1)
        return Glimpse(places[kept], (colour[kept].clamp(0, 1) * 255).round().byte())

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
        points, distances = [], []
        for view in evenly(views, GLANCES):
            camera = small(view.camera, GLANCE_WIDTH)
            seen = self.glimpse(camera, opacity=0.9).points.double()
            points.append(seen)
            distances.append((seen - camera.position).norm(dim=-1))
        places, distance = torch.cat(points), torch.cat(distances)
        if centre is not None:
            circle = (poses[:, :3, 3] - centre).norm(dim=-1).max()
            near = (places - centre).norm(dim=-1) <= circle
        else:
            near = distance <= REACH * (distance.median() if len(distance) else 1.0)
        places = places[near]
        if len(places) < 10:
            raise DataError(
                "nothing opaque is seen by the training views: the field has learned nothing that could be "
                "exported.\nLook at RUN/pictures; train longer, or otherwise."
            )
        ranks = (torch.tensor([0.002, 0.998]) * (len(places) - 1)).round().long()
        low, high = places.sort(dim=0).values[ranks].unbind(0)
        spare = SPARE * (high - low).max().clamp(min=1e-6)
        return low - spare, high + spare


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


def evenly(views: tuple[View, ...], count: int | None) -> list[View]:
    """So many of the views, evenly spread."""
    count = len(views) if count is None else min(count, len(views))
    return [views[(2 * place + 1) * len(views) // (2 * count)] for place in range(count)]


def small(camera: Camera, width: int | None) -> Camera:
    """The camera with a picture at most so wide."""
    if width is None or camera.width <= width:
        return camera
    return camera.scaled(width, max(1, round(camera.height * width / camera.width)))


def spell_box(box: Box) -> str:
    return " to ".join("(" + ", ".join(f"{value:.4g}" for value in corner.tolist()) + ")" for corner in box)
