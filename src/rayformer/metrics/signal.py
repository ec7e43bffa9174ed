"""How alike two lists of samples are, of whatever signal.

psnr_db    against the largest value that there may be
snr_db     against the strength of the signal itself, as is usual for sound
"""

from jaxtyping import Float
from torch import Tensor


def psnr_db(
    predicted: Float[Tensor, "points channels"],
    truth: Float[Tensor, "points channels"],
    peak: int | float = 1.0,
) -> Float[Tensor, ""]:
    """10 log10 of peak^2 over the mean squared error, in dB; infinite for equal samples."""
    return 10 * (peak**2 / _power(predicted - truth)).log10()


def snr_db(
    predicted: Float[Tensor, "points channels"], truth: Float[Tensor, "points channels"]
) -> Float[Tensor, ""]:
    """10 log10 of the truth's power over the error's, in dB: silence as a prediction has 0."""
    return 10 * (_power(truth) / _power(predicted - truth)).log10()


def _power(values: Tensor) -> Tensor:
    return values.double().square().mean()
