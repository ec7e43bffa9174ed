"""The network of sines: its start, and its range."""

import math

import pytest
import torch

from rayformer.fields.parts.siren import HIDDEN_OMEGA, Siren


def activations(depth: int, seed: int = 0) -> list[torch.Tensor]:
    """What every layer of a fresh siren gives for coordinates all over the square."""
    torch.manual_seed(seed)
    siren, x, found = Siren(2, 256, depth, 3), torch.rand(1000, 2) * 2 - 1, []
    for number, layer in enumerate(siren.layers):
        x = torch.sin((HIDDEN_OMEGA if number else siren.omega) * layer(x))
        found.append(x.detach())
    return found


def test_activations_keep_their_variance_through_any_number_of_layers():
    """Half, that of the arcsine distribution, within a tenth, in the second layer as in the twelfth."""
    for layer in activations(12)[1:]:
        assert layer.var().item() == pytest.approx(0.5, abs=0.05)


def test_phases_of_hidden_layers_are_normal_with_variance_one():
    torch.manual_seed(0)
    siren = Siren(2, 256, 4, 3)
    x = activations(4)[2]
    torch.manual_seed(1)
    phases = (HIDDEN_OMEGA * Siren(2, 256, 4, 3).layers[3](x)).detach()
    # U(+-1/sqrt(n)) biases add 30^2 / (3 n) to the variance of 1 that the weights give.
    assert phases.var().item() == pytest.approx(1 + HIDDEN_OMEGA**2 / (3 * 256), rel=0.15)
    assert len(siren.layers) == 4


def test_with_the_usual_start_of_linear_layers_the_variance_would_not_stay():
    torch.manual_seed(0)
    x = torch.rand(2000, 2) * 2 - 1
    for number in range(6):
        layer = torch.nn.Linear(2 if number == 0 else 256, 256)
        torch.nn.init.normal_(layer.weight, std=0.01 / math.sqrt(256))
        torch.nn.init.zeros_(layer.bias)
        x = torch.sin(HIDDEN_OMEGA * layer(x))
    assert x.var().item() < 0.05


def test_weights_are_uniform_within_the_bounds_of_the_paper():
    torch.manual_seed(0)
    siren = Siren(2, 256, 4, 3, omega=30.0)
    first, hidden = siren.layers[0].weight, siren.layers[2].weight
    assert first.abs().max().item() == pytest.approx(1 / 2, rel=0.02)
    assert hidden.abs().max().item() == pytest.approx(math.sqrt(6 / 256) / 30, rel=0.01)
    assert hidden.std().item() == pytest.approx(math.sqrt(6 / 256) / 30 / math.sqrt(3), rel=0.02)


def test_sines_stay_float32_under_bf16_autocast():
    torch.manual_seed(0)
    siren, x = Siren(2, 32, 3, 1), torch.rand(50, 2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = siren(x)
    assert torch.equal(inside, siren(x))
