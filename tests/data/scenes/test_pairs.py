"""Which photographs are compared."""

import numpy as np
import pytest

from rayformer.data.scenes.pairs import ALIKE, NEIGHBOURS, alike, all_pairs, likely_pairs


def walk(count: int, places: int, seed: int = 0) -> list[np.ndarray]:
    """Features of photographs along a closed walk: each shows what lies around its place, seen with noise."""
    draw = np.random.default_rng(seed)
    things = draw.uniform(0, 255, (places, 20, 64)).astype(np.float32)
    features = []
    for number in range(count):
        seen = [(number * places // count + step) % places for step in range(6)]
        features.append(things[seen].reshape(-1, 64) + draw.normal(0, 8, (120, 64)).astype(np.float32))
    return features


def test_all_pairs_are_all_and_each_once():
    pairs = all_pairs(7)
    assert len(pairs) == len(set(pairs)) == 21
    assert all(first < second for first, second in pairs)


def test_photographs_of_one_place_are_found_whatever_their_order():
    features = walk(80, 80)
    order = np.random.default_rng(1).permutation(80)
    nearest = alike([features[place] for place in order])
    for row, others in enumerate(nearest):
        apart = np.abs(order[row] - order[others[:4]])
        assert np.minimum(apart, 80 - apart).max() <= 3


def test_likely_pairs_hold_neighbours_and_close_the_circle():
    count = 120
    pairs = likely_pairs(walk(count, count))
    assert all(
        (first, first + step) in set(pairs) for first in range(80) for step in range(1, NEIGHBOURS + 1)
    )
    assert (0, count - 1) in pairs, "the end of a walk shows what its beginning showed"
    assert pairs == sorted(set(pairs))
    assert len(pairs) < count * (NEIGHBOURS + ALIKE + 5) < len(all_pairs(count))


def test_the_same_seed_gives_the_same_pairs():
    features = walk(40, 40)
    assert likely_pairs(features, 3) == likely_pairs(features, 3)


@pytest.mark.parametrize("empty", [[0], [0, 1, 2, 3]])
def test_photographs_without_features_are_no_fault(empty):
    features = [own[:0] if place in empty else own for place, own in enumerate(walk(6, 6))]
    pairs = likely_pairs(features)
    assert all(0 <= first < second < 6 for first, second in pairs)


def test_no_features_at_all_are_no_fault():
    assert likely_pairs([np.zeros((0, 128), np.float32)] * 4) == all_pairs(4)
