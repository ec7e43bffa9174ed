"""Readers of features: optima, limits, and what brute force and scikit-learn say."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.metrics.probes import FLAT, logistic, nearest_neighbours, tuned_logistic

CLASSES = 4


def clouds(seed: int = 0, count: int = 120, apart: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    """Points about one middle for each class, of coordinates whose scales and zeros differ."""
    draw = torch.Generator().manual_seed(seed)
    middles = apart * torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(CLASSES, (count,), generator=draw)
    points = middles[labels] + torch.randn(count, 6, generator=draw)
    return points * torch.tensor([1.0, 10, 0.1, 1, 1, 100]) + 7, labels


# ---------------------------------------------------------------------- logistic regression


@pytest.mark.parametrize("strength", [1e-3, 1.0, 10.0])
def test_at_the_solution_nothing_pulls_any_more(strength):
    points, labels = clouds()
    found = logistic(points, labels, CLASSES, strength)
    weight, bias = found.weight.clone().requires_grad_(), found.bias.clone().requires_grad_()
    seen = (points.double() - found.mean) / found.deviation
    loss = F.cross_entropy(F.linear(seen, weight, bias), labels)
    loss = loss + weight.square().sum() / (2 * strength * len(points))
    slopes = torch.autograd.grad(loss, [weight, bias])
    assert max(slope.abs().max() for slope in slopes) < 2 * FLAT
    assert found.slope < FLAT


def test_scikit_learn_finds_the_same():
    linear_model = pytest.importorskip("sklearn.linear_model")
    points, labels = clouds()
    found = logistic(points, labels, CLASSES, 0.3)
    seen = ((points.double() - found.mean) / found.deviation).numpy()
    theirs = linear_model.LogisticRegression(C=0.3, tol=1e-9, max_iter=5000).fit(seen, labels.numpy())
    others, other_labels = clouds(1)
    said = theirs.predict_proba(((others.double() - found.mean) / found.deviation).numpy())
    torch.testing.assert_close(found(others).softmax(dim=1), torch.from_numpy(said), atol=1e-4, rtol=1e-3)
    assert found.accuracy(others, other_labels) == pytest.approx(
        theirs.score(((others.double() - found.mean) / found.deviation).numpy(), other_labels.numpy())
    )


def test_the_scale_and_the_zero_of_a_feature_mean_nothing():
    points, labels = clouds()
    moved = points.double() * torch.tensor([3.0, 0.01, 1, 20, 1, 1]) - 40
    others = clouds(1)[0].double()
    found = logistic(points.double(), labels, CLASSES)(others)
    again = logistic(moved, labels, CLASSES)(others * torch.tensor([3.0, 0.01, 1, 20, 1, 1]) - 40)
    torch.testing.assert_close(again, found, atol=1e-3, rtol=1e-3)


def test_a_feature_that_never_changes_changes_nothing():
    points, labels = clouds()
    constant = torch.cat([points, torch.full((len(points), 1), 0.3)], dim=1)
    found = logistic(constant, labels, CLASSES)
    assert found.weight[:, -1].abs().max() == 0
    torch.testing.assert_close(found(constant), logistic(points, labels, CLASSES)(points), atol=1e-4, rtol=0)


def test_what_can_be_told_apart_is_and_labels_by_lot_are_not():
    points, labels = clouds(apart=9.0)
    others, other_labels = clouds(1, apart=9.0)
    assert logistic(points, labels, CLASSES).accuracy(others, other_labels) == 1
    by_lot = torch.randint(CLASSES, labels.shape, generator=torch.Generator().manual_seed(5))
    assert logistic(points, by_lot, CLASSES, 1e-3).accuracy(others, other_labels) < 0.6


def test_where_the_penalty_is_all_only_the_shares_of_the_classes_are_left():
    points, labels = clouds()
    found = logistic(points, labels, CLASSES, 1e-5)
    shares = (torch.bincount(labels, minlength=CLASSES) / len(labels)).double()
    torch.testing.assert_close(
        found(points).softmax(dim=1), shares.expand(len(points), -1), atol=1e-3, rtol=0
    )


def test_a_class_that_is_never_seen_is_never_answered():
    points, labels = clouds()
    found = logistic(points, labels, CLASSES + 1)
    assert not (found(points).argmax(dim=1) == CLASSES).any()


def test_held_out_features_choose_the_strength_that_does_best_on_them():
    points, labels = clouds(2, count=30)
    held, held_labels = clouds(3)
    found, strength = tuned_logistic(points, labels, held, held_labels, CLASSES)
    alone = {each: logistic(points, labels, CLASSES, each) for each in (1e-4, 1e-2, 1.0, 10.0)}
    assert found.accuracy(held, held_labels) >= max(one.accuracy(held, held_labels) for one in alone.values())
    # Begun from its neighbour's solution, it is the same solution.
    torch.testing.assert_close(
        found(held), logistic(points, labels, CLASSES, strength)(held), atol=1e-3, rtol=1e-3
    )


# ---------------------------------------------------------------------- nearest neighbours


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_the_nearest_to_what_is_known_is_itself(seed):
    known, labels = clouds(seed, count=50)
    votes = nearest_neighbours(known, known, labels, CLASSES, k=1)
    assert torch.equal(votes, F.one_hot(labels, CLASSES).float())


@pytest.mark.parametrize("k", [1, 3, 20])
def test_votes_are_those_of_brute_force(k):
    (known, labels), (asked, _) = clouds(0, 60), clouds(1, 25)
    votes = nearest_neighbours(asked, known, labels, CLASSES, k, temperature=0.2)
    for features, found in zip(asked, votes, strict=True):
        cosines = [float(F.cosine_similarity(features, other, dim=0)) for other in known]
        nearest = sorted(range(len(known)), key=lambda row: -cosines[row])[:k]
        cast = torch.zeros(CLASSES)
        for row in nearest:
            cast[labels[row]] += math.exp(cosines[row] / 0.2)
        torch.testing.assert_close(found, cast / cast.sum(), atol=1e-5, rtol=1e-4)


def test_votes_are_shares_and_lengths_of_features_mean_nothing():
    (known, labels), (asked, _) = clouds(0), clouds(1)
    votes = nearest_neighbours(asked, known, labels, CLASSES)
    torch.testing.assert_close(votes.sum(dim=1), torch.ones(len(asked)))
    longer = known * torch.rand(len(known), 1, generator=torch.Generator().manual_seed(0)).add(0.5)
    torch.testing.assert_close(
        nearest_neighbours(3 * asked, longer, labels, CLASSES), votes, atol=1e-4, rtol=0
    )


def test_of_fewer_than_k_all_vote_and_in_great_heat_all_votes_are_alike():
    known, labels = clouds(0, count=7)
    votes = nearest_neighbours(known, known, labels, CLASSES, k=20, temperature=1e6)
    shares = torch.bincount(labels, minlength=CLASSES) / 7
    torch.testing.assert_close(votes, shares.expand(7, -1), atol=1e-5, rtol=0)


def test_many_are_answered_as_each_by_itself():
    (known, labels), (asked, _) = clouds(0), clouds(1, count=1100)
    together = nearest_neighbours(asked, known, labels, CLASSES)
    one = nearest_neighbours(asked[777:778], known, labels, CLASSES)
    torch.testing.assert_close(together[777:778], one, atol=1e-6, rtol=0)
