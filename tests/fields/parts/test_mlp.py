"""The perceptron against its plain twin, in value and gradient; how it starts."""

import math

import pytest
import torch
from torch import nn

from rayformer.fields.parts.mlp import JointLinear, SkipMLP, initialise


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(output, module, *inputs):
    output.square().sum().backward()
    found = [x.grad.clone() for x in inputs] + [p.grad.clone() for p in module.parameters()]
    for x in (*inputs, *module.parameters()):
        x.grad = None
    return found


@pytest.mark.parametrize("rows", [12, 4, 1], ids=["row for row", "three rows each", "one for all"])
def test_a_joint_layer_equals_a_linear_layer_on_the_concatenation(rows):
    joint = JointLinear(5, 3, 7).double()
    first, second = drawn(12, 5).requires_grad_(), drawn(rows, 3, seed=1).requires_grad_()
    twin = joint.linear(torch.cat([first, second.repeat_interleave(12 // rows, dim=0)], dim=-1))
    torch.testing.assert_close(joint(first, second), twin)
    torch.testing.assert_close(
        gradients(joint(first, second), joint, first, second), gradients(twin, joint, first, second)
    )


def plain(mlp: SkipMLP, x, skip_after):
    """The trunk as its figure draws it: [input, hidden] side by side after the layer `skip_after`."""
    hidden = torch.relu(mlp.first(x))
    for index, layer in enumerate(mlp.rest):
        linear = layer.linear if isinstance(layer, JointLinear) else layer
        hidden = torch.relu(linear(torch.cat([x, hidden], dim=-1) if index == skip_after else hidden))
    return hidden


@pytest.mark.parametrize(("depth", "skip_after"), [(1, None), (4, None), (8, 4), (2, 0), (4, 2)])
def test_the_trunk_equals_its_plain_twin_in_value_and_gradient(depth, skip_after):
    torch.manual_seed(0)
    mlp = SkipMLP(6, 16, depth, skip_after).double()
    x = drawn(20, 6).requires_grad_()
    torch.testing.assert_close(mlp(x), plain(mlp, x, skip_after))
    torch.testing.assert_close(gradients(mlp(x), mlp, x), gradients(plain(mlp, x, skip_after), mlp, x))


def test_the_sixth_layer_of_nerf_sees_the_position_first_and_then_the_hidden_layer():
    sixth = SkipMLP(63, 256, 8, skip_after=4).rest[4]
    assert isinstance(sixth, JointLinear)
    assert sixth.sizes == [63, 256]
    assert sum(isinstance(layer, JointLinear) for layer in SkipMLP(63, 256, 8, 4).rest) == 1


def test_glorot_weights_fill_their_interval_and_biases_are_zero():
    torch.manual_seed(0)
    layer = JointLinear(63, 256, 256)
    initialise(layer, "glorot")
    bound = math.sqrt(6 / (63 + 256 + 256))  # the fan-in of the concatenation, as in Keras
    assert layer.linear.weight.abs().max() <= bound
    assert layer.linear.weight.abs().max() > 0.99 * bound
    assert torch.equal(layer.linear.bias, torch.zeros(256))


def test_torchs_own_start_is_left_alone():
    torch.manual_seed(0)
    before = nn.Linear(4, 4)
    torch.manual_seed(0)
    after = nn.Linear(4, 4)
    initialise(after, "torch")
    assert torch.equal(before.weight, after.weight)
    assert torch.equal(before.bias, after.bias)
