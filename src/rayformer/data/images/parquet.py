"""Parquet files as the Hugging Face Hub keeps labelled pictures: a picture's bytes and a label to a row.

    read_parquet   the files of a folder, splits by their names
    parquet_files  which files these are
    Rows           pictures as rows of such files

What the columns are is in the files themselves, as `datasets` writes it there: which is a picture, which is
a label, and what the classes are called. Where it is not, the column with bytes is the picture, and `label`
(or `labels`, `fine_label`) the label. Needs the extra `hub`.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rayformer.core.errors import DataError, MissingExtra
from rayformer.data.images.labelled import Found, Split

FORMAT = "parquet files"
LABELS = ("label", "labels", "fine_label", "class", "target")


@dataclass(eq=False)
class Rows:
    """Pictures by number, over several files. A file's pictures stay packed in memory once they are asked
    for, as the file has them: the bytes of JPEG or PNG files."""

    files: tuple[Path, ...]
    column: str
    ends: tuple[int, ...]
    """How many pictures there are up to the end of each file."""
    _columns: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, row: int) -> bytes:
        file, place = self._place(row)
        column = self._columns.get(file)
        if column is None:
            table = _arrow().read_table(self.files[file], columns=[self.column])
            column = self._columns.setdefault(file, table.column(0))
        value = column[place].as_py()
        value = value.get("bytes") if isinstance(value, dict) else value
        if not value:
            raise DataError(f"{self.name(row)}: the row holds no picture")
        return value

    def name(self, row: int) -> str:
        file, place = self._place(row)
        return f"{self.files[file].name}, row {place}"

    def stamp(self, row: int) -> bytes:
        data = self[row]
        return len(data).to_bytes(8, "little") + data[:1024] + data[-1024:]

    def _place(self, row: int) -> tuple[int, int]:
        file = int(np.searchsorted(self.ends, row, side="right"))
        return file, row - (self.ends[file - 1] if file else 0)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "column": self.column, "ends": self.ends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def parquet_files(folder: Path) -> list[Path]:
    """Those in a folder and in the folders in it."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])


def read_parquet(folder: Path) -> Found:
    """Raises DataError for files without pictures or labels; MissingExtra without pyarrow."""
    arrow = _arrow()
    files = parquet_files(folder)
    ends: list[int] = []
    labels: list[np.ndarray] = []
    parts: dict[Split, list[np.ndarray]] = {}
    column, label, names = "", "", None
    for number, path in enumerate(files):
        try:
            schema = arrow.read_schema(path)
            if not number:
                column, label, names = _columns(path, schema)
            values = arrow.read_table(path, columns=[label]).column(0)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
            first = str(error).splitlines()[0]
            raise DataError(
                f"{path}: cannot be read as labelled pictures ({first}).\nCopy it again."
            ) from error
        found = np.array(values.to_pylist())
        first = ends[-1] if ends else 0
        parts.setdefault(_split_of(path, folder), []).append(np.arange(first, first + len(found)))
        ends.append(first + len(found))
        labels.append(found)
    every = np.concatenate(labels)
    if every.dtype == object or (every.dtype.kind == "i" and every.min() < 0):
        raise DataError(
            f"{folder}: some pictures have no label in column {label!r}.\n"
            "Hubs keep test sets back: take those files away."
        )
    if names is None:
        there, every = np.unique(every, return_inverse=True)
        names = tuple(str(value) for value in there)
    elif every.dtype.kind == "U":
        every = np.array([names.index(str(value)) for value in every])
    return Found(
        format=FORMAT,
        pictures=Rows(tuple(files), column, tuple(ends)),
        labels=every.astype(np.int64),
        classes=names,
        parts={split: np.concatenate(rows) for split, rows in parts.items()},
    )


def _columns(path: Path, schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """The column of pictures, that of labels, and the names of the classes where the file has them."""
    said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = said.get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    picture = next((name for name, kind in kinds.items() if kind == "Image"), None)
    if picture is None:
        packed = [entry.name for entry in schema if re.search("binary|bytes", str(entry.type))]
        picture = packed[0] if packed else None
    known = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    label = next((name for name in (*LABELS, *known) if name in schema.names), None)
    if picture is None or label is None:
        what = "pictures" if picture is None else "labels"
        raise DataError(
            f"{path}: no column of {what} among {', '.join(schema.names)}.\n"
            f"Wanted are pictures as bytes, and labels in a column called {' or '.join(LABELS[:2])}."
        )
    names = features.get(label, {}).get("names") if label in known else None
    return picture, label, None if names is None else tuple(map(str, names))


def _split_of(path: Path, folder: Path) -> Split:
    """By the first word of the path that means one: train-00000-of-00002.parquet, test/0000.parquet."""
    for word in re.split(r"[^a-z]+", path.relative_to(folder).as_posix().lower()):
        if word in ("test", "testing"):
            return "test"
        if word in ("val", "valid", "validation", "dev"):
            return "val"
        if word == "train":
            break
    return "train"


def _arrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("hub", "Reading parquet files") from error
    return pyarrow.parquet
