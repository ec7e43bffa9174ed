"""The voxel table's two operators as Triton kernels for CUDA devices. What they compute stands in
`voxel_table`.

A program takes a block of places. The numbers of a row lie beside each other and are fetched at once, padded
to a power of two. The table's gradient is summed by atomic additions, in whichever order programs come by.

Tables in half precision are read as they are; sums and gradients are made in float32 and rounded at the end.
"""

# Triton need not be there where types are checked, and a kernel is not called with its own arguments alone.
# pyright: reportMissingImports=false, reportCallIssue=false, reportIndexIssue=false

from typing import no_type_check  # what a compiler reads must not be wrapped in a check of shapes

import torch
import triton
import triton.language as tl
from torch import Tensor

from rayformer.kernels.cuda import SETTINGS

BLOCK = 64
"""Places to a program."""


@triton.jit
@no_type_check
def _along(positions, point, there, axis: tl.constexpr, side):
    """Along one axis: the cell, the place within it, and how fast a place moves through cells (0 if
    clamped)."""
    p = tl.load(positions + point * 3 + axis, mask=there, other=0.0)
    top = (side - 1).to(p.dtype)
    p = p * top
    held = tl.minimum(tl.maximum(p, 0.0), top)
    # Clamped again as integers: a place that is no number must not become an address.
    cell = tl.minimum(tl.maximum(held.to(tl.int32), 0), (side - 2).to(tl.int32))
    within = tl.where(p == p, held, p) - cell.to(p.dtype)
    speed = tl.where((p >= 0) & (p <= top), top, 0.0)
    return cell.to(tl.int64), within, speed


@triton.jit
@no_type_check
def _row(links, there, ix, iy, iz, corner: tl.constexpr, side, ways, chosen):
    """The row of a corner, upper along x if corner & 1, along y if & 2, along z if & 4; negative without a
    voxel."""
    number = ((ix + (corner & 1)) * side + iy + ((corner >> 1) & 1)) * side + iz + ((corner >> 2) & 1)
    link = tl.load(links + number, mask=there, other=-1).to(tl.int64)
    return tl.where(link < 0, -1, link * ways + chosen)


@triton.jit
@no_type_check
def _share(within, upper: tl.constexpr):
    """One axis' part of a corner's weight."""
    return within if upper else 1 - within


@triton.jit
@no_type_check
def _chosen(way, point, there, MANY: tl.constexpr):
    """Which way each place is seen."""
    chosen = tl.zeros_like(point)
    if MANY:
        chosen = tl.load(way + point, mask=there, other=0).to(tl.int64)
    return chosen


@triton.jit(do_not_specialize=["count", "side", "ways"])
@no_type_check
def _gather(
    positions, links, table, way, out, count, side, ways, channels,
    MANY: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    channel = tl.arange(0, WIDE)
    inside = channel < channels
    ix, x, _ = _along(positions, point, there, 0, side)
    iy, y, _ = _along(positions, point, there, 1, side)
    iz, z, _ = _along(positions, point, there, 2, side)
    chosen = _chosen(way, point, there, MANY)
    total = tl.zeros([BLOCK, WIDE], dtype=out.dtype.element_ty)
    for corner in tl.static_range(8):
        row = _row(links, there, ix, iy, iz, corner, side, ways, chosen)
        weight = _share(x, corner & 1) * _share(y, (corner >> 1) & 1) * _share(z, (corner >> 2) & 1)
        wanted = (row >= 0)[:, None] & inside[None, :]
        values = tl.load(table + row[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
        total += tl.where(wanted, weight[:, None] * values.to(total.dtype), 0.0)
    tl.store(out + point[:, None] * channels + channel[None, :], total, mask=there[:, None] & inside[None, :])


@triton.jit(do_not_specialize=["count", "side", "ways"])
@no_type_check
def _scatter(
    positions, links, gradient, way, out, count, side, ways, channels,
    MANY: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add weight times gradient to the rows."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    channel = tl.arange(0, WIDE)
    inside = there[:, None] & (channel < channels)[None, :]
    arriving = tl.load(gradient + point[:, None] * channels + channel[None, :], mask=inside, other=0.0)
    ix, x, _ = _along(positions, point, there, 0, side)
    iy, y, _ = _along(positions, point, there, 1, side)
    iz, z, _ = _along(positions, point, there, 2, side)
    chosen = _chosen(way, point, there, MANY)
    for corner in tl.static_range(8):
        row = _row(links, there, ix, iy, iz, corner, side, ways, chosen)
        weight = _share(x, corner & 1) * _share(y, (corner >> 1) & 1) * _share(z, (corner >> 2) & 1)
        tl.atomic_add(
            out + row[:, None] * channels + channel[None, :],
            weight[:, None] * arriving,
            mask=inside & (row >= 0)[:, None] & (arriving != 0),
            sem="relaxed",
        )


@triton.jit(do_not_specialize=["count", "side", "ways"])
@no_type_check
def _locate(
    positions, links, table, gradient, way, out, count, side, ways, channels,
    MANY: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of the places: over corners, the slope of the weight times <row, gradient>."""
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = point < count
    channel = tl.arange(0, WIDE)
    inside = there[:, None] & (channel < channels)[None, :]
    arriving = tl.load(gradient + point[:, None] * channels + channel[None, :], mask=inside, other=0.0)
    ix, x, speed_x = _along(positions, point, there, 0, side)
    iy, y, speed_y = _along(positions, point, there, 1, side)
    iz, z, speed_z = _along(positions, point, there, 2, side)
    chosen = _chosen(way, point, there, MANY)
    first = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    second = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    third = tl.zeros([BLOCK], dtype=out.dtype.element_ty)
    for corner in tl.static_range(8):
        row = _row(links, there, ix, iy, iz, corner, side, ways, chosen)
        wanted = inside & (row >= 0)[:, None]
        values = tl.load(table + row[:, None] * channels + channel[None, :], mask=wanted, other=0.0)
        met = tl.sum(values.to(first.dtype) * arriving, axis=1)
        share_x, share_y = _share(x, corner & 1), _share(y, (corner >> 1) & 1)
        share_z = _share(z, (corner >> 2) & 1)
        first += (met if corner & 1 else -met) * share_y * share_z
        second += (met if (corner >> 1) & 1 else -met) * share_x * share_z
        third += (met if (corner >> 2) & 1 else -met) * share_x * share_y
    tl.store(out + point * 3, first * speed_x, mask=there)
    tl.store(out + point * 3 + 1, second * speed_y, mask=there)
    tl.store(out + point * 3 + 2, third * speed_z, mask=there)


# ---------------------------------------------------------------------------------------- tensors in and out


def gather(positions: Tensor, links: Tensor, table: Tensor, ways: int, way: Tensor) -> Tensor:
    places = _plain(positions, table)
    out = places.new_empty(len(places), table.shape[1])
    _run(_gather, out, places, links, (table.contiguous(),), ways, way, table.shape[1])
    return out.to(table.dtype)


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
    places, arriving, channels = _plain(positions, table), _plain(gradient, table), table.shape[1]
    in_places, in_table = positions.new_empty(0), table.new_empty(0)
    if of_table:
        sums = places.new_zeros(table.shape)
        _run(_scatter, sums, places, links, (arriving,), ways, way, channels)
        in_table = sums.to(table.dtype)
    if of_positions:
        found = torch.empty_like(places)
        _run(_locate, found, places, links, (table.contiguous(), arriving), ways, way, channels)
        in_places = found.to(positions.dtype)
    return in_places, in_table


def _run(kernel, out, places, links, values, ways, way, channels) -> None:
    if not len(places):
        return
    with torch.cuda.device_of(out):
        kernel[(triton.cdiv(len(places), BLOCK),)](
            places, links.contiguous(), *values, way.contiguous(), out, len(places), links.shape[0], ways,
            channels, MANY=ways > 1, WIDE=triton.next_power_of_2(channels), BLOCK=BLOCK, **SETTINGS,
        )  # fmt: skip


def _plain(tensor: Tensor, table: Tensor) -> Tensor:
    """The numbers in rows one after the other, in the precision of the table, or float32 if that is less."""
    return tensor.detach().to(torch.promote_types(table.dtype, torch.float32)).contiguous()
