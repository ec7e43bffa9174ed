"""Waves of any direction against the formula of the paper, and against what they are for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.encodings.fourier import WaveEncoding, basic_waves, gaussian_waves, positional_waves


def by_hand(waves: torch.Tensor, point: list[float]) -> list[float]:
    turns = [sum(b * v for b, v in zip(row, point, strict=True)) for row in waves.tolist()]
    return [math.cos(2 * math.pi * t) for t in turns] + [math.sin(2 * math.pi * t) for t in turns]


@settings(deadline=None)  # the first seed of a process takes its time
@given(seed=st.integers(0, 2**31), dims=st.integers(1, 3), count=st.integers(1, 9))
def test_features_are_the_cosines_and_sines_of_the_paper(seed, dims, count):
    torch.manual_seed(seed)
    waves, points = gaussian_waves(dims, count, 3.0), torch.rand(5, dims)
    encoding = WaveEncoding(waves)
    found = encoding(points)
    assert found.shape == (5, encoding.size)
    wanted = torch.tensor([by_hand(waves, point) for point in points.tolist()])
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=0)


def test_basic_waves_wrap_each_coordinate_round_a_circle():
    found = WaveEncoding(basic_waves(2))(torch.tensor([[0.25, 0.5]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -1.0, 1.0, 0.0]]), atol=1e-6, rtol=0)


@given(dims=st.integers(1, 3), count=st.integers(3, 40), octaves=st.floats(0.5, 9))
def test_positional_waves_lie_along_axes_and_reach_from_one_to_two_to_the_octaves(dims, count, octaves):
    waves = positional_waves(dims, count, octaves)
    assert waves.shape == (dims * (count // dims), dims)
    assert ((waves != 0).sum(dim=1) == 1).all()
    for axis in range(dims):
        own = waves[waves[:, axis] > 0, axis]
        assert own[0] == 1
        if len(own) > 1:
            assert own[-1].item() == pytest.approx(2**octaves, rel=1e-5)
            ratios = own[1:] / own[:-1]
            torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios), rtol=1e-4, atol=0)


def test_gaussian_waves_have_the_spread_that_was_asked_for():
    torch.manual_seed(0)
    waves = gaussian_waves(2, 20_000, 7.0)
    torch.testing.assert_close(waves.std(dim=0), torch.tensor([7.0, 7.0]), rtol=0.03, atol=0)
    assert waves.mean().abs() < 0.15


@settings(deadline=None)  # the first seed of a process takes its time
@given(seed=st.integers(0, 2**31))
def test_the_product_of_two_places_features_depends_on_their_distance_alone(seed):
    """The kernel is stationary: the reason why the mapping suits signals on a regular lattice (eq. 6)."""
    torch.manual_seed(seed)
    encoding = WaveEncoding(gaussian_waves(2, 16, 2.0))
    one, other, away = torch.rand(3, 1, 2).unbind(0)
    here = (encoding(one) * encoding(other)).sum()
    there = (encoding(one + away) * encoding(other + away)).sum()
    torch.testing.assert_close(here, there, atol=1e-3, rtol=0)


def test_waves_stay_float32_under_bf16_autocast():
    torch.manual_seed(0)
    encoding, points = WaveEncoding(gaussian_waves(2, 64, 50.0)), torch.rand(100, 2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = encoding(points)
    assert torch.equal(inside, encoding(points))


def test_waves_are_kept_with_the_weights():
    assert "waves" in WaveEncoding(basic_waves(2)).state_dict()
