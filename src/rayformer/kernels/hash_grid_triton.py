"""The hash grid's three operators as Triton kernels for CUDA devices. What they compute stands in
`hash_grid`.

A program takes a block of places on one level, and all blocks of a level run before those of the next, so
that a level's rows stay in the second cache while they are looked up. The features of a row lie beside each
other and are fetched at once: 16 bytes at 4 features of float32.

The table's gradient is summed by atomic additions, in whichever order programs come by: the last bits differ
from run to run. `hash_grid` takes the twin where `torch.use_deterministic_algorithms` forbids that.

Tables in half precision are read as they are; sums and gradients are made in float32 and rounded at the end.
"""

# Triton need not be there where types are checked, and a kernel is not called with its own arguments alone.
# pyright: reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

from collections.abc import Sequence
from functools import cache
from typing import no_type_check  # what a compiler reads must not be wrapped in a check of shapes

import torch
import triton
import triton.language as tl
from torch import Tensor

from rayformer.kernels.cuda import SETTINGS

BLOCK = 128
"""Places to a program."""

# ------------------------------------------------------------------------------------------ inside a program


@triton.jit
@no_type_check
def _along(positions, point, there, axis: tl.constexpr, cells, side, shift):
    """Along one axis: the cell, the place within it, and how fast a place moves through cells (0 if
    clamped)."""
    p = tl.load(positions + point * 3 + axis, mask=there, other=0.0)
    p = p * cells.to(p.dtype) + shift
    top = (side - 1).to(p.dtype)
    held = tl.minimum(tl.maximum(p, 0.0), top)
    # Clamped again as integers: a place that is no number must not become an address.
    cell = tl.minimum(tl.maximum(held.to(tl.int32), 0), (side - 2).to(tl.int32))
    within = tl.where(p == p, held, p) - cell.to(p.dtype)
    speed = tl.where((p >= 0) & (p <= top), cells.to(p.dtype), 0.0)
    return cell.to(tl.uint32), within, speed


@triton.jit
@no_type_check
def _cell(positions, point, there, levels, level, shift):
    """`_along` for all three axes of a level."""
    cells = tl.load(levels + level * 7)
    side = tl.load(levels + level * 7 + 1)
    ix, x, speed_x = _along(positions, point, there, 0, cells, side, shift)
    iy, y, speed_y = _along(positions, point, there, 1, cells, side, shift)
    iz, z, speed_z = _along(positions, point, there, 2, cells, side, shift)
    return ix, iy, iz, x, y, z, speed_x, speed_y, speed_z


@triton.jit
@no_type_check
def _row(ix, iy, iz, corner: tl.constexpr, levels, level):
    """The row of a corner: the upper one along x if corner & 1, along y if & 2, along z if & 4."""
    first = tl.load(levels + level * 7 + 2)
    hashed = tl.load(levels + level * 7 + 3) != 0
    mask = tl.load(levels + level * 7 + 4).to(tl.uint32)
    # Where every corner has a row of its own these are the strides of its number, else primes (eq. 4).
    by_y = tl.load(levels + level * 7 + 5).to(tl.uint32)
    by_z = tl.load(levels + level * 7 + 6).to(tl.uint32)
    a = ix + (corner & 1)
    b = (iy + ((corner >> 1) & 1)) * by_y
    c = (iz + ((corner >> 2) & 1)) * by_z
    return first + tl.where(hashed, (a ^ b ^ c) & mask, a + b + c).to(tl.int64)


@triton.jit
@no_type_check
def _share(within, upper: tl.constexpr):
    """One axis' part of a corner's weight."""
    return within if upper else 1 - within


@triton.jit
@no_type_check
def _weight(
    x, y, z, speed_x, speed_y, speed_z, direction, point, there, corner: tl.constexpr, sloped: tl.constexpr
):
    """A corner's weight; if sloped, its change as the place moves along its direction instead."""
    share_x = _share(x, corner & 1)
    share_y = _share(y, (corner >> 1) & 1)
    share_z = _share(z, (corner >> 2) & 1)
    if sloped:
        go_x = tl.load(direction + point * 3, mask=there, other=0.0) * speed_x
        go_y = tl.load(direction + point * 3 + 1, mask=there, other=0.0) * speed_y
        go_z = tl.load(direction + point * 3 + 2, mask=there, other=0.0) * speed_z
        along_x = go_x if corner & 1 else -go_x
        along_y = go_y if (corner >> 1) & 1 else -go_y
        along_z = go_z if (corner >> 2) & 1 else -go_z
        weight = along_x * share_y * share_z + along_y * share_x * share_z + along_z * share_x * share_y
    else:
        weight = share_x * share_y * share_z
    return weight


# ------------------------------------------------------------------------------------------ programs


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _gather(
    positions, table, direction, levels, out, count, width, shift,
    SLOPED: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The features of a block of places on one level; if sloped, their change along `direction`."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    there = point < count
    feature = tl.arange(0, FEATURES)
    ix, iy, iz, x, y, z, speed_x, speed_y, speed_z = _cell(positions, point, there, levels, level, shift)
    total = tl.zeros([BLOCK, FEATURES], dtype=out.dtype.element_ty)
    for corner in tl.static_range(8):
        weight = _weight(x, y, z, speed_x, speed_y, speed_z, direction, point, there, corner, SLOPED)
        row = _row(ix, iy, iz, corner, levels, level)
        values = tl.load(table + row[:, None] * FEATURES + feature[None, :], mask=there[:, None], other=0.0)
        total += weight[:, None] * values.to(total.dtype)
    place = point * width + level * FEATURES
    tl.store(out + place[:, None] + feature[None, :], total, mask=there[:, None])


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _scatter(
    positions, gradient, direction, levels, out, count, width, shift,
    SLOPED: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add weight times gradient to the rows of one level; if sloped, the weight's change along
    `direction`."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    there = point < count
    feature = tl.arange(0, FEATURES)
    place = point * width + level * FEATURES
    arriving = tl.load(gradient + place[:, None] + feature[None, :], mask=there[:, None], other=0.0)
    # Behind an opaque surface all gradients are zero, and a row is not touched for nothing.
    wanted = there[:, None] & (arriving != 0)
    ix, iy, iz, x, y, z, speed_x, speed_y, speed_z = _cell(positions, point, there, levels, level, shift)
    for corner in tl.static_range(8):
        weight = _weight(x, y, z, speed_x, speed_y, speed_z, direction, point, there, corner, SLOPED)
        row = _row(ix, iy, iz, corner, levels, level)
        tl.atomic_add(
            out + row[:, None] * FEATURES + feature[None, :],
            weight[:, None] * arriving,
            mask=wanted,
            sem="relaxed",
        )


@triton.jit(do_not_specialize=["count"])
@no_type_check
def _locate(
    positions, table, gradient, direction, levels, out, count, depth, width, shift,
    BENT: tl.constexpr, FEATURES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of a block of places, summed over levels; if bent, its change along `direction`
    instead."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    feature = tl.arange(0, FEATURES)
    out_x = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    out_y = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    out_z = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    for level in range(depth):
        ix, iy, iz, x, y, z, speed_x, speed_y, speed_z = _cell(positions, point, there, levels, level, shift)
        place = point * width + level * FEATURES
        arriving = tl.load(gradient + place[:, None] + feature[None, :], mask=there[:, None], other=0.0)
        first = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
        second = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
        third = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
        for corner in tl.static_range(8):
            row = _row(ix, iy, iz, corner, levels, level)
            values = tl.load(
                table + row[:, None] * FEATURES + feature[None, :], mask=there[:, None], other=0.0
            )
            met = tl.sum(values.to(first.dtype) * arriving, axis=1)
            share_x = _share(x, corner & 1)
            share_y = _share(y, (corner >> 1) & 1)
            share_z = _share(z, (corner >> 2) & 1)
            met_x = met if corner & 1 else -met
            met_y = met if (corner >> 1) & 1 else -met
            if BENT:
                # Trilinear weights bend only between two different axes: xy, xz and yz.
                first += (met_y if corner & 1 else -met_y) * share_z
                second += (met_x if (corner >> 2) & 1 else -met_x) * share_y
                third += (met_y if (corner >> 2) & 1 else -met_y) * share_x
            else:
                first += met_x * share_y * share_z
                second += met_y * share_x * share_z
                third += (met if (corner >> 2) & 1 else -met) * share_x * share_y
        if BENT:
            go_x = tl.load(direction + point * 3, mask=there, other=0.0) * speed_x
            go_y = tl.load(direction + point * 3 + 1, mask=there, other=0.0) * speed_y
            go_z = tl.load(direction + point * 3 + 2, mask=there, other=0.0) * speed_z
            out_x += (go_y * first + go_z * second) * speed_x
            out_y += (go_x * first + go_z * third) * speed_y
            out_z += (go_x * second + go_y * third) * speed_z
        else:
            out_x += first * speed_x
            out_y += second * speed_y
            out_z += third * speed_z
    tl.store(out + point * 3, out_x, mask=there)
    tl.store(out + point * 3 + 1, out_y, mask=there)
    tl.store(out + point * 3 + 2, out_z, mask=there)


# ---------------------------------------------------------------------------------------- tensors in and out


def encode(
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> Tensor:
    places = _plain(positions, table)
    out = places.new_empty(len(places), len(resolutions) * table.shape[1])
    if len(places):
        levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift, table.device)
        _look(_gather, places, table.contiguous(), places, levels, out, shift, SLOPED=False)
    return out.to(table.dtype)


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
    places, arriving = _plain(positions, table), _plain(gradient, table)
    levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift, table.device)
    in_places, in_table = positions.new_empty(0), table.new_empty(0)
    if of_table:
        sums = places.new_zeros(table.shape)
        if len(places):
            _look(_scatter, places, arriving, places, levels, sums, shift, SLOPED=False)
        in_table = sums.to(table.dtype)
    if of_positions:
        found = torch.empty_like(places)
        if len(places):
            _place(places, table.contiguous(), arriving, places, levels, found, shift, BENT=False)
        in_places = found.to(positions.dtype)
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
    along, arriving, places = (_plain(value, table) for value in (direction, gradient, positions))
    levels = _levels(tuple(resolutions), tuple(starts), tuple(primes), shift, table.device)
    in_gradient, in_places = torch.empty_like(arriving), torch.empty_like(places)
    in_table = places.new_zeros(table.shape)
    if len(places):
        rows = table.contiguous()
        _look(_gather, places, rows, along, levels, in_gradient, shift, SLOPED=True)
        _look(_scatter, places, arriving, along, levels, in_table, shift, SLOPED=True)
        _place(places, rows, arriving, along, levels, in_places, shift, BENT=True)
    return in_gradient.to(gradient.dtype), in_places.to(positions.dtype), in_table.to(table.dtype)


def _look(kernel, places, values, along, levels, out, shift, SLOPED) -> None:
    """Run `_gather` (from rows into features) or `_scatter` (from features into rows): a program for each
    level."""
    features = values if kernel is _scatter else out
    width, depth = features.shape[1], len(levels)
    grid = (triton.cdiv(len(places), BLOCK), depth)
    with torch.cuda.device_of(out):
        kernel[grid](
            places, values, along, levels, out, len(places), width, shift,
            SLOPED=SLOPED, FEATURES=width // depth, BLOCK=BLOCK, **SETTINGS,
        )  # fmt: skip


def _place(places, table, arriving, along, levels, out, shift, BENT) -> None:
    """Run `_locate`: a program for each block of places, through all levels."""
    width, depth = arriving.shape[1], len(levels)
    with torch.cuda.device_of(out):
        _locate[(triton.cdiv(len(places), BLOCK),)](
            places, table, arriving, along, levels, out, len(places), depth, width, shift,
            BENT=BENT, FEATURES=width // depth, BLOCK=BLOCK, **SETTINGS,
        )  # fmt: skip


def _plain(tensor: Tensor, table: Tensor) -> Tensor:
    """The numbers in rows one after the other, in the precision of the table, or float32 if that is less."""
    return tensor.detach().to(torch.promote_types(table.dtype, torch.float32)).contiguous()


@cache
def _levels(
    resolutions: tuple[int, ...],
    starts: tuple[int, ...],
    primes: tuple[int, ...],
    shift: float,
    device: torch.device,
) -> Tensor:
    """A line for each level: cells, corners along an axis, first row, whether hashed, mask, strides or
    primes."""
    lines = []
    for cells, first, last in zip(resolutions, starts, starts[1:], strict=False):
        side = cells + (1 if shift == 0 else 0)
        hashed = side**3 > last - first
        strides = primes[1:] if hashed else (side, side * side)
        lines.append([cells, side, first, int(hashed), last - first - 1, *strides])
    return torch.tensor(lines, dtype=torch.int64, device=device)
