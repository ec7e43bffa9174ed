"""BERT's instances: what the published procedure promises, and batches that are pure functions."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ConfigError
from rayformer.data.text.corpus import Pieces
from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.instances import (
    InstanceConfig,
    Instances,
    asked,
    masked,
    next_words,
    pairs,
    singles,
)
from rayformer.data.text.wordpiece import WordPiece

DOCUMENTS = draw_documents(40)
CONFIG = InstanceConfig(most=48)


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece.train([line for document in DOCUMENTS for line in document], 260)


@pytest.fixture(scope="module")
def corpus(wordpiece) -> Pieces:
    return Pieces.of(DOCUMENTS, wordpiece.pieces)


def document_of(corpus: Pieces, place: int) -> int:
    sentence = np.searchsorted(corpus.sentences, place, side="right") - 1
    return int(np.searchsorted(corpus.documents, sentence, side="right") - 1)


def test_a_pair_fits_and_neither_half_is_empty(corpus):
    spans = pairs(corpus, 48, 0.1, random.Random(0))
    lengths = np.concatenate([np.diff(spans.a), np.diff(spans.b)], axis=1)
    assert lengths.min() >= 1
    assert lengths.sum(axis=1).max() == 48 - 3


def test_b_follows_in_the_same_document_or_comes_from_another(corpus):
    # Room for whole documents: nothing is cut off between the two.
    spans = pairs(corpus, 400, 0.0, random.Random(1))
    assert 0.2 < spans.elsewhere.mean() < 0.8
    for (_, a_end), (b, _), elsewhere in zip(spans.a, spans.b, spans.elsewhere, strict=True):
        if elsewhere:
            assert document_of(corpus, a_end - 1) != document_of(corpus, b)
        else:
            assert a_end == b


def test_no_segment_runs_over_the_end_of_a_document(corpus):
    spans = pairs(corpus, 48, 0.1, random.Random(2))
    for begin, end in np.concatenate([spans.a, spans.b]):
        assert document_of(corpus, begin) == document_of(corpus, end - 1)


def test_what_a_pair_from_elsewhere_left_over_is_read_again(corpus):
    """Every sentence comes up in a first segment or as what follows, if nothing has to be cut."""
    spans = pairs(corpus, 2000, 0.0, random.Random(3))
    read = np.zeros(len(corpus.words), bool)
    for (a, a_end), (b, b_end), elsewhere in zip(spans.a, spans.b, spans.elsewhere, strict=True):
        read[a:a_end] = True
        if not elsewhere:
            read[b:b_end] = True
    assert read.all()


def test_without_second_segments_every_word_is_read_once(corpus):
    spans = singles(corpus, 30, 0.1, random.Random(0))
    counts = np.zeros(len(corpus.words), int)
    for begin, end in spans.a:
        assert 1 <= end - begin <= 28
        assert document_of(corpus, begin) == document_of(corpus, end - 1)
        counts[begin:end] += 1
    assert (counts == 1).all()
    assert not np.diff(spans.b).any()


def test_one_sentence_longer_than_a_segment_is_read_in_parts():
    long = Pieces(np.arange(25, dtype=np.int32), np.array([0, 25]), np.array([0, 1]))
    spans = singles(long, 12, 0.0, random.Random(0))
    assert sorted(map(tuple, spans.a.tolist())) == [(0, 10), (10, 20), (20, 25)]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    share=st.floats(0.05, 0.6),
    most=st.none() | st.integers(1, 4),
    whole=st.booleans(),
)
def test_blanks_are_as_many_as_asked_and_never_special(wordpiece, corpus, seed, share, most, whole):
    config = replace(CONFIG, masked=share, masked_most=most, whole_words=whole)
    instances = Instances(corpus, wordpiece, replace(config, masked=0.0), 6, 0)
    spans = instances.epoch(0)[np.arange(6)]
    made = instances.made(spans, np.random.default_rng(0))
    truth = made.words.copy()
    truth[made.picked] = made.truth
    blanked, picked = masked(truth, made.lengths, config, wordpiece, np.random.default_rng(seed))
    owners = np.repeat(np.arange(6), made.lengths)
    counts = np.bincount(owners[picked], minlength=6)
    wanted = asked(made.lengths, config)
    assert (np.diff(picked) > 0).all()
    assert (counts <= wanted).all() if whole else (counts == wanted).all()
    assert not np.isin(truth[picked], [wordpiece.first, wordpiece.between]).any()
    untouched = np.setdiff1d(np.arange(len(truth)), picked)
    np.testing.assert_array_equal(blanked[untouched], truth[untouched])


def test_eighty_ten_ten(wordpiece):
    """Of what is chosen; one of `vocabulary` replacements happens to be the word itself."""
    draw = np.random.default_rng(0)
    words = draw.integers(5, len(wordpiece), size=200_000)
    blanked, picked = masked(words, np.full(2000, 100), InstanceConfig(), wordpiece, draw)
    assert len(picked) == 2000 * 15
    now, before = blanked[picked], words[picked]
    assert np.mean(now == wordpiece.mask) == pytest.approx(0.8, abs=0.01)
    assert np.mean(now == before) == pytest.approx(0.1, abs=0.01)
    assert np.mean((now != before) & (now != wordpiece.mask)) == pytest.approx(0.1, abs=0.01)


def test_whole_words_are_blanked_out_whole(wordpiece, corpus):
    instances = Instances(corpus, wordpiece, replace(CONFIG, whole_words=True, masked=0.4), 16, 0)
    made = instances(0)
    truth = made.words.copy()
    truth[made.picked] = made.truth
    picked = np.zeros(len(truth), bool)
    picked[made.picked] = True
    inside = wordpiece.goes_on[truth]
    starts = np.cumsum(made.lengths) - made.lengths
    behind_special = np.isin(np.roll(truth, 1), [wordpiece.first, wordpiece.between])
    joined = inside & ~behind_special
    joined[starts] = False
    assert joined.any()
    np.testing.assert_array_equal(picked[joined], picked[np.flatnonzero(joined) - 1])


def test_at_least_one_word_is_asked_about_and_no_more_than_the_bound():
    lengths = np.array([4, 8, 128, 512])
    assert asked(lengths, InstanceConfig()).tolist() == [1, 1, 19, 77]
    assert asked(lengths, InstanceConfig(masked_most=20)).tolist() == [1, 1, 19, 20]


def test_looking_back_only_every_word_but_the_first_is_asked_about():
    picked, truth = next_words(np.array([1, 7, 8, 2, 1, 9, 2]), np.array([4, 3]))
    assert picked.tolist() == [0, 1, 2, 4, 5]
    assert truth.tolist() == [7, 8, 2, 9, 2]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("world", [2, 3])
def test_the_shares_of_all_processes_are_the_batch(wordpiece, corpus, causal, world):
    instances = Instances(corpus, wordpiece, CONFIG, 10, 0, causal)
    whole, shares = instances(7), [instances(7, rank, world) for rank in range(world)]
    for name in ("words", "truth", "elsewhere", "lengths"):
        together = np.sort(np.concatenate([getattr(share, name) for share in shares]))
        np.testing.assert_array_equal(together, np.sort(getattr(whole, name)))
    for share in shares:
        assert (np.diff(share.lengths) >= 0).all()
        if causal:
            np.testing.assert_array_equal(share.words[share.picked + 1], share.truth)


def test_a_step_gives_the_same_batch_whenever_it_is_asked_for(wordpiece, corpus):
    one, other = (Instances(corpus, wordpiece, CONFIG, 8, 5) for _ in range(2))
    late = one.steps + 1
    first = one(late)
    one(0)
    for again in (one(late), other(late)):
        np.testing.assert_array_equal(first.words, again.words)
        np.testing.assert_array_equal(first.picked, again.picked)
    assert len(first.words) != len(one(late + 1).words) or (first.words != one(late + 1).words).any()


def test_every_epoch_blanks_and_pairs_anew(wordpiece, corpus):
    instances = Instances(corpus, wordpiece, CONFIG, 8, 0)
    spans = instances.epoch(0), instances.epoch(1)
    assert len(spans[0]) != len(spans[1]) or (spans[0].a != spans[1].a).any()


def test_sentences_lie_in_the_order_of_their_length(wordpiece, corpus):
    made = Instances(corpus, wordpiece, CONFIG, 16, 0)(0)
    assert (np.diff(made.lengths) >= 0).all()
    assert made.lengths.sum() == len(made.words) == len(made.kinds)


@pytest.mark.parametrize(
    "changes",
    [{"most": 5}, {"short": 1.5}, {"masked": -0.1}, {"masked_most": 0}],
    ids=lambda one: next(iter(one)),
)
def test_options_that_cannot_work_are_refused_by_name(snapshot, changes):
    with pytest.raises(ConfigError) as refusal:
        InstanceConfig(**changes)
    snapshot(f"config_{next(iter(changes))}", str(refusal.value))
