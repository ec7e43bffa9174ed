"""A zip of class folders, read in place: nothing is unpacked.

read_zip   the pictures of an archive, laid out as `folders` knows them
Members    pictures as members of an archive
"""

import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayformer.core.errors import DataError
from rayformer.data.images.folders import WORDS, is_picture, sorted_out
from rayformer.data.images.labelled import Found

FORMAT = "zip of class folders"
MOST = 2**28
"""Bytes that a picture in an archive may have when it is unpacked; more is no picture but a trap."""


@dataclass(eq=False)
class Members:
    """Pictures in a zip. Threads take turns at the file; another process opens it for itself."""

    archive: Path
    names: Sequence[str]
    root: str = ""
    """What the names of all of them begin with, and nobody needs to read."""
    _open: zipfile.ZipFile | None = field(default=None, repr=False)
    _turn: Any = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> bytes:
        """The bytes of the file. Raises DataError for a torn, locked or monstrous member."""
        name = self.names[row]
        with self._turn:
            archive = self._opened()
            try:
                if archive.getinfo(name).file_size > MOST:
                    raise DataError(f"{self.name(row)}: larger than {MOST // 2**20} MiB, which no picture is")
                return archive.read(name)
            except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
                raise DataError(f"{self.name(row)}: cannot be unpacked ({error})") from error

    def name(self, row: int) -> str:
        return self.names[row].removeprefix(self.root)

    def stamp(self, row: int) -> bytes:
        """Its checksum and its length, as the archive has them."""
        with self._turn:
            member = self._opened().getinfo(self.names[row])
        return member.CRC.to_bytes(4, "little") + member.file_size.to_bytes(8, "little")

    def _opened(self) -> zipfile.ZipFile:
        if self._open is None:
            self._open = zipfile.ZipFile(self.archive)
        return self._open

    def __getstate__(self) -> dict[str, Any]:
        return {"archive": self.archive, "names": self.names, "root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def read_zip(path: Path) -> Found:
    """Raises DataError for a file that is no zip, is locked, or holds no class folders."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a zip archive that can be read ({error}).\nCopy it again.") from error
    kept = [member for member in members if not member.filename.startswith("__MACOSX/")]
    if any(member.flag_bits & 1 for member in kept):
        raise DataError(f"{path}: the archive is locked with a password.\nGive one without, or the folder.")
    names = [member.filename for member in kept if not member.is_dir()]
    root = _shared_root([name for name in names if is_picture(name)])
    inside = {name.removeprefix(root): name for name in names if name.startswith(root)}
    folders = {
        member.filename.removeprefix(root).rstrip("/")
        for member in kept
        if member.is_dir() and member.filename.startswith(root)
    } - {""}
    return sorted_out(
        str(path),
        inside,
        folders,
        FORMAT,
        lambda some: Members(path, tuple(inside[name] for name in some), root),
    )


def _shared_root(names: Sequence[str]) -> str:
    """The folders around all the class folders, which whoever packed them packed too: "flowers/"."""
    root = ""
    while names:
        heads = {name.removeprefix(root).partition("/")[0] for name in names}
        shallowest = min(name.removeprefix(root).count("/") for name in names)
        if len(heads) > 1 or shallowest < 2 or heads & set(WORDS):
            break
        root += heads.pop() + "/"
    return root
