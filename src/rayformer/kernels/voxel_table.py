"""Voxels of which only some are kept: their numbers lie in the rows of a table, and a grid knows which row is
whose.

    voxel_values       places in, the trilinear blend of the corners around each out; differentiable in both
    voxel_values_twin  the same in plain torch

A grid of `side` corners along each axis fills the cube [0, 1]^3, its outermost corners on the faces. `links`
holds for each corner the number of its voxel, or -1 where there is none: such a corner counts as zero, and
learns nothing (Plenoxels, Yu et al. 2022, https://arxiv.org/abs/2112.05131, section 3.1). Places outside the
cube have the values of the nearest one within, and no gradient along the axes on which they lie outside.

A voxel may have several `ways` to be seen, each a row of its own: its number is then that of the first of
them, divided by `ways`, and `way` chooses one for each place. So V[x, y, z, theta, phi] is a table that can
be written down (`fields/voxels.py`).

What runs where: compiled loops on processors (`voxel_table_numba`), Triton on CUDA devices
(`voxel_table_triton`), the twin anywhere else. On processors the table's gradient is summed row by row in the
order of places, whatever the number of threads; on CUDA atomic sums are not ordered, unless
`torch.use_deterministic_algorithms` asks for it, which takes the twin.
"""

from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.core.errors import ShapeError
from rayformer.kernels.cuda import plainly


def voxel_values(
    positions: Float[Tensor, "points 3"],
    links: Int[Tensor, "side side side"],
    table: Float[Tensor, "rows channels"],
    ways: int = 1,
    way: Int[Tensor, "points"] | None = None,
) -> Float[Tensor, "points channels"]:
    """The values at each place. `links` is int32 and indexed [x, y, z]; a way lies in [0, ways).

    Raises ShapeError where a way is wanted and none is given, or the other way round.
    """
    if (ways > 1) != (way is not None):
        raise ShapeError(f"voxels that are seen in {ways} ways need one for each place, and others need none")
    chosen = torch.empty(0, dtype=torch.int32, device=table.device) if way is None else way.to(torch.int32)
    values = _gather if _has_kernel(table) else _twin
    return values(positions, links, table, ways, chosen)


def voxel_values_twin(
    positions: Float[Tensor, "points 3"],
    links: Int[Tensor, "side side side"],
    table: Float[Tensor, "rows channels"],
    ways: int = 1,
    way: Int[Tensor, "points"] | None = None,
) -> Float[Tensor, "points channels"]:
    """`voxel_values` in plain torch, which differentiates it."""
    return _twin(positions, links, table, ways, links.new_empty(0) if way is None else way)


_CORNERS = tuple(product((0, 1), repeat=3))


def _twin(positions: Tensor, links: Tensor, table: Tensor, ways: int, way: Tensor) -> Tensor:
    kind = torch.promote_types(table.dtype, torch.float32)
    side = links.shape[0]
    corners = torch.tensor(_CORNERS, device=positions.device)
    place = (positions.to(kind) * (side - 1)).clamp(0, side - 1)
    cell = place.detach().long().clamp(0, side - 2)  # no address is made of a place that is no number
    within = place - cell
    x, y, z = (cell[:, None] + corners).unbind(-1)
    rows = links[x, y, z].long()
    blend = torch.where(corners.bool(), within[:, None], 1 - within[:, None]).prod(dim=-1)
    blend = torch.where(rows < 0, 0, blend)
    rows = rows.clamp(min=0) * ways
    if way.numel():
        rows = rows + way[:, None]
    return (table[rows].to(kind) * blend[..., None]).sum(dim=1).to(table.dtype)


# ------------------------------------------------------------------------------------------ the operators


def _has_kernel(table: Tensor) -> bool:
    if table.device.type == "cuda":
        return not plainly(sums=True)
    return table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64)


@torch.library.custom_op("rayformer::voxel_values", mutates_args=(), device_types="cpu")
def _gather(positions: Tensor, links: Tensor, table: Tensor, ways: int, way: Tensor) -> Tensor:
    from rayformer.kernels.voxel_table_numba import gather

    return gather(positions, links, table, ways, way)


@torch.library.custom_op("rayformer::voxel_values_backward", mutates_args=(), device_types="cpu")
def _backward(
    gradient: Tensor,
    positions: Tensor,
    links: Tensor,
    table: Tensor,
    ways: int,
    way: Tensor,
    of_positions: bool,
    of_table: bool,
) -> tuple[Tensor, Tensor]:
    from rayformer.kernels.voxel_table_numba import backward

    return backward(gradient, positions, links, table, ways, way, of_positions, of_table)


@_gather.register_kernel("cuda")
def _(positions, links, table, ways, way):
    from rayformer.kernels.voxel_table_triton import gather

    return gather(positions, links, table, ways, way)


@_backward.register_kernel("cuda")
def _(gradient, positions, links, table, ways, way, of_positions, of_table):
    from rayformer.kernels.voxel_table_triton import backward

    return backward(gradient, positions, links, table, ways, way, of_positions, of_table)


@_gather.register_fake
def _(positions, links, table, ways, way):
    return table.new_empty(positions.shape[0], table.shape[1])


@_backward.register_fake
def _(gradient, positions, links, table, ways, way, of_positions, of_table):
    return (
        torch.empty_like(positions) if of_positions else positions.new_empty(0),
        torch.empty_like(table) if of_table else table.new_empty(0),
    )


def _remember(ctx, inputs, output):
    positions, links, table, ctx.ways, way = inputs
    ctx.save_for_backward(positions, links, table, way)


def _differentiate(ctx, gradient):
    positions, links, table, way = ctx.saved_tensors
    of_positions, _, of_table, *_ = ctx.needs_input_grad
    in_positions, in_table = _backward(
        gradient.contiguous(), positions, links, table, ctx.ways, way, of_positions, of_table
    )
    return in_positions if of_positions else None, None, in_table if of_table else None, None, None


_gather.register_autograd(_differentiate, setup_context=_remember)
