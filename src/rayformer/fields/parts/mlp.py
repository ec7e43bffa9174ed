"""The perceptron of the neural fields: linear layers, ReLU, and the input once more half way.

    JointLinear   a linear layer over two inputs side by side, which are never laid side by side
    SkipMLP       the trunk of NeRF's field                              fig. 7 of its supplement
    initialise    how the weights start, and why it matters
    tiles         points in pieces that a processor's caches hold

All of them take points as one flat axis. That is not only taste: a linear layer on `rays samples features`
returns a view of its flat product, and ReLU in place on a view makes autograd copy the whole gradient,
layer by layer.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

TILE = {"cpu": 2**14}
"""Points that networks take at once: on a processor as many as its caches hold, elsewhere all."""


class JointLinear(nn.Module):
    """Linear([first, second]) as the sum of two products, by halves of one weight.

    `second` may have fewer rows than `first`: each then belongs to as many rows of `first`, one after the
    other, as it takes. So the direction of a ray is multiplied once per ray, and not once per sample.
    """

    def __init__(self, first: int, second: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(first + second, outputs)
        self.sizes = [first, second]

    def forward(
        self, first: Float[Tensor, "points inputs"], second: Float[Tensor, "rays features"]
    ) -> Float[Tensor, "points outputs"]:
        of_first, of_second = self.linear.weight.split(self.sizes, dim=1)
        product = F.linear(first, of_first, self.linear.bias)
        if len(first) == len(second):
            return torch.addmm(product, second, of_second.T)
        return (product.unflatten(0, (len(second), -1)) + F.linear(second, of_second)[:, None]).flatten(0, 1)


class SkipMLP(nn.Module):
    """`depth` layers of `width` with ReLU; the one after layer `skip_after` (from 0) sees [input, hidden]."""

    def __init__(self, inputs: int, width: int, depth: int, skip_after: int | None = None):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.rest = nn.ModuleList(
            JointLinear(inputs, width, width) if layer - 1 == skip_after else nn.Linear(width, width)
            for layer in range(1, depth)
        )

    def forward(self, x: Float[Tensor, "points inputs"]) -> Float[Tensor, "points width"]:
        hidden = F.relu_(self.first(x))  # in place: a linear layer's output is nobody's to keep
        for layer in self.rest:
            joint = isinstance(layer, JointLinear)
            hidden = F.relu_(layer(x, hidden) if joint else layer(hidden))
        return hidden


def initialise(module: nn.Module, how: Literal["glorot", "torch"]) -> None:
    """Set every linear layer inside `module`, drawing from torch's global generator as modules do.

    "glorot" is what NeRF was trained with (Keras' default): U(+-sqrt(6 / (inputs + outputs))), biases zero.
    "torch" keeps nn.Linear's own, U(+-1 / sqrt(inputs)) for both, as the ports to PyTorch have it. The
    difference is a trap: torch's weights shrink the signal layer by layer, until the raw density of eight
    layers is hardly more than its bias, a coin tossed once, and then it is zero behind the ReLU *everywhere*:
    so started 30 % of 60 fields of 8 x 256 in a box of side 3. Of 60 Glorot fields none did, but 2 % had
    density in less than 1 % of the box.
    """
    if how == "glorot":
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)


def tiles(values: Tensor) -> tuple[Tensor, ...]:
    """The rows in pieces whose activations a processor's caches hold; in one piece elsewhere."""
    return values.split(TILE.get(values.device.type, 2**30))
