"""Total variation: nothing where nothing changes, and the slope of what changes evenly."""

import pytest
import torch

from rayformer.losses.smoothness import total_variation


def test_alike_neighbours_cost_nothing_and_have_no_slope():
    values = torch.ones(7, 4, 3, requires_grad=True)
    loss = total_variation(values)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert not values.grad.any()


def test_an_even_slope_costs_its_length():
    slope = torch.tensor([1.0, -2.0, 2.0])
    values = torch.cat([torch.zeros(1), slope]).expand(5, 4)[..., None]
    assert total_variation(values, rounding=1e-12).item() == pytest.approx(3, rel=1e-5)


def test_a_shift_of_all_values_changes_nothing():
    values = torch.randn(9, 4, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(total_variation(values + 3), total_variation(values))
