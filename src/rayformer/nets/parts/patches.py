"""Pictures as patches, which are what the tokens of vision transformers are made of.

    to_patches       a picture cut into squares, each laid out as one row of numbers
    from_patches     and put together again
    filled_up        a picture with zeros at its right and lower edge, until squares cover it
    PatchEmbedding   a learned linear map of every patch      Dosovitskiy et al. 2020, eq. 1

Patches go row by row; the numbers of a patch go row by row too, channels last.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ShapeError


def to_patches(
    images: Float[Tensor, "batch channels height width"], size: int
) -> Float[Tensor, "batch tokens pixels"]:
    """Squares of `size` x `size` pixels. Refuses with a ShapeError what they do not cover."""
    check_cover(images, size)
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=size, q=size)


def from_patches(
    patches: Float[Tensor, "batch tokens pixels"], size: int, height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """The inverse of `to_patches`; `height` and `width` are those of the picture, in pixels."""
    return rearrange(
        patches, "b (h w) (p q c) -> b c (h p) (w q)", h=height // size, w=width // size, p=size, q=size
    )


def check_cover(images: Float[Tensor, "batch channels height width"], size: int) -> None:
    height, width = images.shape[-2:]
    if height % size or width % size or not height or not width:
        raise ShapeError(
            f"Pictures of {width}x{height} pixels cannot be cut into patches of {size}x{size}:\n"
            f"both sides must be multiples of {size}. Resize or crop them, or choose another patch size."
        )


def filled_up(
    images: Float[Tensor, "batch channels height width"], size: int
) -> Float[Tensor, "batch channels _ _"]:
    missing = [-side % size for side in images.shape[-2:]]
    return F.pad(images, (0, missing[1], 0, missing[0])) if any(missing) else images


class PatchEmbedding(nn.Module):
    """A linear map of every patch, kept and computed as the convolution that it is: a kernel as large as its
    stride. With `norm` a LayerNorm follows (Swin)."""

    def __init__(self, channels: int, width: int, size: int, norm: bool = False, eps: float = 1e-5):
        super().__init__()
        self.size = size
        self.project = nn.Conv2d(channels, width, size, stride=size)
        self.norm = nn.LayerNorm(width, eps) if norm else nn.Identity()

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch _ _ features"]:
        """The map of patches, channels last."""
        check_cover(images, self.size)
        return self.norm(self.project(images).permute(0, 2, 3, 1))
