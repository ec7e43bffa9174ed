"""Files that are either as they were or whole: never half written, whatever stops the process.

    replacing         a temporary name beside the file, renamed over it once it is whole
    replacing_folder  the same for a folder and all that is written into it
    write_bytes       the whole content at once
    write_text        the same in UTF-8
    append_line       one more line at the end; a torn last line, left by a killed process, is cut off first
    whole_lines       the lines of such a file without the torn last one
    sync_folder       make renames inside a folder survive a power cut

The order is the point: write under another name, fsync the bytes, rename, fsync the folder. A reader never
meets a file between two states, and a full disk costs the new content, not the old.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rayformer.core.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the path that this yields; it becomes `path` if the block ends well, and is removed if not.

    The temporary name keeps the suffix, for writers that read the format from it. Raises RunError where the
    disk or its permissions refuse, saying what survived.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.writing{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(_what_survived(path, error)) from error
    finally:
        with suppress(OSError):  # after a rename there is nothing to remove
            temporary.unlink()


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Write into the new folder that this yields; it becomes `path` if the block ends well, and takes the
    place of what was there. Raises RunError where the disk or its permissions refuse."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():  # a folder is not renamed over one that holds something
            shutil.rmtree(path)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise RunError(_what_survived(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, whole or not at all. Raises RunError where the disk refuses."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path` in UTF-8, whole or not at all. Raises RunError where the disk refuses."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Add `line` (without its newline) to the end of `path`, a torn last line cut off first, and flush it.

    Raises RunError where the disk refuses; the lines before it are still there.
    """
    assert "\n" not in line, "a line holds no newline"
    try:
        with open(path, "ab+") as file:
            _cut_torn_line(file)
            file.write(line.encode() + b"\n")
            file.flush()
    except OSError as error:
        raise RunError(_what_survived(path, error)) from error


def whole_lines(path: Path) -> list[str]:
    """The lines of `path`, without a last one that no newline ends; none where the file does not exist."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [line.decode(errors="replace") for line in lines[:-1]]


def sync_folder(folder: Path) -> None:
    """Make the names inside `folder` survive a power cut. Does nothing where folders cannot be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cut_torn_line(file) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _what_survived(path: Path, error: OSError) -> str:
    before = "what it held before is unharmed" if path.exists() else "nothing was left half written"
    return (
        f"{path} could not be written: {error.strerror or error}; {before}.\n"
        "Make room on the disk, or write permission in its folder, and start again."
    )
