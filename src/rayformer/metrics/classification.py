"""How well classes are recognised.

    top_k         whether the truth is among the k likeliest classes, picture by picture
    voted         several answers to one picture, as one
    confusion     how often each class is taken for each other
    by_class      the accuracy of every class by itself
    class_table   that, how far its name can be trusted, and how many pictures there are, by name
    Reliability   how often what is said with some confidence is right; `.error` is the calibration error
    Tally         all of it, collected over the batches of an evaluation, as numbers by name

Accuracies and shares are in [0, 1]. Where several classes are equally likely, the first of them counts as the
answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BINS = 15


def top_k(
    logits: Float[Tensor, "batch outputs"], labels: Int[Tensor, "batch"], k: int
) -> Bool[Tensor, "batch"]:
    """Whether fewer than k classes come before the true one. What is not a number is never right."""
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    before = (logits > own) | ((logits == own) & earlier)
    return (before.sum(dim=1) < k) & logits.isfinite().all(dim=1)


def voted(logits: Float[Tensor, "masks batch outputs"]) -> Float[Tensor, "batch outputs"]:
    """Logits of the answer that most of several say; where as many say another, of the one whose mean
    probability is larger. Their softmax is the share of the votes, with the mean probabilities as one vote
    more. A single answer stays as it is."""
    if len(logits) == 1:
        return logits[0]
    shares = logits.float().softmax(dim=-1)
    votes = torch.zeros_like(shares).scatter_(-1, shares.argmax(dim=-1, keepdim=True), 1.0).sum(dim=0)
    return ((votes + shares.mean(dim=0)) / (len(logits) + 1)).clamp(min=1e-12).log()


def confusion(
    predicted: Int[Tensor, "batch"], labels: Int[Tensor, "batch"], classes: int
) -> Int[Tensor, "outputs outputs"]:
    """Row by row a true class, column by column what it was taken for: numbers of pictures."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)


def by_class(confused: Int[Tensor, "outputs outputs"]) -> Float[Tensor, "outputs"]:
    """The share of each class that is recognised; NaN for a class without pictures."""
    confused = confused.double()
    return confused.diagonal() / confused.sum(dim=1)


def class_table(
    confused: Int[Tensor, "outputs outputs"], names: Sequence[str]
) -> dict[str, dict[str, float | int]]:
    """Of every class its `accuracy`, the share of its pictures that are recognised; its `precision`, the
    share of those taken for it that are of it; and its `pictures`. NaN where there are none to share."""
    right, taken = confused.diagonal().double(), confused.sum(dim=0)
    rows = zip(
        by_class(confused).tolist(), (right / taken).tolist(), confused.sum(dim=1).tolist(), strict=True
    )
    return {
        name: {"accuracy": accuracy, "precision": precision, "pictures": pictures}
        for name, (accuracy, precision, pictures) in zip(names, rows, strict=True)
    }


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers sorted into bins of confidence, of equal width: (0, 1/15], (1/15, 2/15] ..."""

    counts: Int[Tensor, "edges"]
    """Answers in each bin."""
    confidence: Float[Tensor, "edges"]
    """Their mean confidence, which is the share that ought to be right; 0 in an empty bin."""
    accuracy: Float[Tensor, "edges"]
    """The share that is right; 0 in an empty bin."""

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and accuracy are apart, on average over the
        answers (Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 3)."""
        if not self.counts.sum():
            return float("nan")
        return float(((self.confidence - self.accuracy).abs() * self.counts).sum() / self.counts.sum())


def reliability(
    confidence: Float[Tensor, "batch"], right: Bool[Tensor, "batch"], bins: int = BINS
) -> Reliability:
    """`confidence` is the probability of the class that was named, `right` whether it was the true one."""
    confidence = confidence.double()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(place, minlength=bins)
    divisor = counts.clamp(min=1)
    return Reliability(
        counts,
        torch.bincount(place, weights=confidence, minlength=bins) / divisor,
        torch.bincount(place, weights=right.double(), minlength=bins) / divisor,
    )


class Tally:
    """What an evaluation counts: `add` every batch, then read `numbers` and the rest. Holds one number per
    picture beside the confusion matrix, on the processor."""

    def __init__(self, classes: int):
        self.classes = classes
        self.confused: Int[Tensor, "outputs outputs"] = torch.zeros(classes, classes, dtype=torch.int64)
        self._confidence: list[Tensor] = []
        self._right: list[Tensor] = []
        self._five = 0
        self._nats = 0.0

    def add(self, logits: Float[Tensor, "batch outputs"], labels: Int[Tensor, "batch"]) -> None:
        logits, labels = logits.detach().float().cpu(), labels.cpu()
        logs = logits.log_softmax(dim=1)
        likeliest, predicted = logs.max(dim=1)
        self.confused += confusion(predicted, labels, self.classes)
        self._confidence.append(likeliest.exp())
        self._right.append(top_k(logits, labels, 1))
        self._five += int(top_k(logits, labels, 5).sum())
        self._nats -= float(logs.gather(1, labels[:, None]).double().sum())

    def __len__(self) -> int:
        return sum(map(len, self._right))

    @property
    def reliability(self) -> Reliability:
        return reliability(torch.cat(self._confidence), torch.cat(self._right))

    @property
    def numbers(self) -> dict[str, float]:
        """`top1`, by which the best checkpoint is known, first. `top5` only of more than five classes; the
        mean and the worst accuracy only over classes that have pictures."""
        assert len(self), "nothing was added, so there is nothing to tell"
        each = by_class(self.confused)
        each = each[each.isfinite()]
        found = {"top1": float(torch.cat(self._right).double().mean())}
        if self.classes > 5:
            found["top5"] = self._five / len(self)
        return found | {
            "mean_class_accuracy": float(each.mean()),
            "worst_class_accuracy": float(each.min()),
            "calibration_error": self.reliability.error,
            "cross_entropy_nats": self._nats / len(self),
        }
