"""The drawn section against itself: its integrals against sums along lines, and the way back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.data.signals.phantom import (
    HEAD,
    Ellipse,
    back_projection,
    density,
    line_integrals,
    section,
    shadows,
)


@settings(deadline=None, max_examples=30)
@given(
    x=st.floats(-0.4, 0.4), y=st.floats(-0.4, 0.4), across=st.floats(0.1, 0.5), along=st.floats(0.1, 0.5),
    degrees=st.floats(0, 180), angle=st.floats(0, math.pi), offset=st.floats(-0.9, 0.9),
)  # fmt: skip
def test_a_line_integral_is_the_sum_of_the_density_along_the_line(
    x, y, across, along, degrees, angle, offset
):
    ellipse = [Ellipse(1.7, x, y, across, along, degrees)]
    t = (np.arange(4000) + 0.5) / 4000 * 4 - 2
    c, s = math.cos(angle), math.sin(angle)
    summed = density(ellipse, offset * c - t * s, offset * s + t * c).sum() * (4 / 4000)
    exact = line_integrals(ellipse, np.array([angle]), np.array([offset]))[0, 0]
    assert exact == pytest.approx(summed, abs=1.7 * 3 * 4 / 4000)


def test_every_shadow_has_the_mass_of_the_section():
    """The integral over all parallel lines does not depend on from where one looks."""
    seen = shadows(HEAD, 7, 4000)
    masses = seen.integrals.sum(axis=1) * (2 / 4000)
    area = sum(one.density * math.pi * one.across * one.along for one in HEAD)
    np.testing.assert_allclose(masses, area, rtol=1e-4)


def test_the_section_has_no_negative_density_and_lies_in_the_disc():
    picture = section(HEAD, 64)
    assert picture.min() >= -1e-12
    axis = (np.arange(64) + 0.5) / 32 - 1
    outside = axis[None] ** 2 + axis[:, None] ** 2 > 1
    assert (picture[outside] == 0).all()


def test_row_nought_is_on_top():
    spot = [Ellipse(1.0, 0.5, 0.5, 0.2, 0.2)]
    picture = section(spot, 32)
    assert picture[:16, 16:].sum() > 0
    assert picture[16:].sum() == picture[:, :16].sum() == 0


def test_back_projection_finds_the_density_of_a_disc():
    disc = [Ellipse(0.8, 0.1, -0.2, 0.5, 0.5)]
    found = back_projection(shadows(disc, 180, 128), 128)
    truth = section(disc, 128)
    inside = section([Ellipse(1.0, 0.1, -0.2, 0.4, 0.4)], 128) == 1
    assert found[inside].mean() == pytest.approx(0.8, rel=0.01)
    assert np.abs(found[truth == 0]).mean() < 0.02


def test_more_angles_bring_back_projection_nearer_to_the_section():
    truth = section(HEAD, 64)
    errors = [
        np.square(back_projection(shadows(HEAD, angles, 64), 64) - truth).mean() for angles in (8, 32, 128)
    ]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]
