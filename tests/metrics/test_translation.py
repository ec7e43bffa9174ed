"""BLEU and exactness: identities, bounds, and the examples of the paper."""

import math

import pytest

from rayformer.metrics.translation import bleu, exact

TRUE = ["The cat is on the mat.", "There is a cat on the mat, I think."]


def test_what_is_the_truth_has_a_hundred_and_what_shares_nothing_none():
    assert bleu(TRUE, TRUE) == pytest.approx(100)
    assert bleu(["dogs bark at night , loudly", "why not ? because"], TRUE) == 0
    assert bleu(["", ""], TRUE) == 0


def test_the_geometric_mean_of_shares_by_hand():
    # 6 words: 5 right; 5 pairs: 3; 4 threes: 2; 3 fours: 1; as long as the truth
    said, truth = "a b c d x e", "a b c d y e"
    shares = [5 / 6, 3 / 5, 2 / 4, 1 / 3]
    assert bleu([said], [truth]) == pytest.approx(100 * math.prod(shares) ** 0.25)


def test_a_word_counts_no_more_often_than_the_truth_has_it():
    """Papineni et al. 2002, example 2: "the the the the the the the" has two of seven right, not seven."""
    truth = "the cat is on the mat and a dog sits there too"
    padded = " and a dog sits there too"
    often, once = "the the the the the the the" + padded, "the cat is on the mat" + padded
    assert bleu([often], [truth]) < 0.7 * bleu([once], [truth])


def test_short_answers_pay_for_being_short():
    truth = "one two three four five six seven eight"
    assert bleu(["one two three four"], [truth]) == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_runs_are_counted_over_all_answers_together():
    """So that one answer without four words in a row does not make the whole zero."""
    assert bleu([TRUE[0], "ab cd"], [TRUE[0], "xy zw"]) > 0


def test_exactness_is_the_share_of_whole_answers():
    assert exact(["ab", "c", ""], ["ab", "d", ""]) == pytest.approx(2 / 3)
    assert math.isnan(exact([], []))
