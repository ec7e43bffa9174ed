"""A critic that tells drawn pictures from photographs, patch by patch, and what it says as losses.

    PatchCritic          a picture in, one opinion for each of its patches out
    adversarial_losses   what the critic is trained by, and what the one who draws is

Isola et al. 2017, https://arxiv.org/abs/1611.07004. No second optimiser takes turns here. The critic judges
the drawing cut off from whoever drew it, and who draws is judged by a copy of the critic whose weights are
constants. One backward pass then gives each its own gradient, and no other.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call

from rayformer.fields.parts.unet import SLOPE, drop

DROPPED = 0.5
"""Of the features between the critic's layers, while it is trained."""


class PatchCritic(nn.Module):
    """`layers` halvings from `width` features on, then two layers at that size. What it says is a log odds:
    positive for a photograph."""

    def __init__(self, width: int, layers: int = 3):
        super().__init__()
        widths = [3, *(width * 2**layer for layer in range(layers))]
        self.halvings = nn.ModuleList(
            nn.Conv2d(one, other, 4, stride=2, padding=1) for one, other in pairwise(widths)
        )
        self.look = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.say = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(
        self, pictures: Float[Tensor, "batch 3 height width"], generator: Generator | None = None
    ) -> Float[Tensor, "batch 1 _ _"]:
        x = pictures
        for layer in (*self.halvings, self.look):
            x = drop(F.leaky_relu(layer(x), SLOPE), DROPPED, generator)
        return self.say(x)


def adversarial_losses(
    critic: nn.Module,
    drawn: Float[Tensor, "batch 3 height width"],
    photographs: Float[Tensor, "batch 3 height width"],
    generator: Generator | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The loss of who draws, -log D(drawn), and the critic's, -log D(photograph) - log(1 - D(drawn)).

    The gradient of the first never reaches the critic, that of the second nobody else.
    """
    constants = {name: value.detach() for name, value in critic.named_parameters()}
    judged = functional_call(critic, constants, (drawn, generator)).float()
    of_photographs = critic(photographs, generator).float()
    of_drawn = critic(drawn.detach(), generator).float()
    fooling = F.softplus(-judged).mean()
    telling = F.softplus(-of_photographs).mean() + F.softplus(of_drawn).mean()
    return fooling, torch.as_tensor(telling)
