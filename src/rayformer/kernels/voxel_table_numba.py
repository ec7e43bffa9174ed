"""The voxel table's two operators as compiled loops for processors. What they compute stands in
`voxel_table`.

Places are taken in blocks of 128: first the cell of each, its weights and the rows of its corners, which
waits for the links; then the rows themselves, asked for eight places ahead of their use.

The table's gradient: each thread has a range of rows, walks all places, and adds what falls into its range;
each row is summed by one thread in the order of the places.
"""

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from rayformer.kernels.compiled import compiled, inlined, prefetch
from rayformer.kernels.trilinear_numba import corner_weights, moving, slope_along

BLOCK = 128
"""Places at once: their rows and weights, 8 KiB, stay in the first cache."""
AHEAD = 8
"""Look-ups asked for before their turn."""

_u64, _i32 = np.uint64, np.int32


@inlined
def _corners(positions, first, count, side, links, ways, way, rows, within, weights):
    """Rows and weights of the eight corners; the row of a corner without a voxel is negative."""
    top = positions.dtype.type(side - 1)
    zero = positions.dtype.type(0)
    last = _i32(side - 2)
    for i in range(count):
        px = min(max(positions[first + i, 0] * top, zero), top)
        py = min(max(positions[first + i, 1] * top, zero), top)
        pz = min(max(positions[first + i, 2] * top, zero), top)
        # Clamped again as integers: a place that is no number must not become an address.
        ix = max(min(_i32(px), last), _i32(0))
        iy = max(min(_i32(py), last), _i32(0))
        iz = max(min(_i32(pz), last), _i32(0))
        within[0, i] = px - positions.dtype.type(ix)
        within[1, i] = py - positions.dtype.type(iy)
        within[2, i] = pz - positions.dtype.type(iz)
        corner = (np.int64(ix) * side + iy) * side + iz
        rows[0, i] = links[corner]
        rows[4, i] = links[corner + 1]
        rows[2, i] = links[corner + side]
        rows[6, i] = links[corner + side + 1]
        corner += side * side
        rows[1, i] = links[corner]
        rows[5, i] = links[corner + 1]
        rows[3, i] = links[corner + side]
        rows[7, i] = links[corner + side + 1]
    corner_weights(count, within, weights)
    for c in range(8):
        for i in range(count):
            rows[c, i] = rows[c, i] * ways + (np.int64(way[first + i]) if len(way) > 0 else np.int64(0))


@cache
def _loops(channels: int) -> Any:
    """The loops for rows of this length, which the compiler then unrolls."""

    def gather(positions, links, side, table, ways, way, out):
        count = positions.shape[0]
        for block in numba.prange((count + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            here = min(count - first, BLOCK)
            rows = np.empty((8, BLOCK), np.int64)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            _corners(positions, first, here, side, links, ways, way, rows, within, weights)
            for i in range(here):
                if i + AHEAD < here:
                    for c in range(8):
                        prefetch(table, _u64(max(rows[c, i + AHEAD], 0)) * _u64(channels))
                place = _u64((first + i) * channels)
                for f in range(channels):
                    out[place + _u64(f)] = positions.dtype.type(0)
                for c in range(8):
                    if rows[c, i] >= 0:
                        row = _u64(rows[c, i]) * _u64(channels)
                        weight = weights[c, i]
                        for f in range(channels):
                            out[place + _u64(f)] += weight * table[row + _u64(f)]

    def scatter(positions, gradient, links, side, ways, way, ranges, out):
        count = positions.shape[0]
        for turn in numba.prange(len(ranges) - 1):
            lowest, end = ranges[turn], ranges[turn + 1]
            rows = np.empty((8, BLOCK), np.int64)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            for first in range(0, count, BLOCK):
                here = min(count - first, BLOCK)
                _corners(positions, first, here, side, links, ways, way, rows, within, weights)
                for i in range(here):
                    if i + AHEAD < here:
                        for c in range(8):
                            prefetch(out, _u64(max(rows[c, i + AHEAD], 0)) * _u64(channels))
                    place = _u64((first + i) * channels)
                    for c in range(8):
                        if rows[c, i] >= lowest and rows[c, i] < end:
                            row = _u64(rows[c, i]) * _u64(channels)
                            weight = weights[c, i]
                            for f in range(channels):
                                out[row + _u64(f)] += weight * gradient[place + _u64(f)]

    def locate(positions, table, gradient, links, side, ways, way, out):
        """The gradient of the places: out[i] = sum over corners of dw_c / dx <T_c, g>."""
        count = positions.shape[0]
        for block in numba.prange((count + BLOCK - 1) // BLOCK):
            first = block * BLOCK
            here = min(count - first, BLOCK)
            rows = np.empty((8, BLOCK), np.int64)
            within = np.empty((3, BLOCK), positions.dtype)
            weights = np.empty((8, BLOCK), positions.dtype)
            met = np.empty(8, positions.dtype)
            cells, shift = positions.dtype.type(side - 1), positions.dtype.type(0)
            _corners(positions, first, here, side, links, ways, way, rows, within, weights)
            for i in range(here):
                place = _u64((first + i) * channels)
                for c in range(8):
                    total = shift
                    if rows[c, i] >= 0:
                        row = _u64(rows[c, i]) * _u64(channels)
                        for f in range(channels):
                            total += table[row + _u64(f)] * gradient[place + _u64(f)]
                    met[c] = total
                along = slope_along(met, within[0, i], within[1, i], within[2, i])
                for axis in range(3):
                    speed = moving(positions[first + i, axis], cells, shift, side)
                    out[first + i, axis] = along[axis] * speed

    return compiled(gather), compiled(scatter), compiled(locate)


# ------------------------------------------------------------------------------------------ in and out


def gather(positions: Tensor, links: Tensor, table: Tensor, ways: int, way: Tensor) -> Tensor:
    out = table.new_empty(len(positions), table.shape[1])
    loop, _, _ = _loops(table.shape[1])
    rows = _plain(table, table).reshape(-1)
    loop(_plain(positions, table), *_grid(links), rows, ways, _ways(way), out.numpy().reshape(-1))
    return out


def backward(
    gradient: Tensor,
    positions: Tensor,
    links: Tensor,
    table: Tensor,
    ways: int,
    way: Tensor,
    of_positions: bool,
    of_table: bool,
) -> tuple[Tensor, Tensor]:
    places, arriving = _plain(positions, table), _plain(gradient, table).reshape(-1)
    _, scatter, locate = _loops(table.shape[1])
    in_places, in_table = positions.new_empty(0), table.new_empty(0)
    if of_table:
        in_table = torch.zeros_like(table)
        threads = numba.get_num_threads()
        ranges = np.array([part * len(table) // threads for part in range(threads + 1)], np.int64)
        scatter(places, arriving, *_grid(links), ways, _ways(way), ranges, in_table.numpy().reshape(-1))
    if of_positions:
        in_places = table.new_empty(positions.shape)
        rows = _plain(table, table).reshape(-1)
        locate(places, rows, arriving, *_grid(links), ways, _ways(way), in_places.numpy())
        in_places = in_places.to(positions.dtype)
    return in_places, in_table


def _grid(links: Tensor) -> tuple[np.ndarray, int]:
    return links.contiguous().numpy().reshape(-1), links.shape[0]


def _ways(way: Tensor) -> np.ndarray:
    return way.to(torch.int32).contiguous().numpy()


def _plain(tensor: Tensor, like: Tensor) -> np.ndarray:
    """The numbers in rows one after the other, in the precision of the table."""
    return tensor.detach().to(like.dtype).contiguous().numpy()
