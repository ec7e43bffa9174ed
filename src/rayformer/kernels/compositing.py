"""Volume rendering of packed samples: any number to a ray, none included.

    composite_packed        densities and colours of all samples into what is seen along each ray
    composite_packed_twin   the same in plain torch, rays laid side by side

The sums are those of `fields/parts/volume.py` (NeRF, eq. 3), with light cut off where less than `stop` of it
is left: samples behind have no weight and no gradient. Differentiable in densities and colours, through every
output.

What runs where: compiled loops on processors (`compositing_numba`), Triton on CUDA devices
(`compositing_triton`), the twin elsewhere.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.kernels.cuda import plainly


def composite_packed(
    density: Float[Tensor, "samples"],
    colour: Float[Tensor, "samples channels"],
    begin: Float[Tensor, "samples"],
    end: Float[Tensor, "samples"],
    starts: Int[Tensor, "edges"],
    stop: float = 1e-4,
) -> tuple[
    Float[Tensor, "rays channels"], Float[Tensor, "rays"], Float[Tensor, "rays"], Float[Tensor, "samples"]
]:
    """Colour before black, opacity, depth (the weighted sum of the middles) and the weight of each sample.

    Samples [starts[i], starts[i + 1]) belong to ray i, near ones first; density >= 0 in 1 / unit of begin and
    end. Works in float32 (float64 if the densities are), whatever comes. With no channels it gives weights
    alone.
    """
    kind = torch.promote_types(density.dtype, torch.float32)
    kernel = density.device.type == "cpu" or (density.device.type == "cuda" and not plainly())
    composite = _composite if kernel else composite_packed_twin
    return composite(density.to(kind), colour.to(kind), begin.to(kind), end.to(kind), starts, stop)


def composite_packed_twin(
    density: Float[Tensor, "samples"],
    colour: Float[Tensor, "samples channels"],
    begin: Float[Tensor, "samples"],
    end: Float[Tensor, "samples"],
    starts: Int[Tensor, "edges"],
    stop: float = 1e-4,
) -> tuple[
    Float[Tensor, "rays channels"], Float[Tensor, "rays"], Float[Tensor, "rays"], Float[Tensor, "samples"]
]:
    """`composite_packed` in plain torch, which differentiates it. Takes memory as if all rays were as long as
    the longest."""
    counts = starts.diff()
    longest = int(counts.max()) if len(counts) else 0
    place = torch.arange(longest, device=density.device)
    there = place < counts[:, None]
    number = (starts[:-1, None] + place)[there]
    depths = density.new_zeros(there.shape).masked_scatter(there, (density * (end - begin))[number])
    behind = depths.cumsum(dim=-1)
    before = torch.nn.functional.pad(behind, (1, 0))[:, :-1]
    shares = -torch.expm1(-depths) * torch.exp(-before)
    weights = torch.where(torch.exp(-before) >= stop, shares, 0)[there]
    ray = torch.repeat_interleave(torch.arange(len(counts), device=density.device), counts)

    def summed(values: Tensor) -> Tensor:
        return values.new_zeros(len(counts), *values.shape[1:]).index_add(0, ray, values)

    return (
        summed(weights[:, None] * colour), summed(weights), summed(weights * (begin + end) / 2), weights
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ the operators


@torch.library.custom_op("rayformer::composite_packed", mutates_args=(), device_types="cpu")
def _composite(
    density: Tensor, colour: Tensor, begin: Tensor, end: Tensor, starts: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from rayformer.kernels.compositing_numba import composite

    return composite(density, colour, begin, end, starts, stop)


@torch.library.custom_op("rayformer::composite_packed_backward", mutates_args=(), device_types="cpu")
def _backward(
    of_colour: Tensor,
    of_opacity: Tensor,
    of_depth: Tensor,
    of_weights: Tensor,
    density: Tensor,
    colour: Tensor,
    begin: Tensor,
    end: Tensor,
    starts: Tensor,
    stop: float,
) -> tuple[Tensor, Tensor]:
    from rayformer.kernels.compositing_numba import backward

    return backward(of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, stop)


@_composite.register_kernel("cuda")
def _(density, colour, begin, end, starts, stop):
    from rayformer.kernels.compositing_triton import composite

    return composite(density, colour, begin, end, starts, stop)


@_backward.register_kernel("cuda")
def _(of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, stop):
    from rayformer.kernels.compositing_triton import backward

    return backward(of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, stop)


@_composite.register_fake
def _(density, colour, begin, end, starts, stop):
    rays = starts.shape[0] - 1
    return (
        density.new_empty(rays, colour.shape[1]), density.new_empty(rays), density.new_empty(rays),
        torch.empty_like(density),
    )  # fmt: skip


@_backward.register_fake
def _(of_colour, of_opacity, of_depth, of_weights, density, colour, begin, end, starts, stop):
    return torch.empty_like(density), torch.empty_like(colour)


def _remember(ctx, inputs, output):
    *tensors, ctx.stop = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, of_colour, of_opacity, of_depth, of_weights):
    density, colour, begin, end, starts = ctx.saved_tensors
    arriving = [value.contiguous() for value in (of_colour, of_opacity, of_depth, of_weights)]
    in_density, in_colour = _backward(*arriving, density, colour, begin, end, starts, ctx.stop)
    return in_density, in_colour, None, None, None, None


_composite.register_autograd(_differentiate, setup_context=_remember)
