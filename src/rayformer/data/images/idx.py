"""idx files, plain or gzipped: MNIST and its family.

    read_idx       a folder with images and labels of one or more splits
    pairs_in       which files belong together
    read_array     one file as an array

A file begins with two zeros, the type of its numbers (8: bytes) and how many axes it has, then the length of
each axis as four bytes, largest first (http://yann.lecun.com/exdb/mnist). Pictures are grey, or have their
channels last.
"""

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import Arrays, Found, Split

FORMAT = "idx files"
IMAGES = re.compile(r"(.*?)images?[-._]idx\d[-._]ubyte(\.gz)?", re.IGNORECASE)
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
NAMED_FOR = {"fashion": FASHION, "kmnist": KUZUSHIJI, "kuzushiji": KUZUSHIJI}
"""Classes of data sets of this family, by what their folders' names have in them."""
NAME_FILES = ("labels.txt", "classes.txt", "class_names.txt", "names.txt")
MOST = 2**34
"""Bytes that a file may have when it is unpacked."""


def pairs_in(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Files of images with their files of labels, by what their names begin with: "train-", "t10k-"."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found: dict[str, tuple[Path, Path]] = {}
    for name, path in files.items():
        match = IMAGES.fullmatch(name)
        if match is None:
            continue
        wanted = re.compile(re.escape(match[1]) + r"labels?[-._]idx\d[-._]ubyte(\.gz)?")
        labels = next((other for key, other in files.items() if wanted.fullmatch(key)), None)
        if labels is not None:
            found.setdefault(match[1], (path, labels))
    return found


def read_idx(folder: Path) -> Found:
    """Raises DataError for a torn file, for numbers that are not bytes, for images and labels that are not
    equally many, and for splits whose pictures differ in size."""
    pairs = pairs_in(folder)
    values: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    parts: dict[Split, np.ndarray] = {}
    remarks: list[str] = []
    first = 0
    for prefix, (images, labels) in pairs.items():
        pictures, classes = _pictures(images), read_array(labels).astype(np.int64)
        if classes.ndim != 1 or len(classes) != len(pictures):
            raise DataError(
                f"{images} has {len(pictures)} pictures, but {labels.name} has labels of shape "
                f"{classes.shape}.\nThere must be one label to each picture: are both files of one split?"
            )
        if values and pictures.shape[1:] != values[0].shape[1:]:
            raise DataError(
                f"{images}: pictures of {_size(pictures)} pixels, but those of the other split have "
                f"{_size(values[0])}.\nAll must be of one size."
            )
        if "emnist" in images.name.lower():
            pictures = pictures.transpose(0, 2, 1, 3)
            remarks.append("EMNIST stores its pictures lying on their sides: they are put upright")
        rows = np.arange(first, first + len(pictures))
        split = _split_of(prefix)
        parts[split] = np.concatenate([parts[split], rows]) if split in parts else rows
        values.append(pictures)
        numbers.append(classes)
        first += len(pictures)
    there, labels = np.unique(np.concatenate(numbers), return_inverse=True)
    names = _names(folder, set(pairs), there)
    if names is None:
        classes = tuple(str(number) for number in there)
    else:
        known = sorted(names)
        classes = tuple(names[number] for number in known)
        labels = np.searchsorted(known, there)[labels]
    return Found(
        format=FORMAT, pictures=Arrays(np.concatenate(values)), labels=labels.astype(np.int64),
        classes=classes, parts=parts, remarks=tuple(remarks),
    )  # fmt: skip


def _split_of(prefix: str) -> Split:
    if re.search("t10k|test", prefix):
        return "test"
    return "val" if "val" in prefix else "train"


def _size(pictures: UInt8[np.ndarray, "batch height width channels"]) -> str:
    return f"{pictures.shape[2]} x {pictures.shape[1]}"


def _pictures(path: Path) -> UInt8[np.ndarray, "batch height width channels"]:
    values = read_array(path)
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or values.shape[3] not in (1, 3) or 0 in values.shape:
        raise DataError(
            f"{path}: an array of shape {values.shape} is no set of pictures.\n"
            "Wanted are batch x height x width, or the same with 3 channels at the end."
        )
    return values


def read_array(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The numbers of one file. Raises DataError if they are not bytes, or not as many as the file says."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as data:
            head = data.read(4)
            axes = head[3] if len(head) == 4 else 0
            sizes = data.read(4 * axes)
            if head[:2] != b"\0\0" or not 1 <= axes <= 4 or len(sizes) < 4 * axes:
                raise DataError(f"{path}: not an idx file; those begin with two zeros, a type and axes.")
            lengths = np.frombuffer(sizes, ">u4").tolist()
            if head[2] != 8:
                raise DataError(
                    f"{path}: numbers of type 0x{head[2]:02x}; pictures and labels are bytes, type 0x08."
                )
            # Python's whole numbers do not run over, which the product of a forged head may mean to
            wanted = math.prod(lengths)
            if wanted > MOST:
                raise DataError(f"{path}: the file says that it holds {wanted} numbers, which is too many.")
            values = data.read(wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the file is torn and cannot be unpacked ({error}).\nCopy it again from where it came."
        ) from error
    if len(values) != wanted:
        are = "more" if len(values) > wanted else f"only {len(values)}"
        raise DataError(
            f"{path}: the file says that it holds {wanted} numbers, but there are {are}.\n"
            "Copy it again from where it came."
        )
    return np.frombuffer(values, np.uint8).reshape(lengths)


def _names(folder: Path, prefixes: set[str], there: Int[np.ndarray, "_"]) -> dict[int, str] | None:
    """Names of classes by their numbers: from a file beside the pictures, else as the folder is named.
    Raises DataError if a file does not name all that occur."""
    listed = next((folder / name for name in NAME_FILES if (folder / name).is_file()), None)
    mapping = next(iter(sorted(folder.glob("*mapping.txt"))), None)
    if listed is not None:
        lines = listed.read_text(encoding="utf-8").splitlines()
        names, file = dict(enumerate(line.strip() for line in lines if line.strip())), listed
    elif mapping is not None:  # EMNIST's: a number and the codes of its characters
        rows = [line.split() for line in mapping.read_text(encoding="utf-8").splitlines() if line.strip()]
        try:
            names, file = {int(row[0]): "".join(chr(int(code)) for code in row[1:2]) for row in rows}, mapping
        except (ValueError, OverflowError) as error:
            raise DataError(f"{mapping}: lines of a number and a character's code are wanted") from error
    else:
        said = " ".join([folder.resolve().name, *prefixes]).lower()
        known = next((names for word, names in NAMED_FOR.items() if word in said), None)
        return None if known is None or there.max() >= len(known) else dict(enumerate(known))
    missing = sorted(set(there.tolist()) - set(names))
    if missing:
        raise DataError(
            f"{file}: names {len(names)} classes, but the labels have the number {missing[0]} too.\n"
            "One line is wanted for each class, in the order of their numbers."
        )
    return names
