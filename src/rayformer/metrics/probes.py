"""What features know of classes, asked of readers that have nothing to learn by luck.

    Logistic             a linear reader: features to one number for each class
    logistic             the one of logistic regression, solved to its optimum
    tuned_logistic       with the penalty that held-out features do best with
    nearest_neighbours   the classes of the most alike known features, by votes

Features are vectors of any network, one for each example; labels are numbers from 0. Neither reader draws
anything or depends on an order. Both compute in the precision they name, whatever autocast is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.metrics.classification import top_k

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Of logistic regression: what is tried where held-out features can decide."""
FLAT = 1e-6
"""Largest slope of the mean loss along any number at which a solution is taken for the optimum."""
MOST_PASSES = 2000
"""Over all features, before a regression is taken as it is."""
AT_ONCE = 512
"""Features whose neighbours are sought together."""


@dataclass(frozen=True, eq=False)
class Logistic:
    mean: Float[Tensor, "features"]
    deviation: Float[Tensor, "features"]
    """Of the features that were learned from; 1 where all of them are alike."""
    weight: Float[Tensor, "outputs features"]
    bias: Float[Tensor, "outputs"]
    slope: float
    """The largest that is left at the solution, along any weight or bias: how far it is from the optimum."""

    def __call__(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch outputs"]:
        """Logits."""
        return F.linear((features.double() - self.mean) / self.deviation, self.weight, self.bias)

    def accuracy(self, features: Float[Tensor, "batch features"], labels: Int[Tensor, "batch"]) -> float:
        """The share whose class is the first answer."""
        return float(top_k(self(features), labels, 1).double().mean())


def logistic(
    features: Float[Tensor, "batch features"],
    labels: Int[Tensor, "batch"],
    classes: int,
    strength: float = 1.0,
    start: Logistic | None = None,
) -> Logistic:
    """Multinomial logistic regression in float64: the least of

        strength * (sum of cross-entropies in nats) + (sum of squared weights) / 2

    over features brought to mean 0 and deviation 1, so that the penalty asks the same of each; biases are
    free. That is scikit-learn's `LogisticRegression(C=strength)` behind its `StandardScaler`. Found by L-BFGS
    with a line search (Nocedal and Wright 2006, ch. 7), from `start` where a solution for another strength is
    near.
    """
    features, labels = features.double(), labels.long()
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    # What is constant but for rounding is constant.
    deviation = torch.where(deviation > 1e-10 * mean.abs().clamp(min=1.0), deviation, 1.0)
    seen = (features - mean) / deviation
    if start is None:
        weight, bias = seen.new_zeros(classes, seen.shape[1]), seen.new_zeros(classes)
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    share = 1 / (strength * len(seen))  # of the penalty, where cross-entropies are averaged
    solver = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MOST_PASSES,
        max_eval=2 * MOST_PASSES,
        tolerance_grad=FLAT,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        """The mean loss, its slope put where the solver looks for it."""
        logs = F.linear(seen, weight, bias).log_softmax(dim=1)
        surplus = logs.exp()
        surplus[torch.arange(len(labels), device=labels.device), labels] -= 1
        weight.grad = (surplus.T @ seen) / len(seen) + share * weight
        bias.grad = surplus.mean(dim=0)
        return float(F.nll_loss(logs, labels) + share * weight.square().sum() / 2)

    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        solver.step(loss)
        loss()
    slope = max(float(torch.as_tensor(value.grad).abs().max()) for value in (weight, bias))
    return Logistic(mean, deviation, weight.detach(), bias.detach(), slope)


def tuned_logistic(
    features: Float[Tensor, "batch features"],
    labels: Int[Tensor, "batch"],
    held: Float[Tensor, "rows features"],
    held_labels: Int[Tensor, "rows"],
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Logistic, float]:
    """The regression of that strength whose first answers to the held-out features are right most often, and
    the strength; of equals the weakest. The held-out features choose and are not learned from."""
    best: tuple[Logistic, float] | None = None
    most, last = -1.0, None
    for strength in sorted(strengths):
        last = logistic(features, labels, classes, strength, start=last)
        if (right := last.accuracy(held, held_labels)) > most:
            best, most = (last, strength), right
    assert best is not None, "there is a strength to try"
    return best


def nearest_neighbours(
    features: Float[Tensor, "batch features"],
    known: Float[Tensor, "rows features"],
    labels: Int[Tensor, "rows"],
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float[Tensor, "batch outputs"]:
    """Shares of the votes that the k known features of the smallest angle cast for their classes, each vote
    weighing exp(cosine / temperature): Wu et al. 2018, https://arxiv.org/abs/1805.01978, sec. 3.4, with the
    constants of DINO (Caron et al. 2021, https://arxiv.org/abs/2104.14294, sec. 4.1). In float32. Of fewer
    than k known features all vote."""
    k = min(k, len(known))
    out = features.new_zeros(len(features), classes, dtype=torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        known = F.normalize(known.float(), dim=1)
        for some, votes in zip(features.split(AT_ONCE), out.split(AT_ONCE), strict=True):
            alike, rows = (F.normalize(some.float(), dim=1) @ known.T).topk(k, dim=1)
            votes.scatter_add_(1, labels.long()[rows], (alike / temperature).softmax(dim=1))
    return out
