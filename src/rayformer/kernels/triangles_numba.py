"""Questions to a tree of triangles as compiled loops for processors. What they compute stands in `triangles`.

Every point walks down the tree by itself, with a stack of nodes still to open. The nearer child is opened
first, so that the other one can mostly be left shut.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np

from rayformer.kernels.compiled import compiled, inlined
from rayformer.kernels.triangles import Tree

RUN = 256
"""Points that a thread takes at a time."""
DEEP = 64
"""Nodes that may wait to be opened: one per level of the deepest tree there can be."""


@inlined
def _gap(low, high, node, x, y, z):
    """The square of the distance from a place to a node's box."""
    dx = max(low[node, 0] - x, x - high[node, 0], 0.0)
    dy = max(low[node, 1] - y, y - high[node, 1], 0.0)
    dz = max(low[node, 2] - z, z - high[node, 2], 0.0)
    return dx * dx + dy * dy + dz * dz


@inlined
def _share(along, whole):
    return min(max(along / whole, 0.0), 1.0) if whole > 0 else 0.0


def _foot(corners, face, x, y, z):
    """The place on a triangle that is nearest to (x, y, z), as shares of its edges from the first corner.

    With d the way from the first corner, the squared distance is a parabola in the two shares. Where its
    least value lies outside of the triangle, the nearest place lies on an edge.
    """
    ax, ay, az = corners[face, 0, 0], corners[face, 0, 1], corners[face, 0, 2]
    ux, uy, uz = corners[face, 1, 0] - ax, corners[face, 1, 1] - ay, corners[face, 1, 2] - az
    vx, vy, vz = corners[face, 2, 0] - ax, corners[face, 2, 1] - ay, corners[face, 2, 2] - az
    dx, dy, dz = x - ax, y - ay, z - az
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    ud, vd = ux * dx + uy * dy + uz * dz, vx * dx + vy * dy + vz * dz
    area = uu * vv - uv * uv
    s, t = vv * ud - uv * vd, uu * vd - uv * ud
    if area > 1e-14 * uu * vv and s >= 0 and t >= 0 and s + t <= area:
        return s / area, t / area
    best_s, best_t = _share(ud, uu), 0.0
    best = best_s * (best_s * uu - 2 * ud)
    other = _share(vd, vv)
    gap = other * (other * vv - 2 * vd)
    if gap < best:
        best, best_s, best_t = gap, 0.0, other
    # The third edge, from the second corner to the third.
    other = _share(vd - ud + uu - uv, uu - 2 * uv + vv)
    s, t = 1 - other, other
    if s * s * uu + 2 * s * t * uv + t * t * vv - 2 * (s * ud + t * vd) < best:
        best_s, best_t = s, t
    return best_s, best_t


_foot_on = inlined(_foot)


@cache
def _loops() -> Any:
    def nearest(points, within, corners, bounds, low, high, distance, face, place):
        leaves = len(bounds) - 1
        count = len(points)
        for run in numba.prange((count + RUN - 1) // RUN):
            stack = np.empty(DEEP, np.int64)
            waits = np.empty(DEEP, np.float64)
            for i in range(run * RUN, min(run * RUN + RUN, count)):
                x, y, z = points[i, 0], points[i, 1], points[i, 2]
                found = -1
                best = within[i] * within[i] * (1 + 1e-9)
                px, py, pz = x, y, z
                for again in range(2):
                    if again == 1:
                        if found >= 0:
                            break
                        best = np.inf
                    stack[0], waits[0], waiting = 0, 0.0, 1
                    while waiting > 0:
                        waiting -= 1
                        if waits[waiting] > best:
                            continue
                        node = stack[waiting]
                        if node >= leaves - 1:
                            leaf = node - (leaves - 1)
                            for k in range(bounds[leaf], bounds[leaf + 1]):
                                s, t = _foot_on(corners, k, x, y, z)
                                r = 1 - s - t
                                qx = r * corners[k, 0, 0] + s * corners[k, 1, 0] + t * corners[k, 2, 0]
                                qy = r * corners[k, 0, 1] + s * corners[k, 1, 1] + t * corners[k, 2, 1]
                                qz = r * corners[k, 0, 2] + s * corners[k, 1, 2] + t * corners[k, 2, 2]
                                gap = (x - qx) ** 2 + (y - qy) ** 2 + (z - qz) ** 2
                                if gap < best or (found < 0 and gap <= best):
                                    best, found, px, py, pz = gap, k, qx, qy, qz
                            continue
                        one, two = 2 * node + 1, 2 * node + 2
                        to_one, to_two = _gap(low, high, one, x, y, z), _gap(low, high, two, x, y, z)
                        if to_one > to_two:
                            one, two, to_one, to_two = two, one, to_two, to_one
                        if to_two <= best:
                            stack[waiting], waits[waiting] = two, to_two
                            waiting += 1
                        if to_one <= best:
                            stack[waiting], waits[waiting] = one, to_one
                            waiting += 1
                distance[i], face[i] = math.sqrt(best), found
                place[i, 0], place[i, 1], place[i, 2] = px, py, pz

    def winding(points, far, corners, bounds, centre, reach, dipole, total):
        leaves = len(bounds) - 1
        count = len(points)
        for run in numba.prange((count + RUN - 1) // RUN):
            stack = np.empty(DEEP, np.int64)
            for i in range(run * RUN, min(run * RUN + RUN, count)):
                x, y, z = points[i, 0], points[i, 1], points[i, 2]
                angle = 0.0
                stack[0], waiting = 0, 1
                while waiting > 0:
                    waiting -= 1
                    node = stack[waiting]
                    dx, dy, dz = centre[node, 0] - x, centre[node, 1] - y, centre[node, 2] - z
                    square = dx * dx + dy * dy + dz * dz
                    if square > (far * reach[node]) ** 2:
                        flow = dx * dipole[node, 0] + dy * dipole[node, 1] + dz * dipole[node, 2]
                        angle += flow / (square * math.sqrt(square))
                    elif node < leaves - 1:
                        stack[waiting], stack[waiting + 1] = 2 * node + 1, 2 * node + 2
                        waiting += 2
                    else:
                        leaf = node - (leaves - 1)
                        for k in range(bounds[leaf], bounds[leaf + 1]):
                            ax, ay, az = corners[k, 0, 0] - x, corners[k, 0, 1] - y, corners[k, 0, 2] - z
                            bx, by, bz = corners[k, 1, 0] - x, corners[k, 1, 1] - y, corners[k, 1, 2] - z
                            cx, cy, cz = corners[k, 2, 0] - x, corners[k, 2, 1] - y, corners[k, 2, 2] - z
                            a = math.sqrt(ax * ax + ay * ay + az * az)
                            b = math.sqrt(bx * bx + by * by + bz * bz)
                            c = math.sqrt(cx * cx + cy * cy + cz * cz)
                            above = (
                                ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
                            )
                            below = (
                                a * b * c
                                + (ax * bx + ay * by + az * bz) * c
                                + (bx * cx + by * cy + bz * cz) * a
                                + (cx * ax + cy * ay + cz * az) * b
                            )
                            angle += 2 * math.atan2(above, below)
                total[i] = angle / (4 * math.pi)

    def crossings(begins, ends, corners, bounds, low, high, counts):
        """For each edge, the triangles that it passes through: both ends on different sides of the plane, and
        all three corners on one side of the line."""
        leaves = len(bounds) - 1
        for i in numba.prange(len(begins)):
            stack = np.empty(DEEP, np.int64)
            p, q = begins[i], ends[i]
            stack[0], waiting = 0, 1
            while waiting > 0:
                waiting -= 1
                node = stack[waiting]
                apart = False
                for axis in range(3):
                    apart = apart or min(p[axis], q[axis]) > high[node, axis]
                    apart = apart or max(p[axis], q[axis]) < low[node, axis]
                if apart:
                    continue
                if node < leaves - 1:
                    stack[waiting], stack[waiting + 1] = 2 * node + 1, 2 * node + 2
                    waiting += 2
                    continue
                leaf = node - (leaves - 1)
                for k in range(bounds[leaf], bounds[leaf + 1]):
                    shared = False
                    for corner in range(3):
                        at_p = at_q = True
                        for axis in range(3):
                            at_p = at_p and corners[k, corner, axis] == p[axis]
                            at_q = at_q and corners[k, corner, axis] == q[axis]
                        shared = shared or at_p or at_q
                    if shared:
                        continue
                    a, b, c = corners[k, 0], corners[k, 1], corners[k, 2]
                    of_p, of_q = _volume(a, b, c, p), _volume(a, b, c, q)
                    if of_p * of_q >= 0:
                        continue
                    one, two, three = _volume(p, q, a, b), _volume(p, q, b, c), _volume(p, q, c, a)
                    # A sliver of the volumes at hand is rounding, and a touch no crossing.
                    sliver = 1e-9 * (abs(one) + abs(two) + abs(three))
                    if (one > sliver and two > sliver and three > sliver) or (
                        one < -sliver and two < -sliver and three < -sliver
                    ):
                        counts[i] += 1

    return compiled(nearest), compiled(winding), compiled(crossings)


@inlined
def _volume(a, b, c, d):
    """Six times the volume of the tetrahedron abcd, signed."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx)


def nearest(points: np.ndarray, within: np.ndarray, tree: Tree) -> list[np.ndarray]:
    """Distance, triangle and place for each point."""
    distance, face, place = np.empty(len(points)), np.empty(len(points), np.int64), np.empty_like(points)
    _loops()[0](points, within, tree.corners, tree.bounds, tree.low, tree.high, distance, face, place)
    return [distance, tree.order[face], place]


def winding(points: np.ndarray, far: float, tree: Tree) -> np.ndarray:
    total = np.empty(len(points))
    _loops()[1](points, far, tree.corners, tree.bounds, tree.centre, tree.reach, tree.dipole, total)
    return total


def crossings(corners: np.ndarray, tree: Tree) -> int:
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    flat = edges.reshape(-1, 2, 3)
    turned = np.where(_before(flat[:, 1], flat[:, 0])[:, None, None], flat[:, ::-1], flat)
    each = np.unique(turned.reshape(-1, 6), axis=0)
    begins, ends = np.ascontiguousarray(each[:, :3]), np.ascontiguousarray(each[:, 3:])
    counts = np.zeros(len(each), np.int64)
    _loops()[2](begins, ends, tree.corners, tree.bounds, tree.low, tree.high, counts)
    return int(counts.sum())


def _before(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether a place comes before another one in the order of their coordinates."""
    differs = one != other
    first = differs.argmax(axis=1)
    rows = np.arange(len(one))
    return one[rows, first] < other[rows, first]
