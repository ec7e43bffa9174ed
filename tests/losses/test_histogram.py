"""Losses on histograms along a ray: blurred exactly, covered or not, drawn together."""

import pytest
import torch

from rayformer.losses.histogram import blurred_weights, distortion, interlevel


def drawn(rays=5, samples=8, seed=0, dtype=torch.float64):
    """A histogram on [0, 1], without gaps, of weights that sum to less than 1."""
    source = torch.Generator().manual_seed(seed)
    edges = torch.rand(rays, samples + 1, generator=source, dtype=dtype).sort(dim=-1).values
    edges[:, 0], edges[:, -1] = 0, 1
    weights = torch.rand(rays, samples, generator=source, dtype=dtype)
    return edges, weights / weights.sum(dim=-1, keepdim=True) * 0.9


def density(edges, weights, x):
    """The histogram's density at places of one ray."""
    row = (torch.searchsorted(edges, x, right=True) - 1).clamp(0, len(weights) - 1)
    inside = (x >= edges[0]) & (x < edges[-1])
    return torch.where(inside, (weights / edges.diff())[row], 0.0)


@pytest.mark.parametrize("half_width", [0.3, 0.03, 0.003])
def test_blurring_equals_a_numerical_convolution(half_width):
    edges, weights = drawn(3)
    into = torch.linspace(-0.2, 1.2, 13, dtype=torch.float64).expand(3, 13)
    exact = blurred_weights(edges, weights, half_width, into)
    fine = (torch.arange(280_000, dtype=torch.float64) + 0.5) / 200_000 - 0.2
    box = round(2 * half_width * 200_000)
    for ray in range(3):
        sums = torch.cat([torch.zeros(1), density(edges[ray], weights[ray], fine).cumsum(0) / 200_000])
        padded = torch.nn.functional.pad(sums[None, None], (box // 2, box // 2), "replicate")[0, 0]
        doubly = torch.cat([torch.zeros(1), padded.cumsum(0)])
        below = (
            doubly[box:] - doubly[:-box]
        ) / box  # the mean of the running sum over the box, at each place
        rows = ((into[ray] + 0.2) * 200_000).round().long().clamp(max=len(below) - 1)
        torch.testing.assert_close(exact[ray], below[rows].diff(), atol=2e-5, rtol=0)


def test_blurring_by_nothing_is_resampling():
    edges, weights = drawn()
    into = torch.linspace(0, 1, 7, dtype=torch.float64).expand(5, 7)
    sharp = torch.stack([
        torch.stack([
            ((torch.minimum(edges[ray, 1:], b) - torch.maximum(edges[ray, :-1], a)).clamp(min=0)
             / edges[ray].diff() * weights[ray]).sum()
            for a, b in zip(into[ray], into[ray, 1:], strict=False)
        ])
        for ray in range(5)
    ])  # fmt: skip
    torch.testing.assert_close(blurred_weights(edges, weights, 1e-7, into), sharp, atol=1e-5, rtol=0)


def test_blurring_keeps_the_weight():
    edges, weights = drawn()
    wide = torch.tensor([[-1.0, 0.2, 0.7, 2.0]], dtype=torch.float64).expand(5, 4)
    torch.testing.assert_close(blurred_weights(edges, weights, 0.1, wide).sum(-1), weights.sum(-1))


def test_a_blurred_step_is_a_ramp():
    """All weight in [0.4, 0.6], a box of half width 0.1: a triangle on [0.3, 0.7], half of it left of 0.5."""
    edges, weights = torch.tensor([[0, 0.4, 0.6, 1]]).double(), torch.tensor([[0, 1, 0]]).double()
    into = torch.tensor([[0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0]]).double()
    exact = torch.tensor([[0, 1 / 8, 3 / 8, 3 / 8, 1 / 8, 0]]).double()
    torch.testing.assert_close(blurred_weights(edges, weights, 0.1, into), exact)


def test_intervals_of_no_width_do_no_harm():
    edges = torch.tensor([[0.0, 0.5, 0.5, 0.5, 1.0]])
    weights = torch.tensor([[0.2, 0.0, 0.0, 0.5]])
    blurred = blurred_weights(edges, weights, 0.003, torch.linspace(0, 1, 5)[None])
    torch.testing.assert_close(blurred[:, 1:3].sum(), torch.tensor(0.35), atol=1e-3, rtol=0)
    assert torch.isfinite(blurred).all()


def test_float32_answers_as_exactly_as_it_was_asked():
    edges, weights = drawn(rays=50, samples=32, dtype=torch.float32)
    into = torch.linspace(0, 1, 65).expand(50, 65)
    exact = blurred_weights(edges.double(), weights.double(), 0.003, into.double())
    torch.testing.assert_close(
        blurred_weights(edges, weights, 0.003, into).double(), exact, atol=1e-6, rtol=1e-5
    )


def test_a_proposal_that_covers_everything_costs_nothing_and_one_that_misses_something_does():
    edges, weights = drawn()
    into = torch.linspace(0, 1, 7, dtype=torch.float64).expand(5, 7)
    enough = blurred_weights(edges, weights, 0.03, into)
    assert interlevel(edges, weights, into, enough + 1e-9, 0.03) == 0
    less = enough.clone()
    less[:, 3] *= 0.5
    # One of six intervals has half of its weight w: (w/2)^2 / (w/2) = w/2.
    torch.testing.assert_close(interlevel(edges, weights, into, less, 0.03), enough[:, 3].mean() / 2 / 6)


def test_the_proposal_learns_and_the_field_does_not():
    edges, weights = drawn()
    into = torch.linspace(0, 1, 7, dtype=torch.float64).expand(5, 7)
    weights.requires_grad_()
    proposed = torch.zeros(5, 6, dtype=torch.float64, requires_grad=True)
    interlevel(edges, weights, into, proposed, 0.03).backward()
    assert weights.grad is None
    assert torch.isfinite(proposed.grad).all(), "even where the proposal says nothing at all"
    assert (proposed.grad <= 0).all()


@pytest.mark.parametrize(("weight", "width"), [(1.0, 0.3), (0.25, 1.0), (0.5, 1e-3)])
def test_the_distortion_of_a_single_interval_is_a_third_of_its_width(weight, width):
    edges = torch.tensor([[2.0, 2.0 + width]]).double()
    exact = torch.tensor([weight**2 * width / 3]).double()
    torch.testing.assert_close(distortion(edges, torch.tensor([[weight]]).double()), exact)


def test_distortion_equals_the_sum_over_all_pairs():
    edges, weights = drawn()
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    pairs = weights[:, :, None] * weights[:, None] * (middles[:, :, None] - middles[:, None]).abs()
    alone = (weights.square() * edges.diff(dim=-1)).sum(-1) / 3
    torch.testing.assert_close(distortion(edges, weights), pairs.sum((-2, -1)) + alone)


def test_distortion_is_the_mean_distance_of_two_draws():
    edges, weights = torch.tensor([[0.0, 1, 2, 5]]), torch.tensor([[0.2, 0.5, 0.3]])
    source = torch.Generator().manual_seed(0)
    rows = torch.multinomial(weights[0], 400_000, replacement=True, generator=source)
    place = edges[0, rows] + edges.diff(dim=-1)[0, rows] * torch.rand(400_000, generator=source)
    apart = (place[:200_000] - place[200_000:]).abs().mean()
    torch.testing.assert_close(distortion(edges, weights)[0], apart, rtol=5e-3, atol=0)


def test_distortion_moves_with_no_shift_and_scales_with_the_edges():
    edges, weights = drawn()
    torch.testing.assert_close(distortion(edges + 7, weights), distortion(edges, weights))
    torch.testing.assert_close(distortion(3 * edges, weights), 3 * distortion(edges, weights))
