"""The vocabulary: there and back without a loss, for any text, and the same from the same texts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.vocabulary import BEGIN, END, PADDING, UNKNOWN, characters, keep, kept, pieces

TEXTS = ["the cat sat on the mat", "the dog sat on the cat", "Ein Käfer, zwei Käfer: <end>"] * 3
PIECES = pieces(TEXTS, 320)


@settings(deadline=None)
@given(st.text())
def test_pieces_give_every_text_back(text):
    numbers = PIECES.encode([text])[0]
    assert PIECES.decode(numbers) == text
    assert not {PADDING, BEGIN, END, UNKNOWN} & set(numbers), "what a text says is never special"


@settings(deadline=None)
@given(st.text(alphabet=sorted(set("".join(TEXTS)))))
def test_characters_give_back_every_text_of_theirs(text):
    known = characters(TEXTS)
    assert known.decode(known.encode([text])[0]) == text
    assert len(known.encode([text])[0]) == len(text)


def test_a_character_that_was_never_seen_is_unknown_and_leaves_no_trace():
    known = characters(TEXTS)
    assert known.encode(["cZt"])[0][1] == UNKNOWN
    assert known.decode(known.encode(["cZt"])[0]) == "ct"


def test_frequent_words_are_one_piece_and_rare_ones_several():
    assert PIECES.shown(PIECES.encode(["the cat"])[0]) == ["the", "␣cat"]
    assert len(PIECES.encode(["zebra"])[0]) > 2


def test_special_numbers_are_no_part_of_a_text():
    numbers = PIECES.encode(["the cat"])[0]
    assert PIECES.decode([BEGIN, *numbers, END, PADDING]) == "the cat"


def test_the_same_texts_give_the_same_pieces():
    assert pieces(TEXTS, 320).encode(TEXTS) == PIECES.encode(TEXTS)
    assert pieces(TEXTS, 280).encode(TEXTS) != PIECES.encode(TEXTS)
    assert len(pieces(TEXTS, 280)) <= 280


@pytest.mark.parametrize("vocabulary", [PIECES, characters(TEXTS)], ids=["pieces", "characters"])
def test_what_is_kept_is_read_again(vocabulary, tmp_path):
    keep(vocabulary, tmp_path / "vocabulary.json")
    again = kept(tmp_path / "vocabulary.json")
    assert again.encode(TEXTS) == vocabulary.encode(TEXTS)
    assert len(again) == len(vocabulary)
    assert again.says == vocabulary.says


def test_too_few_pieces_and_a_torn_file_are_refused(tmp_path, snapshot):
    with pytest.raises(ConfigError) as few:
        pieces(TEXTS, 100)
    snapshot("too_few_pieces", str(few.value))
    (tmp_path / "vocabulary.json").write_text('{"characters": ["a",')
    with pytest.raises(DataError) as torn:
        kept(tmp_path / "vocabulary.json")
    snapshot("torn", str(torn.value))
