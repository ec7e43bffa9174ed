"""Losses of distances, on shapes whose distance and slope are known."""

import math

import pytest
import torch

from rayformer.losses.distance import clipped_error, eikonal, normal_error, off_surface, relative_error


def sphere(count=200):
    """Places, their distance to a sphere, and its slope."""
    places = torch.randn(count, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    distance = places.norm(dim=-1) - 0.5
    (slope,) = torch.autograd.grad(distance.sum(), places)
    return places.detach(), distance.detach(), slope


def test_the_eikonal_error_of_a_true_sphere_is_zero():
    _, _, slope = sphere()
    assert eikonal(slope).max() < 1e-9
    torch.testing.assert_close(eikonal(3 * slope), torch.full((200,), 2.0).double())


def test_the_slope_of_a_sphere_is_its_normal():
    places, _, slope = sphere()
    outward = places / places.norm(dim=1, keepdim=True)
    assert normal_error(slope, outward).max() < 1e-9
    assert normal_error(5 * slope, outward).max() < 1e-9, "its length does not count"
    assert normal_error(slope, -outward).min() == pytest.approx(2.0)


def test_a_flat_field_has_an_eikonal_error_with_a_gradient():
    slope = torch.zeros(3, 3, requires_grad=True)
    eikonal(slope).sum().backward()
    assert slope.grad is not None
    assert slope.grad.isfinite().all()


def test_the_relative_error_is_a_share_far_away_and_a_multiple_of_the_floor_on_the_surface():
    truth = torch.tensor([10.0, 0.0, -10.0])
    error = relative_error(truth + 0.1, truth, floor=0.01)
    torch.testing.assert_close(error, torch.tensor([0.1 / 10.01, 0.1 / 0.01, 0.1 / 10.01]))


def test_beyond_its_reach_only_the_side_counts():
    truth, reach = torch.tensor([0.5, 0.5, 0.05]), 0.1
    error = clipped_error(torch.tensor([0.9, -0.9, 0.02]), truth, reach)
    torch.testing.assert_close(error, torch.tensor([0.0, 0.2, 0.03]))


def test_a_zero_off_the_surface_costs_one_and_what_is_far_from_zero_nothing():
    cost = off_surface(torch.tensor([0.0, 0.01, -0.01, 1.0]), sharpness=100)
    torch.testing.assert_close(cost, torch.tensor([1.0, math.exp(-1), math.exp(-1), 0.0]))
