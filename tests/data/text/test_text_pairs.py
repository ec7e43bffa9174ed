"""Pairs of texts: what is read, what is held out, and what is refused by line."""

import pytest

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.pairs import PairsConfig, read_other, read_pairs

PAIRS = [(f"number {number}", f"Zahl {number}") for number in range(40)]


def written(path, pairs=PAIRS, between="\t"):
    path.write_text("".join(f"{first}{between}{second}\n" for first, second in pairs), encoding="utf-8")
    return path


def config(path, **changes) -> PairsConfig:
    return PairsConfig(source=str(path), **changes)


def everything(pairs) -> list[tuple[str, str]]:
    return [pair for part in pairs.parts.values() for pair in zip(part.sources, part.targets, strict=True)]


@pytest.mark.parametrize(("name", "between"), [("a.tsv", "\t"), ("a.txt", "\t"), ("a.csv", ",")])
def test_every_pair_is_in_one_part(tmp_path, name, between):
    pairs = read_pairs(config(written(tmp_path / name, between=between)))
    assert sorted(everything(pairs)) == sorted(PAIRS)
    assert pairs.counts == {"train": 34, "test": 4, "val": 2}


def test_commas_and_line_ends_may_stand_in_quotes(tmp_path):
    text = "".join(f'"{first}, please","{second},\nbitte"\n' for first, second in PAIRS)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    pairs = read_pairs(config(tmp_path / "a.csv"))
    assert sorted(everything(pairs))[0] == ("number 0, please", "Zahl 0,\nbitte")


def test_the_halves_may_be_swapped(tmp_path):
    written(tmp_path / "a.tsv")
    swapped = read_pairs(config(tmp_path / "a.tsv", swap=True))
    assert sorted(everything(swapped)) == sorted((second, first) for first, second in PAIRS)
    drawn = read_pairs(PairsConfig(source="sorting-20", swap=True)).parts["train"]
    assert all(target.startswith("sort ") for target in drawn.targets)


def test_a_sentence_that_comes_twice_is_on_one_side_only(tmp_path):
    twice = [*PAIRS, *((first, second + "!") for first, second in PAIRS)]
    pairs = read_pairs(config(written(tmp_path / "a.tsv", twice), held_out=0.3))
    sides = [set(part.sources) for part in pairs.parts.values()]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert len(everything(pairs)) == 80


def test_a_pair_that_is_added_moves_hardly_any_other(tmp_path):
    before = read_pairs(config(written(tmp_path / "a.tsv"), held_out=0.3))
    after = read_pairs(config(written(tmp_path / "b.tsv", [("new", "neu"), *PAIRS]), held_out=0.3))
    assert len(set(before.parts["test"].sources) ^ set(after.parts["test"].sources)) <= 2


def test_a_folder_brings_its_own_split(tmp_path):
    written(tmp_path / "train.tsv", PAIRS[:20])
    written(tmp_path / "dev.tsv", PAIRS[20:25])
    written(tmp_path / "test.tsv", PAIRS[25:])
    pairs = read_pairs(config(tmp_path))
    assert pairs.counts == {"train": 20, "val": 5, "test": 15}
    assert read_other(config(tmp_path)).counts == {"train": 0, "test": 15}


def test_what_is_learned_and_tested_in_a_split_of_theirs_is_said(tmp_path):
    written(tmp_path / "train.tsv", PAIRS)
    written(tmp_path / "test.tsv", PAIRS[:3])
    assert "3 test sources are among those" in " ".join(read_pairs(config(tmp_path)).remarks)


def test_empty_lines_halves_and_further_columns_are_counted_and_said(tmp_path):
    lines = [f"{first}\t{second}\tCC-BY 2.0" for first, second in PAIRS]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "", "only this\t", "   "]), encoding="utf-8")
    pairs = read_pairs(config(tmp_path / "a.txt"))
    assert len(everything(pairs)) == 40
    said = " ".join(pairs.remarks)
    assert "nothing in one half are left out (1)" in said
    assert "passed over (lines: 40)" in said


def test_the_fingerprint_changes_with_every_letter_and_not_with_the_place(tmp_path):
    one = read_pairs(config(written(tmp_path / "a.tsv"))).fingerprint
    same = read_pairs(config(written(tmp_path / "b.tsv"))).fingerprint
    other = read_pairs(
        config(written(tmp_path / "c.tsv", [*PAIRS[:-1], ("number 39", "Zahl 93")]))
    ).fingerprint
    assert one == same != other


def refused(name, tmp_path, content: bytes | str | None):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_pairs(config(path))
    return str(error.value)


@pytest.mark.parametrize(
    ("what", "name", "content"),
    [
        ("nothing_there", "pairs.tsv", None),
        ("empty_file", "a.tsv", ""),
        ("blank_file", "a.tsv", "\n  \n\n"),
        ("no_tab", "a.tsv", "one\teins\ntwo\tzwei\nthree drei\n"),
        ("no_comma", "a.csv", "one,eins\ntwo\n"),
        ("too_few", "a.tsv", "one\teins\ntwo\tzwei\n"),
        ("one_source", "a.tsv", "one\teins\n" * 12),
        ("not_utf8", "a.tsv", b"one\teins\ntwo\tzwei\nK\xe4fer\tbeetle\n"),
    ],
)
def test_files_that_are_no_pairs_are_refused(what, name, content, tmp_path, snapshot):
    snapshot(what, refused(name, tmp_path, content))


def test_folders_that_hold_no_pairs_are_refused(tmp_path, snapshot):
    (tmp_path / "empty").mkdir()
    snapshot("empty_folder", refused("empty", tmp_path, None))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sentences.tsv").write_text("a\tb\n")
    snapshot("other_folder", refused("other", tmp_path, None))


def test_a_name_that_is_nearly_right_is_offered(snapshot):
    with pytest.raises(DataError) as error:
        read_pairs(PairsConfig(source="sortin"))
    snapshot("nearly_a_name", str(error.value))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("share_of_all", {"held_out": 1.0}),
        ("nothing_held_out", {"held_out": 0.0}),
        ("no_length", {"longest": 1}),
        ("negative_pieces", {"pieces": -1}),
    ],
)
def test_options_that_cannot_work_are_refused(name, changes, snapshot):
    with pytest.raises(ConfigError) as error:
        PairsConfig(**changes)
    snapshot(name, str(error.value))
