"""How far answers agree with what is true, as GLUE judges it.

    accuracy    the share of answers that are right
    f1          of two classes: how well the second is found, and found alone
    mcc         Matthews' correlation of classes: 0 for whoever always says the same
    pearson     how near two rows of numbers lie to a line
    spearman    the same of their ranks: whether one grows where the other does
    AGREEMENT   all of them by name

1 is perfect agreement; for the correlations, -1 is perfect disagreement. Where one side is constant it says
nothing of the other, and a correlation is 0; where there is nothing to find and nothing was found, f1 is 0.
(scikit-learn has the same conventions; SciPy's correlations of constants are not numbers.) Computed in
float64, on the processor.
"""

from collections.abc import Callable, Mapping

from jaxtyping import Float, Int
from torch import Tensor

from rayformer.metrics.classification import confusion

Answers = Int[Tensor, "batch"] | Float[Tensor, "batch"]


def accuracy(said: Int[Tensor, "batch"], true: Int[Tensor, "batch"]) -> float:
    return float((said == true).double().mean())


def f1(said: Int[Tensor, "batch"], true: Int[Tensor, "batch"]) -> float:
    """2 PR / (P + R) of class 1, with P the share of what was said to be 1 that is, and R the share of what
    is 1 that was said to be."""
    found = int(((said == 1) & (true == 1)).sum())
    missed_or_wrong = int(((said == 1) != (true == 1)).sum())
    return 2 * found / (2 * found + missed_or_wrong) if found else 0.0


def mcc(said: Int[Tensor, "batch"], true: Int[Tensor, "batch"]) -> float:
    """Matthews 1975 for two classes, Gorodkin 2004 (eq. 8, R_K) for any number: the covariance of both as
    rows of ones and zeros, over the root of their variances."""
    classes = 1 + int(max(said.max(), true.max()))
    table = confusion(said.cpu().long(), true.cpu().long(), classes).double()
    count, truths, answers = table.sum(), table.sum(dim=1), table.sum(dim=0)
    shared = table.trace() * count - truths @ answers
    spread = (count**2 - truths @ truths) * (count**2 - answers @ answers)
    return float(shared / spread.sqrt()) if spread > 0 else 0.0


def pearson(said: Float[Tensor, "batch"], true: Float[Tensor, "batch"]) -> float:
    said, true = (values.cpu().double() - values.cpu().double().mean() for values in (said, true))
    # What is constant but for rounding is constant.
    spread = said.norm() * true.norm()
    return float((said @ true / spread).clamp(-1, 1)) if spread > 1e-12 else 0.0


def spearman(said: Float[Tensor, "batch"], true: Float[Tensor, "batch"]) -> float:
    return pearson(ranks(said), ranks(true))


def ranks(values: Float[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """From 1 up; equal values share the mean of their ranks."""
    _, place, count = values.cpu().unique(sorted=True, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[place]


AGREEMENT: Mapping[str, Callable[..., float]] = {
    "accuracy": accuracy, "f1": f1, "mcc": mcc, "pearson": pearson, "spearman": spearman,
}  # fmt: skip
