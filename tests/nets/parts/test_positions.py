"""Positions: waves that turn, an identity, an invariance, a limit, and the class token left alone."""

import math

import pytest
import torch

from rayformer.nets.parts.positions import LearnedPositions, resized, sinusoidal


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


# ---------------------------------------------------------------------- waves


def test_waves_are_the_papers_formula_entry_by_entry():
    """Vaswani et al. 2017, sec. 3.5: even channels sines, odd ones cosines."""
    table = sinusoidal(50, 8)
    for place in (0, 1, 7, 49):
        for pair in range(4):
            angle = place / 10000 ** (2 * pair / 8)
            assert table[place, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("shift", [1, 5, 20])
def test_a_shift_is_the_same_rotation_everywhere(shift):
    """What the paper chose them for: the vector of p + k is a linear function of that of p."""
    table = sinusoidal(60, 6).double().unflatten(1, (3, 2))
    angles = shift * 10000.0 ** (-torch.arange(3, dtype=torch.float64) / 3)
    sin, cos = table[:40, :, 0], table[:40, :, 1]
    turned = torch.stack(
        [sin * angles.cos() + cos * angles.sin(), cos * angles.cos() - sin * angles.sin()], dim=-1
    )
    torch.testing.assert_close(table[shift : 40 + shift], turned, atol=1e-6, rtol=0)


def test_places_may_begin_anywhere_and_keep_their_digits_far_out():
    torch.testing.assert_close(sinusoidal(3, 10, first=1000), sinusoidal(1003, 10)[1000:], rtol=0, atol=0)
    assert sinusoidal(1, 4, first=10**6)[0, 0].item() == pytest.approx(math.sin(10**6), abs=1e-6)


def test_an_odd_width_ends_on_a_sine():
    torch.testing.assert_close(sinusoidal(5, 7)[:, 6], sinusoidal(5, 8, base=10000 ** (8 / 7))[:, 6])
