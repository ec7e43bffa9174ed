"""Which format labelled pictures have. First come, first served, in the order of FORMATS.

recognise   a path -> the reader for it
FORMATS     the formats by name, each with what finds it and what reads it
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rayformer.core.errors import DataError
from rayformer.data.images import cifar, folders, idx, parquet, zipped
from rayformer.data.images.labelled import Found


@dataclass(frozen=True)
class Format:
    name: str
    find: Callable[[Path], Path | None]
    """A folder or file -> what `read` wants, or None if it is no such thing."""
    read: Callable[[Path], Found]


def _idx(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    pairs = idx.pairs_in(folder)
    return folder if pairs and (path.is_dir() or any(path in pair for pair in pairs.values())) else None


def _cifar(path: Path) -> Path | None:
    if path.is_file() and path.suffix.lower() == ".bin":
        path = path.parent
    return path if cifar.files_of(path) is not None else None


def _parquet(path: Path) -> Path | None:
    folder = path.parent if path.is_file() and path.suffix.lower() == ".parquet" else path
    return folder if folder.is_dir() and parquet.parquet_files(folder) else None


def _zip(path: Path) -> Path | None:
    """The archive itself, or a folder that holds one and no pictures beside it."""
    if path.is_file():
        return path if path.suffix.lower() == ".zip" else None
    archives = sorted(file for file in path.iterdir() if file.suffix.lower() == ".zip")
    return archives[0] if len(archives) == 1 and not folders.holds_pictures(path) else None


def _folders(path: Path) -> Path | None:
    return path if path.is_dir() and folders.holds_pictures(path) else None


FORMATS = (
    Format(idx.FORMAT, _idx, idx.read_idx),
    Format(cifar.FORMAT, _cifar, cifar.read_cifar),
    Format(parquet.FORMAT, _parquet, parquet.read_parquet),
    Format(zipped.FORMAT, _zip, zipped.read_zip),
    Format(folders.FORMAT, _folders, folders.read_folders),
)


def recognise(path: Path) -> tuple[Format, Path]:
    """The format of a folder or file, and what its reader wants. Raises DataError that lists what
    was found and what is known."""
    for known in FORMATS:
        found = known.find(path)
        if found is not None:
            return known, found
    raise DataError(
        f"{path}: no labelled pictures in a known format. {_finds(path)}\n"
        f"Known are {', '.join(known.name for known in FORMATS)}.\n"
        "Of class folders, each holds the pictures of one class: CLASS/, or train/CLASS/ and test/CLASS/."
    )


def _finds(path: Path) -> str:
    if path.is_file():
        return f"It is a {path.suffix} file." if path.suffix else "It is a file of no known kind."
    names = [place.name + "/" * place.is_dir() for place in sorted(path.iterdir())]
    return (
        f"Found: {', '.join(names[:6]) + (', ...' if len(names) > 6 else '')}." if names else "It is empty."
    )
