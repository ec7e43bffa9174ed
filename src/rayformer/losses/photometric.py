"""Losses that compare colours with colours."""

import torch.nn.functional as F
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


def huber(
    predicted: Float[Tensor, "*batch channels"], truth: Float[Tensor, "*batch channels"], bend: float
) -> Float[Tensor, ""]:
    """The squared error where a difference is at most `bend`, and a straight line of the same slope beyond,
    which outliers pull at less.

    Scaled so that small differences count as in `squared_error`.
    """
    return 2 * F.huber_loss(predicted, truth, delta=bend)


def huber_of_rays(
    predicted: Float[Tensor, "rays channels"], truth: Float[Tensor, "rays channels"], bend: float
) -> Float[Tensor, "rays"]:
    """`huber` of each ray by itself."""
    return 2 * F.huber_loss(predicted, truth, delta=bend, reduction="none").mean(dim=-1)


def charbonnier(
    predicted: Float[Tensor, "*batch channels"],
    truth: Float[Tensor, "*batch channels"],
    rounding: float = 0.001,
) -> Float[Tensor, ""]:
    """The mean over everything of sqrt(difference^2 + rounding^2): the absolute error with a round tip.

    mip-NeRF 360's choice: a few pixels that cannot be explained weigh less than in a squared error.
    """
    return ((predicted - truth).square() + rounding**2).sqrt().mean()
