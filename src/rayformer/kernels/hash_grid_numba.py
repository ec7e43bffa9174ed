"""The hash grid's three operators as compiled loops for processors. What they compute stands in `hash_grid`.

How the time goes, and what is done about it: a place costs 8 look-ups per level in tables of megabytes. So
places are taken in blocks of 128; for a block and a level the rows and weights of all corners are computed
first, which is arithmetic that fills vector units, and then the rows are fetched, eight places ahead of their
use. Along a ray neighbours share cells, so samples should come in the order of their rays.

The table's gradient: each level is one task, summed place by place in their order. With more threads than
levels a level is cut into ranges of rows, and every task walks all places, adding what falls into its range.
Either way each row is summed by one thread in one order: the same bits, whatever the number of threads.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from rayformer.kernels.compiled import balanced, compiled, inlined, prefetch
from rayformer.kernels.trilinear_numba import corner_weights, moving, slope_along

BLOCK = 128
"""Places at once: their rows and weights, 8 KiB, stay in the first cache."""
AHEAD = 8
"""Look-ups asked for before their turn: 8 was best of 0, 4, 8, 16, 32."""

_u32, _u64, _i32 = np.uint32, np.uint64, np.int32


@inlined
def _fill(positions, first, count, cells, shift, side, hashed, mask, prime_y, prime_z, rows, within):
    """Rows of the eight corners, and where inside its cell each of `count` places lies.

    Corner c is the upper one along x if c & 1, along y if c & 2, along z if c & 4.
    """
    top = positions.dtype.type(side - 1)
    zero = positions.dtype.type(0)
    last = _i32(side - 2)
    for i in range(count):
        px = min(max(positions[first + i, 0] * cells + shift, zero), top)
        py = min(max(positions[first + i, 1] * cells + shift, zero), top)
        pz = min(max(positions[first + i, 2] * cells + shift, zero), top)
        # Clamped again as integers: a place that is no number must not become an address.
        ix = max(min(_i32(px), last), _i32(0))
        iy = max(min(_i32(py), last), _i32(0))
        iz = max(min(_i32(pz), last), _i32(0))
        within[0, i] = px - positions.dtype.type(ix)
        within[1, i] = py - positions.dtype.type(iy)
        within[2, i] = pz - positions.dtype.type(iz)
        x0 = _u32(ix)
        x1 = x0 + _u32(1)
        y0 = _u32(iy) * prime_y
        z0 = _u32(iz) * prime_z
        y1 = y0 + prime_y
        z1 = z0 + prime_z
        if hashed:
            rows[0, i] = (x0 ^ y0 ^ z0) & mask
            rows[1, i] = (x1 ^ y0 ^ z0) & mask
            rows[2, i] = (x0 ^ y1 ^ z0) & mask
            rows[3, i] = (x1 ^ y1 ^ z0) & mask
            rows[4, i] = (x0 ^ y0 ^ z1) & mask
            rows[5, i] = (x1 ^ y0 ^ z1) & mask
            rows[6, i] = (x0 ^ y1 ^ z1) & mask
            rows[7, i] = (x1 ^ y1 ^ z1) & mask
        else:
            rows[0, i] = x0 + y0 + z0
            rows[1, i] = x1 + y0 + z0
            rows[2, i] = x0 + y1 + z0
            rows[3, i] = x1 + y1 + z0
            rows[4, i] = x0 + y0 + z1
            rows[5, i] = x1 + y0 + z1
            rows[6, i] = x0 + y1 + z1
            rows[7, i] = x1 + y1 + z1


@inlined
def _corners(positions, first, count, level, shift, rows, within):
    """`_fill` with each kind of level compiled on its own, free of branches inside the loop."""
    cells = positions.dtype.type(level[0])
    side = level[1]
    if level[3] != 0:
        _fill(positions, first, count, cells, shift, side, True, _u32(level[4]), _u32(level[5]),
              _u32(level[6]), rows, within)  # fmt: skip
    else:
        _fill(positions, first, count, cells, shift, side, False, _u32(0), _u32(side), _u32(side * side),
              rows, within)  # fmt: skip


@inlined
def _slopes(positions, first, count, cells, shift, side, within, direction, weights):
    """The weights' change along `direction`, one for each place: sum_k direction_k dw_c / dx_k."""
    one, zero = within.dtype.type(1), within.dtype.type(0)
    for i in range(count):
        for c in range(8):
            change = zero
            for axis in range(3):
                product = direction[first + i, axis] * moving(positions[first + i, axis], cells, shift, side)
                product = product if (c >> axis) & 1 else -product
                for other in range(3):
                    if other != axis:
                        share = within[other, i]
                        product *= share if (c >> other) & 1 else one - share
                change += product
            weights[c, i] = change


@cache
def _loops(features: int) -> Any:
    """The loops for rows of this length, which the compiler then unrolls."""

    def encode(positions, table, levels, shift, out):
        count = positions.shape[0]
        width = len(levels) * features
        for block in numba.prange((count + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            here = min(count - first, BLOCK)
            rows = np.empty((8, BLOCK), np.uint32)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            for number in range(len(levels)):
                level = levels[number]
                _corners(positions, first, here, level, shift, rows, within)
                corner_weights(here, within, weights)
                start = _u64(level[2] * features)
                for i in range(here):
                    if i + AHEAD < here:
                        for c in range(8):
                            prefetch(table, start + _u64(rows[c, i + AHEAD]) * _u64(features))
                    place = _u64((first + i) * width + number * features)
                    for f in range(features):
                        total = positions.dtype.type(0)
                        for c in range(8):
                            total += (
                                weights[c, i] * table[start + _u64(rows[c, i]) * _u64(features) + _u64(f)]
                            )
                        out[place + _u64(f)] = total

    def scatter(positions, gradient, levels, shift, tasks, direction, sloped, out):
        """Add weight times gradient to the rows; with `sloped`, the weight's change along `direction`
        instead."""
        count = positions.shape[0]
        width = len(levels) * features
        for turn in numba.prange(len(tasks)):
            number = tasks[turn, 0]
            lowest, end = _u32(tasks[turn, 1]), _u32(tasks[turn, 2])
            whole = tasks[turn, 3] != 0
            level = levels[number]
            start = _u64(level[2] * features)
            rows = np.empty((8, BLOCK), np.uint32)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            for first in range(0, count, BLOCK):
                here = min(count - first, BLOCK)
                _corners(positions, first, here, level, shift, rows, within)
                if sloped:
                    cells = positions.dtype.type(level[0])
                    _slopes(positions, first, here, cells, shift, level[1], within, direction, weights)
                else:
                    corner_weights(here, within, weights)
                for i in range(here):
                    if i + AHEAD < here:
                        for c in range(8):
                            prefetch(out, start + _u64(rows[c, i + AHEAD]) * _u64(features))
                    place = _u64((first + i) * width + number * features)
                    if whole:
                        for c in range(8):
                            row = start + _u64(rows[c, i]) * _u64(features)
                            for f in range(features):
                                out[row + _u64(f)] += weights[c, i] * gradient[place + _u64(f)]
                    else:
                        for c in range(8):
                            if rows[c, i] >= lowest and rows[c, i] < end:
                                row = start + _u64(rows[c, i]) * _u64(features)
                                for f in range(features):
                                    out[row + _u64(f)] += weights[c, i] * gradient[place + _u64(f)]

    def locate(positions, table, gradient, levels, shift, out):
        """The gradient of the places: out[i] = sum over levels and corners of dw_c / dx <T_c, g>."""
        count = positions.shape[0]
        width = len(levels) * features
        for block in numba.prange((count + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            here = min(count - first, BLOCK)
            rows = np.empty((8, BLOCK), np.uint32)
            within = np.empty((3, BLOCK), positions.dtype)
            met = np.empty(8, positions.dtype)
            for i in range(here):
                out[first + i, 0] = out[first + i, 1] = out[first + i, 2] = positions.dtype.type(0)
            for number in range(len(levels)):
                level = levels[number]
                _corners(positions, first, here, level, shift, rows, within)
                cells = positions.dtype.type(level[0])
                start = _u64(level[2] * features)
                for i in range(here):
                    if i + AHEAD < here:
                        for c in range(8):
                            prefetch(table, start + _u64(rows[c, i + AHEAD]) * _u64(features))
                    place = _u64((first + i) * width + number * features)
                    for c in range(8):
                        total = positions.dtype.type(0)
                        row = start + _u64(rows[c, i]) * _u64(features)
                        for f in range(features):
                            total += table[row + _u64(f)] * gradient[place + _u64(f)]
                        met[c] = total
                    along = slope_along(met, within[0, i], within[1, i], within[2, i])
                    out[first + i, 0] += along[0] * moving(positions[first + i, 0], cells, shift, level[1])
                    out[first + i, 1] += along[1] * moving(positions[first + i, 1], cells, shift, level[1])
                    out[first + i, 2] += along[2] * moving(positions[first + i, 2], cells, shift, level[1])

    def move(positions, table, gradient, direction, levels, shift, of_gradient, of_positions):
        """Along `direction`: how the features change, and how the answer of `locate` does."""
        count = positions.shape[0]
        width = len(levels) * features
        one, zero = positions.dtype.type(1), positions.dtype.type(0)
        for block in numba.prange((count + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            here = min(count - first, BLOCK)
            rows = np.empty((8, BLOCK), np.uint32)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            met = np.empty(8, positions.dtype)
            for i in range(here):
                of_positions[first + i, 0] = of_positions[first + i, 1] = of_positions[first + i, 2] = zero
            for number in range(len(levels)):
                level = levels[number]
                _corners(positions, first, here, level, shift, rows, within)
                cells = positions.dtype.type(level[0])
                _slopes(positions, first, here, cells, shift, level[1], within, direction, weights)
                start = _u64(level[2] * features)
                for i in range(here):
                    place = _u64((first + i) * width + number * features)
                    for f in range(features):
                        total = zero
                        for c in range(8):
                            total += (
                                weights[c, i] * table[start + _u64(rows[c, i]) * _u64(features) + _u64(f)]
                            )
                        of_gradient[place + _u64(f)] = total
                    for c in range(8):
                        total = zero
                        row = start + _u64(rows[c, i]) * _u64(features)
                        for f in range(features):
                            total += table[row + _u64(f)] * gradient[place + _u64(f)]
                        met[c] = total
                    x, y, z = within[0, i], within[1, i], within[2, i]
                    # Trilinear weights bend only between two different axes: their second derivatives.
                    xy = (one - z) * (met[3] - met[2] - met[1] + met[0]) + z * (
                        met[7] - met[6] - met[5] + met[4]
                    )
                    xz = (one - y) * (met[5] - met[4] - met[1] + met[0]) + y * (
                        met[7] - met[6] - met[3] + met[2]
                    )
                    yz = (one - x) * (met[6] - met[4] - met[2] + met[0]) + x * (
                        met[7] - met[5] - met[3] + met[1]
                    )
                    speed_x = moving(positions[first + i, 0], cells, shift, level[1])
                    speed_y = moving(positions[first + i, 1], cells, shift, level[1])
                    speed_z = moving(positions[first + i, 2], cells, shift, level[1])
                    go_x = direction[first + i, 0] * speed_x
                    go_y = direction[first + i, 1] * speed_y
                    go_z = direction[first + i, 2] * speed_z
                    of_positions[first + i, 0] += (go_y * xy + go_z * xz) * speed_x
                    of_positions[first + i, 1] += (go_x * xy + go_z * yz) * speed_y
                    of_positions[first + i, 2] += (go_x * xz + go_y * yz) * speed_z

    return compiled(encode), compiled(scatter), compiled(locate), compiled(move)


# ------------------------------------------------------------------------------------------ in and out


def encode(
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> Tensor:
    features = table.shape[1]
    out = table.new_empty(len(positions), len(resolutions) * features)
    levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift)
    places, rows = _plain(positions, table), _plain(table, table).reshape(-1)
    _loops(features)[0](places, rows, levels, places.dtype.type(shift), out.numpy().reshape(-1))
    return out


def backward(
    gradient: Tensor,
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
    of_positions: bool,
    of_table: bool,
) -> tuple[Tensor, Tensor]:
    features = table.shape[1]
    levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift)
    places, arriving = _plain(positions, table), _plain(gradient, table).reshape(-1)
    move = places.dtype.type(shift)
    _, scatter, locate, _ = _loops(features)
    in_places, in_table = positions.new_empty(0), table.new_empty(0)
    if of_table:
        in_table = torch.zeros_like(table)
        tasks = _tasks(tuple(starts), numba.get_num_threads())
        scatter(places, arriving, levels, move, tasks, places, False, in_table.numpy().reshape(-1))
    if of_positions:
        in_places = table.new_empty(positions.shape)
        rows = _plain(table, table).reshape(-1)
        locate(places, rows, arriving, levels, move, in_places.numpy())
        in_places = in_places.to(positions.dtype)
    return in_places, in_table


def tangent(
    direction: Tensor,
    gradient: Tensor,
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> tuple[Tensor, Tensor, Tensor]:
    features = table.shape[1]
    levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift)
    places, arriving, along = (_plain(value, table) for value in (positions, gradient, direction))
    by_shift = places.dtype.type(shift)
    _, scatter, _, move = _loops(features)
    in_gradient, in_places = table.new_empty(gradient.shape), table.new_empty(positions.shape)
    in_table = torch.zeros_like(table)
    rows = _plain(table, table).reshape(-1)
    move(
        places,
        rows,
        arriving.reshape(-1),
        along,
        levels,
        by_shift,
        in_gradient.numpy().reshape(-1),
        in_places.numpy(),
    )
    tasks = _tasks(tuple(starts), numba.get_num_threads())
    scatter(places, arriving.reshape(-1), levels, by_shift, tasks, along, True, in_table.numpy().reshape(-1))
    return in_gradient.to(gradient.dtype), in_places.to(positions.dtype), in_table


def _plain(tensor: Tensor, like: Tensor) -> np.ndarray:
    """The numbers in rows one after the other, in the precision of the table."""
    return tensor.detach().to(like.dtype).contiguous().numpy()


@cache
def _levels(
    resolutions: tuple[int, ...], starts: tuple[int, ...], primes: tuple[int, ...], shift: float
) -> np.ndarray:
    """A line for each level: cells, corners along an axis, first row, whether hashed, mask, two primes."""
    lines = []
    for cells, (first, last) in zip(resolutions, pairwise(starts), strict=True):
        side = cells + (1 if shift == 0 else 0)
        hashed = side**3 > last - first
        lines.append([cells, side, first, int(hashed), last - first - 1, primes[1], primes[2]])
    return np.array(lines, np.int64)


@cache
def _tasks(starts: tuple[int, ...], threads: int) -> np.ndarray:
    """A line for each task of `scatter`: level, the rows it may touch (first, end), and whether these are
    all."""
    levels = len(starts) - 1
    parts = -(-threads // levels)
    lines = []
    for level, (first, last) in enumerate(pairwise(starts)):
        rows = last - first
        for part in range(parts):
            lines.append([level, part * rows // parts, (part + 1) * rows // parts, int(parts == 1)])
    # Larger levels miss the cache more often.
    order = balanced([float(np.log2(1 + starts[level + 1] - starts[level])) for level, *_ in lines], threads)
    return np.array([lines[task] for task in order], np.int64)
