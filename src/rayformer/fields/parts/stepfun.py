"""Where to look along a ray: step functions over distance, and samples drawn from them.

    stratified          one sample in each of equal intervals                          NeRF, eq. 2
    invert_cdf          samples of a histogram, by the inverse of its running sum
    resample            more samples where the first ones found matter                NeRF, sec. 5.2
    resample_intervals  intervals side by side, the narrower the more was found there  mip-NeRF 360, sec. 3
    schlick_bias        how soon a histogram is believed                               mip-NeRF 360, app. A

Randomness is an argument. Without a generator nothing is random: the middle of each interval, evenly spaced
quantiles.
"""

import torch
from jaxtyping import Float
from torch import Generator, Tensor


def stratified(
    near: Float[Tensor, "rays"], far: Float[Tensor, "rays"], samples: int, generator: Generator | None = None
) -> Float[Tensor, "rays samples"]:
    """One distance in each of `samples` equal intervals from near to far: anywhere in it, or its middle.

    This is the paper's eq. 2. Its code puts linspace(near, far) in the place of the middles, and jitters
    each half way to its neighbours.
    """
    shape = (len(near), samples)
    if generator is None:
        within = near.new_full(shape, 0.5)
    else:
        within = torch.rand(shape, generator=generator, dtype=near.dtype, device=near.device)
    share = (torch.arange(samples, dtype=near.dtype, device=near.device) + within) / samples
    return near[:, None] + (far - near)[:, None] * share


def invert_cdf(
    edges: Float[Tensor, "rays edges"],
    weights: Float[Tensor, "rays samples"],
    quantiles: Float[Tensor, "rays extra"],
) -> Float[Tensor, "rays extra"]:
    """The distances below which the given shares of a histogram lie. Edges rise; weights > 0, of any sum.

    A histogram has one weight for each interval between its edges, spread evenly inside it.
    """
    mass = weights.cumsum(dim=-1)
    cdf = torch.cat([torch.zeros_like(mass[:, :1]), mass / mass[:, -1:]], dim=-1)  # exactly 0 ... 1
    above = torch.searchsorted(cdf, quantiles.contiguous(), right=True).clamp(1, weights.shape[-1])
    left, right = cdf.gather(-1, above - 1), cdf.gather(-1, above)
    start, end = edges.gather(-1, above - 1), edges.gather(-1, above)
    # An interval may be too light for the running sum to notice; then any point of it will do.
    share = ((quantiles - left) / (right - left).clamp(min=torch.finfo(cdf.dtype).tiny)).clamp(0, 1)
    return start + share * (end - start)


@torch.no_grad()  # where to look is computed, never learned
def resample(
    distances: Float[Tensor, "rays samples"],
    weights: Float[Tensor, "rays samples"],
    extra: int,
    generator: Generator | None = None,
) -> Float[Tensor, "rays samples+{extra}"]:
    """The given distances and `extra` more, drawn where the weights are, in rising order.

    NeRF's own histogram: its edges are the middles between the distances, so that each sample but the first
    and last has an interval around it, and its weight; those two are left out. 1e-5 is added to every
    weight, so that an empty ray is looked at evenly, and a full one not only where it is full. No gradient
    passes through.
    """
    edges = (distances[:, 1:] + distances[:, :-1]) / 2
    shape, like = (len(distances), extra), {"dtype": distances.dtype, "device": distances.device}
    if generator is None:
        quantiles = torch.linspace(0, 1, extra, **like).expand(shape)
    else:
        quantiles = torch.rand(shape, generator=generator, **like)
    found = invert_cdf(edges, weights[:, 1:-1] + 1e-5, quantiles)
    return torch.cat([distances, found], dim=-1).sort(dim=-1).values


@torch.no_grad()  # where to look is computed, never learned
def resample_intervals(
    edges: Float[Tensor, "rays coarse"],
    weights: Float[Tensor, "rays samples"],
    count: int,
    generator: Generator | None = None,
    trust: float = 1.0,
) -> Float[Tensor, "rays edges"]:
    """The fenceposts of `count` intervals that each hold about an equal part of the histogram.

    Fenceposts lie in the middles between `count` evenly spaced quantiles, and the two at the ends as far
    beyond the last quantile as the next one lies within, but not outside the histogram. With a generator all
    quantiles of a ray move by one and the same draw: rays differ, and intervals of one ray keep their
    proportions. Weights are raised to the power `trust`; at 0 every interval is as good as any other. `count`
    >= 2.
    """
    if generator is None:
        shift = edges.new_full((len(edges), 1), 0.5)
    else:
        shift = torch.rand(len(edges), 1, generator=generator, dtype=edges.dtype, device=edges.device)
    quantiles = (torch.arange(count, dtype=edges.dtype, device=edges.device) + shift) / count
    # 1e-12: a ray that met nothing at all is looked at evenly.
    centres = invert_cdf(edges, weights.clamp(min=1e-12) ** trust, quantiles)
    middles = (centres[:, 1:] + centres[:, :-1]) / 2
    first = torch.maximum(2 * centres[:, :1] - middles[:, :1], edges[:, :1])
    last = torch.minimum(2 * centres[:, -1:] - middles[:, -1:], edges[:, -1:])
    return torch.cat([first, middles, last], dim=-1)


def schlick_bias(progress: float, slope: float) -> float:
    """From 0 to 1 as progress does, `slope` times as fast at first and as much slower at the end (Schlick
    1994)."""
    return slope * progress / ((slope - 1) * progress + 1)
