"""Relative biases depend on steps and on nothing else."""

import pytest
import torch

from rayformer.nets.parts.relative_bias import RelativeBias, resized_table


@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 4), (3, 1)])
def test_the_bias_is_that_of_the_step_from_key_to_query(height, width):
    bias = RelativeBias(4, 3)
    found, table = bias(height, width), bias.table.view(7, 7, 3)
    places = [(row, column) for row in range(height) for column in range(width)]
    for q, (row, column) in enumerate(places):
        for k, (other_row, other_column) in enumerate(places):
            assert torch.equal(found[:, q, k], table[row - other_row + 3, column - other_column + 3])


def test_every_row_of_the_table_is_some_step():
    bias = RelativeBias(4, 1)
    (slope,) = torch.autograd.grad(bias(4, 4).sum(), bias.table)
    assert slope.min() >= 1
    assert slope.sum() == 16 * 16


def test_a_table_for_other_windows_keeps_what_is_constant_and_what_is_on_which_side():
    table = torch.stack([torch.full((9,), 2.0), torch.arange(9.0)], dim=-1)
    large = resized_table(table, 4)
    assert large.shape == (49, 2)
    torch.testing.assert_close(large[:, 0], torch.full((49,), 2.0))
    assert (large[:, 1].view(7, 7).diff(dim=0) > 0).all()
    assert (large[:, 1].view(7, 7).diff(dim=1) > -1e-3).all()
    assert resized_table(table, 2) is table
