"""The squared error, and its relation to PSNR."""

import pytest
import torch

from rayformer.losses.photometric import charbonnier, huber, squared_error
from rayformer.metrics.image import psnr_db


def test_equal_colours_have_no_error():
    colour = torch.rand(5, 3)
    assert squared_error(colour, colour) == 0


def test_a_tenth_off_everywhere_is_an_error_of_a_hundredth():
    torch.testing.assert_close(
        squared_error(torch.full((4, 3), 0.6), torch.full((4, 3), 0.5)), torch.tensor(0.01)
    )


def test_psnr_is_minus_ten_times_the_logarithm_of_the_error():
    a, b = torch.rand(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(psnr_db(a, b)[0], -10 * squared_error(a, b).log10())


def test_charbonniers_error_is_the_absolute_one_but_for_its_tip():
    a, b = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(charbonnier(a, b), (a - b).abs().mean(), atol=1e-3, rtol=0)
    torch.testing.assert_close(charbonnier(a, a), torch.tensor(0.001))
    a.requires_grad_()
    charbonnier(a, a.detach()).backward()
    assert torch.equal(a.grad, torch.zeros(50, 3))


def test_hubers_error_of_small_differences_is_the_squared_one():
    a = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    b = a + 0.1 * (2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) - 1)
    torch.testing.assert_close(huber(a, b, 0.1), squared_error(a, b))


def test_hubers_error_goes_on_as_a_straight_line_of_the_slope_that_it_had():
    zero = torch.zeros(1, 3)
    slopes = []
    for difference in (0.05, 0.0999, 0.1001, 0.5, 2.0):
        colour = torch.full((1, 3), difference, requires_grad=True)
        (slope,) = torch.autograd.grad(3 * huber(colour, zero, 0.1), colour)
        slopes.append(slope[0, 0].item())
    assert slopes[0] == pytest.approx(2 * 0.05)
    assert slopes[1:] == pytest.approx([0.2] * 4, rel=2e-3)
    torch.testing.assert_close(huber(zero + 0.5, zero, 0.1), torch.tensor(0.1**2 + 0.2 * 0.4))
