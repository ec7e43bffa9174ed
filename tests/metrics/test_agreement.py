"""Agreement of answers with the truth, beside SciPy and scikit-learn, and at its limits."""

import numpy as np
import pytest
import torch

from rayformer.metrics.agreement import AGREEMENT, accuracy, f1, mcc, pearson, ranks, spearman
from rayformer.metrics.direction import higher_is_better


def classes(seed: int, count: int = 200, kinds: int = 2):
    draw = torch.Generator().manual_seed(seed)
    true = torch.randint(kinds, (count,), generator=draw)
    other = torch.randint(kinds, (count,), generator=draw)
    return torch.where(torch.rand(count, generator=draw) < 0.6, true, other), true


def numbers(seed: int, count: int = 150, ties: bool = False):
    draw = torch.Generator().manual_seed(seed)
    true = torch.rand(count, generator=draw) * 5
    said = true + torch.randn(count, generator=draw)
    return (said.round(), true.round()) if ties else (said, true)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kinds", [2, 3, 5])
def test_matthews_correlation_is_scikit_learns(seed, kinds):
    metrics = pytest.importorskip("sklearn.metrics")
    said, true = classes(seed, kinds=kinds)
    assert mcc(said, true) == pytest.approx(metrics.matthews_corrcoef(true, said), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_f1_and_accuracy_are_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    said, true = classes(seed)
    assert f1(said, true) == pytest.approx(metrics.f1_score(true, said), abs=1e-12)
    assert accuracy(said, true) == pytest.approx(metrics.accuracy_score(true, said), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_scipys(seed, ties):
    from scipy import stats

    said, true = numbers(seed, ties=ties)
    assert pearson(said, true) == pytest.approx(stats.pearsonr(said.double(), true.double())[0], abs=1e-9)
    assert spearman(said, true) == pytest.approx(stats.spearmanr(said, true)[0], abs=1e-9)
    np.testing.assert_allclose(ranks(said), stats.rankdata(said))


def test_matthews_correlation_of_two_classes_is_pearsons_of_ones_and_zeros():
    said, true = classes(7)
    assert mcc(said, true) == pytest.approx(pearson(said.double(), true.double()), abs=1e-12)


def test_perfect_agreement_is_one_and_perfect_disagreement_minus_one():
    _, true = classes(1)
    _, score = numbers(1)
    for name, metric in AGREEMENT.items():
        whole = score if name in ("pearson", "spearman") else true
        assert metric(whole, whole) == pytest.approx(1)
    assert mcc(1 - true, true) == pytest.approx(-1)
    assert pearson(-3 * score + 1, score) == pytest.approx(-1)


def test_spearmans_correlation_knows_only_the_order():
    said, true = numbers(3)
    assert spearman(said.exp(), true) == pytest.approx(spearman(said, true), abs=1e-12)


def test_an_answer_that_never_changes_says_nothing():
    _, true = classes(2)
    _, score = numbers(2)
    assert mcc(torch.ones_like(true), true) == 0
    assert f1(torch.zeros_like(true), true) == 0
    for said in (torch.full_like(score, 2.5), torch.full_like(score, 0.1)):
        assert pearson(said, score) == 0
        assert spearman(said, score) == 0


def test_more_of_each_is_better():
    assert all(map(higher_is_better, AGREEMENT))
