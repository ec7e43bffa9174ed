"""A block's branch joined to what goes past it.

    residual    x + gain * branch, in one walk over the map

What a block multiplies its branch by (a layer scale, an excitation, the factor of stochastic depth) is a
number for each channel or each example, never for each pixel: all of it is one gain, which costs nothing,
where one product after the other walks over the whole map each time.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.nets.parts.drop_path import DropPath


def residual(
    x: Float[Tensor, "batch channels height width"],
    branch: Float[Tensor, "batch channels height width"],
    gain: Float[Tensor, "*_"] | None,
    drop_path: DropPath,
) -> Float[Tensor, "batch channels height width"]:
    """`gain` is anything that may multiply a map: `channels 1 1`, `batch channels 1 1`. Without one the sum
    is written over `branch`."""
    if drop_path.training and drop_path.share:
        gain = branch.new_ones(1, 1, 1) if gain is None else gain
        gain = drop_path(gain.expand(branch.shape[0], *gain.shape[-3:]))
    return branch.add_(x) if gain is None else torch.addcmul(x, branch, gain.to(branch.dtype))
