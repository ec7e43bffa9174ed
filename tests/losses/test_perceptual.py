"""VGG-19's features compared: zero for equals, the layers and weights of the paper."""

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import DataError
from rayformer.losses.perceptual import DEPTHS, MEAN, SPREAD, WIDTHS, PerceptualLoss

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30)
"""Of VGG-19, as torchvision numbers them, as far as they are looked at."""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    widths = [width for width in WIDTHS if isinstance(width, int)]
    draw, weights, inputs = torch.Generator().manual_seed(0), {}, 3
    for number, width in zip(CONVOLUTIONS, widths, strict=True):
        scale = (2 / (9 * inputs)) ** 0.5
        weights[f"features.{number}.weight"] = torch.randn(width, inputs, 3, 3, generator=draw) * scale
        weights[f"features.{number}.bias"] = torch.zeros(width)
        inputs = width
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(weights, path)
    return path


def test_it_is_the_weighted_difference_of_five_layers(file):
    one, other = torch.rand(2, 1, 3, 32, 32)
    weights, total = torch.load(file), 0.0
    values = [
        (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(SPREAD)[:, None, None] for x in (one, other)
    ]
    for number in range(32):
        if number in CONVOLUTIONS:
            values = [
                F.conv2d(
                    x, weights[f"features.{number}.weight"], weights[f"features.{number}.bias"], padding=1
                )
                for x in values
            ]
        elif number in (4, 9, 18, 27):
            values = [F.max_pool2d(x, 2) for x in values]
        else:
            values = [x.relu() for x in values]
        total += {3: 1.0, 8: 0.75, 13: 0.5, 22: 0.5, 31: 1.0}.get(number, 0) * F.l1_loss(*values).item()
    loss = PerceptualLoss(file)
    assert loss(one, other).item() == pytest.approx(total, rel=1e-4)
    assert len(loss.features) == max(DEPTHS) + 1
    assert loss(one, one).item() == 0


def test_the_picture_has_a_gradient_and_the_network_none(file):
    loss, picture = PerceptualLoss(file), torch.rand(1, 3, 16, 16, requires_grad=True)
    loss(picture, torch.rand(1, 3, 16, 16)).backward()
    assert picture.grad.abs().max() > 0
    assert all(not value.requires_grad for value in loss.parameters())


def test_weights_of_another_network_are_refused(tmp_path, snapshot):
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "alexnet.pth")
    with pytest.raises(DataError) as refusal:
        PerceptualLoss(tmp_path / "alexnet.pth")
    snapshot("another_network", str(refusal.value))
