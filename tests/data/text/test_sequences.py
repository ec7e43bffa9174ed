"""Packed sequences and batches of like length: nothing is lost, little is padded, every step is its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.data.text.sequences import LengthBatches, Packed

lists = st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=12)


@settings(deadline=None)
@given(lists)
def test_packed_sequences_come_out_as_they_went_in(sequences):
    packed = Packed.of(sequences)
    assert [packed[row] for row in range(len(packed))] == sequences
    assert packed.lengths.tolist() == [len(one) for one in sequences]


@settings(deadline=None)
@given(lists, st.lists(st.integers(10, 12), max_size=2), st.lists(st.integers(13, 15), max_size=2))
def test_padding_stands_behind_everything(sequences, before, after):
    rows = np.arange(len(sequences))[::-1]
    table = Packed.of(sequences).padded(rows, 0, before, after)
    longest = max(map(len, sequences)) + len(before) + len(after)
    for row, line in zip(rows, table.tolist(), strict=True):
        whole = [*before, *sequences[row], *after]
        assert line == whole + [0] * (longest - len(whole))


def lengths(count: int = 500, longest: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(2, longest + 1, count)


@pytest.mark.parametrize("tokens", [40, 300, 10**6])
def test_an_epoch_sees_everything_once(tokens):
    batches = LengthBatches(lengths(), tokens, seed=0)
    seen = np.concatenate([batches(step) for step in range(batches.epoch)])
    assert sorted(seen.tolist()) == list(range(500))
    assert all(len(batches(step)) for step in range(batches.epoch)), "no batch is empty"


def test_batches_are_about_as_large_as_asked_for_and_hardly_padded():
    sizes = lengths(5000)
    batches = LengthBatches(sizes, 1000, seed=0)
    own = [sizes[batches(step)] for step in range(batches.epoch)]
    assert np.mean([one.sum() for one in own]) == pytest.approx(1000, rel=0.02)
    padded = sum(len(one) * one.max() for one in own)
    assert padded < 1.15 * sizes.sum()
    shuffled = np.random.default_rng(1).permutation(sizes)
    at_random = sum(len(one) * one.max() for one in np.array_split(shuffled, batches.epoch))
    assert at_random > 1.7 * sizes.sum(), "which is what sorting saves"


def test_a_step_is_a_pure_function_of_seed_and_step():
    one, other = (LengthBatches(lengths(), 300, seed=3) for _ in range(2))
    for step in (40, 2, 41, 0, 40):  # in any order
        np.testing.assert_array_equal(one(step), other(step))
    assert not np.array_equal(one(0), LengthBatches(lengths(), 300, seed=4)(0))
    assert not np.array_equal(np.sort(one(0)), np.sort(one(one.epoch))), "another epoch, another order"
