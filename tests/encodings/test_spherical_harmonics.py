"""Spherical harmonics: orthonormal to the last digit, and scipy's by name and by sign."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import sph_harm_y

from rayformer.core.errors import ConfigError
from rayformer.encodings.spherical_harmonics import SphericalHarmonics


def grid_on_the_sphere(count: int = 8):
    """Directions and weights that integrate polynomials up to degree 2 * count - 1 exactly."""
    z, of_z = np.polynomial.legendre.leggauss(count)
    turn = 2 * np.pi * np.arange(2 * count) / (2 * count)
    ring = np.sqrt(1 - z**2)
    x, y = ring[:, None] * np.cos(turn), ring[:, None] * np.sin(turn)
    directions = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=-1).reshape(-1, 3)
    weights = np.repeat(of_z * np.pi / count, 2 * count)
    return torch.from_numpy(directions), torch.from_numpy(weights)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_two_harmonics_are_orthogonal_and_each_has_the_mean_square_of_a_unit_of_solid_angle(degree):
    directions, weights = grid_on_the_sphere()
    values = SphericalHarmonics(degree)(directions)
    torch.testing.assert_close(values.T @ (weights[:, None] * values), torch.eye(degree**2).double())


def test_the_harmonics_are_scipys_without_the_sign_of_condon_and_shortley():
    directions = F.normalize(
        torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    x, y, z = directions.T.numpy()
    theirs = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), np.arccos(z), np.arctan2(y, x))
            part = value.real if order >= 0 else value.imag
            theirs.append(part * (1 if order == 0 else math.sqrt(2) * (-1) ** order))
    torch.testing.assert_close(SphericalHarmonics(4)(directions), torch.from_numpy(np.stack(theirs, axis=-1)))


def test_a_degree_has_its_square_of_features_and_lower_ones_come_first():
    directions = F.normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    whole = SphericalHarmonics(4)(directions)
    for degree in (1, 2, 3, 4):
        encoding = SphericalHarmonics(degree)
        assert encoding.size == degree**2
        assert torch.equal(encoding(directions), whole[:, : degree**2])


def test_degree_one_tells_nothing_of_the_direction():
    there, back = torch.tensor([[0.0, 0.6, 0.8]]), torch.tensor([[0.0, -0.6, -0.8]])
    assert torch.equal(SphericalHarmonics(1)(there), SphericalHarmonics(1)(back))


@pytest.mark.parametrize("degree", [0, 5])
def test_a_degree_without_polynomials_is_refused(degree):
    with pytest.raises(ConfigError, match=f"degree 1 to 4, but {degree} was asked for"):
        SphericalHarmonics(degree)
