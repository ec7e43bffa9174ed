"""read_images: from a folder, an archive or a name to labelled pictures that a network can be trained on.

    find          a drawn set, a data set of the hub, or a path
    recognise     the format
    look over     every picture, before training
    split         as the data say, or a share of every class held out
    check         two classes at least, none that is tested and never learned

Each step that decides something says so in `Labelled.remarks`. `read_other` reads pictures that a finished
run is to be measured on.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rayformer.core.errors import DataError, did_you_mean
from rayformer.data.images import check, drawn, hub
from rayformer.data.images.labelled import Found, ImagesConfig, Labelled, Part, Split
from rayformer.data.images.recognise import recognise
from rayformer.data.images.split import split_up

STAMPED = 20_000
"""Of more pictures than this, the fingerprint looks into as many, evenly spread."""


def read_images(config: ImagesConfig) -> Labelled:
    """The pictures at `config.source`.

    Raises DataError, in words, for a place that is absent, empty or of no known format; for pictures that
    cannot be decoded, unless they are to be left out; for an empty class folder, one class only, and a class
    that is tested and never learned. Raises MissingExtra for parquet files, the hub and HEIC without their
    readers.
    """
    found, source = _found(config)
    looked = check.looked_over(found, source, config)
    parts, remarks = split_up(found, looked.pictures, looked.good, source, config)
    check.refuse_unfit(source, found.classes, parts)
    return Labelled(
        source=source,
        format=found.format,
        classes=found.classes,
        parts=parts,
        remarks=(
            *found.remarks, *looked.remarks, *remarks, *check.about_classes(found.classes, parts),
            *check.about_sizes(looked), *check.about_films(looked), *check.about_doubles(looked, parts),
        ),
        fingerprint=_fingerprint(found.classes, parts),
    )  # fmt: skip


def read_other(config: ImagesConfig, classes: Sequence[str]) -> Labelled:
    """Other pictures for a run that knows `classes`: those that the data call test, else all of them.

    Raises as `read_images`, and DataError for a class that the run does not know.
    """
    found, source = _found(config)
    found = _renumbered(found, source, classes)
    looked = check.looked_over(found, source, config)
    own = np.intersect1d(found.parts.get("test", np.arange(len(found.pictures))), looked.good)
    part = Part(looked.pictures, own, found.labels[own])
    parts: dict[Split, Part] = {"train": part.only(np.arange(0)), "test": part}
    which = "which the data call test" if "test" in found.parts else "all that there are"
    return Labelled(
        source=source,
        format=found.format,
        classes=tuple(classes),
        parts=parts,
        remarks=(
            *found.remarks, *looked.remarks, f"measured at {len(part)} pictures, {which}",
            *check.about_sizes(looked), *check.about_films(looked),
        ),
        fingerprint=_fingerprint(found.classes, parts),
    )  # fmt: skip


def _found(config: ImagesConfig) -> tuple[Found, str]:
    """What a reader finds, and what to call the place."""
    source = config.source
    if config.named:
        return drawn.drawn_set(source), source
    if hub.is_on_hub(source):
        path = hub.fetched(source)
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise DataError(
                f"data.source: there is no folder or file {source!r}, and no drawn set of that name."
                f"{did_you_mean(source, drawn.NAMES)}\n"
                f"Give --data labelled pictures, hf:NAME, or what is drawn here: {', '.join(drawn.NAMES)}."
            )
    known, place = recognise(path)
    found = known.read(place)
    return replace(found, remarks=(f"{source} is read as {known.name}", *found.remarks)), source


def _renumbered(found: Found, source: str, classes: Sequence[str]) -> Found:
    """The same pictures with the run's numbers for their classes, which are told by their names."""
    numbers = {name: number for number, name in enumerate(classes)}
    there = {found.classes[number] for number in np.unique(found.labels)}
    unknown = sorted(there - set(numbers))
    if unknown:
        some = ", ".join(unknown[:4]) + (", ..." if len(unknown) > 4 else "")
        known = ", ".join(classes[:6]) + (", ..." if len(classes) > 6 else "")
        raise DataError(
            f"{source}: the run does not know {'the class' if len(unknown) == 1 else 'the classes'} {some}."
            f"{did_you_mean(unknown[0], classes)}\nIt knows {known}."
        )
    new = np.array([numbers.get(name, -1) for name in found.classes])
    return replace(found, labels=new[found.labels], classes=tuple(classes))


def _fingerprint(classes: Sequence[str], parts: Mapping[Split, Part]) -> str:
    """A hash of the names of classes, the splits, names and labels of all pictures, and their stamps. Reads
    little of large files, and none of most of very many."""
    digest = hashlib.blake2b("\0".join(classes).encode(), digest_size=16)
    for split in sorted(parts):
        part = parts[split]
        digest.update(f"\0\0{split}\0{len(part)}".encode())
        digest.update(np.ascontiguousarray(part.labels, np.int64).tobytes())
        names = "\0".join(part.name(place) for place in range(len(part)))
        digest.update(names.encode("utf-8", errors="surrogateescape"))
        for place in np.unique(np.linspace(0, len(part) - 1, min(len(part), STAMPED)).astype(int)):
            digest.update(part.pictures.stamp(int(part.rows[place])))
    return digest.hexdigest()
