"""Where a network looked, as heat over a picture.

attention_heat   of a ViT: what the class token, or the mean of all patches, took from each patch, in the last
                 block and over all blocks
channel_heat     of a ConvNet: Grad-CAM
gradient_heat    of any network: how much its answer depends on each pixel
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from rayformer.nets.parts.attention_maps import rollout
from rayformer.nets.parts.grad_cam import Seeing, grad_cam
from rayformer.nets.vit import ViT, attention

Heat = Mapping[str, Float[Tensor, "batch height width"]]


def attention_heat(
    model: ViT, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, "batch"]
) -> Heat:
    """Attention does not depend on the class that is asked for."""
    with torch.no_grad():
        weights = attention(model, images)
    others, patch = int(model.config.class_token), model.config.patch_size
    grid = (-(-images.shape[2] // patch), -(-images.shape[3] // patch))

    def heat(table: Float[Tensor, "batch tokens tokens"]) -> Float[Tensor, "batch height width"]:
        taken = table[:, 0, 1:] if model.config.pool == "class" else table[:, others:, others:].mean(dim=1)
        places = taken.float().unflatten(1, grid)[:, None]
        least, most = (
            reduce(places.flatten(1), dim=1)[:, None, None, None] for reduce in (torch.amin, torch.amax)
        )
        spread = (places - least) / (most - least).clamp(min=1e-12)
        return F.interpolate(spread, images.shape[2:], mode="bilinear").squeeze(1)

    return {"last attention": heat(weights[-1].mean(dim=1)), "attention rollout": heat(rollout(weights))}


def channel_heat(
    model: Seeing, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, "batch"]
) -> Heat:
    return {"Grad-CAM": grad_cam(model, images, classes)}


def gradient_heat(
    model: nn.Module, images: Float[Tensor, "batch channels height width"], classes: Int[Tensor, "batch"]
) -> Heat:
    """The length of the gradient of the class's logit at each pixel, as a share of the longest (Simonyan et
    al. 2014, https://arxiv.org/abs/1312.6034, sec. 3)."""
    with torch.enable_grad():
        seen = images.detach().clone().requires_grad_()
        asked = model(seen).float().gather(1, classes[:, None]).sum()
        (slope,) = torch.autograd.grad(asked, seen)
    length = slope.norm(dim=1)
    return {"gradient": length / length.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)}
