"""Positions: an identity, an invariance, a limit, and the class token left alone."""

import pytest
import torch

from rayformer.nets.parts.positions import LearnedPositions, resized


def test_the_same_size_is_the_same_grid():
    grid = torch.randn(1, 12, 5)
    assert resized(grid, (3, 4), (3, 4)) is grid


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("becomes", [(2, 2), (7, 3), (8, 12)])
def test_a_constant_stays_constant_at_every_size(antialias, becomes):
    grid = torch.randn(5).expand(1, 12, 5)
    wanted = grid[:, :1].expand(1, becomes[0] * becomes[1], 5)
    torch.testing.assert_close(resized(grid, (3, 4), becomes, antialias), wanted)


def test_rows_stay_rows_and_columns_columns():
    down = torch.arange(4.0).repeat_interleave(6)
    right = torch.arange(6.0).repeat(4)
    grid = torch.stack([down, right], dim=-1)[None]
    large = resized(grid, (4, 6), (8, 12)).view(8, 12, 2)
    assert (large[:, :, 0].std(dim=1) < 1e-5).all()
    assert (large[:, :, 1].std(dim=0) < 1e-5).all()
    torch.testing.assert_close(large[4, 6], torch.tensor([1.75, 2.75]), atol=0.02, rtol=0)


def test_larger_and_back_again_is_nearly_the_same():
    smooth = torch.linspace(0, 3, 64).sin().view(1, 8, 8, 1).cumsum(2).flatten(1, 2)
    back = resized(resized(smooth, (8, 8), (16, 16)), (16, 16), (8, 8))
    assert (back - smooth).abs().max() < 0.05 * smooth.abs().max()


def test_tokens_without_a_place_are_never_interpolated():
    positions = LearnedPositions(3, 4, 5, others=2)
    for size in [(3, 4), (6, 8), (1, 1), (4, 3)]:
        table = positions(*size)
        assert table.shape == (1, 2 + size[0] * size[1], 5)
        assert torch.equal(table[:, :2], positions.table[:, :2])


def test_a_turned_grid_of_as_many_places_is_another_grid():
    positions = LearnedPositions(3, 4, 5)
    assert not torch.allclose(positions(4, 3), positions(3, 4))
