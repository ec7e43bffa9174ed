"""Texts as documents of sentences: three ways of telling where documents end, archives, and text that is
none."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.corpus import CorpusConfig, Pieces, read_corpus, sentences_of
from rayformer.data.text.grammar import SENSES, TOPICS, draw_documents, sense_sentences


def read(source: Path, **changes):
    changes = {"held_out": 0.0} | changes
    return read_corpus(CorpusConfig(source=str(source), **changes))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


BLANKS = "one two.\nthree.\n\nfour.\n\n\nfive six.\nseven.\n"
DOCUMENTS = [["one two.", "three."], ["four."], ["five six.", "seven."]]


def test_blank_lines_end_documents_in_a_single_file(tmp_path):
    corpus = read(write(tmp_path / "a.txt", BLANKS))
    assert list(map(list, corpus.train)) == DOCUMENTS
    assert corpus.format == "text, documents by blank-lines"


def test_files_are_documents_where_there_are_several_and_readmes_are_none(tmp_path):
    for name, lines in zip("abc", DOCUMENTS, strict=True):
        write(tmp_path / "texts" / f"{name}.txt", "\n\n".join(lines))
    write(tmp_path / "texts" / "README.txt", "not text")
    write(tmp_path / "texts" / "picture.png", "not text either")
    assert list(map(list, read(tmp_path / "texts").train)) == DOCUMENTS


def test_headings_end_documents_where_there_are_some(tmp_path):
    text = "\n = Whales = \n\n one two. \n = = Food = = \n three. \n\n = Ships = \n four.\n"
    assert list(map(list, read(write(tmp_path / "a.txt", text)).train)) == [["one two.", "three."], ["four."]]


def test_a_person_may_say_what_ends_a_document(tmp_path):
    for name in "ab":
        write(tmp_path / "texts" / f"{name}.txt", BLANKS)
    assert list(map(list, read(tmp_path / "texts", documents="blank-lines").train)) == DOCUMENTS * 2


@pytest.mark.parametrize("how", ["plain", "gz", "zip"])
def test_an_archive_reads_as_what_is_in_it(tmp_path, how):
    path = tmp_path / f"a.txt{'' if how == 'plain' else '.gz'}"
    if how == "zip":
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside/a.txt", BLANKS)
            archive.writestr("inside/b.xml", "<no/>")
    else:
        path.write_bytes(BLANKS.encode() if how == "plain" else gzip.compress(BLANKS.encode()))
    assert list(map(list, read(path).train)) == DOCUMENTS


def test_paragraphs_are_split_into_sentences_and_lines_are_not(tmp_path):
    text = "\n".join(["The cat sat. Then it slept! Did it?", "Mr. Smith came at 9. He left."] * 3)
    corpus = read(write(tmp_path / "a.txt", text))
    assert corpus.train[0][:3] == ["The cat sat.", "Then it slept!", "Did it?"]
    as_lines = read(tmp_path / "a.txt", sentences="lines")
    assert len(as_lines.train[0]) == 6


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("One. Two.", ["One.", "Two."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("Dr. A. Smith met Mrs. Jones. They talked.", ["Dr. A. Smith met Mrs. Jones.", "They talked."]),
        ("It cost 3.50 in all. yes", ["It cost 3.50 in all. yes"]),
        ("no end", ["no end"]),
        ("  ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(paragraph, sentences):
    assert sentences_of(paragraph) == sentences


def test_whole_documents_are_held_out_and_no_sentence_is_lost():
    corpus = read_corpus(CorpusConfig(source="grammar-50", held_out=0.2))
    assert len(corpus.held_out) == 10
    assert sorted(map(tuple, [*corpus.train, *corpus.held_out])) == sorted(map(tuple, draw_documents(50)))


def test_of_few_documents_the_ends_are_held_out(tmp_path):
    text = "\n\n".join("\n".join(f"{name} {number}." for number in range(20)) for name in ("a", "b"))
    corpus = read(write(tmp_path / "a.txt", text), held_out=0.1)
    assert [len(document) for document in corpus.train] == [18, 18]
    assert list(map(list, corpus.held_out)) == [["a 18.", "a 19."], ["b 18.", "b 19."]]


def test_the_fingerprint_changes_with_a_letter_and_with_a_border(tmp_path):
    prints = {
        read(write(tmp_path / f"{row}.txt", text)).fingerprint
        for row, text in enumerate([BLANKS, BLANKS.replace("six", "sex"), BLANKS.replace("\n\n", "\n", 1)])
    }
    assert len(prints) == 3


def test_pieces_lie_end_to_end_with_their_borders():
    documents = [["ab", "", "c"], [""], ["def"]]
    pieces = Pieces.of(documents, lambda texts: [[ord(letter) for letter in text] for text in texts])
    assert bytes(pieces.words.tolist()) == b"abcdef"
    np.testing.assert_array_equal(pieces.sentences, [0, 2, 3, 6])
    np.testing.assert_array_equal(pieces.documents, [0, 2, 3])
    assert len(pieces) == 2


# ---------------------------------------------------------------------- text that is none


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty", b""),
        ("blank", b"\n \n\t\n"),
        ("not_utf_8", b"fine\nna\xefve\n"),
    ],
)
def test_text_that_cannot_be_read_is_refused(tmp_path, snapshot, name, text):
    (tmp_path / "a.txt").write_bytes(text)
    with pytest.raises(DataError) as refusal:
        read(tmp_path / "a.txt")
    snapshot(name, str(refusal.value))


def test_another_encoding_can_be_named(tmp_path):
    (tmp_path / "a.txt").write_bytes("naïve.\n".encode("latin-1"))
    assert read(tmp_path / "a.txt", encoding="latin-1").train[0] == ["naïve."]


def test_places_without_text_are_refused(tmp_path, snapshot):
    (tmp_path / "folder").mkdir()
    (tmp_path / "torn.txt.gz").write_bytes(gzip.compress(b"one two three")[:-5])
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.xml", "<no/>")
    for name in ("folder", "absent", "torn.txt.gz", "other.zip"):
        with pytest.raises(DataError) as refusal:
            read(tmp_path / name)
        snapshot(f"no_text_{name.partition('.')[0]}", str(refusal.value))


def test_a_number_of_drawn_documents_that_is_none_is_refused(snapshot):
    with pytest.raises(DataError) as refusal:
        read_corpus(CorpusConfig(source="grammar-many"))
    snapshot("drawn_many", str(refusal.value))


def test_documents_too_short_to_hold_anything_out_are_refused(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        read(write(tmp_path / "a.txt", "one.\n\ntwo.\n"), held_out=0.1)
    snapshot("too_short", str(refusal.value))


@pytest.mark.parametrize(
    "changes",
    [{"held_out": 1.0}, {"vocabulary_size": 0}, {"encoding": "klingon"}],
    ids=lambda one: next(iter(one)),
)
def test_options_that_cannot_work_are_refused_by_name(snapshot, changes):
    with pytest.raises(ConfigError) as refusal:
        CorpusConfig(**changes)
    snapshot(f"config_{next(iter(changes))}", str(refusal.value))


# ---------------------------------------------------------------------- drawn text


def test_drawn_documents_keep_to_one_topic_and_one_person():
    for number, document in enumerate(draw_documents(40)):
        topic = TOPICS[tuple(TOPICS)[number % len(TOPICS)]]
        text = " ".join(document).lower()
        others = {worker for one in TOPICS.values() for worker in [one.worker]} - {topic.worker}
        said = {phrase for senses in SENSES.values() for some in senses.values() for phrase in some}
        plain = " ".join(line for line in document if not any(phrase in line for phrase in said)).lower()
        assert not any(f"the {worker} " in plain for worker in others), text


def test_more_drawn_documents_begin_with_the_same_ones():
    assert draw_documents(30)[:10] == draw_documents(10)
    assert draw_documents(10, seed=1) != draw_documents(10)


def test_every_ambiguous_word_has_two_senses_with_as_many_sentences():
    sentences = sense_sentences()
    assert len(sentences) == len({one.text for one in sentences}) == 12 * 2 * 4
    for one in sentences:
        assert one.text.startswith(f"The {one.word} ")
        assert one.other != one.topic
        assert one.other in SENSES[one.word]
