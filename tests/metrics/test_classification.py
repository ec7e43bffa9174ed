"""Measures of classes: bounds, limits, and what scikit-learn says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.metrics.classification import (
    Tally,
    by_class,
    class_table,
    confusion,
    reliability,
    top_k,
    voted,
)
from rayformer.metrics.direction import higher_is_better

CLASSES = 8


def answers(seed: int, count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right more often than not, and labels of which some classes are rare."""
    draw = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=draw) ** 2 * CLASSES).long()
    logits = torch.randn(count, CLASSES, generator=draw)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), k=st.integers(1, CLASSES))
def test_more_guesses_never_do_worse_and_all_of_them_are_right(seed, k):
    logits, labels = answers(seed, 20)
    right = [top_k(logits, labels, guesses) for guesses in (k, min(k + 1, CLASSES), CLASSES)]
    assert (right[0] <= right[1]).all()
    assert right[2].all()


def test_the_first_of_equals_is_the_answer_as_argmax_has_it():
    logits = torch.randint(0, 3, (300, CLASSES), generator=torch.Generator().manual_seed(0)).float()
    labels = answers(1, 300)[1]
    assert torch.equal(top_k(logits, labels, 1), logits.argmax(dim=1) == labels)


def test_what_is_not_a_number_is_never_right():
    logits = torch.full((3, CLASSES), math.nan)
    assert not top_k(logits, torch.arange(3), CLASSES).any()


def test_the_confusion_matrix_holds_every_picture_once_and_what_is_right_on_its_diagonal():
    logits, labels = answers(2)
    confused = confusion(logits.argmax(dim=1), labels, CLASSES)
    assert torch.equal(confused.sum(dim=1), labels.bincount(minlength=CLASSES))
    assert confused.diagonal().sum() == top_k(logits, labels, 1).sum()


def test_a_class_without_pictures_has_no_accuracy_and_spoils_no_mean():
    tally = Tally(3)
    tally.add(torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0]]), torch.tensor([0, 1, 1]))
    assert by_class(tally.confused).isnan().tolist() == [False, False, True]
    assert tally.numbers["mean_class_accuracy"] == pytest.approx(0.75)
    assert tally.numbers["worst_class_accuracy"] == pytest.approx(0.5)


def test_a_table_says_of_every_class_what_the_confusion_matrix_does():
    confused = torch.tensor([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    table = class_table(confused, ["a", "b", "c"])
    assert table["a"] == {"accuracy": 0.8, "precision": pytest.approx(8 / 9), "pictures": 10}
    assert table["b"] == {"accuracy": 0.75, "precision": 0.6, "pictures": 4}
    assert table["c"]["pictures"] == 0
    assert math.isnan(table["c"]["accuracy"])
    assert math.isnan(table["c"]["precision"])


def test_who_is_as_often_right_as_sure_is_calibrated():
    confidence = torch.tensor([0.75]).repeat(400)
    right = torch.arange(400) % 4 > 0
    assert reliability(confidence, right).error == pytest.approx(0, abs=1e-9)
    assert reliability(confidence, ~right).error == pytest.approx(0.5)
    assert reliability(torch.ones(10), torch.zeros(10, dtype=torch.bool)).error == pytest.approx(1)


def test_bins_hold_every_answer_once_the_ends_included():
    confidence = torch.tensor([0.0, 0.06, 0.5, 1.0])
    found = reliability(confidence, torch.ones(4, dtype=torch.bool))
    assert found.counts.tolist() == [2] + [0] * 6 + [1] + [0] * 6 + [1]
    assert found.confidence[0].item() == pytest.approx(0.03, abs=1e-6)


def test_a_tally_over_batches_is_the_tally_of_the_whole():
    logits, labels = answers(3)
    whole, parts = Tally(CLASSES), Tally(CLASSES)
    whole.add(logits, labels)
    for some in torch.arange(len(labels)).split(37):
        parts.add(logits[some], labels[some])
    assert len(parts) == len(labels)
    assert parts.numbers == pytest.approx(whole.numbers)
    assert torch.equal(parts.confused, whole.confused)


def test_half_precision_answers_are_tallied_in_full():
    logits, labels = answers(4)
    tally = Tally(CLASSES)
    tally.add(logits.bfloat16(), labels)
    assert tally.reliability.confidence.max() <= 1
    assert tally.numbers["top1"] == pytest.approx(top_k(logits, labels, 1).double().mean().item(), abs=0.02)


def test_five_guesses_are_only_told_of_more_than_five_classes():
    tally = Tally(5)
    tally.add(torch.randn(10, 5), torch.arange(10) % 5)
    assert "top5" not in tally.numbers


def test_every_number_says_which_way_is_better():
    logits, labels = answers(5)
    tally = Tally(CLASSES)
    tally.add(logits, labels)
    better = {name: higher_is_better(name) for name in tally.numbers}
    assert better == {
        "top1": True, "top5": True, "mean_class_accuracy": True, "worst_class_accuracy": True,
        "calibration_error": False, "cross_entropy_nats": False,
    }  # fmt: skip
    assert next(iter(tally.numbers)) == "top1", "the first one tells the best checkpoint"


def test_the_numbers_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics")
    logits, labels = answers(7)
    tally = Tally(CLASSES)
    tally.add(logits, labels)
    truth, said, shares = labels.numpy(), logits.argmax(dim=1).numpy(), logits.softmax(dim=1).numpy()
    assert (tally.confused.numpy() == sklearn.confusion_matrix(truth, said)).all()
    assert tally.numbers["mean_class_accuracy"] == pytest.approx(sklearn.balanced_accuracy_score(truth, said))
    assert tally.numbers["top5"] == pytest.approx(sklearn.top_k_accuracy_score(truth, shares, k=5))
    assert tally.numbers["cross_entropy_nats"] == pytest.approx(sklearn.log_loss(truth, shares), abs=1e-5)


def test_most_votes_win_and_of_as_many_the_more_probable():
    shares = torch.tensor(
        [
            [[0.5, 0.4, 0.1], [0.6, 0.3, 0.1]],
            [[0.5, 0.4, 0.1], [0.1, 0.8, 0.1]],
            [[0.0, 1.0, 0.0], [0.3, 0.3, 0.4]],
        ]
    )
    found = voted(shares.clamp(min=1e-9).log())
    assert found.argmax(dim=1).tolist() == [0, 1], "two votes against a sure one; the larger mean of three"
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(2))


def test_a_single_answer_stays_as_it_is():
    logits, _ = answers(3)
    assert torch.equal(voted(logits[None]), logits)


def test_the_order_of_votes_means_nothing():
    logits = torch.stack([answers(seed)[0] for seed in range(4)])
    torch.testing.assert_close(voted(logits), voted(logits.flip(0)))
