"""The drawn town: a street of houses, driven through twice in different light, every ray of which is known.

A camera car with three cameras, looking ahead, to the left and to the right, drives along a street that
bends a little: once in the morning, and once in the evening, when it drives further left and stops elsewhere.
Houses, trees, lamp posts, hedges and vans stand as they did. Exposure changes from photograph to photograph.

    draw_town        the whole data set as one transforms.json, with exposure and light of every photograph
    drive            its exact cameras: Shot by Shot
    town             what stands in a street so many blocks long
    Town             asked along rays and cameras: surface, depth, radiance, picture, visibility
    Light, LIGHTS    the sun, the sky and the camera's white balance, of each drive
    raise_town       houses, trees, lamps, hedges, vans, in order along the street

How a photograph comes about, and what a test may rely on: the light that comes along a ray is LINEAR,

    radiance = white balance * paint * (sun colour * cosine * shadow + sky)

with sun, sky and white balance those of the drive; no surface is glossy. A pixel is the mean radiance of a
grid of rays, times the exposure of the photograph, cut off at 1, and only then turned into sRGB and into
bytes. So two exposures of one view are, where neither is cut off, one picture times a number in linear light.

Lengths in metres: x along the street, from the first stop on; y to the left; z up, and the ground is z = 0.
A block is 16 m of street, and 48 photographs; a field that overlaps its neighbours by half sees 24 m, and 72.
The sky is a dome round the whole town. A longer town begins as a shorter one, but for what closes the street
behind its end.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from rayformer.core.seeds import generator
from rayformer.data.scenes import town_rays
from rayformer.data.scenes.capture import Split
from rayformer.data.scenes.town_rays import (
    BALL,
    BOARDS,
    HOUSE,
    LEAVES,
    PLAIN,
    PLASTER,
    POST,
    STONE,
    THING,
    TIMBER,
    VAN,
    road_offset,
)
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import camera_rays, pixel_grid
from rayformer.runs.atomic import replacing, write_text

BLOCK = 16.0
"""Metres of street to a block."""
BLOCKS = 4
"""Of the town that is named without a number."""
MOST_BLOCKS = 64
STOP = 2.0
"""Metres from stop to stop of a drive."""
HELD_OUT = (3, 6)
"""The stops whose number has this remainder when divided by that are for testing, in both drives."""
EXPOSURES = (1.0, 1.8, 0.6)
"""Shutter time times gain, one after the other."""
SIDES = {"ahead": 0.0, "left": 62.0, "right": -62.0}
"""The cameras by name, and by how many degrees they are turned to the left."""
HEIGHT, LIFT = 2.2, 6.0
"""The cameras stand so many metres above the road and look so many degrees above the horizon."""
FIELD_OF_VIEW = 84.0
"""Across the picture, in degrees."""
WIDTH, SHAPE = 96, 2 / 3
"""Pixels across, and the height of a picture over its width."""
SLOT = 8.0
"""Metres of street to a house with its garden, on either side."""
MARGIN = 5
"""Slots with houses before the first stop and behind the last."""
SKY = 250.0
"""Metres from the ends of the street to the dome."""

Colour = tuple[float, float, float]
T = TypeVar("T")


# ---------------------------------------------------------------------- light


@dataclass(frozen=True)
class Light:
    """What shines on the town during one drive, in linear colours."""

    sun: Colour
    """The direction towards it."""
    sun_colour: Colour
    zenith: Colour
    """The sky overhead, which is also what lights faces that look up."""
    horizon: Colour
    """The sky above the hills; half of it comes from the ground to faces that look down."""
    white_balance: Colour
    """By what the camera multiplies linear light, all drive long."""
    lane: float
    """Metres to the left of the middle of the road at which the car drives."""
    shift: float
    """Metres along the street by which its stops differ from whole steps."""

    def rows(self) -> Float[np.ndarray, "5 3"]:
        """As the compiled loops want it, the sun's direction at length 1."""
        rows = np.array([self.sun, self.sun_colour, self.zenith, self.horizon, self.white_balance])
        rows[0] /= np.linalg.norm(rows[0])
        return rows


LIGHTS = {
    "morning": Light(
        sun=(0.45, -0.55, 0.62),
        sun_colour=(1.15, 1.07, 0.92),
        zenith=(0.20, 0.34, 0.64),
        horizon=(0.50, 0.58, 0.68),
        white_balance=(0.94, 1.00, 1.04),
        lane=-1.7,
        shift=1.0,
    ),
    "evening": Light(
        sun=(-0.60, 0.62, 0.36),
        sun_colour=(1.35, 0.86, 0.47),
        zenith=(0.24, 0.29, 0.47),
        horizon=(0.60, 0.42, 0.33),
        white_balance=(1.08, 1.00, 0.90),
        lane=-0.5,
        shift=0.0,
    ),
}
"""The drives by name, in order."""


# ---------------------------------------------------------------------- the data set


@dataclass(frozen=True, eq=False)
class Shot:
    """A photograph that is to be taken."""

    name: str
    camera: Camera
    light: str
    exposure: float
    split: Split


def draw_town(folder: Path | str, blocks: int = BLOCKS, width: int = WIDTH) -> Path:
    """Draw a town so many blocks long into `folder` and return it: transforms.json, morning/000_ahead.png and
    so on.

    The same arguments give the same bytes. Raises RunError where the disk refuses.
    """
    folder = Path(folder)
    street, frames, parts = town(blocks), [], {"train": [], "val": [], "test": []}
    for shot in drive(blocks, width):
        with replacing(folder / shot.name) as temporary:
            Image.fromarray(street.picture(shot.camera, shot.light, shot.exposure)).save(temporary)
        seen = street.depth(shot.camera)
        frames.append(
            {
                "file_path": shot.name,
                "transform_matrix": shot.camera.pose.tolist(),
                "exposure": shot.exposure,
                "light": shot.light,
                "near": seen.min().item(),
                "far": seen.max().item(),
            }
        )
        parts[shot.split].append(shot.name)
    lens = {"w": shot.camera.width, "h": shot.camera.height, "fl_x": shot.camera.fx, "fl_y": shot.camera.fy}
    split = {f"{part}_filenames": names for part, names in parts.items()}
    write_text(folder / "transforms.json", json.dumps({**lens, "frames": frames, **split}, indent=1) + "\n")
    return folder


def drive(blocks: int = BLOCKS, width: int = WIDTH) -> Iterator[Shot]:
    """Both drives, stop by stop: at each a photograph by every camera. Every sixth stop is for testing."""
    height = round(width * SHAPE)
    focal = width / 2 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
    for number, (name, light) in enumerate(LIGHTS.items()):
        for stop in range(round(blocks * BLOCK / STOP)):
            place, heading = _on_street(stop * STOP + light.shift, light.lane)
            for turn, (side, degrees) in enumerate(SIDES.items()):
                angle, lift = heading + math.radians(degrees), math.radians(LIFT)
                ahead = (math.cos(angle) * math.cos(lift), math.sin(angle) * math.cos(lift), math.sin(lift))
                stand = (*place, HEIGHT)
                pose = look_at(stand, [a + b for a, b in zip(stand, ahead, strict=True)])
                yield Shot(
                    name=f"{name}/{stop:03d}_{side}.png",
                    camera=Camera(width, height, focal, focal, width / 2, height / 2, pose),
                    light=name,
                    exposure=EXPOSURES[(stop + turn + number) % len(EXPOSURES)],
                    split="test" if stop % HELD_OUT[1] == HELD_OUT[0] else "train",
                )


def _on_street(x: float, left: float) -> tuple[tuple[float, float], float]:
    """The place so far along the street and to the left of its middle, and which way the street runs there,
    in radians."""
    middle, slope = road_offset(x)
    heading = math.atan(slope)
    return (x - left * math.sin(heading), middle + left * math.cos(heading)), heading


# ---------------------------------------------------------------------- what stands where


@lru_cache(maxsize=4)
def town(blocks: int = BLOCKS) -> "Town":
    """The town so many blocks long."""
    length = blocks * BLOCK
    return Town(raise_town(length), (length / 2, 0.0, 0.0, length / 2 + SKY))


WALLS: tuple[Colour, ...] = (
    (0.62, 0.16, 0.09),
    (0.70, 0.52, 0.22),
    (0.66, 0.62, 0.54),
    (0.20, 0.34, 0.46),
    (0.60, 0.34, 0.26),
    (0.30, 0.42, 0.26),
    (0.74, 0.44, 0.40),
    (0.50, 0.56, 0.60),
)
TRIMS: tuple[Colour, ...] = ((0.10, 0.28, 0.16), (0.70, 0.68, 0.60), (0.45, 0.08, 0.07), (0.10, 0.16, 0.34))
ROOFS: tuple[Colour, ...] = ((0.40, 0.12, 0.07), (0.14, 0.14, 0.16), (0.30, 0.20, 0.13), (0.16, 0.24, 0.22))
GREENS: tuple[Colour, ...] = ((0.09, 0.20, 0.04), (0.17, 0.27, 0.05), (0.30, 0.20, 0.04))
BARK, IRON, STEEL = (0.10, 0.07, 0.05), (0.05, 0.06, 0.06), (0.70, 0.70, 0.66)


def raise_town(length: float | int) -> np.ndarray:
    """Everything that stands along a street of so many metres, as records of `town_rays.THING`.

    What stands in one slot depends on the number and the side of the slot alone. Both ends of the street are
    closed by three houses across it.
    """
    things = []
    slots = math.ceil(length / SLOT)
    for slot in range(-MARGIN, slots + MARGIN):
        for side in (1, -1):
            things += _slot(slot, side)
    for x, facing in ((-(MARGIN + 1) * SLOT, -math.pi / 2), ((slots + MARGIN + 1) * SLOT, math.pi / 2)):
        (_, middle), _ = _on_street(x, 0.0)
        for place in (-1, 0, 1):
            draw = _Dice(f"end {facing:.1f} {place}")
            things += _house(draw, (x, middle + 7.6 * place), facing, 7.4, 6.2)
    return np.array([tuple(thing[name] for name in THING.names or ()) for thing in things], dtype=THING)


class _Dice:
    """Numbers that depend on a name alone."""

    def __init__(self, name: str):
        self.draw = generator(0, f"town {name}")

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.draw, dtype=torch.float64))

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(torch.randint(len(choices), (), generator=self.draw))]

    def happens(self, share: float) -> bool:
        return self.between(0.0, 1.0) < share


def _slot(slot: int, side: int) -> list[dict[str, Any]]:
    """A house on one side of the street, and what stands before it; `side` is 1 on the left."""
    draw = _Dice(f"slot {slot} {side}")
    x = (slot + 0.5) * SLOT
    width, wall = draw.between(6.0, 7.4), draw.one_of((3.2, 5.6, 5.9, 8.3))
    depth = draw.between(6.5, 8.5)
    front = draw.between(8.2, 10.2)
    place, heading = _on_street(x, side * (front + depth / 2))
    turn = heading if side > 0 else heading + math.pi
    things = _house(draw, place, turn, width, wall, depth)
    if draw.happens(0.45):
        place, _ = _on_street(x + draw.between(-2.4, 2.4), side * draw.between(7.0, 7.6))
        tall, crown = draw.between(1.9, 2.9), draw.between(1.0, 1.6)
        green = draw.one_of(GREENS)
        things.append(_thing(POST, place, along=0.16, height=tall + 0.4, ink=BARK))
        things.append(_thing(BALL, place, along=crown, base=tall, paint=LEAVES, ink=green, seed=slot + 100))
    elif draw.happens(0.55):
        place, heading = _on_street(x + draw.between(-1.6, 1.6), side * 6.9)
        things.append(
            _thing(
                HOUSE, place, heading, along=draw.between(1.0, 2.0), across=0.35,
                height=draw.between(0.7, 1.2), paint=LEAVES, ink=draw.one_of(GREENS), seed=slot + 200,
            )
        )  # fmt: skip
    if slot % 2 == (side > 0):
        place, _ = _on_street(x + 3.9, side * 4.8)
        things.append(_thing(POST, place, along=0.09, height=4.6, ink=IRON))
        things.append(_thing(BALL, place, along=0.28, base=4.5, ink=STEEL))
    if side > 0 and draw.happens(0.4):  # nobody parks in the lane of the camera car
        place, heading = _on_street(x + draw.between(-1.5, 1.5), 3.3)
        things.append(
            _thing(
                HOUSE, place, heading, along=2.1, across=0.85, base=0.0, height=1.9, paint=VAN,
                ink=draw.one_of(WALLS), trim=draw.one_of(TRIMS),
            )
        )  # fmt: skip
    return things


def _house(
    draw: _Dice, place: tuple[float, float], turn: float, width: float, wall: float, depth: float = 7.0
) -> list[dict[str, Any]]:
    """A house and its chimney."""
    gabled = draw.happens(0.4)
    rise = draw.between(1.8, 3.2)
    across = depth / 2
    house = _thing(
        HOUSE, place, turn, along=width / 2, across=across, height=wall, rise=rise, gabled=int(gabled),
        paint=draw.one_of((STONE, STONE, BOARDS, PLASTER, TIMBER)), ink=draw.one_of(WALLS),
        trim=draw.one_of(TRIMS), roof=draw.one_of(ROOFS), seed=draw.one_of(range(1000)),
    )  # fmt: skip
    u, v = 0.28 * width * draw.between(-1.0, 1.0), 0.5 * across
    chimney = (
        place[0] + math.cos(turn) * u - math.sin(turn) * v,
        place[1] + math.sin(turn) * u + math.cos(turn) * v,
    )
    top = wall + rise + 0.5
    return [
        house,
        _thing(HOUSE, chimney, turn, along=0.35, across=0.35, base=wall, height=top - wall, ink=ROOFS[0]),
    ]


def _thing(kind: int, place: tuple[float, float], turn: float = 0.0, **numbers: Any) -> dict[str, Any]:
    x, y = place
    plain = {
        "along": 1.0, "across": 1.0, "base": 0.0, "height": 1.0, "rise": 0.0, "gabled": 0, "paint": PLAIN,
        "ink": STEEL, "trim": STEEL, "roof": STEEL, "seed": 0,
    }  # fmt: skip
    return {"kind": kind, "x": x, "y": y, "cos": math.cos(turn), "sin": math.sin(turn), **plain, **numbers}


# ---------------------------------------------------------------------- what rays find


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays end. Every ray ends somewhere: on a thing, on the ground, or on the dome of the sky."""

    distance: Float[Tensor, "rays"]
    """In metres along the unit direction."""
    which: Int[Tensor, "rays"]
    """The number of the thing, or `town_rays.GROUND` or `town_rays.SKY`."""
    face: Int[Tensor, "rays"]


class Town:
    """Things and the dome around them, with the cells in which rays look for things.

    All places are in metres, the coordinates of the data: `scene.normalisation.inverse().points(places)`
    brings places of a scene that was read here.
    """

    def __init__(self, things: np.ndarray, dome: tuple[float, float, float, float]):
        """`things` are records of `town_rays.THING`; `dome` is the middle of the sky and its radius."""
        self.things, self.dome = things, np.array(dome)
        # A ball or a post fits into its `along`; how a house is turned does not matter to its diagonal.
        reach = np.where(
            things["kind"] == HOUSE, np.hypot(things["along"], things["across"]), things["along"]
        )
        low, high = things["x"] - reach, things["x"] + reach
        beside = things["y"] - reach, things["y"] + reach
        tall = np.where(things["kind"] == BALL, 2 * things["along"], things["height"] + things["rise"])
        # Rays outside these bounds ask for nothing.
        top = (things["base"] + tall).max()
        self.bounds = np.array([low.min(), beside[0].min(), beside[1].max(), top])
        cells = math.ceil((high.max() - low.min()) / town_rays.CELL)
        first, last = ((end - low.min()) // town_rays.CELL for end in (low, high))
        inside = [np.flatnonzero((first <= cell) & (last >= cell)) for cell in range(cells)]
        self.starts = np.cumsum([0, *(len(members) for members in inside)])
        self.members = np.concatenate(inside)

    @property
    def _solid(self) -> tuple[np.ndarray, ...]:
        return self.things, self.starts, self.members, self.bounds

    def surface(self, origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"]) -> Hits:
        """Where rays along unit directions end, right to rounding in float64."""
        distance = np.empty(len(origins))
        which, face = np.empty(len(origins), np.int64), np.empty(len(origins), np.int64)
        rays = _rows(origins), _rows(directions)
        town_rays.distances(*self._solid, self.dome, *rays, distance, which, face)
        return Hits(torch.from_numpy(distance), torch.from_numpy(which), torch.from_numpy(face))

    def depth(self, camera: Camera) -> Float[Tensor, "height width"]:
        """Metres along the ray through each pixel centre, up to the dome of the sky; float64."""
        rays = camera_rays(camera, dtype=torch.float64)
        return self.surface(rays.origins, rays.directions).distance.reshape(camera.height, camera.width)

    def radiance(
        self, origins: Float[Tensor, "rays 3"], directions: Float[Tensor, "rays 3"], light: str
    ) -> Float[Tensor, "rays 3"]:
        """The linear light, white balance included and exposure not, that comes along rays; float64."""
        hits, colour = self.surface(origins, directions), np.empty((len(origins), 3))
        found = hits.distance.numpy(), hits.which.numpy(), hits.face.numpy()
        rows = LIGHTS[light].rows()
        town_rays.colours(*self._solid, rows, _rows(origins), _rows(directions), *found, colour)
        return torch.from_numpy(colour)

    def linear_picture(
        self, camera: Camera, light: str, supersampling: int = 2
    ) -> Float[Tensor, "height width 3"]:
        """The mean radiance of a grid of `supersampling` x `supersampling` rays for every pixel; float64.

        The mean is of linear light, as a sensor gathers it, so that exposure is a factor of the whole pixel.
        """
        inside = (torch.arange(supersampling, dtype=torch.float64) + 0.5) / supersampling - 0.5
        offsets = torch.cartesian_prod(inside, inside).reshape(-1, 2)
        pixels = pixel_grid(camera.width, camera.height)[:, None] + offsets
        rays = camera_rays(camera, pixels.reshape(-1, 2), dtype=torch.float64)
        light_along = self.radiance(rays.origins, rays.directions, light)
        return light_along.reshape(camera.height, camera.width, len(offsets), 3).mean(dim=2)

    def picture(
        self, camera: Camera, light: str, exposure: float = 1.0
    ) -> UInt8[np.ndarray, "height width 3"]:
        """The photograph that a camera takes in a light: exposed, cut off at 1, in sRGB."""
        linear = (exposure * self.linear_picture(camera, light)).clamp(0, 1)
        return (srgb(linear) * 255).round().to(torch.uint8).numpy()

    def visibility(
        self, position: Float[Tensor, "3"], points: Float[Tensor, "points 3"]
    ) -> Bool[Tensor, "points"]:
        """Whether nothing stands between `position` and each of the points, which may lie on surfaces."""
        blocked = np.empty(len(points), bool)
        start = position.detach().cpu().double().numpy()
        town_rays.obstructed(*self._solid, start, _rows(points), blocked)
        return torch.from_numpy(~blocked)

    def without(self, *numbers: int) -> "Town":
        """The town with some of its things taken away."""
        return Town(np.delete(self.things, numbers), tuple(self.dome.tolist()))


def srgb(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Linear light in [0, 1] as it is stored."""
    curved = 1.055 * linear.clamp_min(1e-6) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved)


def _rows(values: Float[Tensor, "rays 3"]) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().double().numpy())
