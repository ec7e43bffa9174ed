"""Labelled pictures: known by where they lie, each with the number of its class.

    ImagesConfig   what a person may choose about them
    Pictures       many pictures by number, none of them decoded: files, arrays, members of an archive
    Files, Arrays  the two plain ones; Decoded, pictures of many sizes in memory
    Found          what every reader returns, before anything is chosen
    Part           the pictures of one split, with their labels
    Labelled       all splits, the names of the classes, and what a person should know

A picture is decoded when it is asked for, unless all of them fit into memory (`check`). Classes are numbered
from 0 in the order of `Labelled.classes`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from rayformer.core.errors import ConfigError
from rayformer.data.images.decode import opened

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Stored = Path | bytes | UInt8[np.ndarray, "height width channels"]
"""A picture as it is kept: a file, the bytes of one, or pixels of one channel (grey) or three."""

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".heic", ".heif",
    ".avif",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    source: str = "shapes"
    """Labelled pictures: a folder of class folders or a zip of them, idx files, CIFAR's binary files, parquet
    files; shapes or glyphs, which the package draws (shapes-50: of 50 pictures to a class); or hf:NAME, a
    data set of the Hugging Face Hub."""
    held_out: float = 0.2
    """Share of every class that is kept for testing where the data bring no test split; always the same
    pictures. 0 measures at those that were learned from."""
    validation: float = 0.1
    """Share of every class's training pictures that is held back, to watch how much is learned and to mark
    the best checkpoint, where the data bring no validation split; at most 2,000 pictures in all. The result
    is that of the last weights. 0 holds none back."""
    per_class: int | None = None
    """Learn from this many pictures of each class at most; none takes all."""
    corrupt: Literal["refuse", "skip", "list"] = "refuse"
    """What to do about pictures that cannot be decoded: refuse stops before training; skip leaves them out
    and says how many; list leaves them out and names every one among the run's remarks."""
    verify: Literal["pixels", "heads"] = "pixels"
    """How they are found: pixels decodes every picture once; heads reads only the beginnings of the files,
    which is quicker and misses pictures that are torn further down."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of a drawn set, and no path."""
        from rayformer.data.images.drawn import is_drawn  # whose pictures are these

        return is_drawn(self.source)

    def __post_init__(self):
        for name in ("held_out", "validation"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise ConfigError(f"data.{name} is a share, 0 or more and below 1, but is {share:g}.")
        if self.per_class is not None and self.per_class < 1:
            raise ConfigError(f"data.per_class must be at least 1, but is {self.per_class}.")


@runtime_checkable
class Pictures(Protocol):
    """Many pictures by number. Asked from several threads at once, and sent to other processes."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Stored: ...

    def name(self, row: int) -> str:
        """What a person would call the picture: its place within the data."""
        ...

    def stamp(self, row: int) -> bytes:
        """Some bytes that change with the picture, had without decoding it."""
        ...


@dataclass(frozen=True, eq=False)
class Files:
    """Pictures in a folder, by their paths relative to it, with forward slashes."""

    folder: Path
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Path:
        return self.folder / self.names[row]

    def name(self, row: int) -> str:
        return self.names[row]

    def stamp(self, row: int) -> bytes:
        """Its length and its first and last kilobyte."""
        with (self.folder / self.names[row]).open("rb") as data:
            length = data.seek(0, 2)
            data.seek(0)
            head = data.read(1024)
            data.seek(max(0, length - 1024))
            return length.to_bytes(8, "little") + head + data.read(1024)


@dataclass(frozen=True, eq=False)
class Arrays:
    """Pictures of one size as pixels in memory."""

    values: UInt8[np.ndarray, "batch height width channels"]
    names: Pictures | None = None
    """Where they come from, if they have names there."""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "height width channels"]:
        return self.values[row]

    def name(self, row: int) -> str:
        return f"picture {row}" if self.names is None else self.names.name(row)

    def stamp(self, row: int) -> bytes:
        return self.values[row].tobytes() if self.names is None else self.names.stamp(row)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures of several sizes as pixels in memory, and where they come from."""

    values: Sequence[UInt8[np.ndarray, "_ _ _"]]
    names: Pictures

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "height width channels"]:
        return self.values[row]

    def name(self, row: int) -> str:
        return self.names.name(row)

    def stamp(self, row: int) -> bytes:
        return self.names.stamp(row)


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """What a reader finds in the data, with nothing left out and nothing held back."""

    format: str
    pictures: Pictures
    labels: Int[np.ndarray, "batch"]
    """The class of each picture."""
    classes: tuple[str, ...]
    parts: Mapping[Split, Int[np.ndarray, "_"]]
    """Numbers of pictures by the split that the data give them; all of them train where they give none."""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """The pictures of one split. `part[place]` is how a picture is kept, `part.opened(place)` the picture."""

    pictures: Pictures
    rows: Int[np.ndarray, "batch"]
    """Which of `pictures` they are."""
    labels: Int[np.ndarray, "batch"]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Stored:
        return self.pictures[int(self.rows[place])]

    def opened(self, place: int) -> Image.Image:
        """The picture, which may still lie in its file, unturned: for a transform, in a `with`. Raises
        DataError for what is no picture."""
        stored = self[place]
        if not isinstance(stored, np.ndarray):
            return opened(stored, self.name(place))
        return Image.fromarray(np.ascontiguousarray(stored[..., 0] if stored.shape[2] == 1 else stored))

    def name(self, place: int) -> str:
        return self.pictures.name(int(self.rows[place]))

    def only(self, places: Int[np.ndarray, "_"]) -> "Part":
        return replace(self, rows=self.rows[places], labels=self.labels[places])

    def counts(self, classes: int) -> Int[np.ndarray, "outputs"]:
        """How many pictures each class has."""
        return np.bincount(self.labels, minlength=classes)

    @property
    def pixels(self) -> UInt8[np.ndarray, "batch height width channels"] | None:
        """All pictures as one array, where they lie in memory and are of one size; a copy unless they are
        all that there are."""
        if not isinstance(self.pictures, Arrays):
            return None
        whole = len(self.rows) == len(self.pictures) and (self.rows == np.arange(len(self.rows))).all()
        return self.pictures.values if whole else self.pictures.values[self.rows]


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    source: str
    format: str
    """The format's name, as `recognise` tells it."""
    classes: tuple[str, ...]
    parts: Mapping[Split, Part]
    """Train and test always; val where there is one."""
    remarks: tuple[str, ...]
    """What a person should know before training, one sentence each."""
    fingerprint: str
    """Changes with the pictures, their names, labels, splits, and the names of the classes."""

    def split(self, name: Split) -> Part | None:
        return self.parts.get(name)

    @property
    def counts(self) -> dict[str, int]:
        """Classes, and pictures by split, for the run's manifest."""
        return {"classes": len(self.classes)} | {name: len(part) for name, part in self.parts.items()}
