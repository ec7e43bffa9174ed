"""Losses and measures of classes: the formulas are timm's and torchmetrics' own."""

import pytest
import torch

from rayformer.losses.classification import binary_cross_entropy, cross_entropy
from rayformer.metrics.classification import Tally

LABELS = torch.tensor([0, 3, 6, 6, 2])
CLASSES = 8


def logits(seed: int = 0) -> torch.Tensor:
    return 3 * torch.randn(5, 7, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_formulas_are_timms(smoothing):
    timm = pytest.importorskip("timm.loss")
    smooth = timm.LabelSmoothingCrossEntropy(smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits(), LABELS, smoothing), smooth(logits(), LABELS))
    shares = logits(3).softmax(dim=1)
    torch.testing.assert_close(
        cross_entropy(logits(), shares), timm.SoftTargetCrossEntropy()(logits(), shares)
    )
    for added_up in (False, True):
        theirs = timm.BinaryCrossEntropy(smoothing=smoothing, sum_classes=added_up)
        torch.testing.assert_close(
            binary_cross_entropy(logits(), LABELS, smoothing, added_up=added_up), theirs(logits(), LABELS)
        )
    theirs = timm.BinaryCrossEntropy(smoothing=0.0, target_threshold=0.2)
    torch.testing.assert_close(
        binary_cross_entropy(logits(), shares, threshold=0.2), theirs(logits(), shares)
    )


def answers() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right more often than not, and labels of which some classes are rare."""
    draw = torch.Generator().manual_seed(6)
    labels = (torch.rand(400, generator=draw) ** 2 * CLASSES).long()
    given = torch.randn(400, CLASSES, generator=draw)
    given[torch.arange(400), labels] += 1.5
    return given, labels


def test_the_numbers_are_torchmetrics_own():
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
    )

    given, labels = answers()
    tally = Tally(CLASSES)
    tally.add(given, labels)
    found = tally.numbers
    for name, k in (("top1", 1), ("top5", 5)):
        theirs = multiclass_accuracy(given, labels, CLASSES, average="micro", top_k=k)
        assert found[name] == pytest.approx(theirs.item(), abs=1e-6)
    theirs = multiclass_accuracy(given, labels, CLASSES, average="macro")
    assert found["mean_class_accuracy"] == pytest.approx(theirs.item(), abs=1e-6)
    assert torch.equal(tally.confused, multiclass_confusion_matrix(given, labels, CLASSES))
    theirs = multiclass_calibration_error(given.softmax(dim=1), labels, CLASSES, n_bins=15, norm="l1")
    assert found["calibration_error"] == pytest.approx(theirs.item(), abs=1e-5)
