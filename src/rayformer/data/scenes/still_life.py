"""The drawn scene: a still life whose every ray we know exactly.

On a round lacquered table stand an alphabet block, a striped column, a banded cone, a ring with a ball in
it, a marble, and a large GLOSSY BALL, which shows a different light from every side. Colours are fine
enough that a field without positional encoding cannot follow them; gloss is strong enough that one without
view directions cannot either.

    draw_still_life   the whole data set as Blender-style files, as the NeRF-synthetic scenes come
    still_life_views  its exact cameras: a dome around the table, test views between the training views
    picture, depth    what one camera sees: RGBA, and the distance along each ray
    surface           where rays first meet the scene, and what colour they see there
    radiance          the colours of ONE surface point, seen along any directions
    Shape             signed distances: ball, ring, block, column, cone
    Solid, SOLIDS     shapes with paint and gloss, and where they stand
    trace             sphere tracing: a step as long as the distance to a solid cannot pass through it
    Light, LIGHT      sun with soft shadow, sky with occlusion, reflected surroundings

Lengths in scene units: the camera is about 4 away, everything lies within 1.3 of the origin, z is up, the
table top is z = 0. Shading is in linear light; colours that leave this file are sRGB in [0, 1]. Inside,
places and directions are stored as (3, points), one contiguous row per coordinate, which is several times
faster than (points, 3).
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from rayformer.core.seeds import generator
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays, pixel_grid
from rayformer.runs.atomic import replacing, write_text

NEAR, FAR = 2.0, 6.0
CAMERA_ANGLE_X = 0.6911112070083618
"""Horizontal field of view in radians: that of the NeRF-synthetic scenes."""
TABLE_RADIUS, TABLE_THICKNESS = 1.26, 0.07
BALL_CENTRE, BALL_RADIUS = (0.44, -0.46, 0.42), 0.42
"""The glossy ball."""
BALL_POINT = (0.44, -0.46 - 0.42 * math.sqrt(0.5), 0.42 + 0.42 * math.sqrt(0.5))
"""The point of the glossy ball that faces halfway between up and -y: its highlight comes and goes as one
walks by.
"""

Rows = Tensor
"""Float (3, points). A plain name: in tests, checking it would take longer than the small functions do."""
Values = Tensor
"""Float (points)."""
Place = tuple[float, float, float]


# ---------------------------------------------------------------------- the data set


def draw_still_life(
    folder: Path | str, size: int = 100, train: int = 60, val: int = 6, test: int = 12, seed: int = 0
) -> Path:
    """Draw the scene into `folder` and return it: `transforms_{train,val,test}.json`, `train/r_0.png` and
    so on.

    Pictures are `size` x `size` RGBA; alpha is 0 beside the table. The same arguments give the same bytes.
    Raises RunError where the disk refuses.
    """
    folder = Path(folder)
    for split, cameras in still_life_views(size, train, val, test, seed).items():
        frames = []
        for index, camera in enumerate(cameras):
            with _one_thread():
                pixels = picture(camera)
            with replacing(folder / split / f"r_{index}.png") as temporary:
                Image.fromarray(pixels).save(temporary)
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": camera.pose.tolist()})
        transforms = {"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}
        write_text(folder / f"transforms_{split}.json", json.dumps(transforms, indent=1) + "\n")
    return folder


def still_life_views(
    size: int = 100, train: int = 60, val: int = 6, test: int = 12, seed: int = 0
) -> dict[str, list[Camera]]:
    """The cameras of each split. Training views fill a dome evenly, with jitter; the others lie between
    them.
    """
    draw = generator(seed, "still life")
    focal = size / 2 / math.tan(CAMERA_ANGLE_X / 2)

    def camera(turn: float, height: float) -> Camera:
        """`turn` in whole turns around the table; `height` from 0 (low) to 1 (high), even in area."""
        jitter = 2 * torch.rand(3, generator=draw, dtype=torch.float64) - 1
        rise = math.sin(math.radians(14)) + height * (math.sin(math.radians(68)) - math.sin(math.radians(14)))
        distance = 4.1 + 0.2 * float(jitter[0])
        azimuth, level = 2 * math.pi * turn + 0.05 * float(jitter[1]), math.sqrt(1 - rise**2)
        place = torch.tensor([level * math.cos(azimuth), level * math.sin(azimuth), rise]).double() * distance
        target = (0.0, 0.0, 0.12 + 0.03 * float(jitter[2]))
        return Camera(size, size, focal, focal, size / 2, size / 2, look_at(place, target))

    golden = (math.sqrt(5) - 1) / 2  # steps of this many turns never line up
    return {
        "train": [camera(index * golden, (index + 0.5) / train) for index in range(train)],
        "val": [camera(0.2 + index / val, 0.1 + 0.75 * (index * golden % 1)) for index in range(val)],
        "test": [camera(0.05 + index / test, 0.1 + 0.75 * (index * golden % 1)) for index in range(test)],
    }


# ---------------------------------------------------------------------- what a camera sees


def picture(camera: Camera, supersampling: int = 2) -> UInt8[np.ndarray, "height width 4"]:
    """RGBA, straight alpha. A pixel is the mean over a grid of `supersampling` x `supersampling` rays.

    The mean is of sRGB values, as a radiance field that is trained on them composites, too.
    """
    inside = (torch.arange(supersampling, dtype=torch.float64) + 0.5) / supersampling - 0.5
    offsets = torch.cartesian_prod(inside, inside).reshape(-1, 2)
    pixels = pixel_grid(camera.width, camera.height)[:, None] + offsets
    rays = camera_rays(camera, pixels.reshape(-1, 2))
    hit, _, colour = surface(rays.origins, rays.directions)
    samples = torch.cat([colour, hit[:, None].float()], dim=-1).reshape(-1, len(offsets), 4)
    total = samples.sum(dim=1)
    alpha = total[:, 3:]
    rgba = torch.cat([total[:, :3] / alpha.clamp_min(1), alpha / len(offsets)], dim=-1)
    return (rgba * 255).round().to(torch.uint8).reshape(camera.height, camera.width, 4).numpy()


def depth(camera: Camera) -> Float[Tensor, "height width"]:
    """Distance along the ray through each pixel centre, infinite beside the table; float64."""
    rays = camera_rays(camera, dtype=torch.float64)
    return surface(rays.origins, rays.directions)[1].reshape(camera.height, camera.width)


def surface(
    origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]
) -> tuple[Bool[Tensor, "rays"], Float[Tensor, "rays"], Float[Tensor, "rays 3"]]:
    """Whether each ray meets the scene, at what distance (else infinity), and the colour it sees (else
    black).

    Directions have length 1. Float64 rays give distances right to 1e-6, float32 rays to 1e-4.
    """
    distance = torch.full_like(origins[:, 0], math.inf)
    colour = torch.zeros_like(origins)
    for chunk in _chunks(len(origins)):
        origin, direction = origins[chunk].T.contiguous(), directions[chunk].T.contiguous()
        distance[chunk], which = trace(origin, direction)
        seen = (which != NOTHING).nonzero().squeeze(-1)
        view = direction[:, seen]
        place = origin[:, seen] + distance[chunk][seen] * view
        colour[chunk.start + seen] = _colour(place, view, which[seen]).T
    return distance.isfinite(), distance, colour


def radiance(position: Float[Tensor, "3"], directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
    """The colour of the surface point `position` as seen by rays that travel along unit `directions`.

    These are viewing directions, from the camera into the scene. They must come from above the surface;
    what stands in between is not asked. The surface is the one nearest to `position`.
    """
    place = position[:, None].expand(3, len(directions)).contiguous()
    which = torch.stack([solid.shape.distance(place).abs() for solid in SOLIDS]).argmin(dim=0)
    return _colour(place, directions.T.contiguous(), which).T


# ---------------------------------------------------------------------- the shapes


@dataclass(frozen=True)
class Shape:
    distance: Callable[[Rows], Values]
    """Signed distance, or a lower bound of it: negative inside, never more than the way to the surface."""
    centre: Place
    """With `reach`, a sphere around the shape."""
    reach: float


def ball(centre: Place, radius: float) -> Shape:
    return Shape(lambda place: _length(*_from(place, centre)) - radius, centre, radius)


def ring(centre: Place, radius: float, tube: float) -> Shape:
    """A torus that lies flat."""

    def distance(place: Rows) -> Values:
        x, y, z = _from(place, centre)
        return _length(_length(x, y) - radius, z) - tube

    return Shape(distance, centre, radius + tube)


def block(centre: Place, half: float, turn: float, rounding: float = 0.03) -> Shape:
    """A cube with rounded edges, turned about the vertical by `turn` radians."""

    def distance(place: Rows) -> Values:
        beyond = _in_block(place, centre, turn).abs() - (half - rounding)
        return _length(*beyond.clamp_min(0)) + beyond.amax(dim=0).clamp_max(0) - rounding

    return Shape(distance, centre, math.sqrt(3) * half)


def column(x: float, y: float, radius: float, height: float) -> Shape:
    """An upright cylinder that stands on the table, or hangs below it where `height` is negative."""

    def distance(place: Rows) -> Values:
        side = _length(place[0] - x, place[1] - y) - radius
        cap = (place[2] - height / 2).abs() - abs(height) / 2
        return _length(side.clamp_min(0), cap.clamp_min(0)) + torch.maximum(side, cap).clamp_max(0)

    return Shape(distance, (x, y, height / 2), math.hypot(radius, height / 2))


def cone(x: float, y: float, radius: float, height: float) -> Shape:
    """An upright cone on the table. Above its tip and under its rim the distance is a lower bound."""
    slope = math.hypot(radius, height)

    def distance(place: Rows) -> Values:
        around = _length(place[0] - x, place[1] - y)
        side = (around * height + (place[2] - height) * radius) / slope
        return torch.maximum(side, -place[2])

    return Shape(distance, (x, y, height / 2), math.hypot(radius, height / 2))


# ---------------------------------------------------------------------- the paint

INK = {
    "cream": (0.80, 0.71, 0.55),
    "walnut": (0.17, 0.075, 0.038),
    "birch": (0.72, 0.53, 0.32),
    "navy": (0.030, 0.055, 0.12),
    "coral": (0.74, 0.14, 0.085),
    "rose": (0.86, 0.55, 0.46),
    "teal": (0.025, 0.25, 0.26),
    "white": (0.82, 0.82, 0.78),
    "mustard": (0.74, 0.42, 0.045),
    "plum": (0.20, 0.045, 0.14),
    "leaf": (0.15, 0.38, 0.07),
    "sun": (0.86, 0.68, 0.10),
}
LETTERS = {
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
    "Y": ("10001", "10001", "01010", "00100", "00100", "00100", "00100"),
}


def table_paint(place: Rows) -> Rows:
    """A checker of cream and walnut with a fine weave in both, a plum border, walnut below."""
    x, y, z = place
    checks = _soft_sign(torch.sin(math.pi * x / 0.32) * torch.sin(math.pi * y / 0.32), 0.05)
    weave = torch.sin(2 * math.pi * (x + y) / 0.105) * torch.sin(2 * math.pi * (x - y) / 0.105)
    wood = _mix(_mix("walnut", "cream", checks), "plum", 0.2 + 0.2 * weave)
    around = _length(x, y)
    border = _soft_sign(torch.sin(40 * torch.atan2(y, x)), 0.3)
    rim = _step(around, 1.1, 0.012)
    return _mix(_mix(wood, _mix("plum", "cream", border), rim), "walnut", _step(-z, 0.004, 0.004))


def spiral_paint(place: Rows) -> Rows:
    """A barber's pole: two inks wound around the column."""
    x, y, z = _from(place, (COLUMN[0], COLUMN[1], 0.0))
    return _mix("teal", "white", _soft_sign(torch.sin(3 * torch.atan2(y, x) + 2 * math.pi * z / 0.3), 0.2))


def banded_paint(place: Rows) -> Rows:
    """Level bands, narrower towards the tip."""
    return _mix(
        "mustard", "plum", _soft_sign(torch.sin(2 * math.pi * (place[2] / 0.13 + place[2] ** 2 / 0.3)), 0.25)
    )


def ring_paint(place: Rows) -> Rows:
    """Coral, with rose stripes across the tube."""
    x, y, _ = _from(place, RING)
    return _mix("coral", "rose", _soft_sign(torch.sin(14 * torch.atan2(y, x)) - 0.3, 0.3))


def dotted_paint(place: Rows) -> Rows:
    """Sun-yellow dots on leaf green."""
    waves = torch.stack([torch.sin(2 * math.pi * each / 0.13) for each in _from(place, BALL_IN_RING)])
    return _mix("leaf", "sun", _step(waves.abs().sum(dim=0), 1.7, 0.25))


def marble_paint(place: Rows) -> Rows:
    """White, with coral meridians."""
    x, y, z = _from(place, MARBLE)
    return _mix("white", "coral", _soft_sign(torch.sin(5 * torch.atan2(z, x) + 6 * y / 0.12), 0.3))


def block_paint(place: Rows) -> Rows:
    """Birch with a coloured frame, and a letter on every face: R, A and Y on opposite pairs."""
    local = _in_block(place, BLOCK, BLOCK_TURN) / BLOCK_HALF
    face = local.abs().argmax(dim=0)
    x, y, z = local
    sign = torch.sign(local.gather(0, face[None]))[0]
    across = torch.where(face == 0, y * sign, torch.where(face == 1, -x * sign, x))
    upward = torch.where(face == 2, y * sign, z)
    paint = plain_paint("birch")(place)
    for index, (letter, ink) in enumerate(zip("RAY", ("coral", "teal", "plum"), strict=True)):
        edge = _step(torch.maximum(across.abs(), upward.abs()), 0.80, 0.06)
        drawn = torch.maximum(_written(letter, across, upward), edge)
        paint = _mix(paint, ink, drawn * (face == index))
    return paint


def plain_paint(ink: str) -> Callable[[Rows], Rows]:
    return lambda place: _mix(ink, ink, torch.zeros_like(place[0]))


def _written(letter: str, across: Values, upward: Values) -> Values:
    """1 inside the strokes of a 5 x 7 letter that fills the middle of the square [-1, 1]^2, soft at their
    edges.
    """
    rows = torch.tensor([[float(dot) for dot in row] for row in LETTERS[letter]], dtype=across.dtype)
    where = torch.stack([across / 0.62 * (5 / 7) ** -1, -upward / 0.62], dim=-1)[None, None]
    soft = torch.nn.functional.grid_sample(rows[None, None], where, mode="bilinear", align_corners=False)
    return _step(soft[0, 0, 0], 0.5, 0.2)


# ---------------------------------------------------------------------- what stands where

BLOCK, BLOCK_HALF, BLOCK_TURN = (-0.50, -0.42, 0.27), 0.27, 0.45
COLUMN = (-0.42, 0.46, 0.19, 0.86)
CONE = (-0.02, 0.04, 0.21, 0.56)
RING, RING_RADIUS, RING_TUBE = (0.55, 0.46, 0.12), 0.31, 0.12
BALL_IN_RING, BALL_IN_RING_RADIUS = (0.55, 0.46, 0.20), 0.19
MARBLE, MARBLE_RADIUS = (-0.06, -0.84, 0.12), 0.12


@dataclass(frozen=True)
class Solid:
    name: str
    shape: Shape
    paint: Callable[[Rows], Rows]
    """Linear colour in [0, 1] of diffuse light, at places on the surface."""
    gloss: float = 0.0
    """Share of light that is reflected rather than scattered."""
    sharpness: float = 60.0
    """Phong exponent of reflections: 10 is satin, 100 is polished."""


SOLIDS = (
    Solid("glossy ball", ball(BALL_CENTRE, BALL_RADIUS), plain_paint("navy"), gloss=0.85, sharpness=32.0),
    Solid("block", block(BLOCK, BLOCK_HALF, BLOCK_TURN), block_paint),
    Solid("column", column(*COLUMN), spiral_paint, gloss=0.10, sharpness=25.0),
    Solid("cone", cone(*CONE), banded_paint),
    Solid("ring", ring(RING, RING_RADIUS, RING_TUBE), ring_paint, gloss=0.22, sharpness=30.0),
    Solid("ball in the ring", ball(BALL_IN_RING, BALL_IN_RING_RADIUS), dotted_paint),
    Solid("marble", ball(MARBLE, MARBLE_RADIUS), marble_paint, gloss=0.15, sharpness=60.0),
    Solid("table", column(0.0, 0.0, TABLE_RADIUS, -TABLE_THICKNESS), table_paint, gloss=0.12, sharpness=14.0),
)
"""The table is the last: it is met in closed form and casts no shadow upwards."""
TABLE, NOTHING = len(SOLIDS) - 1, len(SOLIDS)
STANDING = SOLIDS[:TABLE]


# ---------------------------------------------------------------------- where rays meet them


def trace(origin: Rows, direction: Rows) -> tuple[Values, Int[Tensor, "points"]]:
    """Distance to the first solid along each unit direction (else infinity), and which it is (else NOTHING).

    Each solid is marched by itself and only by rays that pass its bound: most rays pass one or two.
    """
    distance = _to_table(origin, direction)
    which = torch.where(distance.isfinite(), TABLE, NOTHING)
    for number, solid in enumerate(STANDING):
        enter, leave = _through_sphere(origin, direction, solid.shape.centre, solid.shape.reach)
        leave = torch.minimum(leave, distance)
        close = (enter < leave).nonzero().squeeze(-1)
        found = _march(solid.shape, origin[:, close], direction[:, close], enter[close], leave[close])
        first = found < distance[close]
        distance[close[first]], which[close[first]] = found[first], number
    return distance, which


def _march(shape: Shape, start: Rows, way: Rows, t: Values, leave: Values, steps: int = 2000) -> Values:
    """Distance at which rays meet `shape` between `t` and `leave`, else infinity.

    A ray at a slant comes nearer by a fixed share per step, so that a few need hundreds; those that are
    done are taken out on the way.
    """
    tolerance = 2e-5 if start.dtype == torch.float32 else 1e-9
    found = torch.full_like(t, math.inf)
    index = torch.arange(len(t))  # of the rays that still travel
    for step in range(steps):
        room = shape.distance(start + t * way)
        if step % 4 == 3:  # looking for those that are done costs as much as a step
            landed = room < tolerance
            found[index[landed]] = t[landed] + room[landed]
            going = (~landed & (t < leave)).nonzero().squeeze(-1)
            if not len(going):
                break
            index, start, way, leave = index[going], start[:, going], way[:, going], leave[going]
            t, room = t[going], room[going]
        t = t + room
    return found


def _to_table(origin: Rows, direction: Rows) -> Values:
    """Distance to the table's top or side from outside it, else infinity."""
    top = -origin[2] / direction[2]
    x, y = origin[0] + top * direction[0], origin[1] + top * direction[1]
    top = torch.where((top > 0) & (origin[2] > 0) & (x**2 + y**2 <= TABLE_RADIUS**2), top, math.inf)
    square = direction[0] ** 2 + direction[1] ** 2
    along = origin[0] * direction[0] + origin[1] * direction[1]
    root = along**2 - square * (origin[0] ** 2 + origin[1] ** 2 - TABLE_RADIUS**2)
    side = (-along - root.clamp_min(0).sqrt()) / square
    z = origin[2] + side * direction[2]
    side = torch.where((root > 0) & (side > 0) & (z <= 0) & (z >= -TABLE_THICKNESS), side, math.inf)
    return torch.minimum(top, side)


def _through_sphere(origin: Rows, direction: Rows, centre: Place, radius: float) -> tuple[Values, Values]:
    """Where each ray enters and leaves a sphere; enter is infinite where it misses."""
    away = _from(origin, centre)
    along = (away * direction).sum(dim=0)
    root = along**2 - (away**2).sum(dim=0) + radius**2
    half = root.clamp_min(0).sqrt()
    return torch.where(root > 0, (-along - half).clamp_min(0), math.inf), -along + half


# ---------------------------------------------------------------------- light


@dataclass(frozen=True)
class Light:
    """What shines on the table, in linear colours. Directions are unit vectors towards the light."""

    sun: Place = (0.5, -0.42, 0.757)
    sun_colour: Place = (1.02, 0.92, 0.76)
    zenith: Place = (0.42, 0.56, 0.82)
    horizon: Place = (0.72, 0.58, 0.42)
    floor: Place = (0.34, 0.25, 0.18)
    window: Place = (-0.74, -0.45, 0.5)
    window_colour: Place = (0.70, 1.00, 1.45)
    penumbra: float = 9.0
    """Sharpness of shadow edges: distance from the occluder over width of the penumbra."""


LIGHT = Light()
PENUMBRA_REACH = 0.2
"""Rays that miss a solid by more than this have all of the sun."""


def _colour(place: Rows, view: Rows, which: Int[Tensor, "points"]) -> Rows:
    """sRGB colour of surface places as seen along unit `view` directions, `which` being the solid of each."""
    normal, paint = torch.empty_like(place), torch.empty_like(place)
    gloss, sharpness = torch.empty_like(place[0]), torch.empty_like(place[0])
    for number in which.unique().tolist():
        solid, mine = SOLIDS[number], (which == number).nonzero().squeeze(-1)
        normal[:, mine] = _normal(solid.shape, place[:, mine])
        paint[:, mine] = solid.paint(place[:, mine])
        gloss[mine], sharpness[mine] = solid.gloss, solid.sharpness

    sun, open_sky = _column(LIGHT.sun, place), _openness(place, normal)
    sunlit = (normal * sun).sum(dim=0).clamp_min(0) * _sunlight(place, normal)
    sky = torch.lerp(_column(LIGHT.floor, place), _column(LIGHT.zenith, place), 0.5 + 0.5 * normal[2])
    scattered = paint * (_column(LIGHT.sun_colour, place) * sunlit + 0.8 * sky * open_sky)
    facing = -(normal * view).sum(dim=0)
    at_a_slant = gloss + (1 - gloss) * gloss * (1 - facing.clamp(0, 1)) ** 5  # there, lacquer reflects more
    sun_in_sight = (sunlit / 0.25).clamp_max(1)
    found = _surroundings(view + 2 * facing * normal, sharpness, sun_in_sight)
    return _srgb((1 - gloss) * scattered + at_a_slant * found * (0.35 + 0.65 * open_sky))


def _surroundings(direction: Rows, sharpness: Values, sun_in_sight: Values) -> Rows:
    """What reflections find: sky, horizon and floor, a window, and a sun as wide as the gloss is dull."""
    floor, horizon, zenith = (_column(each, direction) for each in (LIGHT.floor, LIGHT.horizon, LIGHT.zenith))
    above = torch.lerp(horizon, zenith, direction[2].clamp(0, 1))
    room = torch.lerp(floor, above, _step(direction[2], 0.0, 0.35))
    to_window, to_sun = (
        (direction * _column(each, direction)).sum(dim=0).clamp_min(0) for each in (LIGHT.window, LIGHT.sun)
    )
    window = _column(LIGHT.window_colour, direction) * to_window ** (sharpness / 4)
    sun = 2.4 * _column(LIGHT.sun_colour, direction) * to_sun**sharpness * sun_in_sight
    return 0.45 * room + window + sun


def _sunlight(place: Rows, normal: Rows) -> Values:
    """Share of the sun that reaches each place. It depends on the place alone, so that every view agrees."""
    sun = _column(LIGHT.sun, place)
    light = ((normal * sun).sum(dim=0) > 0).to(place.dtype)
    for solid in STANDING:
        enter, leave = _through_sphere(place, sun, solid.shape.centre, solid.shape.reach + PENUMBRA_REACH)
        close = ((enter < leave) & (light > 0)).nonzero().squeeze(-1)
        start = place[:, close] + 0.004 * normal[:, close]
        light[close] = torch.minimum(light[close], _clear(solid.shape, start, sun, enter[close]))
    return light * light * (3 - 2 * light)


def _clear(shape: Shape, start: Rows, way: Rows, t: Values, steps: int = 24) -> Values:
    """How clearly rays pass by a shape, from 0 to 1: the nearest miss, over the distance at which it happens.

    (The usual penumbra estimate of distance fields.)
    """
    t, least = t.clamp_min(0.02), torch.ones_like(t)
    for _ in range(steps):
        room = shape.distance(start + t * way)
        least = torch.minimum(least, LIGHT.penumbra * room / t)
        t = t + room.clamp(0.012, 0.2)
    return least.clamp_min(0)


def _openness(place: Rows, normal: Rows) -> Values:
    """Share of the sky that neighbours leave open, from how fast distances grow along the normal."""
    closed = torch.zeros_like(place[0])
    for reach, weight in ((0.05, 0.9), (0.12, 0.6), (0.24, 0.4)):
        ahead = place + reach * normal
        room = ahead[2]  # over the table
        for solid in STANDING:
            room = torch.minimum(room, solid.shape.distance(ahead))
        closed = closed + weight * (1 - room / reach).clamp_min(0)
    return (1 - 0.75 * closed).clamp(0.08, 1)


def _normal(shape: Shape, place: Rows) -> Rows:
    """Unit normal: the gradient of the distance, by differences over a small tetrahedron."""
    reach = 1e-3 if place.dtype == torch.float32 else 1e-5
    normal = torch.zeros_like(place)
    for corner in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0)):
        towards = _column(corner, place)
        normal = normal + towards * shape.distance(place + reach * towards)
    return normal / _length(*normal)


# ---------------------------------------------------------------------- small mathematics


def _column(values: tuple[float, ...], like: Tensor) -> Float[Tensor, "3 1"]:
    return torch.tensor(values, dtype=like.dtype)[:, None]


def _from(place: Rows, centre: tuple[float, ...]) -> Rows:
    return place - _column(centre, place)


def _in_block(place: Rows, centre: Place, turn: float) -> Rows:
    x, y, z = _from(place, centre)
    c, s = math.cos(turn), math.sin(turn)
    return torch.stack([c * x + s * y, c * y - s * x, z])


def _length(*parts: Values) -> Values:
    return sum(part * part for part in parts).sqrt()  # type: ignore[union-attr]


def _step(value: Values, edge: float, width: float) -> Values:
    """0 below `edge`, 1 above, a smooth ramp of `width` between."""
    share = ((value - edge) / width + 0.5).clamp(0, 1)
    return share * share * (3 - 2 * share)


def _soft_sign(wave: Values, width: float) -> Values:
    """0 where the wave is negative, 1 where it is positive."""
    return _step(wave, 0.0, 2 * width)


def _mix(first: str | Rows, second: str | Rows, share: Values) -> Rows:
    """`first` where `share` is 0, `second` where it is 1; inks by name."""
    start, end = (_column(INK[x], share) if isinstance(x, str) else x for x in (first, second))
    return torch.lerp(start.expand(3, len(share)), end.expand(3, len(share)), share)


def _srgb(linear: Rows) -> Rows:
    linear = linear.clamp(0, 1)
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-6) ** (1 / 2.4) - 0.055
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Arrays this small are drawn faster by one thread than by several that wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _chunks(count: int, size: int = 1 << 16) -> Iterator[slice]:
    """Pieces whose temporaries stay in the cache."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
