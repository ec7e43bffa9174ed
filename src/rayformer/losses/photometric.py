"""Losses that compare colours with colours."""

from jaxtyping import Float
from torch import Tensor


def squared_error(
    predicted: Float[Tensor, "*batch channels"], truth: Float[Tensor, "*batch channels"]
) -> Float[Tensor, ""]:
    """The mean over everything of the squared difference; PSNR in dB is -10 log10 of it.

    NeRF's eq. 6 sums over the channels and the rays; its code takes this mean, and so do all its learning
    rates.
    """
    return (predicted - truth).square().mean()
