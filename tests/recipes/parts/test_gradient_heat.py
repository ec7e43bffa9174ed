"""How much an answer depends on each pixel: of a straight network, its weights."""

import torch
from torch import nn

from rayformer.recipes.parts.heat import gradient_heat


def test_of_a_straight_network_the_heat_is_the_length_of_its_weights():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 5, 2))
    images, classes = torch.rand(3, 3, 4, 5), torch.tensor([0, 1, 1])
    with torch.no_grad():  # as where a network is measured
        heat = gradient_heat(net, images, classes)["gradient"]
    weights = net[1].weight.detach().view(2, 3, 4, 5).norm(dim=1)[classes]
    torch.testing.assert_close(heat, weights / weights.amax(dim=(1, 2), keepdim=True))
    assert not images.requires_grad
    assert net[1].weight.grad is None


def test_where_nothing_matters_nothing_is_hot():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    nn.init.zeros_(net[1].weight)
    heat = gradient_heat(net, torch.rand(1, 3, 2, 2), torch.tensor([0]))["gradient"]
    assert torch.equal(heat, torch.zeros(1, 2, 2))
