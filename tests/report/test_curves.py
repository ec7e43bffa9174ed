"""A curve stays inside its frame and shows what was logged."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayformer.report.curves import DRAWN, HEIGHT, WIDTH, Series, chart, smoothed, ticks

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def series(values, name="loss") -> Series:
    return Series(name, np.arange(len(values), dtype=np.float64) * 10, np.asarray(values, dtype=np.float64))


def points(svg: str) -> np.ndarray:
    pairs = [pair for line in re.findall(r'points="([^"]*)"', svg) for pair in line.split()]
    return np.array([[float(part) for part in pair.split(",")] for pair in pairs])


@given(st.lists(finite, min_size=2, max_size=60))
def test_every_point_lies_inside_the_frame(values):
    drawn = points(chart([series(values)], "loss"))
    assert ((drawn >= 0) & (drawn <= [WIDTH, HEIGHT])).all()


@given(st.lists(finite, min_size=1, max_size=3))
def test_the_chart_is_well_formed_whatever_the_names(values):
    ElementTree.fromstring(chart([series(values, '<b>&"loss"')], '"quoted" & <b>'))


def test_a_larger_value_is_drawn_higher():
    drawn = points(chart([series([1, 3, 2, 5])], "loss"))
    assert np.array_equal(np.argsort(-drawn[:, 1]), np.argsort([1, 3, 2, 5]))


def test_values_over_decades_are_drawn_by_their_logarithm():
    heights = points(chart([series([1, 10, 100, 1000])], "loss"))[:, 1]
    assert np.ptp(np.diff(heights)) < 0.2


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    drawn = points(chart([series(np.linspace(0, 1, 10_000))], "loss"))
    assert len(drawn) <= 2 * DRAWN
    assert drawn[-1, 0] == WIDTH - 12


@given(st.lists(finite, min_size=1, max_size=200))
def test_smoothing_stays_between_the_smallest_and_the_largest(values):
    out = smoothed(np.array(values))
    room = 1e-6 * (1 + np.abs(values).max())
    assert out.min() >= min(values) - room
    assert out.max() <= max(values) + room


def test_smoothing_leaves_a_straight_line_alone_and_calms_noise():
    line = np.linspace(3, -5, 301)
    assert np.allclose(smoothed(line), line)
    noise = np.random.default_rng(0).standard_normal(1000)
    assert smoothed(noise)[50:-50].std() < 0.3


@pytest.mark.parametrize("log", [False, True])
@given(low=st.floats(1e-6, 1e3), ratio=st.floats(1.5, 1e6))
def test_ticks_lie_in_the_range_and_are_few(log, low, ratio):
    found = ticks(low, low * ratio, log)
    assert all(low * (1 - 1e-6) <= value <= low * ratio * (1 + 1e-6) for value in found)
    assert len(found) <= 9
    assert log or len(found) >= 2
