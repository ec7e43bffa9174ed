"""Multiresolution hash encoding: a place looked up in grids of rising resolution, whose rows live in one
table.

Müller et al. 2022, https://arxiv.org/abs/2201.05989, section 3. Read from the top:

    GridLayout        which grids there are, and where in the table each one's rows begin
    hash_grid         places in, features out; differentiable twice, in the table and in the places
    known_features    the same for places whose features are known already: gradients without a second look
    hash_grid_twin    `hash_grid` in plain torch, to read, to test against, and for devices without a kernel

On a level of resolution N a place x in [0, 1]^3 lies at p = x N + shift, in the cell between floor(p) and the
next corner; its features are the trilinear blend of the eight corners' rows. A level with more corners than
rows shares them: the row of a corner is a hash of its three numbers, and training sorts out who matters (eq.
4).

Shift 0 puts corners on the faces of the box (instant-ngp); -0.5 puts them in the middles of N^3 voxels
(Zip-NeRF). A place outside the box, or beyond the outermost corners, has the features of the nearest one
within, and no gradient along the axes on which it lies outside.

What runs where: on processors compiled loops (`hash_grid_numba`), on CUDA devices Triton
(`hash_grid_triton`), the twin anywhere else. The gradient of the table is summed in one fixed order on
processors, so that a number of threads gives the same bits; on CUDA atomic sums are not ordered, unless
`torch.use_deterministic_algorithms` asks for it, which takes the twin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.core.errors import ConfigError
from rayformer.kernels.cuda import plainly

NGP_PRIMES = (1, 2654435761, 805459861)
ZIPNERF_PRIMES = (1, 19349663, 83492791)


@dataclass(frozen=True, kw_only=True)
class GridLayout:
    resolutions: tuple[int, ...]
    """Cells along each axis, level by level."""
    features: int
    """Numbers in a row."""
    log2_rows: int
    """No level has more than two to this many rows."""
    primes: tuple[int, int, int] = NGP_PRIMES
    """One factor of the hash for each axis; the first must be 1, so that neighbours along x share cache
    lines."""
    shift: float = 0.0
    """Where corners lie: 0, or -0.5 for the middles of voxels."""

    def __post_init__(self):
        if not self.resolutions or min(self.resolutions) < 2 or max(self.resolutions) > 2**20:
            raise ConfigError(
                f"A grid's resolutions must be 2 to 2^20 cells, but are {self.resolutions or 'none at all'}."
            )
        if self.features not in (1, 2, 4, 8):
            raise ConfigError(
                f"A grid has 1, 2, 4 or 8 features per level, but was asked for {self.features}."
            )
        if not 4 <= self.log2_rows <= 26:
            raise ConfigError(f"A grid's log2_rows must be 4 to 26, but is {self.log2_rows}.")
        if self.primes[0] != 1 or self.shift not in (0.0, -0.5):
            raise ConfigError(
                "A grid's first prime must be 1 and its shift 0 or -0.5, "
                f"but they are {self.primes[0]} and {self.shift}."
            )

    @property
    def levels(self) -> int:
        return len(self.resolutions)

    @property
    def size(self) -> int:
        """Features of a place, over all levels."""
        return self.levels * self.features

    @cached_property
    def sides(self) -> tuple[int, ...]:
        """Corners along each axis."""
        return tuple(cells + (1 if self.shift == 0 else 0) for cells in self.resolutions)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The row at which each level begins; one more, the number of rows, at the end."""
        starts = [0]
        for side in self.sides:
            starts.append(starts[-1] + min(side**3, 2**self.log2_rows))
        return tuple(starts)

    @property
    def rows(self) -> int:
        return self.starts[-1]


def hash_grid(
    positions: Float[Tensor, "points 3"], table: Float[Tensor, "rows features"], layout: GridLayout
) -> Float[Tensor, "points outputs"]:
    """The features of each place, level by level: columns [l F, (l + 1) F) are level l's. As precise as the
    table.

    Places are in units of the box, [0, 1]^3. Differentiable in both, and its gradients once more, as a loss
    on the gradient of a distance field needs.
    """
    encode = _encode if _has_kernel(table) else _twin
    return encode(positions, table, layout.resolutions, layout.starts, layout.primes, layout.shift)


def known_features(
    features: Float[Tensor, "points outputs"],
    positions: Float[Tensor, "points 3"],
    table: Float[Tensor, "rows features"],
    layout: GridLayout,
) -> Float[Tensor, "points outputs"]:
    """`features`, which `hash_grid` gave without gradients, with the gradients that it would have had.

    The gradient of a look-up needs its places, and not what was found there. So a field may look up many
    places, decide by what it found which of them matter, and learn from those alone, without looking them up
    again.
    """
    return _Known.apply(features, positions, table, layout)  # type: ignore[return-value]


def hash_grid_twin(
    positions: Float[Tensor, "points 3"], table: Float[Tensor, "rows features"], layout: GridLayout
) -> Float[Tensor, "points outputs"]:
    """`hash_grid` in plain torch, which differentiates it."""
    return _twin(positions, table, layout.resolutions, layout.starts, layout.primes, layout.shift)


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, positions, table, layout):  # type: ignore[override]
        ctx.save_for_backward(positions, table)
        ctx.layout = layout
        return features.view_as(features)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):  # type: ignore[override]
        (positions, table), layout = ctx.saved_tensors, ctx.layout
        of_positions, of_table = ctx.needs_input_grad[1:3]
        backward = _backward if _has_kernel(table) else _twin_backward
        in_positions, in_table = backward(
            gradient.contiguous(), positions, table,
            layout.resolutions, layout.starts, layout.primes, layout.shift, of_positions, of_table,
        )  # fmt: skip
        return None, in_positions if of_positions else None, in_table if of_table else None, None


# ------------------------------------------------------------------------------------------ the twin

_CORNERS = tuple(product((0, 1), repeat=3))


def _twin(
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> Tensor:
    kind = torch.promote_types(table.dtype, torch.float32)  # half precision is for storing, not for summing
    positions = positions.to(kind)
    corners = torch.tensor(_CORNERS, device=positions.device)
    levels = []
    for cells, first, last in zip(resolutions, starts, starts[1:], strict=False):
        side = cells + (1 if shift == 0 else 0)
        place = (positions * cells + shift).clamp(0, side - 1)
        cell = place.detach().long().clamp(0, side - 2)  # no address is made of a place that is no number
        within = place - cell
        rows = first + _rows(cell[:, None] + corners, side, last - first, primes)
        blend = torch.where(corners.bool(), within[:, None], 1 - within[:, None]).prod(dim=-1)
        levels.append((table[rows].to(kind) * blend[..., None]).sum(dim=1))
    return torch.cat(levels, dim=-1).to(table.dtype)


def _rows(
    corner: Int[Tensor, "points 8 3"], side: int, rows: int, primes: Sequence[int]
) -> Int[Tensor, "points 8"]:
    """The row of each corner inside its level: its number where each has a row of its own, else a hash (eq.
    4)."""
    x, y, z = corner.unbind(-1)
    if side**3 <= rows:
        return x + side * (y + side * z)
    return ((x * primes[0]) ^ (y * primes[1]) ^ (z * primes[2])) & (rows - 1)


def _twin_backward(
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
    with torch.enable_grad():
        places, rows = positions.detach().requires_grad_(), table.detach().requires_grad_()
        features = _twin(places, rows, resolutions, starts, primes, shift)
    found = torch.autograd.grad(features, (places, rows), gradient)
    return (
        found[0] if of_positions else positions.new_empty(0),
        found[1] if of_table else table.new_empty(0),
    )


# ------------------------------------------------------------------------------------------ the operators
#
# Three operators, so that autograd, torch.compile and export see them whole:
#
#     encode    features                               y   = sum_c w_c(x) T_c
#     backward  gradients of x and T, given that of y  g_x = sum_c w_c'(x) <T_c, g_y>, g_T = scatter w_c g_y
#     tangent   gradients of x, T and g_y, given v, that of g_x, for a loss on g_x
#
# Each has a kernel for processors and one for CUDA devices. Where there is none `hash_grid` takes the twin
# itself, which torch can look through and differentiate; inside an operator it could do neither.


def _has_kernel(table: Tensor) -> bool:
    if table.device.type == "cuda":
        return not plainly(sums=True)
    return table.device.type == "cpu" and table.dtype in (torch.float32, torch.float64)


@torch.library.custom_op("rayformer::hash_grid", mutates_args=(), device_types="cpu")
def _encode(
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> Tensor:
    from rayformer.kernels.hash_grid_numba import encode

    return encode(positions, table, resolutions, starts, primes, shift)


@torch.library.custom_op("rayformer::hash_grid_backward", mutates_args=(), device_types="cpu")
def _backward(
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
    from rayformer.kernels.hash_grid_numba import backward

    return backward(gradient, positions, table, resolutions, starts, primes, shift, of_positions, of_table)


@torch.library.custom_op("rayformer::hash_grid_tangent", mutates_args=(), device_types="cpu")
def _tangent(
    direction: Tensor,
    gradient: Tensor,
    positions: Tensor,
    table: Tensor,
    resolutions: Sequence[int],
    starts: Sequence[int],
    primes: Sequence[int],
    shift: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of <direction, g_x> in g_y, in the positions, and in the table."""
    from rayformer.kernels.hash_grid_numba import tangent

    return tangent(direction, gradient, positions, table, resolutions, starts, primes, shift)


@_encode.register_kernel("cuda")
def _(positions, table, resolutions, starts, primes, shift):
    from rayformer.kernels.hash_grid_triton import encode

    return encode(positions, table, resolutions, starts, primes, shift)


@_backward.register_kernel("cuda")
def _(gradient, positions, table, resolutions, starts, primes, shift, of_positions, of_table):
    from rayformer.kernels.hash_grid_triton import backward

    return backward(gradient, positions, table, resolutions, starts, primes, shift, of_positions, of_table)


@_tangent.register_kernel("cuda")
def _(direction, gradient, positions, table, resolutions, starts, primes, shift):
    from rayformer.kernels.hash_grid_triton import tangent

    return tangent(direction, gradient, positions, table, resolutions, starts, primes, shift)


@_encode.register_fake
def _(positions, table, resolutions, starts, primes, shift):
    return table.new_empty(positions.shape[0], len(resolutions) * table.shape[1])


@_backward.register_fake
def _(gradient, positions, table, resolutions, starts, primes, shift, of_positions, of_table):
    return (
        torch.empty_like(positions) if of_positions else positions.new_empty(0),
        torch.empty_like(table) if of_table else table.new_empty(0),
    )


@_tangent.register_fake
def _(direction, gradient, positions, table, resolutions, starts, primes, shift):
    return torch.empty_like(gradient), torch.empty_like(positions), torch.empty_like(table)


def _remember_encode(ctx, inputs, output):
    positions, table, *ctx.layout = inputs
    ctx.save_for_backward(positions, table)


def _differentiate_encode(ctx, gradient):
    positions, table = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    of_positions, of_table = _backward(gradient, positions, table, *ctx.layout, wanted[0], wanted[1])
    return (
        of_positions if wanted[0] else None,
        of_table if wanted[1] else None,
        None, None, None, None,
    )  # fmt: skip


def _remember_backward(ctx, inputs, output):
    gradient, positions, table, *ctx.layout, ctx.of_positions, ctx.of_table = inputs
    ctx.save_for_backward(gradient, positions, table)


def _differentiate_backward(ctx, of_positions, of_table):
    gradient, positions, table = ctx.saved_tensors
    parts: list[Tensor | None] = [None, None, None]

    def add(place: int, value: Tensor) -> None:
        held = parts[place]
        parts[place] = value if held is None else held + value

    if ctx.of_positions and of_positions is not None:
        for place, value in enumerate(_tangent(of_positions, gradient, positions, table, *ctx.layout)):
            add(place, value)
    if ctx.of_table and of_table is not None:
        # g_T is linear in g_y, and <of_table, g_T> is what g_y meets with the table `of_table`.
        add(0, _encode(positions, of_table, *ctx.layout))
        add(1, _backward(gradient, positions, of_table, *ctx.layout, True, False)[0])
    return (*parts, None, None, None, None, None, None)


_encode.register_autograd(_differentiate_encode, setup_context=_remember_encode)
_backward.register_autograd(_differentiate_backward, setup_context=_remember_backward)
