"""Losses of classes: what a network says of each class, against what is true.

    soft_labels            classes as shares that add up to one, smoothed
    cross_entropy          of one true class each, or of shares
    binary_cross_entropy   every class as a question of its own

Smoothing takes a share away from what is true and spreads it evenly over all classes, the true one included
(Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, sec. 7), so that being quite sure is never worth it.
Losses are means over the batch, in nats, computed in float32.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def soft_labels(
    labels: Int[Tensor, "batch"], classes: int, smoothing: float = 0.0
) -> Float[Tensor, "batch outputs"]:
    """1 - smoothing + smoothing / classes for the true class, smoothing / classes for each other one."""
    return F.one_hot(labels.long(), classes).float() * (1 - smoothing) + smoothing / classes


def cross_entropy(
    logits: Float[Tensor, "batch outputs"],
    truth: Int[Tensor, "batch"] | Float[Tensor, "batch outputs"],
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """The mean of -sum_k t_k log p_k, where p is the softmax of `logits` and t the truth, smoothed.

    `truth` is the number of one class each, or a share for every class; shares that are smooth already need
    no more of it.
    """
    return F.cross_entropy(logits.float(), truth, label_smoothing=smoothing)


def binary_cross_entropy(
    logits: Float[Tensor, "batch outputs"],
    truth: Int[Tensor, "batch"] | Float[Tensor, "batch outputs"],
    smoothing: float = 0.0,
    threshold: float | None = None,
    added_up: bool = False,
) -> Float[Tensor, ""]:
    """The mean over batch and classes of -t log s - (1 - t) log(1 - s), where s is the sigmoid of a logit.

    Each class is asked by itself whether it is there, so that a mixture of two pictures may be both. Shares
    above `threshold` count as 1 and the others as 0 ("ResNet strikes back", Wightman et al. 2021,
    https://arxiv.org/abs/2110.00476). `added_up` takes the sum over the classes, not their mean. Of one true
    class each, smoothing is as in `soft_labels`; shares are taken as they are.
    """
    targets = truth if truth.is_floating_point() else soft_labels(truth, logits.shape[1], smoothing)
    if threshold is not None:
        targets = (targets > threshold).float()
    each = F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
    return each.sum(dim=1).mean() if added_up else each.mean()
