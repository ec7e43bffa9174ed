"""The drawn data set: ten solids, each in any colour, paint, pose and light, among things that lie about.

    SHAPES          the classes, in the order of their names
    shape_pictures  some pictures of every class, with their labels
    _arranged       one picture's room and bodies, drawn by chance
    _lowest         how far a turned solid reaches below its middle, so that it stands on the floor

What tells the classes apart is form alone: colours and paints are drawn alike for all of them, and so are
those of the floor, the wall and the sticks, slabs and pebbles around. The nearest picture, pixel by pixel,
is therefore of the same class hardly more often than any other is (a test holds this).
"""

import colorsys
import math
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from rayformer.data.images.bodies import (
    BALL,
    BODY,
    BOWL,
    CAN,
    CHECKS,
    CONE,
    CUBE,
    DOTS,
    HEART,
    JACK,
    MARBLE,
    PATCHES,
    PEBBLE,
    PLAIN,
    PYRAMID,
    RING,
    SETTING,
    SLAB,
    STAR,
    STICK,
    STRIPES,
    distances,
    draw,
)

SHAPES = ("ball", "bowl", "can", "cone", "cube", "heart", "jack", "pyramid", "ring", "star")
SOLIDS = (BALL, BOWL, CAN, CONE, CUBE, HEART, JACK, PYRAMID, RING, STAR)
LYING = (HEART, STAR, RING)
"""Flat ones, which stand on their edge and look at the camera more or less."""
SIDE = 64
"""Pixels along each side of a picture."""
MOST_CLUTTER = 5
GRAIN = 0.012
"""Standard deviation of the camera's noise, in shares of white."""


def shape_pictures(
    each: int, seed: int, side: int = SIDE
) -> tuple[UInt8[np.ndarray, "batch height width 3"], Int[np.ndarray, "batch"]]:
    """`each` pictures of every class, class after class in turn, and the numbers of the classes. Pictures are
    a pure function of seed and number: more of them begin with the same ones."""
    count = each * len(SHAPES)
    labels = np.arange(count) % len(SHAPES)
    settings = np.zeros(count, SETTING)
    bodies = np.zeros((count, 1 + MOST_CLUTTER), BODY)
    pictures = np.zeros((count, side, side, 3), np.uint8)
    at_once = 200  # noise is eight times as large as the pictures
    for first in range(0, count, at_once):
        some = slice(first, min(first + at_once, count))
        noise = np.zeros((some.stop - first, side, side, 3), np.float32)
        for number in range(first, some.stop):
            chance = np.random.default_rng([seed, number])
            _arranged(settings[number], bodies[number], SOLIDS[labels[number]], chance)
            noise[number - first] = chance.normal(0, GRAIN, (side, side, 3))
        # records of numbers, as the loops read them
        draw(settings[some], bodies[some], noise, pictures[some])
    return pictures, labels


def _arranged(setting: np.void, bodies: np.ndarray, solid: int, chance: np.random.Generator) -> None:
    """The room into `setting`; the solid and what lies about it into `bodies`."""
    pitch = math.radians(chance.uniform(14, 42))
    distance = chance.uniform(4.6, 5.6)
    target = np.array([chance.uniform(-0.25, 0.25), 0.0, chance.uniform(0.5, 0.8)])
    ahead = np.array([0, math.cos(pitch), -math.sin(pitch)])
    roll = math.radians(chance.normal(0, 5))
    right = np.array([math.cos(roll), 0.0, math.sin(roll)])
    right -= (right @ ahead) * ahead
    right /= np.linalg.norm(right)
    setting["eye"] = target - distance * ahead
    setting["ahead"], setting["right"], setting["up"] = ahead, right, np.cross(right, ahead)
    setting["tangent"] = math.tan(math.radians(15.5))
    setting["wall"] = chance.uniform(1.8, 3.5)
    side, high = math.radians(chance.uniform(-75, 75)), math.radians(chance.uniform(35, 70))
    setting["lamp"] = (
        math.sin(side) * math.cos(high), -math.cos(side) * math.cos(high), math.sin(high)
    )  # fmt: skip
    exposure = chance.uniform(0.85, 1.7)
    setting["strength"], setting["fill"] = exposure * chance.uniform(0.7, 1.0), exposure * 0.4
    for plane in range(2):
        _painted(setting, plane, chance)
    _stood(bodies[0], solid, chance.uniform(0.85, 1.05), (0.0, 0.0), chance)
    for number in range(1, 1 + int(chance.integers(2, MOST_CLUTTER + 1))):
        far, way = chance.uniform(1.25, 2.0), chance.uniform(0, 2 * math.pi)
        place = (far * math.cos(way), 0.8 * far * math.sin(way))
        kind = (STICK, SLAB, PEBBLE)[chance.integers(3)]
        _stood(bodies[number], kind, chance.uniform(0.2, 0.45), place, chance)


def _painted(setting: np.void, plane: int, chance: np.random.Generator) -> None:
    """Floor (plane 0) or wall (1): quieter than the bodies, and never the same twice."""
    setting["paint"][plane] = (PLAIN, STRIPES, CHECKS, MARBLE, PATCHES)[chance.integers(5)]
    ink = _colour(chance, saturation=(0.05, 0.55), value=(0.25, 0.85))
    setting["ink"][plane] = ink
    towards = _colour(chance, saturation=(0.05, 0.5), value=(0.2, 0.85))
    setting["trim"][plane] = ink + chance.uniform(0.15, 0.5) * (towards - ink)
    setting["along"][plane] = _direction(chance)
    setting["often"][plane], setting["seed"][plane] = chance.uniform(0.7, 2.2), chance.uniform(0, 9)


def _stood(
    body: np.void, solid: int, size: float, place: tuple[float, float], chance: np.random.Generator
) -> None:
    """A solid turned by chance, painted, and set on the floor at `place`."""
    turn = _turned(solid, chance)
    body["solid"], body["turn"], body["size"] = solid, turn, size
    body["x"], body["y"] = place
    body["z"] = size * _lowest(solid, turn)
    body["paint"] = (PLAIN, PLAIN, STRIPES, CHECKS, DOTS, MARBLE, PATCHES)[chance.integers(7)]
    ink = _colour(chance, saturation=(0.35, 0.95), value=(0.5, 1.0))
    trim = _colour(chance, saturation=(0.0, 0.9), value=(0.1, 1.0))
    body["ink"], body["trim"] = ink, ink + chance.uniform(0.2, 0.9) * (trim - ink)
    body["along"] = _direction(chance)
    body["often"], body["seed"] = chance.uniform(1.6, 3.2), chance.uniform(0, 9)


def _turned(solid: int, chance: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Row by row the solid's axes: turned about the vertical, and tilted so that its form can still be
    seen."""
    about, tilt = chance.uniform(0, 2 * math.pi), math.radians(min(abs(chance.normal(0, 22)), 55))
    if solid in LYING:  # its flat side towards the camera, give or take half a right angle
        about = chance.normal(0, math.radians(28))
        upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        spin = chance.uniform(0, 2 * math.pi) if solid != HEART else chance.normal(0, math.radians(20))
        upright = _about(2, spin) @ upright
    elif solid in (CUBE, JACK, BALL, STICK, SLAB, PEBBLE):
        upright = np.eye(3)
    else:
        upright = np.eye(3) if chance.random() < 0.75 or solid == BOWL else _about(0, math.pi / 2)
    lean = chance.uniform(0, 2 * math.pi)
    leaning = _about(2, lean) @ _about(0, tilt) @ _about(2, -lean)
    return upright @ leaning @ _about(2, about)


def _about(axis: int, angle: float) -> Float[np.ndarray, "3 3"]:
    """A turn about an axis."""
    one, two = (axis + 1) % 3, (axis + 2) % 3
    turn = np.eye(3)
    turn[one, one] = turn[two, two] = math.cos(angle)
    turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
    return turn


def _lowest(solid: int, turn: Float[np.ndarray, "3 3"]) -> float:
    """How far below its middle a solid of size 1 reaches."""
    return float(-(_inside(solid) @ turn[:, 2]).min())


@cache
def _inside(solid: int) -> Float[np.ndarray, "points 3"]:
    """The places of a lattice that lie inside a solid of size 1, or at its surface."""
    axis = np.linspace(-1.1, 1.1, 45)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    found = np.zeros(len(places))
    distances(solid, places, found)
    return places[found <= 0.01]


def _colour(
    chance: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> Float[np.ndarray, "3"]:
    """A linear colour of any hue."""
    stored = colorsys.hsv_to_rgb(chance.random(), chance.uniform(*saturation), chance.uniform(*value))
    return np.array(stored) ** 2.2


def _direction(chance: np.random.Generator) -> Float[np.ndarray, "3"]:
    way = chance.normal(size=3)
    return way / np.linalg.norm(way)
