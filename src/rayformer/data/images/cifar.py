"""CIFAR-10 and CIFAR-100 in their binary version, in a folder or in the archive as it is published.

    read_cifar     labels and pictures of all batches
    files_of       its files in a folder or an archive, binary or pickled

A record is the label (of CIFAR-100 the coarse and the fine one) and 32 x 32 bytes of red, green and blue each
(https://www.cs.toronto.edu/~kriz/cifar.html). The Python version is made of pickles, which run whatever code
they hold, and is refused.
"""

import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import Arrays, Found, Split

FORMAT = "binary CIFAR"
SIDE = 32
TEN = re.compile(r"(data_batch_\d|test_batch)(\.bin)?")
HUNDRED = re.compile(r"(train|test)(\.bin)?")
ARCHIVES = (".tar.gz", ".tgz", ".tar")


@dataclass(frozen=True)
class Batches:
    """The files of one data set: bytes by name, read when they are asked for."""

    ten: bool
    """Whether it is CIFAR-10."""
    files: dict[str, Callable[[], bytes]]
    names: Callable[[], bytes] | None
    """The file that names the classes."""

    @property
    def pickled(self) -> bool:
        return not any(name.endswith(".bin") for name in self.files)


def files_of(path: Path) -> Batches | None:
    """The files of CIFAR in a folder or an archive; None where there are none."""
    if path.is_dir():
        there: dict[str, Callable[[], bytes]] = {
            file.name: file.read_bytes for file in sorted(path.iterdir()) if file.is_file()
        }
    elif path.name.lower().endswith(ARCHIVES):
        there = _members(path)
    else:
        return None
    ten = {name: read for name, read in there.items() if TEN.fullmatch(name)}
    if ten:
        return Batches(True, ten, there.get("batches.meta.txt"))
    hundred = {name: read for name, read in there.items() if HUNDRED.fullmatch(name)}
    # `train` and `test` may be anything; only beside `meta` are they CIFAR-100
    if hundred and (any(name.endswith(".bin") for name in hundred) or "meta" in there):
        return Batches(False, hundred, there.get("fine_label_names.txt"))
    return None


def _members(path: Path) -> dict[str, Callable[[], bytes]]:
    """What an archive holds, by its names without folders; nothing is unpacked to the disk."""

    def read(name: str) -> bytes:
        with tarfile.open(path) as archive:
            file = archive.extractfile(name)
            assert file is not None, "members that are no files were left out"
            return file.read()

    try:
        with tarfile.open(path) as archive:
            names = [member.name for member in archive.getmembers() if member.isfile()]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path}: the archive is torn and cannot be read.\nCopy it again.") from error
    return {name.rpartition("/")[2]: lambda name=name: read(name) for name in names}


def read_cifar(path: Path) -> Found:
    """Raises DataError for the pickled version, and for a file that does not hold whole records."""
    found = files_of(path)
    assert found is not None, "the format was recognised"
    if found.pickled:
        raise DataError(
            f"{path}: the Python version of CIFAR, which is made of pickles: reading them would run whatever "
            "code they hold.\nGive the binary version (cifar-10-binary.tar.gz or cifar-100-binary.tar.gz), "
            "or its pictures in class folders."
        )
    heads = 1 if found.ten else 2
    record = heads + 3 * SIDE * SIDE
    values: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    parts: dict[Split, list[np.ndarray]] = {}
    first = 0
    for name in sorted(name for name in found.files if name.endswith(".bin")):
        data = np.frombuffer(found.files[name](), np.uint8)
        if not len(data) or len(data) % record:
            raise DataError(
                f"{path}: {name} has {len(data)} bytes, which are no whole records of {record}.\n"
                "Copy it again from where it came."
            )
        rows = data.reshape(-1, record)
        labels.append(rows[:, heads - 1].astype(np.int64))
        values.append(rows[:, heads:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        split: Split = "test" if name.startswith("test") else "train"
        parts.setdefault(split, []).append(np.arange(first, first + len(rows)))
        first += len(rows)
    numbers = np.concatenate(labels)
    classes = _names(found, int(numbers.max()) + 1)
    if numbers.max() >= len(classes):
        raise DataError(
            f"{path}: a label is {numbers.max()}, but there are {len(classes)} classes.\n"
            "Is it another data set, or a file that is torn?"
        )
    return Found(
        format=FORMAT,
        pictures=Arrays(np.ascontiguousarray(np.concatenate(values))),
        labels=numbers,
        classes=classes,
        parts={split: np.concatenate(rows) for split, rows in parts.items()},
    )


def _names(found: Batches, count: int) -> tuple[str, ...]:
    """As the file beside the pictures has them, else numbers."""
    if found.names is None:
        return tuple(str(number) for number in range(count))
    lines = found.names().decode("utf-8", errors="replace").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
