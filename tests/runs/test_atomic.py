"""A file is as it was or whole, whatever stops the process."""

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayformer.core.errors import RunError
from rayformer.runs.atomic import (
    append_line,
    replacing,
    replacing_folder,
    whole_lines,
    write_bytes,
    write_text,
)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_is_what_is_read(tmp_path):
    write_text(tmp_path / "deep" / "note.txt", "Fläche: 2 m²")
    assert (tmp_path / "deep" / "note.txt").read_text(encoding="utf-8") == "Fläche: 2 m²"


def test_until_the_end_the_old_content_stands(tmp_path):
    path = tmp_path / "file.bin"
    write_bytes(path, b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_costs_the_new_content_only(tmp_path, monkeypatch, snapshot, before):
    path = tmp_path / "file.bin"
    if before:
        write_bytes(path, before)
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(RunError) as error:
        write_bytes(path, b"new")
    snapshot(f"full_disk_{'over_old' if before else 'new'}", str(error.value))
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if before else [])
    assert before is None or path.read_bytes() == before


def test_an_interrupted_write_leaves_nothing_behind(tmp_path):
    def interrupted():
        with replacing(tmp_path / "file.bin") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_the_place_of_another_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    with replacing_folder(path) as temporary:
        (temporary / "old").write_text("old")

    def interrupted():
        with replacing_folder(path) as temporary:
            (temporary / "new").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in path.iterdir()] == ["old"]
    with replacing_folder(path) as temporary:
        (temporary / "inside").mkdir()
        (temporary / "inside" / "new").write_text("new")
    assert [file.relative_to(path).as_posix() for file in path.rglob("*")] == ["inside", "inside/new"]
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


@given(kept=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"))), torn=st.binary())
def test_a_torn_last_line_is_never_read_and_is_cut_off_by_the_next(tmp_path_factory, kept, torn):
    path = tmp_path_factory.mktemp("lines") / "lines"
    path.write_bytes("".join(f"{line}\n" for line in kept).encode() + torn.replace(b"\n", b""))
    assert whole_lines(path) == kept
    append_line(path, "next")
    assert whole_lines(path) == [*kept, "next"]


def test_lines_of_an_absent_file_are_none(tmp_path):
    assert whole_lines(tmp_path / "absent") == []


def test_a_line_that_does_not_fit_on_the_disk_harms_no_other(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    append_line(path, "first")
    monkeypatch.setattr("rayformer.runs.atomic._cut_torn_line", full_disk)
    with pytest.raises(RunError, match="unharmed"):
        append_line(path, "second")
    assert whole_lines(path) == ["first"]
