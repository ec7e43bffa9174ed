"""Rasterisation as a compiled loop for processors. What it computes stands in `rasterise`.

Bands of rows are done side by side, each by one thread that goes through all triangles in their order, so
that no two threads write to one pixel and the result is the same every time. A triangle is asked only at
pixels of its bounding box; one that reaches behind the camera, whose box means nothing, at all of them.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np

from rayformer.kernels.compiled import compiled
from rayformer.kernels.rasterise import SLACK

BANDS = 16
"""More than threads, since triangles are seldom spread evenly."""
BEHIND = 1e-9
"""A corner that is no deeper than this share of the deepest one has no pixel."""


@cache
def _loops() -> Any:
    def boxes(corners, width, height, fx, fy, cx, cy, near, found):
        """First and last column and row, one past the end, of each triangle's pixels; empty if unseen."""
        for face in numba.prange(len(corners)):
            found[face, 0] = found[face, 1] = found[face, 2] = found[face, 3] = 0
            deepest = max(corners[face, 0, 2], corners[face, 1, 2], corners[face, 2, 2])
            least = min(corners[face, 0, 2], corners[face, 1, 2], corners[face, 2, 2])
            if not deepest > near or not deepest > 0:
                continue
            if least <= BEHIND * deepest:
                found[face, 1], found[face, 3] = width, height
                continue
            left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
            for k in range(3):
                x = corners[face, k, 0] / corners[face, k, 2] * fx + cx
                y = corners[face, k, 1] / corners[face, k, 2] * fy + cy
                left, right = min(left, x), max(right, x)
                top, bottom = min(top, y), max(bottom, y)
            # A thousandth of a pixel to spare for rounding: the products decide, not the box.
            if right < 0 or bottom < 0 or left > width or top > height:
                continue
            found[face, 0] = max(0, math.ceil(left - 0.501))
            found[face, 1] = min(width, math.floor(right - 0.499) + 1)
            found[face, 2] = max(0, math.ceil(top - 0.501))
            found[face, 3] = min(height, math.floor(bottom - 0.499) + 1)

    def fill(corners, boxes, width, height, fx, fy, cx, cy, near, depth, face_of, weights):
        bands = min(BANDS, height)
        for band in numba.prange(bands):
            first, last = band * height // bands, (band + 1) * height // bands
            for face in range(len(corners)):
                top, bottom = max(first, boxes[face, 2]), min(last, boxes[face, 3])
                if top >= bottom or boxes[face, 0] >= boxes[face, 1]:
                    continue
                ax, ay, az = corners[face, 0, 0], corners[face, 0, 1], corners[face, 0, 2]
                bx, by, bz = corners[face, 1, 0], corners[face, 1, 1], corners[face, 1, 2]
                qx, qy, qz = corners[face, 2, 0], corners[face, 2, 1], corners[face, 2, 2]
                bcx, bcy, bcz = by * qz - bz * qy, bz * qx - bx * qz, bx * qy - by * qx
                cax, cay, caz = qy * az - qz * ay, qz * ax - qx * az, qx * ay - qy * ax
                abx, aby, abz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
                volume = ax * bcx + ay * bcy + az * bcz
                if volume == 0:
                    continue
                for row in range(top, bottom):
                    y = (row + 0.5 - cy) / fy
                    for column in range(boxes[face, 0], boxes[face, 1]):
                        x = (column + 0.5 - cx) / fx
                        ea = x * bcx + y * bcy + bcz
                        eb = x * cax + y * cay + caz
                        ec = x * abx + y * aby + abz
                        total = ea + eb + ec
                        if total == 0:
                            continue
                        wa, wb, wc = ea / total, eb / total, ec / total
                        if wa < -SLACK or wb < -SLACK or wc < -SLACK:
                            continue
                        deep = volume / total
                        if not deep > near or not deep < depth[row, column]:
                            continue
                        depth[row, column] = deep
                        face_of[row, column] = face
                        weights[row, column, 0] = wa
                        weights[row, column, 1] = wb
                        weights[row, column, 2] = wc

    return compiled(boxes), compiled(fill)


def rasterise(
    corners: np.ndarray,
    width: int,
    height: int,
    focal: tuple[float, float],
    centre: tuple[float, float],
    near: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes, fill = _loops()
    found = np.empty((len(corners), 4), np.int64)
    numbers = (float(focal[0]), float(focal[1]), float(centre[0]), float(centre[1]), float(max(near, 0.0)))
    boxes(corners, width, height, *numbers, found)
    depth = np.full((height, width), np.inf)
    face = np.full((height, width), -1, np.int64)
    weights = np.zeros((height, width, 3), np.float32)
    fill(corners, found, width, height, *numbers, depth, face, weights)
    return depth.astype(np.float32), face, weights
