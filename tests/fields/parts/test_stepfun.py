"""Samples along a ray: stratified, and drawn from a histogram."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayformer.fields.parts.stepfun import (
    invert_cdf,
    resample,
    resample_intervals,
    schlick_bias,
    stratified,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 2**31), samples=st.integers(1, 100))
def test_every_interval_gets_one_sample(seed, samples):
    near, far = torch.tensor([2.0, 0.5]), torch.tensor([6.0, 0.75])
    distances = stratified(near, far, samples, generator(seed))
    share = (distances - near[:, None]) / (far - near)[:, None] * samples
    place = torch.arange(samples)
    assert (share >= place - 1e-3).all()
    assert (share <= place + 1 + 1e-3).all()


def test_without_a_generator_samples_are_the_middles():
    assert stratified(torch.tensor([2.0]), torch.tensor([6.0]), 4).tolist() == [[2.5, 3.5, 4.5, 5.5]]


def test_stratified_samples_are_uniform_on_average():
    distances = stratified(torch.zeros(20_000), torch.ones(20_000), 4, generator())
    middles = torch.tensor([0.125, 0.375, 0.625, 0.875])
    torch.testing.assert_close(distances.mean(0), middles, atol=2e-3, rtol=0)
    torch.testing.assert_close(distances.var(0), torch.full((4,), 0.25**2 / 12), atol=1e-4, rtol=0)


def test_the_same_generator_gives_the_same_samples():
    ends = torch.zeros(3), torch.ones(3)
    assert torch.equal(stratified(*ends, 5, generator(7)), stratified(*ends, 5, generator(7)))
    assert not torch.equal(stratified(*ends, 5, generator(7)), stratified(*ends, 5, generator(8)))


def test_a_flat_histogram_is_inverted_by_a_straight_line():
    edges = torch.linspace(2, 6, 9, dtype=torch.float64)[None]
    quantiles = torch.linspace(0, 1, 33, dtype=torch.float64)[None]
    found = invert_cdf(edges, torch.full((1, 8), 0.3, dtype=torch.float64), quantiles)
    torch.testing.assert_close(found, 2 + 4 * quantiles)


@given(seed=st.integers(0, 2**31), bins=st.integers(1, 30))
def test_the_cdf_of_an_inverted_quantile_is_the_quantile(seed, bins):
    source = generator(seed)
    edges = (0.01 + torch.rand(2, bins + 1, generator=source, dtype=torch.float64)).cumsum(-1)
    weights = 0.01 + torch.rand(2, bins, generator=source, dtype=torch.float64)
    quantiles = torch.rand(2, 50, generator=source, dtype=torch.float64)
    found = invert_cdf(edges, weights, quantiles)
    # The mass below a distance, interval by interval.
    filled = ((found[..., None] - edges[:, None, :-1]) / edges.diff(dim=-1)[:, None]).clamp(0, 1)
    below = (filled * weights[:, None]).sum(-1) / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(below, quantiles)


def test_samples_fall_into_intervals_as_often_as_they_weigh():
    edges, weights = torch.tensor([[0.0, 1.0, 3.0, 4.0]]), torch.tensor([[0.1, 0.6, 0.3]])
    found = invert_cdf(edges, weights, torch.rand(1, 100_000, generator=generator()))
    counts = torch.histogram(found[0], bins=edges[0]).hist / 100_000
    torch.testing.assert_close(counts, weights[0], atol=5e-3, rtol=0)


def test_the_ends_of_the_quantiles_are_the_ends_of_the_histogram():
    edges, weights = torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([[0.2, 0.7]])
    assert invert_cdf(edges, weights, torch.tensor([[0.0, 1.0]])).tolist() == [[1.0, 5.0]]


def test_resampled_distances_rise_hold_the_old_ones_and_stay_between_them():
    distances = stratified(torch.full((5,), 2.0), torch.full((5,), 6.0), 16, generator())
    weights = torch.rand(5, 16, generator=generator(1))
    union = resample(distances, weights, 32, generator(2))
    assert union.shape == (5, 48)
    assert (union.diff(dim=-1) >= 0).all()
    assert torch.isin(distances, union).all()
    assert (union.amin(-1) == distances.amin(-1)).all()
    assert (union.amax(-1) == distances.amax(-1)).all()


def test_new_samples_gather_around_the_one_with_weight():
    distances = torch.arange(10.0)[None]
    weights = torch.zeros(1, 10)
    weights[0, 4] = 1
    union = resample(distances, weights, 1000, generator())
    assert ((union > 3.5) & (union < 4.5)).float().mean() > 0.98


def test_the_first_and_last_weight_are_left_out():
    distances, weights = torch.arange(10.0)[None], torch.full((1, 10), 0.1)
    changed = weights.clone()
    changed[0, 0], changed[0, -1] = 100, 100
    assert torch.equal(resample(distances, weights, 20), resample(distances, changed, 20))


def test_an_empty_ray_is_looked_at_evenly():
    distances = torch.arange(11.0)[None]
    union = resample(distances, torch.zeros(1, 11), 10)
    new = union[~torch.isin(union, distances)]
    torch.testing.assert_close(new, torch.linspace(0.5, 9.5, 10))


def test_without_a_generator_resampling_is_the_same_every_time():
    distances, weights = torch.arange(8.0)[None], torch.rand(1, 8, generator=generator())
    assert torch.equal(resample(distances, weights, 12), resample(distances, weights, 12))


def test_no_gradient_passes_through_new_samples():
    weights = torch.rand(1, 8, generator=generator()).requires_grad_()
    assert not resample(torch.arange(8.0)[None], weights, 12).requires_grad


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1e10])
def test_extreme_weights_give_finite_samples(weight):
    weights = torch.zeros(1, 8)
    weights[0, 3] = weight
    assert resample(torch.arange(8.0)[None], weights, 12, generator()).isfinite().all()


# Intervals.


def histogram(rays=6, samples=9, seed=0):
    source = torch.Generator().manual_seed(seed)
    inner = torch.rand(rays, samples - 1, generator=source, dtype=torch.float64).sort(dim=-1).values
    edges = torch.cat([torch.zeros(rays, 1), inner, torch.ones(rays, 1)], dim=-1)
    return edges, torch.rand(rays, samples, generator=source, dtype=torch.float64)


@pytest.mark.parametrize("random", [False, True])
def test_intervals_follow_each_other_inside_the_histogram(random):
    edges, weights = histogram()
    found = resample_intervals(edges, weights, 16, generator() if random else None)
    assert found.shape == (6, 17)
    assert (found.diff(dim=-1) >= 0).all()
    assert (found >= edges[:, :1]).all()
    assert (found <= edges[:, -1:]).all()


def test_intervals_of_a_flat_histogram_are_equal():
    edges = torch.linspace(0, 1, 2, dtype=torch.float64).expand(2, 2)
    found = resample_intervals(edges, torch.ones(2, 1, dtype=torch.float64), 8)
    torch.testing.assert_close(found, torch.linspace(0, 1, 9, dtype=torch.float64).expand(2, 9))


def test_the_quantiles_of_a_ray_move_together():
    edges = torch.linspace(0, 1, 2, dtype=torch.float64).expand(50, 2)
    found = resample_intervals(edges, torch.ones(50, 1, dtype=torch.float64), 8, generator())
    widths = found.diff(dim=-1)[:, 1:-1]
    torch.testing.assert_close(widths, torch.full_like(widths, 1 / 8))
    shift = found[:, 1] * 8 - 1
    assert shift.min() < -0.4
    assert shift.max() > 0.4


def test_intervals_are_narrow_where_the_weight_is():
    edges = torch.linspace(0, 1, 5, dtype=torch.float64)[None]
    found = resample_intervals(edges, torch.tensor([[0.0, 1.0, 0.0, 0.0]]).double(), 8)
    assert ((found[:, 1:-1] >= 0.25) & (found[:, 1:-1] <= 0.5)).all()


def test_without_trust_every_interval_counts_alike():
    edges, weights = histogram()
    blind = resample_intervals(edges, weights, 9, trust=0.0)
    torch.testing.assert_close(blind, resample_intervals(edges, torch.ones_like(weights), 9))


def test_a_ray_that_met_nothing_is_looked_at_everywhere():
    edges, weights = histogram()
    for trust in (0.0, 0.5, 1.0):
        found = resample_intervals(edges, torch.zeros_like(weights), 9, trust=trust)
        torch.testing.assert_close(found, resample_intervals(edges, torch.ones_like(weights), 9))


def test_intervals_are_computed_and_not_learned():
    edges, weights = histogram()
    assert not resample_intervals(edges, weights.requires_grad_(), 4).requires_grad


def test_schlicks_bias_begins_with_its_slope_and_ends_at_one():
    assert schlick_bias(0.0, 10.0) == 0
    assert schlick_bias(1.0, 10.0) == 1
    assert schlick_bias(1e-6, 10.0) == pytest.approx(1e-5, rel=1e-4)
    assert schlick_bias(0.1, 10.0) == pytest.approx(1 / 1.9)
    assert schlick_bias(0.3, 1.0) == pytest.approx(0.3)
