"""Ray marching as a Triton kernel for CUDA devices. What it computes stands in `marching`.

Two walks along the same rays, as on processors: the first counts, the second writes. A program takes 32 rays,
one to each thread of a warp, and walks on until the last of them has ended; rays of neighbouring pixels end
together.
"""

# Triton need not be there where types are checked, and a kernel is not called with its own arguments alone.
# pyright: reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

from typing import no_type_check  # what a compiler reads must not be wrapped in a check of shapes

import torch
import triton
import triton.language as tl
from torch import Tensor

from rayformer.kernels.cuda import SETTINGS
from rayformer.kernels.marching import Packed, Space

BLOCK = 32

# ------------------------------------------------------------------------------------------ inside a program


@triton.jit
@no_type_check
def _post(s, step, cone, CONED: tl.constexpr):
    """Where the fencepost with number s stands."""
    place = step * s
    if CONED:
        beyond = step / cone * tl.exp(tl.minimum(cone * s - 1.0, 80.0))
        place = tl.where(s * cone <= 1.0, place, beyond)
    return place


@triton.jit
@no_type_check
def _number(t, step, cone, CONED: tl.constexpr):
    """The inverse of `_post`."""
    number = t / step
    if CONED:
        beyond = (1.0 + tl.log(tl.maximum(t * cone / step, 1e-20))) / cone
        number = tl.where(t * cone <= step, number, beyond)
    return number


@triton.jit
@no_type_check
def _crossing(origin, direction):
    """Where a ray enters and leaves the slab from -1 to 1."""
    moves = direction != 0
    safe = tl.where(moves, direction, 1.0)
    one, other = (-1.0 - origin) / safe, (1.0 - origin) / safe
    within = (origin >= -1.0) & (origin <= 1.0)
    forever = tl.full(origin.shape, float("inf"), origin.dtype)
    enter = tl.where(moves, tl.minimum(one, other), tl.where(within, -forever, forever))
    leave = tl.where(moves, tl.maximum(one, other), tl.where(within, forever, -forever))
    return enter, leave


@triton.jit
@no_type_check
def _way(place, cell, speed):
    """How far along the ray the far side of a cell is, on one axis."""
    side = tl.where(speed > 0, cell + 1.0, cell) - place
    return tl.where(speed != 0, side / tl.where(speed != 0, speed, 1.0), float("inf"))


# ------------------------------------------------------------------------------------------ the program


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _walk(
    origins, directions, near, far, occupied, jitter, counts, starts, rays, begins, ends,
    count, cells, centre_x, centre_y, centre_z, half, step, cone, limit,
    CONED: tl.constexpr, CONTRACTED: tl.constexpr, WRITING: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the samples of each ray; or, writing, put them from `starts` on."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = ray < count
    # Coordinates in units of the inner cube, so that it reaches from -1 to 1.
    ox = (tl.load(origins + ray * 3, mask=there, other=0.0) - centre_x) / half
    oy = (tl.load(origins + ray * 3 + 1, mask=there, other=0.0) - centre_y) / half
    oz = (tl.load(origins + ray * 3 + 2, mask=there, other=0.0) - centre_z) / half
    dx = tl.load(directions + ray * 3, mask=there, other=0.0) / half
    dy = tl.load(directions + ray * 3 + 1, mask=there, other=0.0) / half
    dz = tl.load(directions + ray * 3 + 2, mask=there, other=0.0) / half
    begin_at = tl.load(near + ray, mask=there, other=0.0)
    until = tl.load(far + ray, mask=there, other=0.0)
    first = _number(begin_at, step, cone, CONED) + tl.load(jitter + ray, mask=there, other=0.0)
    k = tl.zeros([BLOCK], dtype=tl.int32)
    found = tl.zeros([BLOCK], dtype=tl.int32)
    if not CONTRACTED:
        enter_x, leave_x = _crossing(ox, dx)
        enter_y, leave_y = _crossing(oy, dy)
        enter_z, leave_z = _crossing(oz, dz)
        enter = tl.maximum(tl.maximum(enter_x, enter_y), enter_z)
        leave = tl.minimum(tl.minimum(leave_x, leave_y), leave_z)
        there = there & (enter < leave) & (leave > begin_at)
        until = tl.minimum(until, leave)
        # The post before the box, so that rounding leaves nothing out.
        ahead = _number(tl.where(there & (enter > begin_at), enter, begin_at), step, cone, CONED) - first
        k = tl.maximum(k, ahead.to(tl.int32) - 1)
        scale, shift = cells / 2.0, 1.0
    else:
        scale, shift = cells / 4.0, 2.0
    if WRITING:
        write = tl.load(starts + ray, mask=ray < count, other=0)
    begin = _post(first + k, step, cone, CONED)
    end = _post(first + (k + 1), step, cone, CONED)
    alive = there & ((begin + end) / 2.0 < until) & (found < limit)
    while tl.max(alive.to(tl.int32), axis=0) > 0:
        middle = (begin + end) / 2.0
        x, y, z = ox + middle * dx, oy + middle * dy, oz + middle * dz
        bent = tl.zeros([BLOCK], dtype=tl.int1)
        if CONTRACTED:
            size = tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z))
            bent = size > 1.0
            size = tl.maximum(size, 1.0)
            squeeze = (2.0 - 1.0 / size) / size
            x, y, z = x * squeeze, y * squeeze, z * squeeze
        gx, gy, gz = (x + shift) * scale, (y + shift) * scale, (z + shift) * scale
        inside = (gx >= 0) & (gy >= 0) & (gz >= 0) & (gx < cells) & (gy < cells) & (gz < cells)
        inside = inside & alive
        ix, iy, iz = tl.floor(gx), tl.floor(gy), tl.floor(gz)
        cell = (
            tl.where(inside, ix, 0.0).to(tl.int64) * cells + tl.where(inside, iy, 0.0).to(tl.int64)
        ) * cells
        cell += tl.where(inside, iz, 0.0).to(tl.int64)
        full = inside & (tl.load(occupied + cell, mask=inside, other=0) != 0)
        if WRITING:
            tl.store(rays + write, ray, mask=full)
            tl.store(begins + write, begin, mask=full)
            tl.store(ends + write, end, mask=full)
            write += full.to(tl.int64)
        found += full.to(tl.int32)
        # To the far side of an empty cell, along the axis on which it comes first; not where space is bent.
        # The last post before the far side is looked at again.
        way = tl.minimum(
            tl.minimum(_way(gx, ix, dx * scale), _way(gy, iy, dy * scale)), _way(gz, iz, dz * scale)
        )
        empty = inside & (full == 0) & (bent == 0) & (way < float("inf"))
        target = _number(middle + tl.where(empty, way, 0.0), step, cone, CONED) - first - 1.0
        k += 1
        k = tl.where(empty, tl.maximum(k, target.to(tl.int32)), k)
        begin = _post(first + k, step, cone, CONED)
        end = _post(first + (k + 1), step, cone, CONED)
        alive = alive & ((begin + end) / 2.0 < until) & (found < limit)
    if not WRITING:
        tl.store(counts + ray, found.to(tl.int64), mask=ray < count)


# ---------------------------------------------------------------------------------------- tensors in and out


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
    rays, device = len(near), near.device
    given = [value.detach().float().contiguous() for value in (origins, directions, near, far)]
    shift = torch.zeros_like(given[2]) if jitter is None else jitter.float().contiguous()
    counts = torch.zeros(rays, dtype=torch.int64, device=device)
    starts = torch.zeros(rays + 1, dtype=torch.int64, device=device)
    grid = occupied.contiguous().view(torch.uint8)
    nothing, none = given[2].new_empty(1), counts.new_empty(1)

    def walk(ray: Tensor, begin: Tensor, end: Tensor, writing: bool) -> None:
        with torch.cuda.device_of(near):
            _walk[(triton.cdiv(rays, BLOCK),)](
                *given[:4], grid, shift, counts, starts, ray, begin, end,
                rays, grid.shape[0], *map(float, space.centre), float(space.half), float(step), float(cone),
                limit,
                CONED=cone != 0, CONTRACTED=space.contracted, WRITING=writing, BLOCK=BLOCK,
                **{**SETTINGS, "num_warps": 1},
            )  # fmt: skip

    if rays:
        walk(none, nothing, nothing, writing=False)
        torch.cumsum(counts, 0, out=starts[1:])
    samples = int(starts[-1])
    ray = torch.empty(samples, dtype=torch.int64, device=device)
    begin, end = (torch.empty(samples, dtype=torch.float32, device=device) for _ in range(2))
    if samples:
        walk(ray, begin, end, writing=True)
    return Packed(starts, ray, begin, end)
