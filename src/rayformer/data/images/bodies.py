"""Bodies on a floor before a wall, seen by a camera: compiled loops over distances.

    BODY         one body as a record of numbers: which solid, where, how it is turned, how it is painted
    SETTING      what surrounds the bodies of one picture: floor, wall, light, camera
    distance     from a place to one solid of about unit size, or a little less than that
    draw         many pictures, one after the other, as bytes

A ray steps forward by the distance to the nearest body, which can never lead through one; where `distance`
gives too little, the ray only takes more steps. Floor and wall are planes and are met exactly. Every surface
scatters light evenly; what a body hides from the lamp is dark, the darker the more of the lamp is hidden.

Paint is a function of space in a body's own frame, as if it were carved from one block. Colours are linear
until they leave, and bytes are sRGB. `still_shapes` decides what stands where.

Frame: z up, the floor is z = 0, the wall is y = wall; the camera looks along +y and down.
"""

import math
from functools import partial

import numba
import numpy as np

from rayformer.kernels.compiled import compiled

BODY = np.dtype(
    [
        ("solid", "i8"),
        ("x", "f8"),  # its middle, as y and z
        ("y", "f8"),
        ("z", "f8"),
        ("turn", "f8", (3, 3)),  # row by row its own axes in the room's frame
        ("size", "f8"),  # by which the solid is scaled; 0 ends the list of bodies
        ("paint", "i8"),
        ("ink", "f8", (3,)),
        ("trim", "f8", (3,)),
        ("along", "f8", (3,)),  # the direction in which stripes change
        ("often", "f8"),  # stripes or dots to a unit of length
        ("seed", "f8"),
    ]
)
SETTING = np.dtype(
    [
        ("eye", "f8", (3,)),
        ("right", "f8", (3,)),
        ("up", "f8", (3,)),
        ("ahead", "f8", (3,)),
        ("tangent", "f8"),  # of half the angle of view
        ("wall", "f8"),
        ("lamp", "f8", (3,)),  # the direction towards it
        ("strength", "f8"),  # of the lamp
        ("fill", "f8"),  # of the light that comes from everywhere
        ("paint", "i8", (2,)),  # of floor and wall
        ("ink", "f8", (2, 3)),
        ("trim", "f8", (2, 3)),
        ("along", "f8", (2, 3)),
        ("often", "f8", (2,)),
        ("seed", "f8", (2,)),
    ]
)
BALL, BOWL, CAN, CONE, CUBE, HEART, JACK, PYRAMID, RING, STAR, STICK, SLAB, PEBBLE = range(13)
"""The solids. The first ten are the classes of the drawn data set, the others lie about."""
PLAIN, STRIPES, CHECKS, DOTS, MARBLE, PATCHES = range(6)
"""The paints."""
REACH = 1.1
"""No solid of size 1 reaches farther from its middle."""
NOTHING, FLOOR, WALL = -1, -2, -3
"""Instead of the number of a body."""
STEPS, NEAR_ENOUGH = 64, 2e-3
SHARPNESS = 14.0
"""One over the lamp's width as seen from the bodies."""
RAYS = 2
"""Along each side of a pixel."""

_part = partial(compiled, parallel=False)


@_part
def _box(x, y, z, a, b, c):
    """To a box with half sides a, b, c."""
    x, y, z = abs(x) - a, abs(y) - b, abs(z) - c
    outside = math.sqrt(max(x, 0.0) ** 2 + max(y, 0.0) ** 2 + max(z, 0.0) ** 2)
    return outside + min(max(x, y, z), 0.0)


@_part
def _rod(x, y, z, half, radius):
    """To a rod with round ends along z."""
    z = max(abs(z) - half, 0.0)
    return math.sqrt(x * x + y * y + z * z) - radius


@_part
def distance(solid, x, y, z):
    """From a place to the surface of a solid of size 1, negative inside; never more than that."""
    if solid == BALL:
        return math.sqrt(x * x + y * y + z * z) - 0.85
    if solid == BOWL:  # the lower half of a thick shell
        return max(abs(math.sqrt(x * x + y * y + (z - 0.3) ** 2) - 0.82) - 0.07, z - 0.3)
    if solid == CAN:
        return max(math.hypot(x, y) - 0.55, abs(z) - 0.75)
    if solid == CONE:  # its side falls by 1.6 where it moves out by 0.75
        away = math.hypot(x, y)
        return max((1.6 * away + 0.75 * (z - 0.85)) / math.hypot(1.6, 0.75), -z - 0.75)
    if solid == CUBE:
        return _box(x, y, z, 0.56, 0.56, 0.56) - 0.04
    if solid == HEART:  # a square on its corner, and half a disc on each of its upper sides
        u, v = abs(x), y - 0.1
        square = max(abs(u + v + 0.1), abs(u - v - 0.1)) / math.sqrt(2.0) - 0.5
        disc = math.hypot(u - 0.3536, v - 0.2536) - 0.5
        return max(min(square, disc), abs(z) - 0.26)
    if solid == JACK:
        one, two = _rod(x, y, z, 0.72, 0.22), _rod(y, z, x, 0.72, 0.22)
        return min(one, two, _rod(z, x, y, 0.72, 0.22))
    if solid == PYRAMID:  # on a square
        side = max(abs(x), abs(y))
        return max((1.4 * side + 0.72 * (z - 0.8)) / math.hypot(1.4, 0.72), -z - 0.6)
    if solid == RING:
        return math.hypot(math.hypot(x, y) - 0.68, z) - 0.25
    if solid == STAR:  # five points: folded into half of one of them, it has a single edge
        angle = math.pi / 5
        turn = math.atan2(x, y) / (2 * angle)
        turn = abs(turn - math.floor(turn + 0.5)) * 2 * angle
        away = math.hypot(x, y)
        u, v = away * math.sin(turn), away * math.cos(turn)
        # from the tip (0, 1) to the notch, 0.45 away from the middle in the direction `angle`
        du, dv = 0.45 * math.sin(angle), 0.45 * math.cos(angle) - 1.0
        flat = (-dv * u + du * (v - 1.0)) / math.hypot(du, dv)
        return max(flat, abs(z) - 0.25)
    if solid == STICK:
        return _rod(x, y, z, 0.9, 0.13)
    if solid == SLAB:
        return _box(x, y, z, 0.8, 0.4, 0.12) - 0.02
    return (math.sqrt((x / 0.9) ** 2 + (y / 0.6) ** 2 + (z / 0.38) ** 2) - 1.0) * 0.38


@_part
def _own(body, x, y, z):
    """A place of the room in the frame and the size of a body."""
    x, y, z = x - body.x, y - body.y, z - body.z
    turn, size = body.turn, body.size
    return (
        (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z) / size,
        (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z) / size,
        (turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z) / size,
    )


@_part
def _nearest(bodies, x, y, z):
    """How far the nearest body is, and which it is."""
    least, which = 1e9, NOTHING
    for number in range(len(bodies)):
        body = bodies[number]
        if body.size <= 0:
            break
        square = (x - body.x) ** 2 + (y - body.y) ** 2 + (z - body.z) ** 2
        reach = REACH * body.size
        # A body at arm's length is as far away as the ball around it, at least.
        if square > (2 * reach) ** 2:
            away = math.sqrt(square) - reach
        else:
            u, v, w = _own(body, x, y, z)
            away = distance(body.solid, u, v, w) * body.size
        if away < least:
            least, which = away, number
    return least, which


@_part
def _stretch(bodies, ox, oy, oz, dx, dy, dz, room):
    """The stretch of a ray outside which no body comes nearer than `room`; most rays have none."""
    first, last = 1e9, 0.0
    for number in range(len(bodies)):
        body = bodies[number]
        if body.size <= 0:
            break
        x, y, z = body.x - ox, body.y - oy, body.z - oz
        along = x * dx + y * dy + z * dz
        radius = REACH * body.size + room
        root = along * along - (x * x + y * y + z * z) + radius * radius
        if root > 0 and along + math.sqrt(root) > 0:
            first = min(first, max(along - math.sqrt(root), 0.0))
            last = max(last, along + math.sqrt(root))
    return first, last


@_part
def _met(bodies, ox, oy, oz, dx, dy, dz, limit):
    """How far along a ray the first body stands, before `limit`, and which it is."""
    far, last = _stretch(bodies, ox, oy, oz, dx, dy, dz, 0.0)
    last = min(last, limit)
    for _ in range(STEPS):
        if far > last:
            break
        away, which = _nearest(bodies, ox + far * dx, oy + far * dy, oz + far * dz)
        if away < NEAR_ENOUGH:
            return far, which
        far += away
    return limit, NOTHING


@_part
def _lit(bodies, x, y, z, lamp, limit):
    """The share of the lamp that a place sees, from 0 to 1."""
    far, last = _stretch(bodies, x, y, z, lamp[0], lamp[1], lamp[2], 2 / SHARPNESS)
    far, share = max(far, 0.02), 1.0
    for _ in range(STEPS // 2):
        if far > min(last, limit):
            break
        away, _ = _nearest(bodies, x + far * lamp[0], y + far * lamp[1], z + far * lamp[2])
        share = min(share, 0.5 + 0.5 * SHARPNESS * away / far)
        if share <= 0:
            return 0.0
        far += max(away, 0.03)
    return share * share * (3 - 2 * share)


@_part
def _chance(i, j, k, seed):
    """A number in [0, 1) that looks drawn, of whole ones: sums of large odd multiples, stirred."""
    value = i * 374761393 + j * 668265263 + k * 2147483629 + seed * 1442695041
    value = (value ^ (value >> 13)) * 1274126177
    value = (value ^ (value >> 15)) * 961748927
    return ((value >> 9) & 0xFFFFF) / 1048576.0


@_part
def _noise(x, y, z, seed):
    """Numbers at the corners of unit cells, and smoothly between them; in [0, 1)."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    number = int(seed * 1000)
    u, v, w = x - i, y - j, z - k
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    total = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                share = (u if a else 1 - u) * (v if b else 1 - v) * (w if c else 1 - w)
                total += share * _chance(i + a, j + b, k + c, number)
    return total


@_part
def _blend(paint, x, y, z, along, often, seed):
    """How much of the trim there is in the paint of a place, from 0 to 1."""
    if paint == PLAIN:
        return 0.0
    way = (along[0] * x + along[1] * y + along[2] * z) * often
    if paint == STRIPES:
        return 1.0 if math.sin(2 * math.pi * way + seed) > 0 else 0.0
    if paint == CHECKS:
        # the floor must not lie where two layers of dice meet, or rounding would decide between them
        odd = math.floor(x * often + seed) + math.floor(y * often + 0.3) + math.floor(z * often + 0.5)
        return 1.0 if odd % 2 != 0 else 0.0
    if paint == DOTS:
        u, v, w = x * often + seed, y * often, z * often
        u, v, w = u - math.floor(u) - 0.5, v - math.floor(v) - 0.5, w - math.floor(w) - 0.5
        return 1.0 if u * u + v * v + w * w < 0.16 else 0.0
    rough = _noise(x * often, y * often, z * often, seed)
    rough += 0.5 * _noise(2 * x * often, 2 * y * often, 2 * z * often, seed + 1)
    rough += 0.25 * _noise(4 * x * often, 4 * y * often, 4 * z * often, seed + 2)
    if paint == MARBLE:
        return 0.5 + 0.5 * math.sin(2 * math.pi * (0.5 * way + 1.6 * rough))
    return min(max((rough - 0.8) * 8, 0.0), 1.0)


@_part
def _seen(setting, bodies, u, v, light):
    """The linear light, into `light`, from the direction (u, v), which is in [-1, 1] to the right and up."""
    dx = setting.ahead[0] + setting.tangent * (u * setting.right[0] + v * setting.up[0])
    dy = setting.ahead[1] + setting.tangent * (u * setting.right[1] + v * setting.up[1])
    dz = setting.ahead[2] + setting.tangent * (u * setting.right[2] + v * setting.up[2])
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / length, dy / length, dz / length
    ox, oy, oz = setting.eye[0], setting.eye[1], setting.eye[2]
    limit, which = 1e6, NOTHING
    if dz < 0:
        limit, which = -oz / dz, FLOOR
    if dy > 0 and (setting.wall - oy) / dy < limit:
        limit, which = (setting.wall - oy) / dy, WALL
    far, body = _met(bodies, ox, oy, oz, dx, dy, dz, limit)
    x, y, z = ox + far * dx, oy + far * dy, oz + far * dz
    nx, ny, nz = 0.0, 0.0, 1.0
    if body != NOTHING:
        thing = bodies[body]
        p, q, r = _own(thing, x, y, z)
        # the direction in which the distance grows
        step = 2e-3
        a = distance(thing.solid, p + step, q, r) - distance(thing.solid, p - step, q, r)
        b = distance(thing.solid, p, q + step, r) - distance(thing.solid, p, q - step, r)
        c = distance(thing.solid, p, q, r + step) - distance(thing.solid, p, q, r - step)
        length = math.sqrt(a * a + b * b + c * c) + 1e-12
        a, b, c = a / length, b / length, c / length
        turn = thing.turn
        nx = turn[0, 0] * a + turn[1, 0] * b + turn[2, 0] * c
        ny = turn[0, 1] * a + turn[1, 1] * b + turn[2, 1] * c
        nz = turn[0, 2] * a + turn[1, 2] * b + turn[2, 2] * c
        blend = _blend(thing.paint, p, q, r, thing.along, thing.often, thing.seed)
        for channel in range(3):
            light[channel] = (1 - blend) * thing.ink[channel] + blend * thing.trim[channel]
    else:
        plane = 0
        if which == WALL:
            plane, nx, ny, nz = 1, 0.0, -1.0, 0.0
        blend = _blend(
            setting.paint[plane], x, y, z, setting.along[plane], setting.often[plane], setting.seed[plane]
        )
        for channel in range(3):
            light[channel] = (1 - blend) * setting.ink[plane, channel] + blend * setting.trim[plane, channel]
    lamp = setting.lamp
    facing = max(nx * lamp[0] + ny * lamp[1] + nz * lamp[2], 0.0)
    if facing > 0:
        clear = 3 * NEAR_ENOUGH
        facing *= _lit(bodies, x + clear * nx, y + clear * ny, z + clear * nz, lamp, 4.0)
    # Light from everywhere is less where bodies are near, and where a surface looks at the floor.
    near, _ = _nearest(bodies, x + 0.25 * nx, y + 0.25 * ny, z + 0.25 * nz)
    open_share = min(max(near / 0.25, 0.0), 1.0)
    amount = setting.strength * facing + setting.fill * (0.4 + 0.6 * open_share) * (0.75 + 0.25 * nz)
    for channel in range(3):
        light[channel] *= amount


@compiled
def draw(settings, bodies, noise, pictures):
    """Pictures of `settings` and `bodies` (both one row per picture) into `pictures`, bytes of shape batch
    height width 3. `noise`, of that shape, is added to what the camera stores, in shares of white."""
    height, width = pictures.shape[1:3]
    for number in numba.prange(len(pictures)):
        light = np.zeros(3)
        total = np.zeros(3)
        for row in range(height):
            for column in range(width):
                total[:] = 0
                for part in range(RAYS * RAYS):
                    u = 2 * (column + (part % RAYS + 0.5) / RAYS) / width - 1
                    v = 1 - 2 * (row + (part // RAYS + 0.5) / RAYS) / height
                    _seen(settings[number], bodies[number], u, v, light)
                    total += light
                for channel in range(3):
                    value = total[channel] / (RAYS * RAYS)
                    value = min(value, 1.0)
                    value = 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
                    value += noise[number, row, column, channel]
                    pictures[number, row, column, channel] = np.uint8(min(max(value, 0.0), 1.0) * 255 + 0.5)


@compiled
def distances(solid, places, out):
    """`distance` of many places of shape points 3."""
    for row in numba.prange(len(places)):
        out[row] = distance(solid, places[row, 0], places[row, 1], places[row, 2])
