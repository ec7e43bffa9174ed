"""The perceptron whose neurons are sines, which has derivatives of every order.

Sitzmann et al. 2020, https://arxiv.org/abs/2006.09661.

    Siren            linear layers, a sine after each but the last                           eq. 4 and sec.
    3.2 sine_initialise  the start that keeps activations alike through any number of layers     theorem 1.8

A neuron is sin(omega (w x + b)). For hidden layers the factor omega = 30 is divided out of the weights again,
so that it changes nothing about the function and makes gradients 30 times as large; in the first layer it
says how many periods the coordinates from -1 to 1 are spread over.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

HIDDEN_OMEGA = 30.0
"""Of all layers but the first."""


class Siren(nn.Module):
    """`depth` layers of `width` sines after the coordinates, then a linear layer without one."""

    def __init__(self, inputs: int, width: int, depth: int, outputs: int, omega: int | float = 30.0):
        """`omega` is that of the first layer."""
        super().__init__()
        self.omega = float(omega)
        self.layers = nn.ModuleList(nn.Linear(inputs if n == 0 else width, width) for n in range(depth))
        self.to_values = nn.Linear(width, outputs)
        sine_initialise(self)

    def forward(self, x: Float[Tensor, "points inputs"]) -> Float[Tensor, "points outputs"]:
        """Coordinates in [-1, 1] to values. In float32 under autocast too: the phase 30 w x, rounded to 8
        bits, is off by a tenth of a radian."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            for number, layer in enumerate(self.layers):
                x = torch.sin((HIDDEN_OMEGA if number else self.omega) * layer(x))
            return self.to_values(x)


def sine_initialise(siren: Siren) -> None:
    """Weights of the first layer U(+-1 / n), of the others U(+-sqrt(6 / n) / 30), for n inputs; biases stay
    torch's U(+-1 / sqrt(n)).

    The phases 30 (w x + b) of a hidden layer are then about N(0, 1), their sines of variance one half,
    whatever the depth. Draws from torch's global generator, as modules do.
    """
    first, *rest = [*siren.layers, siren.to_values]
    assert isinstance(first, nn.Linear), "a siren has a first layer"
    nn.init.uniform_(first.weight, -1 / first.in_features, 1 / first.in_features)
    for layer in rest:
        assert isinstance(layer, nn.Linear), "a siren is made of linear layers"
        bound = math.sqrt(6 / layer.in_features) / HIDDEN_OMEGA
        nn.init.uniform_(layer.weight, -bound, bound)
