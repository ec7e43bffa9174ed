"""Losses on where a ray finds matter: histograms along it, an edge list and one weight for each interval.

    blurred_weights  what intervals hold of a histogram that was smeared with a box       Zip-NeRF, sec. 3.2
    interlevel       a proposal must cover what the field found, blurred                  Zip-NeRF, sec. 3.2
    distortion       weight belongs together: few intervals, near each other              mip-NeRF 360, eq. 15
    distortion_packed  the same for intervals packed one after the other, any number to a ray

Zip-NeRF: Barron et al. 2023, https://arxiv.org/abs/2304.06706. mip-NeRF 360: Barron et al. 2022,
https://arxiv.org/abs/2111.12077.

Axes: rays; edges = samples + 1 of the field's histogram; coarse = edges of the proposal's.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


@torch.no_grad()  # a target is not learned
def blurred_weights(
    edges: Float[Tensor, "rays edges"],
    weights: Float[Tensor, "rays samples"],
    half_width: float,
    into: Float[Tensor, "rays coarse"],
) -> Float[Tensor, "rays coarse-1"]:
    """How much of the histogram lies in each interval between `into`, after a box of that half width went
    over it.

    The density is constant between edges, so its running sum C is linear between them and the running sum of
    that, D, quadratic. What a box of half width r leaves below x is the mean of C over [x - r, x + r], which
    is (D(x + r) - D(x - r)) / 2r: exact, and no list of shifted edges to sort. It is a small difference of
    numbers near 1, therefore in float64 where the device has it. What the box carries beyond the ends is
    lost.
    """
    exact = torch.float32 if edges.device.type == "mps" else torch.float64
    e, w, x = edges.to(exact).contiguous(), weights.to(exact), into.to(exact)
    width = e.diff(dim=-1)
    zero = torch.zeros_like(e[:, :1])
    once = torch.cat([zero, w.cumsum(dim=-1)], dim=-1)
    twice = torch.cat([zero, ((once[:, 1:] + once[:, :-1]) / 2 * width).cumsum(dim=-1)], dim=-1)
    height = w / width.clamp(min=torch.finfo(exact).eps)

    def doubly_summed(x: Tensor) -> Tensor:
        row = (torch.searchsorted(e, x.contiguous(), right=True) - 1).clamp(0, w.shape[-1] - 1)
        start = e.gather(-1, row)
        # Inside the histogram a parabola; before it nothing, behind it the straight line of a full sum.
        inside = torch.minimum((x - start).clamp(min=0), width.gather(-1, row))
        parabola = twice.gather(-1, row) + inside * (
            once.gather(-1, row) + inside * height.gather(-1, row) / 2
        )
        return parabola + (x - e[:, -1:]).clamp(min=0) * once[:, -1:]

    below = (doubly_summed(x + half_width) - doubly_summed(x - half_width)) / (2 * half_width)
    return below.diff(dim=-1).clamp(min=0).to(edges.dtype)


def interlevel(
    edges: Float[Tensor, "rays edges"],
    weights: Float[Tensor, "rays samples"],
    proposal_edges: Float[Tensor, "rays coarse"],
    proposal_weights: Float[Tensor, "rays coarse-1"],
    half_width: float,
) -> Float[Tensor, ""]:
    """The mean of max(0, w - p)^2 / p, with w the field's blurred weight and p the proposal's in each
    interval.

    A proposal may say more than the field found, never less. Blurred, the field's edges no longer matter:
    what moves smoothly past a proposal's interval is covered smoothly, where mip-NeRF 360's loss jumps, and
    with it the picture as a camera comes nearer (z-aliasing). No gradient reaches the field.
    """
    target = blurred_weights(edges, weights, half_width, proposal_edges)
    missing = (target - proposal_weights).clamp(min=0)
    return (missing.square() / (proposal_weights + torch.finfo(missing.dtype).eps)).mean()


def distortion(
    edges: Float[Tensor, "rays edges"], weights: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays"]:
    """The mean distance between two places drawn from the histogram, weights of sum 1 or less as they are.

    Sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 d_i, middles m and widths d. Middles rise, so running sums do
    in place of all pairs; they run over distances from the first middle, which are small where the middles
    are far.
    """
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    middles = middles - middles[:, :1]
    before, moment = (torch.cumsum(x, dim=-1) - x for x in (weights, weights * middles))
    between = 2 * (weights * (middles * before - moment)).sum(dim=-1)
    return between + (weights.square() * edges.diff(dim=-1)).sum(dim=-1) / 3


def distortion_packed(
    begin: Float[Tensor, "samples"],
    end: Float[Tensor, "samples"],
    weights: Float[Tensor, "samples"],
    starts: Int[Tensor, "edges"],
    ray: Int[Tensor, "samples"],
) -> Float[Tensor, ""]:
    """The mean over the rays of `distortion`, for intervals that need not touch.

    Samples [starts[i], starts[i + 1]) are ray i's, and `ray` says the same of each sample.
    """
    if not len(weights):
        return weights.sum()
    middles = (begin + end) / 2
    first = starts[:-1].clamp(max=len(weights) - 1)[ray]  # a ray without samples has none to ask for it

    def before(values: Tensor) -> Tensor:
        summed = values.double().cumsum(0) - values  # over all rays: float32 would not hold the differences
        return (summed - summed[first]).to(values.dtype)

    middles = middles - middles[first]
    between = 2 * weights * (middles * before(weights) - before(weights * middles))
    return (between + weights.square() * (end - begin) / 3).sum() / (len(starts) - 1)
