"""Losses that ask neighbours to be alike."""

from jaxtyping import Float
from torch import Tensor


def total_variation(values: Float[Tensor, "points 4 channels"], rounding: float = 1e-5) -> Float[Tensor, ""]:
    """The mean over points and channels of sqrt(dx^2 + dy^2 + dz^2 + rounding) (Plenoxels, eq. 4).

    `values` are those of a voxel and of its next ones along x, y and z, so that d is the change over one
    voxel. The rounding keeps the slope finite where nothing changes.
    """
    changes = values[:, 1:] - values[:, :1]
    return (changes.square().sum(dim=1) + rounding).sqrt().mean() - rounding**0.5
