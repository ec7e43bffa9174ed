"""Rays through the drawn town, exactly: compiled loops over convex solids, and the paint on them.

    THING            one solid of the town as a record of numbers: a house, a ball, a post
    distances        where rays first meet the town, which thing it is, and which face of it
    colours          the linear light that comes back from there, in a given light
    obstructed       whether anything stands between two places

A house is the part of space between its four walls, its floor and the two slopes of its roof: it is convex,
so that a ray is inside from the last plane that it enters by to the first that it leaves by. The same holds
for posts and balls. Nothing is marched and nothing approximated, apart from rounding.

The street runs along x. Space is cut across x into cells, each of which lists the things that reach into it;
a ray goes through the cells one after the other and stops behind its first hit, so that a ray costs the same
in a town of any length.

Lengths in metres. `town.py` decides what stands where; see there for the frame.
"""

import math
from functools import partial

import numba
import numpy as np

from rayformer.kernels.compiled import compiled

THING = np.dtype(
    [
        ("kind", "i8"),  # HOUSE, BALL or POST
        ("x", "f8"),  # the middle of its base, as y and base
        ("y", "f8"),
        ("cos", "f8"),  # how it is turned about the vertical, as sin
        ("sin", "f8"),
        ("along", "f8"),  # half of its width along its front; the radius of a ball or a post
        ("across", "f8"),  # half of its depth
        ("base", "f8"),
        ("height", "f8"),  # of the walls
        ("rise", "f8"),  # of the roof above them; 0 makes a box
        ("gabled", "i8"),  # 1: the ridge runs across, so that a gable looks at the street
        ("paint", "i8"),
        ("ink", "f8", (3,)),  # linear colours in [0, 1]
        ("trim", "f8", (3,)),
        ("roof", "f8", (3,)),
        ("seed", "i8"),
    ]
)
HOUSE, BALL, POST = range(3)
STONE, BOARDS, PLASTER, TIMBER, LEAVES, PLAIN, VAN = range(7)
"""The paints. The first four are those of houses, with windows and a door."""
GROUND, SKY = -1, -2
"""Instead of the number of a thing."""
LEFT_END, RIGHT_END, FRONT, BACK, FLOOR, ROOF_BACK, ROOF_FRONT, ROUND, TOP = range(9)
"""The faces. The front looks along -v, to the street."""
CELL = 8.0
"""Metres of the street to a cell."""

BEND, BEND_LENGTH = 3.0, 150.0
"""The middle of the road swings so far to either side, and does so once in so many metres."""
ROAD, PAVEMENT = 4.2, 6.4
"""Half of the road's width, and how far from its middle the pavement ends, in metres."""
CLEAR = 1e-3
"""Metres from a surface at which shadow rays begin, and which a place may lie inside it and still be seen."""

_part = partial(compiled, parallel=False)


# ---------------------------------------------------------------------- where rays meet things


@_part
def _narrowed(o, d, low, high, enter, leave, face, low_face, high_face):
    """A stretch of a ray cut down to where `low <= o + t d <= high`, and the face it now enters by."""
    if abs(d) < 1e-12:
        if o < low or o > high:
            return math.inf, -math.inf, face
        return enter, leave, face
    first, last = (low - o) / d, (high - o) / d
    entered = low_face
    if first > last:
        first, last, entered = last, first, high_face
    if first > enter:
        enter, face = first, entered
    return enter, min(leave, last), face


@_part
def _through(thing, ox, oy, oz, dx, dy, dz):
    """Where a ray enters and leaves a thing, and by which face it enters; it misses where enter >= leave."""
    x, y = ox - thing.x, oy - thing.y
    ou, ov = thing.cos * x + thing.sin * y, thing.cos * y - thing.sin * x
    du, dv = thing.cos * dx + thing.sin * dy, thing.cos * dy - thing.sin * dx
    enter, leave, face = -math.inf, math.inf, ROUND
    top = thing.base + thing.height
    if thing.kind == HOUSE:
        enter, leave, face = _narrowed(
            ou, du, -thing.along, thing.along, enter, leave, face, LEFT_END, RIGHT_END
        )
        if enter >= leave:
            return enter, leave, face
        enter, leave, face = _narrowed(ov, dv, -thing.across, thing.across, enter, leave, face, FRONT, BACK)
        if enter >= leave:
            return enter, leave, face
        enter, leave, face = _narrowed(
            oz, dz, thing.base, top + thing.rise, enter, leave, face, FLOOR, ROOF_BACK
        )
        if thing.rise > 0 and enter < leave:
            # A slope is where height and way from the ridge, in roofs, add up to the ridge's height.
            ow, dw, half = (ou, du, thing.along) if thing.gabled == 1 else (ov, dv, thing.across)
            steep = thing.rise / half
            for side, slope in ((1.0, ROOF_BACK), (-1.0, ROOF_FRONT)):
                enter, leave, face = _narrowed(
                    oz + side * steep * ow, dz + side * steep * dw, -math.inf, top + thing.rise,
                    enter, leave, face, slope, slope,
                )  # fmt: skip
    elif thing.kind == BALL:
        oz -= thing.base + thing.along
        along = ou * du + ov * dv + oz * dz
        root = along * along - (ou * ou + ov * ov + oz * oz - thing.along * thing.along)
        if root <= 0:
            return math.inf, -math.inf, face
        enter, leave = -along - math.sqrt(root), -along + math.sqrt(root)
    else:
        square = du * du + dv * dv
        away = ou * ou + ov * ov - thing.along * thing.along
        along = ou * du + ov * dv
        root = along * along - square * away
        if root <= 0 and (square > 1e-12 or away > 0):
            return math.inf, -math.inf, face
        if square > 1e-12:
            enter, leave = (-along - math.sqrt(root)) / square, (-along + math.sqrt(root)) / square
        enter, leave, face = _narrowed(oz, dz, thing.base, top, enter, leave, face, FLOOR, TOP)
    return enter, leave, face


@_part
def _first(things, starts, members, bounds, ox, oy, oz, dx, dy, dz, limit, any_will_do):
    """The first thing that a ray meets before `limit`: distance, its number or SKY, and its face.

    `bounds` are the x at which the cells begin, then the least and the largest y and the largest z of all
    things: beyond these there is nothing to ask for.
    """
    which, face = SKY, ROUND
    if dz > 0:
        limit = min(limit, max((bounds[3] - oz) / dz, 0.0))
    if dy > 0:
        limit = min(limit, max((bounds[2] - oy) / dy, 0.0))
    elif dy < 0:
        limit = min(limit, max((bounds[1] - oy) / dy, 0.0))
    cells = len(starts) - 1
    cell = min(max(math.floor((ox - bounds[0]) / CELL), 0), cells - 1)
    step = 1 if dx > 0 else -1
    while 0 <= cell < cells:
        for place in range(starts[cell], starts[cell + 1]):
            enter, leave, side = _through(things[members[place]], ox, oy, oz, dx, dy, dz)
            enter = max(enter, 0.0)
            if enter < leave and enter < limit:
                limit, which, face = enter, members[place], side
                if any_will_do:
                    return limit, which, face
        edge = bounds[0] + (cell + (1 if step > 0 else 0)) * CELL
        # Whatever reaches back over this edge has been asked already.
        if abs(dx) < 1e-12 or (edge - ox) / dx >= limit:
            break
        cell += step
    return limit, which, face


@compiled
def distances(things, starts, members, bounds, dome, origins, directions, found, which, face):
    """Fill `found` (rays), `which` and `face`: the first thing, the ground at z = 0, or the dome of the sky,
    a sphere with the middle and radius of `dome`."""
    for ray in numba.prange(len(found)):
        ox, oy, oz = origins[ray, 0], origins[ray, 1], origins[ray, 2]
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        x, y, z = ox - dome[0], oy - dome[1], oz - dome[2]
        along = x * dx + y * dy + z * dz
        end = -along + math.sqrt(max(along * along - (x * x + y * y + z * z - dome[3] * dome[3]), 0.0))
        behind = SKY
        if dz < 0 and -oz / dz < end:
            end, behind = max(-oz / dz, 0.0), GROUND
        limit, first, side = _first(things, starts, members, bounds, ox, oy, oz, dx, dy, dz, end, False)
        found[ray], which[ray], face[ray] = (end, behind, ROUND) if first == SKY else (limit, first, side)


@compiled
def obstructed(things, starts, members, bounds, start, ends, blocked):
    """Fill `blocked` (points): whether anything, or the ground, stands between `start` and each of `ends`."""
    for point in numba.prange(len(blocked)):
        dx, dy, dz = ends[point, 0] - start[0], ends[point, 1] - start[1], ends[point, 2] - start[2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        blocked[point] = start[2] < -CLEAR or ends[point, 2] < -CLEAR
        if length <= 2 * CLEAR or blocked[point]:
            continue
        dx, dy, dz = dx / length, dy / length, dz / length
        x, y, z = start[0] + CLEAR * dx, start[1] + CLEAR * dy, start[2] + CLEAR * dz
        _, which, _ = _first(things, starts, members, bounds, x, y, z, dx, dy, dz, length - 2 * CLEAR, True)
        blocked[point] = which != SKY


# ---------------------------------------------------------------------- light


@compiled
def colours(things, starts, members, bounds, light, origins, directions, found, which, face, colour):
    """Fill `colour` (rays x 3): linear light, white balance included, that comes along each ray.

    `light` has the rows of `town.Light`: direction to the sun, its colour, zenith, horizon, white balance.
    """
    for ray in numba.prange(len(found)):
        dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
        x = origins[ray, 0] + found[ray] * dx
        y = origins[ray, 1] + found[ray] * dy
        z = origins[ray, 2] + found[ray] * dz
        if which[ray] == SKY:
            red, green, blue = _sky(light, dx, dy, dz)
        else:
            nx, ny, nz = 0.0, 0.0, 1.0
            if which[ray] == GROUND:
                red, green, blue = _ground_paint(x, y)
                open_sky = 1.0
            else:
                thing = things[which[ray]]
                nx, ny, nz = _normal(thing, face[ray], x, y, z)
                red, green, blue = _thing_paint(thing, face[ray], x, y, z)
                open_sky = 0.6 + 0.4 * min(z / 1.2, 1.0)  # the foot of a wall lies in a corner
            sun = nx * light[0, 0] + ny * light[0, 1] + nz * light[0, 2]
            if sun > 0:
                far = 1e4
                _, shade, _ = _first(
                    things, starts, members, bounds, x + CLEAR * nx, y + CLEAR * ny, z + CLEAR * nz,
                    light[0, 0], light[0, 1], light[0, 2], far, True,
                )  # fmt: skip
                sun = sun if shade == SKY else 0.0
            else:
                sun = 0.0
            up = 0.5 + 0.5 * nz
            red *= sun * light[1, 0] + open_sky * (up * light[2, 0] + (1 - up) * 0.5 * light[3, 0])
            green *= sun * light[1, 1] + open_sky * (up * light[2, 1] + (1 - up) * 0.5 * light[3, 1])
            blue *= sun * light[1, 2] + open_sky * (up * light[2, 2] + (1 - up) * 0.5 * light[3, 2])
        colour[ray, 0] = red * light[4, 0]
        colour[ray, 1] = green * light[4, 1]
        colour[ray, 2] = blue * light[4, 2]


@_part
def _normal(thing, face, x, y, z):
    """The unit normal of a face, outwards."""
    u, v, w = 0.0, 0.0, 0.0
    if face == ROUND:
        x, y = (x - thing.x) / thing.along, (y - thing.y) / thing.along
        if thing.kind == BALL:
            return x, y, (z - thing.base - thing.along) / thing.along
        return x, y, 0.0
    if face in (LEFT_END, RIGHT_END):
        u = -1.0 if face == LEFT_END else 1.0
    elif face in (FRONT, BACK):
        v = -1.0 if face == FRONT else 1.0
    elif face == FLOOR:
        w = -1.0
    elif face == TOP or thing.rise == 0:
        w = 1.0
    else:
        steep = thing.rise / (thing.along if thing.gabled == 1 else thing.across)
        length = math.sqrt(1 + steep * steep)
        side = steep / length * (1.0 if face == ROOF_BACK else -1.0)
        w = 1 / length
        if thing.gabled == 1:
            u = side
        else:
            v = side
    return thing.cos * u - thing.sin * v, thing.sin * u + thing.cos * v, w


@_part
def _sky(light, dx, dy, dz):
    """Light from the dome: hills along the horizon, haze above them, clouds in the blue."""
    level = math.sqrt(dx * dx + dy * dy)
    around = math.atan2(dy, dx)
    height = dz / max(level, 1e-9)
    hills = 0.10 + 0.035 * math.sin(3 * around + 1) + 0.025 * math.sin(7 * around + 2)
    hills += 0.008 * math.sin(31 * around)
    glow = max(dx * light[0, 0] + dy * light[0, 1] + dz * light[0, 2], 0.0) ** 12
    if height < hills:
        wood = 0.7 + 0.6 * _cloud(30 * dx, 30 * dy + 60 * height, 5)
        haze = 0.35 + 0.3 * height / hills
        return (
            haze * light[3, 0] * 0.6 + 0.05 * wood * (light[1, 0] + light[2, 0]),
            haze * light[3, 1] * 0.6 + 0.09 * wood * (light[1, 1] + light[2, 1]),
            haze * light[3, 2] * 0.6 + 0.05 * wood * (light[1, 2] + light[2, 2]),
        )
    blue = min((height - hills) / 0.9, 1.0)
    x, y = dx / (0.3 + dz), dy / (0.3 + dz)  # clouds lie in a plane, and crowd towards the horizon
    cloud = _cloud(2 * x, 2 * y, 11) * 0.6 + _cloud(5 * x, 5 * y, 12) * 0.4
    cloud = min(max((cloud - 0.52) * 4, 0.0), 1.0) * 0.55
    red = light[3, 0] + blue * (light[2, 0] - light[3, 0])
    green = light[3, 1] + blue * (light[2, 1] - light[3, 1])
    sky = light[3, 2] + blue * (light[2, 2] - light[3, 2])
    return (
        red + cloud * (0.75 * light[1, 0] + 0.1 - red) + 0.25 * glow * light[1, 0],
        green + cloud * (0.75 * light[1, 1] + 0.1 - green) + 0.25 * glow * light[1, 1],
        sky + cloud * (0.75 * light[1, 2] + 0.1 - sky) + 0.25 * glow * light[1, 2],
    )


# ---------------------------------------------------------------------- paint


@_part
def _dice(i, j, seed):
    """A number in [0, 1] for every cell (i, j): always the same one, and no pattern to be seen."""
    mixed = (i * 374761393 + j * 668265263 + seed * 1274126177) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65535.0


@_part
def _cloud(x, y, seed):
    """Smooth noise in [0, 1] with about one hill to a unit."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = _dice(i, j, seed) * (1 - u) + _dice(i + 1, j, seed) * u
    high = _dice(i, j + 1, seed) * (1 - u) + _dice(i + 1, j + 1, seed) * u
    return low * (1 - v) + high * v


@_part
def road_offset(x):
    """How far the middle of the road lies to the left of the x axis, and how fast that changes."""
    turn = 2 * math.pi * x / BEND_LENGTH
    return BEND * math.sin(turn), BEND * 2 * math.pi / BEND_LENGTH * math.cos(turn)


@_part
def _ground_paint(x, y):
    """Asphalt with white lines and crossings, a kerb, a pavement of slabs, grass behind it."""
    middle, slope = road_offset(x)
    beside = (y - middle) / math.sqrt(1 + slope * slope)
    away = abs(beside)
    if away < ROAD:
        line = (away < 0.12 and x % 6 < 3) or 3.85 < away < 4.0
        zebra = x % 40 > 36.5 and away < 3.6 and (beside + 20) % 1.2 < 0.6
        if line or zebra:
            return 0.72, 0.72, 0.68
        tone = 0.75 + 0.3 * _cloud(1.3 * x, 1.3 * y, 3) + 0.3 * _cloud(0.23 * x, 0.4 * y, 4)
        return 0.13 * tone, 0.13 * tone, 0.14 * tone
    if away < ROAD + 0.25:
        return 0.52, 0.51, 0.48
    if away < PAVEMENT:
        i, j = math.floor(x / 1.1), math.floor(beside / 1.05)
        if x % 1.1 < 0.08 or beside % 1.05 < 0.08:
            return 0.20, 0.19, 0.18
        tone = 0.26 + 0.16 * _dice(i, j, 7)
        return tone * 1.03, tone, tone * 0.92
    tone = 0.5 + 0.5 * _cloud(0.9 * x, 0.9 * y, 9) + 0.4 * _cloud(0.12 * x, 0.12 * y, 10)
    dry = _cloud(0.2 * x, 0.2 * y, 8)
    return tone * (0.10 + 0.10 * dry), tone * 0.23, tone * 0.055


@_part
def _thing_paint(thing, face, x, y, z):
    """The linear colour of diffuse light of a place on a thing."""
    x, y = x - thing.x, y - thing.y
    u, v = thing.cos * x + thing.sin * y, thing.cos * y - thing.sin * x
    up = z - thing.base
    tone = 1.0
    if thing.paint == LEAVES:
        tone = 0.45 + 1.1 * _cloud(2.6 * u + 2 * z, 2.6 * v - 1.6 * z, thing.seed)
    elif thing.paint == VAN:
        if face in (FRONT, BACK, LEFT_END, RIGHT_END):
            if up < 0.35:
                return 0.03, 0.03, 0.03
            if 1.05 < up < 1.6 and abs(u) < 0.88 * thing.along:
                return 0.05, 0.07, 0.09
            if 0.6 < up < 0.8:
                return thing.trim[0], thing.trim[1], thing.trim[2]
    elif thing.paint < LEAVES:
        if face in (ROOF_BACK, ROOF_FRONT):
            fall, level = (u, v) if thing.gabled == 1 else (v, u)
            row = math.floor(fall / 0.45)
            tile = math.floor(level / 0.7 + 0.5 * (row % 2))
            tone = 0.65 + 0.6 * _dice(row, tile, thing.seed)
            if fall % 0.45 < 0.07:
                tone *= 0.5
            return tone * thing.roof[0], tone * thing.roof[1], tone * thing.roof[2]
        if face in (FRONT, BACK):
            return _wall_paint(thing, u, up, thing.along, face == FRONT)
        return _wall_paint(thing, v, up, thing.across, False)
    return tone * thing.ink[0], tone * thing.ink[1], tone * thing.ink[2]


@_part
def _wall_paint(thing, across, up, half, is_front):
    """A wall `2 half` wide: its material, and in it windows on every storey and a door to the street."""
    storeys = max(1, int(thing.height / 2.7 + 0.5))
    storey = thing.height / storeys
    bays = max(1, int(2 * half / 2.1))
    bay = 2 * half / bays
    number = math.floor((across + half) / bay)
    floor = math.floor(up / storey)
    a, b = (across + half) % bay - bay / 2, up % storey - 0.55 * storey
    if up < thing.height:
        if is_front and floor == 0 and number == thing.seed % bays:
            if abs(a) < 0.75 and up < 2.35:
                if abs(a) > 0.55 or up > 2.15:
                    return 0.74, 0.73, 0.68
                if abs(a) < 0.3 and 1.3 < up < 1.9:
                    return 0.08, 0.11, 0.14
                return thing.roof[1] * 0.6, thing.trim[1] * 0.5, thing.trim[0] * 0.7
        elif abs(a) < 0.68 and abs(b) < 0.8:
            if abs(a) > 0.54 or abs(b) > 0.66 or abs(a) < 0.06 or abs(b - 0.15) < 0.05:
                return 0.78, 0.77, 0.72
            if b < -0.2 and _dice(number, floor, thing.seed + 1) < 0.4:  # a curtain, drawn half
                return 0.45 * thing.trim[0], 0.45 * thing.trim[1], 0.45 * thing.trim[2]
            glass = 0.6 + 0.6 * (b + 0.66)
            return 0.055 * glass, 0.085 * glass, 0.12 * glass
        elif abs(a) < 0.98 and abs(b) < 0.8 and thing.seed % 3 == 0:  # shutters
            stripe = 0.7 + 0.3 * (1.0 if (b + 2) % 0.3 < 0.18 else 0.0)
            return stripe * thing.trim[0], stripe * thing.trim[1], stripe * thing.trim[2]
    tone = 1.0
    if thing.paint == STONE:
        row = math.floor(up / 0.38)
        along = across + 0.4 * (row % 2)
        if up % 0.38 < 0.06 or along % 0.8 < 0.07:
            return 0.62, 0.60, 0.54
        tone = 0.6 + 0.7 * _dice(row, math.floor(along / 0.8), thing.seed)
    elif thing.paint == BOARDS:
        tone = 0.55 if up % 0.42 < 0.08 else 0.85 + 0.3 * _dice(math.floor(up / 0.42), 0, thing.seed)
    elif thing.paint == PLASTER:
        if up < 0.6 or abs(up % storey - 0.02) < 0.16 or half - abs(across) < 0.28:
            return thing.trim[0], thing.trim[1], thing.trim[2]
        tone = 0.85 + 0.3 * _cloud(1.7 * across + 30, 1.7 * up, thing.seed)
    else:
        beam = half - abs(across) < 0.2 or (across + half + 0.1) % bay < 0.2 or (up + 0.1) % storey < 0.22
        lean = abs((across + half) % bay - (up % storey) * bay / storey)
        beam = beam or (lean < 0.14 and (number + floor + thing.seed) % 2 == 0)
        if beam:
            return 0.10, 0.06, 0.04
        tone = 0.9 + 0.2 * _cloud(2 * across + 30, 2 * up, thing.seed)
    return tone * thing.ink[0], tone * thing.ink[1], tone * thing.ink[2]
