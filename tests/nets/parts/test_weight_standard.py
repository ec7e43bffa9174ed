"""Convolutions whose filters are standardised."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.nets.parts.weight_standard import GELU_SCALE, StandardConv


def drawn(*sizes, **settings) -> StandardConv:
    torch.manual_seed(0)
    return StandardConv(*sizes, **settings)


@pytest.mark.parametrize("groups", [1, 4])
def test_filters_have_mean_0_and_a_variance_that_keeps_the_signals(groups):
    convolve = drawn(32, 64, 3, groups=groups, scale=1.5)
    filters = convolve.filters().flatten(1)
    torch.testing.assert_close(filters.mean(dim=1), torch.zeros(64), atol=1e-6, rtol=0)
    fan_in = 32 // groups * 9
    torch.testing.assert_close(
        filters.var(dim=1, correction=0), torch.full((64,), 1.5**2 / fan_in), rtol=0.01, atol=0
    )


def test_filters_do_not_change_when_weights_grow_or_shift():
    convolve = drawn(8, 16, 3)
    before = convolve.filters()
    with torch.no_grad():
        convolve.weight.mul_(7 * torch.rand(16, 1, 1, 1) + 1).add_(torch.randn(16, 1, 1, 1))
    torch.testing.assert_close(convolve.filters(), before, atol=1e-4, rtol=1e-3)


def test_gains_multiply_filters_and_not_biases():
    convolve, x = drawn(8, 16, 1), torch.randn(2, 8, 3, 3)
    with torch.no_grad():
        convolve.bias.copy_(torch.randn(16))
        plain = convolve(x)
        convolve.gain.fill_(2.0)
        torch.testing.assert_close(convolve(x), 2 * plain - convolve.bias[:, None, None])


def test_a_scale_is_what_multiplies_the_input():
    one, scaled = drawn(8, 16, 3, stride=2), drawn(8, 16, 3, stride=2, scale=3.0)
    x = torch.randn(2, 8, 7, 10)
    torch.testing.assert_close(scaled(x), one(3 * x))


def test_normal_numbers_stay_of_variance_1_through_ten_layers_with_activations():
    """Without the GELU's constant they would have shrunk to a thousandth."""
    x = torch.randn(4, 512, 8, 8, generator=torch.Generator().manual_seed(0))
    variances = []
    for layer in range(10):
        torch.manual_seed(layer)
        x = StandardConv(512, 512, 1, scale=GELU_SCALE)(F.gelu(x)).detach()
        variances.append(x.var().item())
    assert variances[0] == pytest.approx(1, rel=0.15)
    assert 0.4 < variances[-1] < 2.5


def test_the_constant_of_gelu_is_one_over_the_deviation_of_gelu_of_normal_numbers():
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    mean = torch.trapezoid(F.gelu(x) * density, x)
    variance = torch.trapezoid(F.gelu(x) ** 2 * density, x) - mean**2
    assert variance.rsqrt().item() == pytest.approx(GELU_SCALE, rel=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [(6, 6), (7, 6), (7, 9), (1, 4)])
def test_padding_is_tensorflows(size, kernel, stride):
    """An output for every `stride` inputs, and the odd zero at the end: by a slow twin."""
    convolve = drawn(2, 3, kernel, stride=stride)
    x = torch.randn(1, 2, *size)
    outputs = [-(-length // stride) for length in size]
    missing = [
        max((count - 1) * stride + kernel - length, 0) for count, length in zip(outputs, size, strict=True)
    ]
    padded = torch.zeros(1, 2, size[0] + missing[0], size[1] + missing[1])
    top, left = missing[0] // 2, missing[1] // 2
    padded[:, :, top : top + size[0], left : left + size[1]] = x
    wanted = F.conv2d(padded, convolve.filters(), convolve.bias, stride)
    assert list(wanted.shape[2:]) == outputs
    torch.testing.assert_close(convolve(x), wanted)
