"""Losses of classes: closed forms and limits."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.losses.classification import binary_cross_entropy, cross_entropy, soft_labels

LABELS = torch.tensor([0, 3, 6, 6, 2])


def logits(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))


def test_smoothed_labels_add_up_to_one_and_still_point_at_the_truth():
    soft = soft_labels(LABELS, 7, 0.1)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(5))
    assert (soft.argmax(dim=1) == LABELS).all()
    assert soft[0, 1].item() == pytest.approx(0.1 / 7)
    assert soft[0, 0].item() == pytest.approx(0.9 + 0.1 / 7)


def test_who_knows_nothing_pays_the_logarithm_of_the_classes():
    for smoothing in (0.0, 0.1):
        assert cross_entropy(torch.zeros(5, 7), LABELS, smoothing).item() == pytest.approx(math.log(7))
    assert binary_cross_entropy(torch.zeros(5, 7), LABELS).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_smoothing_the_loss_is_smoothing_the_labels(smoothing):
    torch.testing.assert_close(
        cross_entropy(logits(), LABELS, smoothing), cross_entropy(logits(), soft_labels(LABELS, 7, smoothing))
    )


def test_the_least_loss_of_shares_is_at_the_shares_themselves():
    shares = logits(1).softmax(dim=1)
    least = cross_entropy(shares.log(), shares)
    entropy = -(shares * shares.log()).sum(dim=1).mean()
    torch.testing.assert_close(least, entropy)
    assert cross_entropy(shares.log() + 0.3 * logits(2), shares) > least


def test_being_surer_of_the_truth_costs_with_smoothing_and_pays_without():
    sure, surer = (scale * F.one_hot(LABELS, 7).float() for scale in (6.0, 30.0))
    assert cross_entropy(surer, LABELS) < cross_entropy(sure, LABELS)
    assert cross_entropy(surer, LABELS, 0.1) > cross_entropy(sure, LABELS, 0.1)


def test_half_precision_logits_lose_nothing_to_the_logarithm():
    given = logits().bfloat16()
    assert cross_entropy(given, LABELS).dtype == torch.float32
    torch.testing.assert_close(cross_entropy(given, LABELS), cross_entropy(given.float(), LABELS))
    assert binary_cross_entropy(given, LABELS).dtype == torch.float32


def test_binary_cross_entropy_is_the_sum_over_questions():
    each = F.softplus(-logits()) * F.one_hot(LABELS, 7) + F.softplus(logits()) * (1 - F.one_hot(LABELS, 7))
    torch.testing.assert_close(binary_cross_entropy(logits(), LABELS, added_up=True), each.sum(1).mean())
    torch.testing.assert_close(binary_cross_entropy(logits(), LABELS), each.mean())


def test_a_threshold_makes_a_mixture_both_of_its_pictures():
    shares = 0.7 * soft_labels(LABELS, 7) + 0.3 * soft_labels(LABELS.flip(0), 7)
    both = ((soft_labels(LABELS, 7) + soft_labels(LABELS.flip(0), 7)) > 0).float()
    torch.testing.assert_close(
        binary_cross_entropy(logits(), shares, threshold=0.2), binary_cross_entropy(logits(), both)
    )
