"""How different two pictures look to a network that was made to recognise things.

    PerceptualLoss   mean absolute difference of VGG-19's features, at five depths

Free View Synthesis (Riegler and Koltun 2020, https://arxiv.org/abs/2008.05511, section 5) is trained by it,
after Chen and Koltun 2017, https://arxiv.org/abs/1707.09405. The weights of VGG-19 are not ours to give: the
user names the file that torchvision publishes.
"""

from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.published import put_published

WIDTHS = (64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512)
"""VGG-19 as far as it is looked at: channels of its convolutions, and where it halves."""
DEPTHS = {3: 1.0, 8: 0.75, 13: 0.5, 22: 0.5, 31: 1.0}
"""What is compared, as a place in torchvision's `features` (each the ReLU after a convolution), and how much
it counts."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours."""


class PerceptualLoss(nn.Module):
    """Not trained: its parameters take no gradient."""

    def __init__(self, weights: Path):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in WIDTHS:
            if isinstance(width, int):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        named = {
            f"features.{number}": layer for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)
        }
        put_published(named, weights, "VGG-19, which torchvision calls vgg19-dcbb9e9d.pth")
        self.requires_grad_(False)

    def forward(
        self, predicted: Float[Tensor, "batch 3 height width"], truth: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, ""]:
        """Of pictures in [0, 1], at least 16 pixels wide and high."""
        mean, spread = (predicted.new_tensor(value).view(1, 3, 1, 1) for value in (MEAN, SPREAD))
        one, other = (predicted - mean) / spread, (truth - mean) / spread
        total = predicted.new_zeros(())
        for number, layer in enumerate(self.features):
            one, other = layer(one), layer(other)
            if number in DEPTHS:
                total = total + DEPTHS[number] * F.l1_loss(one, other)
        return total
