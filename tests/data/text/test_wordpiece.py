"""WordPiece: known answers, the way back, pairs cut to size, and vocabularies that are none."""

import json

import numpy as np
import pytest

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.wordpiece import SPECIAL, WordPiece, shortened

KNOWN = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "want",
    "##want",
    "##ed",
    "wa",
    "un",
    "runn",
    "##ing",
    ",",
    "[PAD]",
    "[MASK]",
]
"""The vocabulary of the authors' own test, and the two entries that it lacks."""
TEXTS = [sentence for document in draw_documents(40) for sentence in document]


@pytest.fixture(scope="module")
def learned() -> WordPiece:
    return WordPiece.train(TEXTS, 300)


def test_the_authors_known_answers():
    wordpiece = WordPiece.of(KNOWN)
    assert wordpiece.pieces(["UNwant\u00e9d,running"]) == [[7, 4, 5, 10, 8, 9]]
    assert wordpiece.words(wordpiece.pieces(["unwantedX running"])[0]) == ["[UNK]", "runn", "##ing"]


def test_letters_become_small_and_punctuation_stands_alone():
    wordpiece = WordPiece.of([*SPECIAL, "hello", "!", "how", "are", "you", "?"])
    words = wordpiece.words(wordpiece.pieces([" \tHeLLo!how  \n Are yoU?  "])[0])
    assert words == ["hello", "!", "how", "are", "you", "?"]


def test_a_vocabulary_with_capitals_keeps_them():
    wordpiece = WordPiece.of([*SPECIAL, "Hello", "hello"])
    assert not wordpiece.lower
    assert wordpiece.words(wordpiece.pieces(["Hello hello"])[0]) == ["Hello", "hello"]
    assert WordPiece.of([*SPECIAL, "hello"]).lower


def test_pieces_of_known_words_join_to_the_text_again(learned):
    for text, pieces in zip(TEXTS, learned.pieces(TEXTS), strict=True):
        assert learned.text(pieces).replace(" .", ".") == text.lower()


def test_the_same_texts_give_the_same_vocabulary(learned):
    entries = learned.words(range(len(learned)))
    assert entries[:5] == list(SPECIAL)
    for _ in range(3):
        again = WordPiece.train(TEXTS, 300)
        assert again.words(range(len(again))) == entries


def test_no_word_of_the_texts_is_unknown_to_a_learned_vocabulary(learned):
    assert not any(learned.unknown in pieces for pieces in learned.pieces(TEXTS))
    assert len(learned) == 300


def test_a_mask_within_a_text_is_one_token(learned):
    encoded = learned.encode("the [MASK] broke on the beach")
    assert (encoded.words == learned.mask).sum() == 1


def test_a_sentence_is_framed_as_bert_reads_it(learned):
    one = learned.encode("The boat.")
    assert learned.words(one.words)[0] == "[CLS]"
    assert learned.words(one.words)[-1] == "[SEP]"
    assert not one.kinds.any()
    two = learned.encode("The boat.", "The net was wet.")
    assert two.words[: len(one)].tolist() == one.words.tolist()
    assert two.kinds.tolist() == [0] * len(one) + [1] * (len(two) - len(one))
    assert two.words[-1] == learned.between


@pytest.mark.parametrize("most", [4, 5, 9, 12, 40])
def test_what_is_too_long_is_cut_and_counted(learned, most):
    a, b = "The boat in the harbour was wet.", "She rowed the boat."
    whole, cut = learned.encode(a, b), learned.encode(a, b, most)
    assert len(cut) == min(most, len(whole))
    assert cut.cut == len(whole) - len(cut)
    assert (cut.words == learned.between).sum() == 2
    single = learned.encode(a, most=most)
    assert len(single) + single.cut == len(learned.encode(a))


def test_the_longer_sentence_gives_until_both_fit():
    def slowly(a, b, room):
        while a + b > room:
            a, b = (a - 1, b) if a > b else (a, b - 1)
        return a, b

    for a in range(14):
        for b in range(14):
            for room in range(1, 16):
                assert shortened(a, b, room) == slowly(a, b, room)


def test_many_texts_are_encoded_as_each_by_itself(learned):
    together = learned.encode_all(TEXTS[:20], TEXTS[20:40], 12)
    for one, a, b in zip(together, TEXTS[:20], TEXTS[20:40], strict=True):
        alone = learned.encode(a, b, 12)
        np.testing.assert_array_equal(one.words, alone.words)
        np.testing.assert_array_equal(one.kinds, alone.kinds)


@pytest.mark.parametrize("kept", ["folder", "vocab.txt", "tokenizer.json"])
def test_what_is_saved_comes_back(learned, tmp_path, kept):
    learned.save(tmp_path)
    again = WordPiece.load(tmp_path if kept == "folder" else tmp_path / kept)
    assert again.words(range(len(again))) == learned.words(range(len(learned)))
    assert again.pieces(TEXTS[:30]) == learned.pieces(TEXTS[:30])
    assert again.lower == learned.lower


def test_pieces_within_words_are_known_as_such(learned):
    entries = learned.words(range(len(learned)))
    assert learned.goes_on.tolist() == [entry.startswith("##") for entry in entries]


def test_a_files_own_settings_cut_and_fill_nothing(learned, tmp_path):
    learned.save(tmp_path)
    told = json.loads((tmp_path / "tokenizer.json").read_text())
    told["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    assert WordPiece.load(tmp_path).pieces(TEXTS[:9]) == learned.pieces(TEXTS[:9])


# ---------------------------------------------------------------------- what is no vocabulary


def lines(path, *entries):
    path.write_text("\n".join(entries) + "\n")
    return path


def test_a_vocabulary_without_mask_is_refused(tmp_path, snapshot):
    path = lines(tmp_path / "vocab.txt", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the")
    with pytest.raises(DataError) as refusal:
        WordPiece.load(path)
    snapshot("without_mask", str(refusal.value))


def test_an_entry_that_comes_twice_is_refused_by_its_line(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        WordPiece.load(lines(tmp_path / "vocab.txt", *SPECIAL, "the", "cat", "the"))
    snapshot("twice", str(refusal.value))


def test_a_vocabulary_that_is_not_utf_8_is_refused_by_its_line(tmp_path, snapshot):
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\ncaf\xe9\n")
    with pytest.raises(DataError) as refusal:
        WordPiece.load(tmp_path)
    snapshot("not_utf_8", str(refusal.value))


def test_a_tokenizer_of_another_kind_is_refused(tmp_path, snapshot):
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    path.write_text(Tokenizer(models.BPE(vocab={"a": 0}, merges=[])).to_str())
    with pytest.raises(DataError) as refusal:
        WordPiece.load(path)
    snapshot("another_kind", str(refusal.value))


def test_a_place_without_a_vocabulary_is_refused(tmp_path, snapshot):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "absent.txt"):
        with pytest.raises(DataError) as refusal:
            WordPiece.load(tmp_path / name)
        snapshot(f"no_vocabulary_{name.partition('.')[0]}", str(refusal.value))


def test_a_vocabulary_smaller_than_the_alphabet_is_refused(snapshot):
    with pytest.raises(ConfigError) as refusal:
        WordPiece.train(["the cat"], 6)
    snapshot("too_small", str(refusal.value))


def test_texts_without_words_teach_no_vocabulary(snapshot):
    with pytest.raises(DataError) as refusal:
        WordPiece.train(["", "  \n"], 100)
    snapshot("no_words", str(refusal.value))


@pytest.mark.real
def test_the_published_vocabulary_reads_as_published(real_data):
    wordpiece = WordPiece.load(real_data("bert_wordpiece_vocab") / "vocab.txt")
    assert len(wordpiece) == 30522
    words = wordpiece.encode("Hello, unaffable world!").words
    assert words.tolist() == [101, 7592, 1010, 14477, 20961, 3468, 2088, 999, 102]
