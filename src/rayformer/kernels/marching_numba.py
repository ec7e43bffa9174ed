"""Ray marching as a compiled loop for processors. What it computes stands in `marching`.

Where samples belong is known only when those of all rays before are counted. So the first samples of each ray
are put aside while they are counted, and the few rays that have more are walked a second time. Where nothing
is bent by contraction a ray steps to the far side of an empty cell at once, and of a whole block of cells if
all are empty.
"""

import math
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from rayformer.kernels.compiled import compiled, inlined
from rayformer.kernels.marching import Packed, Space

BLOCK = 4
"""Cells along each side of a block."""
ASIDE = 32
"""Samples of a ray that are put aside while they are counted."""


@inlined
def _post(s, step, cone):
    if s * cone <= 1:
        return step * s
    return step / cone * math.exp(min(cone * s - 1, 80.0))


@inlined
def _number(t, step, cone):
    if t * cone <= step:
        return t / step
    return (1 + math.log(t * cone / step)) / cone


@cache
def _loops() -> Any:
    def block_up(occupied, blocks):
        """A block is occupied if any of its cells is; those at the far sides may be cut off."""
        cells = occupied.shape[0]
        for x in numba.prange(blocks.shape[0]):
            for y in range(blocks.shape[1]):
                for z in range(blocks.shape[2]):
                    anything = False
                    for i in range(x * BLOCK, min((x + 1) * BLOCK, cells)):
                        for j in range(y * BLOCK, min((y + 1) * BLOCK, cells)):
                            for k in range(z * BLOCK, min((z + 1) * BLOCK, cells)):
                                anything = anything or occupied[i, j, k]
                    blocks[x, y, z] = anything

    def walk(origins, directions, near, far, occupied, blocks, centre, half, contracted, step, cone, jitter,
             limit, counts, starts, begins, ends):  # fmt: skip
        """With `starts` empty: count the samples of each ray, and put its first ones aside in begins and
        ends, ASIDE to a ray. Else write, from `starts` on, those of the rays that have more."""
        cells = occupied.shape[0]
        writing = len(starts) > 0
        growth = math.exp(cone)
        for ray in numba.prange(len(near)):
            if writing and counts[ray] <= ASIDE:
                continue
            # Coordinates in units of the inner cube, so that it reaches from -1 to 1.
            ox = (origins[ray, 0] - centre[0]) / half
            oy = (origins[ray, 1] - centre[1]) / half
            oz = (origins[ray, 2] - centre[2]) / half
            dx, dy, dz = directions[ray, 0] / half, directions[ray, 1] / half, directions[ray, 2] / half
            first = _number(np.float64(near[ray]), step, cone) + jitter[ray]
            until = np.float64(far[ray])
            k = 0
            found = 0
            # Where the ray enters and leaves the cube that reaches from -1 to 1.
            enter, leave = -np.inf, np.inf
            for axis in range(3):
                o = ox if axis == 0 else (oy if axis == 1 else oz)
                d = dx if axis == 0 else (dy if axis == 1 else dz)
                if d != 0:
                    one, other = (-1 - o) / d, (1 - o) / d
                    enter, leave = max(enter, min(one, other)), min(leave, max(one, other))
                elif o < -1 or o > 1:
                    enter, leave = np.inf, -np.inf
            if not contracted:
                if not enter < leave or leave <= near[ray]:
                    until = -np.inf
                else:
                    until = min(until, leave)
                    if enter > near[ray]:
                        k = max(0, int(_number(enter, step, cone) - first) - 1)
            write = starts[ray] if writing else ray * ASIDE
            room = limit if writing else ASIDE
            scale = cells / 4 if contracted else cells / 2
            shift = 2.0 if contracted else 1.0
            begin = _post(first + k, step, cone)
            while found < limit:
                # In proportion to the distance a post is the last one times a constant, which spares the
                # exponential.
                end = begin * growth if (first + k) * cone > 1 else _post(first + k + 1, step, cone)
                middle = (begin + end) / 2
                if not middle < until:
                    break
                x, y, z = ox + middle * dx, oy + middle * dy, oz + middle * dz
                size = max(abs(x), abs(y), abs(z))
                bent = size > 1
                if bent and contracted:
                    squeeze = (2 - 1 / size) / size
                    x, y, z = x * squeeze, y * squeeze, z * squeeze
                gx, gy, gz = (x + shift) * scale, (y + shift) * scale, (z + shift) * scale
                ix, iy, iz = math.floor(gx), math.floor(gy), math.floor(gz)
                inside = ix >= 0 and iy >= 0 and iz >= 0 and ix < cells and iy < cells and iz < cells
                if inside and occupied[ix, iy, iz]:
                    if found < room:
                        begins[write] = begin
                        ends[write] = end
                        write += 1
                    found += 1
                    k += 1
                    begin = end
                    continue
                k += 1
                begin = end
                if inside and not bent:
                    # To the far side of this empty cell, or of its block, along the axis on which it comes
                    # first.
                    wide = 1
                    if not blocks[ix // BLOCK, iy // BLOCK, iz // BLOCK]:
                        wide = BLOCK
                        ix, iy, iz = ix - ix % BLOCK, iy - iy % BLOCK, iz - iz % BLOCK
                    # Beyond the inner cube straight lines bend.
                    way = leave - middle if contracted else np.inf
                    if dx != 0:
                        way = min(way, ((ix + wide if dx > 0 else ix) - gx) / (dx * scale))
                    if dy != 0:
                        way = min(way, ((iy + wide if dy > 0 else iy) - gy) / (dy * scale))
                    if dz != 0:
                        way = min(way, ((iz + wide if dz > 0 else iz) - gz) / (dz * scale))
                    if way < np.inf:
                        # The last post before the far side: what begins there is looked at again.
                        jump = int(_number(middle + way, step, cone) - first - 1)
                        if jump > k:
                            k = jump
                            begin = _post(first + k, step, cone)
            counts[ray] = found

    def gather(counts, starts, aside_begins, aside_ends, rays, begins, ends):
        for ray in numba.prange(len(counts)):
            first = starts[ray]
            for i in range(counts[ray]):
                rays[first + i] = ray
            if counts[ray] <= ASIDE:
                for i in range(counts[ray]):
                    begins[first + i] = aside_begins[ray * ASIDE + i]
                    ends[first + i] = aside_ends[ray * ASIDE + i]

    return compiled(block_up), compiled(walk), compiled(gather)


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupied: Tensor,
    space: Space,
    step: float,
    cone: float,
    jitter: Tensor | None,
    limit: int,
) -> Packed:
    block_up, walk, gather = _loops()
    rays, cells = len(near), occupied.shape[0]
    counts, starts = np.zeros(rays, np.int64), np.zeros(rays + 1, np.int64)
    # Copies where there is nothing to copy: a compiled loop is made for arrays of one kind.
    given = [value.detach().float().contiguous().numpy() for value in (origins, directions, near, far)]
    shift = np.zeros(rays, np.float32) if jitter is None else jitter.float().contiguous().numpy()
    grid = occupied.contiguous().numpy()
    blocks = np.empty((-(-cells // BLOCK),) * 3, np.bool_)
    block_up(grid, blocks)
    arguments = (
        *given, grid, blocks, np.array(space.centre, np.float64), float(space.half),
        space.contracted, float(step), float(cone), shift, limit,
    )  # fmt: skip
    aside = [np.empty(rays * ASIDE, np.float32) for _ in range(2)]
    walk(*arguments, counts, starts[:0], *aside)
    np.cumsum(counts, out=starts[1:])
    samples = int(starts[-1])
    ray, begin, end = (np.empty(samples, kind) for kind in (np.int64, np.float32, np.float32))
    gather(counts, starts, *aside, ray, begin, end)
    if rays and counts.max() > ASIDE:
        walk(*arguments, counts, starts, begin, end)
    return Packed(*(torch.from_numpy(array) for array in (starts, ray, begin, end)))
