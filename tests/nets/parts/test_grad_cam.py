"""Where a network sees a class."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.nfnet import NFNet, NFNetConfig
from rayformer.nets.parts.grad_cam import grad_cam
from rayformer.nets.resnet_rs import ResNet, ResNetConfig


class Colours(nn.Module):
    """Sees red, green and blue, each as one channel of a map of a quarter of the size."""

    def features(self, images):
        return F.avg_pool2d(images, 4)

    def classify(self, features):
        return 2 * features.mean(dim=(2, 3)) - 0.5 * features.mean(dim=(1, 2, 3))[:, None]


def patch(colour: int, row: int, column: int, size: int = 32) -> torch.Tensor:
    image = torch.zeros(3, size, size)
    image[colour, row : row + 8, column : column + 8] = 1
    return image


def test_heat_lies_on_the_class_that_was_asked_for():
    image = patch(0, 4, 4) + patch(2, 20, 16)
    red, blue, green = grad_cam(Colours().eval(), image.expand(3, -1, -1, -1), torch.tensor([0, 2, 1]))
    assert red[8, 8] > 0.9
    assert red[24, 20] == 0
    assert blue[24, 20] > 0.9
    assert blue[8, 8] == 0
    assert not green.any(), "what is not in the picture has no heat"


def test_by_hand_it_is_the_weighted_sum_of_the_paper():
    torch.manual_seed(0)
    net = ResNet(ResNetConfig(depths=(1, 1), width=4), classes=5).eval()
    images, classes = torch.rand(2, 3, 32, 32), torch.tensor([3, 1])
    features = net.features(images).detach()
    # The classes are linear in the average of the map: alpha is the head's weight over the number of places.
    alpha = net.head.weight[classes] / features[0, 0].numel()
    wanted = F.relu((alpha[:, :, None, None] * features).sum(dim=1, keepdim=True))
    wanted = F.interpolate(wanted, (32, 32), mode="bilinear").squeeze(1)
    wanted = wanted / wanted.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(grad_cam(net, images, classes), wanted.detach())


@pytest.mark.parametrize(
    "net",
    [
        ConvNeXt(ConvNeXtConfig(depths=(1, 1), widths=(8, 16)), 4),
        ResNet(ResNetConfig(depths=(1, 1), width=4), 4),
        NFNet(NFNetConfig(depths=(1, 1), widths=(16, 16), stem_width=8, group_width=8, last_width=16), 4),
    ],
    ids=["convnext", "resnet", "nfnet"],
)
def test_heat_of_every_net_is_as_large_as_its_picture_and_changes_nothing(net):
    net.eval()
    images = torch.rand(2, 3, 40, 56)
    with torch.no_grad():  # as prediction asks for it
        heat = grad_cam(net, images, torch.tensor([0, 3]))
    assert heat.shape == (2, 40, 56)
    assert heat.min() >= 0
    assert heat.max() <= 1
    assert not heat.requires_grad
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_network_in_training_is_not_asked():
    with pytest.raises(AssertionError, match="evaluation mode"):
        grad_cam(Colours().train(), torch.rand(1, 3, 8, 8), torch.tensor([0]))


def test_a_network_that_learned_two_textures_looks_where_they_are():
    """Stripes one way or the other somewhere in noise; nothing but the class was told."""
    source = torch.Generator().manual_seed(0)

    def drawn(count):
        images = 0.3 * torch.randn(count, 1, 32, 32, generator=source)
        classes = torch.randint(2, (count,), generator=source)
        corners = torch.randint(0, 5, (count, 2), generator=source) * 4
        stripes = (torch.arange(16) // 2 % 2 * 2.0 - 1).expand(16, 16)
        for image, which, (row, column) in zip(images, classes, corners.tolist(), strict=True):
            image[0, row : row + 16, column : column + 16] += stripes.T if which else stripes
        return images, classes, corners

    torch.manual_seed(0)
    net = ResNet(ResNetConfig(depths=(1, 1), width=8, stem_halvings=1), 2, channels=1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(50):
        images, classes, _ = drawn(32)
        optimiser.zero_grad()
        F.cross_entropy(net(images), classes).backward()
        optimiser.step()
    net.eval()
    images, classes, corners = drawn(50)
    assert (net(images).argmax(dim=1) == classes).float().mean() > 0.9
    inside = torch.zeros(50, 32, 32)
    for mask, (row, column) in zip(inside, corners.tolist(), strict=True):
        mask[row : row + 16, column : column + 16] = 1
    heat = grad_cam(net, images, classes)
    share = (heat * inside).sum() / heat.sum()
    assert share > 0.6, "a quarter of the picture holds most of the heat"
