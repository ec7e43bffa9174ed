"""Text files as lines: whatever ends them, and the line that is not UTF-8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayformer.core.errors import DataError
from rayformer.data.text.lines import read_lines

LINES = st.lists(
    st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"])), max_size=6
)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_lines_come_back_whatever_ends_them(tmp_path_factory, lines, end, marked):
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_bytes((b"\xef\xbb\xbf" if marked else b"") + "".join(line + end for line in lines).encode())
    assert read_lines(path) == lines


def test_rare_separators_are_part_of_a_sentence(tmp_path):
    path = tmp_path / "rare.txt"
    path.write_text("one\x85still\u2028one\x0b\x1cline\nanother", encoding="utf-8")
    assert read_lines(path) == ["one\x85still\u2028one\x0b\x1cline", "another"]


@pytest.mark.parametrize("marked", [False, True])
def test_the_line_that_is_not_utf_8_is_named(tmp_path, snapshot, marked):
    path = tmp_path / "latin.txt"
    text = "first\r\nsecond\nthe caf\u00e9\nlast".encode("latin1")
    path.write_bytes((b"\xef\xbb\xbf" if marked else b"") + text)
    with pytest.raises(DataError) as refusal:
        read_lines(path)
    snapshot("not_utf_8", str(refusal.value))


def test_a_file_that_is_not_there_is_named(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        read_lines(tmp_path / "nowhere.txt")
    snapshot("nowhere", str(refusal.value))
