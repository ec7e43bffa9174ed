"""Grad-CAM: where in a picture a network sees a class.

Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.

    Seeing      a network that can be asked: a map of features, and classes from it
    grad_cam    what every channel of the map is worth to a class, times where it is          eq. 1 and 2
"""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Seeing(Protocol):
    training: bool

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]: ...

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]: ...


def grad_cam(
    model: Seeing, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, "batch"]
) -> Float[Tensor, "batch height width"]:
    """Heat from 0 to 1 for one class of each picture, as large as the picture. 1 is the hottest place of
    each; where nothing speaks for the class, all is 0. No gradient reaches the model's parameters.

    What a class scores is asked before the softmax; a network in training has no answer of its own to
    explain, so it must be in evaluation mode.
    """
    assert not model.training, "Grad-CAM asks a model in evaluation mode: call model.eval() first"
    with torch.no_grad():
        seen = model.features(images)
    with torch.enable_grad():
        seen = seen.detach().requires_grad_()
        score = model.classify(seen).gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, seen)
    with torch.no_grad():
        worth = gradient.float().mean(dim=(2, 3), keepdim=True)
        heat = F.relu((worth * seen.float()).sum(dim=1, keepdim=True))
        heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False).squeeze(1)
        hottest = heat.amax(dim=(1, 2), keepdim=True)
        return torch.where(hottest > 0, heat / hottest.clamp(min=torch.finfo(heat.dtype).tiny), 0.0)
