"""Labelled pictures looked over before training, so that nothing turns up in the middle of it.

    looked_over      every picture decoded, or its head read; those that cannot be are refused or left out
    refuse_unfit     classes that cannot be learned or measured are refused
    about_classes    how many pictures each class has, in words
    about_sizes      how large the pictures are; about_films, which of them move
    about_doubles    whether some are both learned and measured

Pictures that fit into memory together stay there, decoded: small data sets are decoded once.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, UInt8

from rayformer.core.errors import DataError, MissingExtra
from rayformer.data.images.decode import decode, opened, upright_size
from rayformer.data.images.labelled import Arrays, Decoded, Found, ImagesConfig, Part, Pictures, Split

HELD = 2**28
"""Bytes of decoded pictures that may stay in memory."""
AT_ONCE = 1024
"""Pictures handed to the threads at a time."""
MANY = 20_000
"""From so many pictures on, a person is told why it takes a while."""
UNEVEN = 3.0
"""From this ratio of the largest class to the smallest one on, classes are called uneven."""
TINY = 8
"""Pixels; a side below this shows next to nothing."""
JPEG = b"\xff\xd8"
"""How its files begin."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of one picture."""

    problem: str | None = None
    """Why it cannot be decoded."""
    size: tuple[int, int] = (0, 0)
    """Width and height, upright."""
    digest: bytes = b""
    """The same for equal files."""
    moves: bool = False
    """Whether it has more frames than the first, or more pages."""
    pixels: UInt8[np.ndarray, "height width 3"] | None = None


@dataclass(frozen=True, eq=False)
class Looked:
    """What was seen of all of them."""

    pictures: Pictures
    good: Int[np.ndarray, "_"]
    """Numbers of those that can be decoded."""
    sizes: Int[np.ndarray, "batch 2"]
    """Width and height of each."""
    digests: Sequence[bytes]
    moving: tuple[int, ...] = ()
    """Numbers of those that have more frames than the first."""
    remarks: tuple[str, ...] = ()


def looked_over(found: Found, source: str, config: ImagesConfig) -> Looked:
    """Every picture of `found`. Raises DataError that names those that cannot be decoded, where they are to
    be refused, and MissingExtra for HEIC without its reader."""
    pictures = found.pictures
    count = len(pictures)
    if isinstance(pictures, Arrays):
        height, width = pictures.values.shape[1:3]
        digests = [_digest(picture.tobytes()) for picture in pictures.values]
        return Looked(pictures, np.arange(count), np.full((count, 2), (width, height)), digests)
    looks = _looks(pictures, config.verify)
    bad = [row for row, look in enumerate(looks) if look.problem]
    if len(bad) == count:
        raise DataError(
            f"{source}: none of the {count} pictures can be decoded.\n"
            f"{pictures.name(0)}: {looks[0].problem}. Is this the right place?"
        )
    if bad and config.corrupt == "refuse":
        some = ";\n".join(f"{pictures.name(row)}: {looks[row].problem}" for row in bad[:2])
        more = f"; and {len(bad) - 2} more" if len(bad) > 2 else ""
        raise DataError(
            f"{source}: {len(bad)} of {count} pictures cannot be decoded:\n{some}{more}.\n"
            "Mend them, or leave them out with data.corrupt skip (or list, which names every one)."
        )
    remarks = [f"{len(bad)} of {count} pictures cannot be decoded and are left out"] if bad else []
    if config.corrupt == "list":
        remarks += [f"left out: {pictures.name(row)} ({looks[row].problem})" for row in bad]
    return Looked(
        pictures=_in_memory(pictures, looks),
        good=np.array([row for row, look in enumerate(looks) if not look.problem], np.int64),
        sizes=np.array([look.size for look in looks]),
        digests=[look.digest for look in looks],
        moving=tuple(row for row, look in enumerate(looks) if look.moves and not look.problem),
        remarks=tuple(remarks),
    )


def _looks(pictures: Pictures, verify: str) -> list[Look]:
    """One for each, with its pixels as long as all of them together fit."""
    count = len(pictures)
    if count > MANY:
        LOG.info("looking over %d pictures (data.verify heads is quicker)", count)
    looks: list[Look] = []
    room = HELD
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:  # decoding leaves Python's lock
        for first in range(0, count, AT_ONCE):
            keep = room > 0
            rows = range(first, min(first + AT_ONCE, count))
            some = list(pool.map(lambda row: _look(pictures, row, verify), rows))
            room -= sum(0 if look.pixels is None else look.pixels.nbytes for look in some)
            if keep and room <= 0:
                looks = [replace(look, pixels=None) for look in looks]
            looks += some if room > 0 else [replace(look, pixels=None) for look in some]
    return looks


def _look(pictures: Pictures, row: int, verify: str) -> Look:
    try:
        stored = pictures[row]
        assert not isinstance(stored, np.ndarray), "pixels in memory need no look"
        data = stored if isinstance(stored, bytes) else stored.read_bytes()
        if not data:
            return Look("the file is empty")
        if verify == "heads":
            with opened(data, "it") as picture:
                return Look(size=upright_size(picture), digest=_digest(data), moves=_moves(data))
        picture = decode(data, "it")
        return Look(size=picture.size, digest=_digest(data), moves=_moves(data), pixels=np.asarray(picture))
    except MissingExtra as error:
        raise MissingExtra(error.extra, f"{pictures.name(row)}: reading HEIC photographs") from error
    except DataError as error:
        first = str(error).splitlines()[0].removeprefix(f"{pictures.name(row)}: ").removeprefix("it: ")
        return Look(first.rstrip("."))
    except OSError as error:
        return Look(f"cannot be read ({error.strerror or error})")


def _moves(data: bytes) -> bool:
    if data.startswith(JPEG):
        return False
    with opened(data, "it") as picture:
        return getattr(picture, "is_animated", False)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()


def _in_memory(pictures: Pictures, looks: list[Look]) -> Pictures:
    """The same pictures, decoded where all of them were kept."""
    kept = [look.pixels for look in looks if look.pixels is not None]
    if len(kept) + sum(look.problem is not None for look in looks) < len(looks) or not kept:
        return pictures
    blank = np.zeros_like(kept[0])
    values = [blank if look.pixels is None else look.pixels for look in looks]
    if len({value.shape for value in values}) == 1:
        return Arrays(np.stack(values), pictures)
    return Decoded(values, pictures)


# ---------------------------------------------------------------------- what the classes are like


def refuse_unfit(source: str, classes: tuple[str, ...], parts: Mapping[Split, Part]) -> None:
    """DataError for one class only, and for classes to be measured that training never sees."""
    counts = {name: part.counts(len(classes)) for name, part in parts.items()}
    there = np.flatnonzero(sum(counts.values()))
    if len(there) < 2:
        total = sum(len(part) for part in set(parts.values()))  # two are one where none is held out
        raise DataError(
            f"{source}: all {total} pictures are of one class, {classes[there[0]]!r}: "
            "there is nothing to tell apart.\n"
            "Give pictures of two classes or more, each in a folder of its own."
        )
    for name in ("test", "val"):
        unseen = np.flatnonzero((counts["train"] == 0) & (counts.get(name, np.zeros(1)) > 0))
        if len(unseen):
            some = ", ".join(classes[number] for number in unseen[:4]) + (", ..." if len(unseen) > 4 else "")
            what = "a class" if len(unseen) == 1 else f"{len(unseen)} classes"
            raise DataError(
                f"{source}: the {name} set has {what} that training never sees: {some}.\n"
                "Every class needs pictures to learn from: add them, "
                f"or take the class out of the {name} set."
            )


def about_classes(classes: tuple[str, ...], parts: Mapping[Split, Part]) -> list[str]:
    """How evenly the training pictures are spread over the classes, and which have none."""
    counts = parts["train"].counts(len(classes))
    there = counts[counts > 0]
    said = f"{len(there)} classes"
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    remarks = []
    if there.min() == there.max():
        remarks.append(f"{said} with {there[0]} training picture{'s' if there[0] > 1 else ''} each")
    else:
        least = classes[int(np.flatnonzero(counts == there.min())[0])]
        most = classes[int(counts.argmax())]
        ratio = there.max() / there.min()
        text = f"{said}, from {there.min()} ({least}) to {there.max()} ({most}) training pictures"
        if ratio >= UNEVEN:
            text += (
                f": uneven, {ratio:.3g} to 1. A guess at {most} alone is right for "
                f"{counts.max() / counts.sum():.0%}; in mean_class_accuracy all classes count alike"
            )
        remarks.append(text)
    if absent:
        some = ", ".join(absent[:4]) + (", ..." if len(absent) > 4 else "")
        remarks.append(f"no pictures of {len(absent)} of the {len(classes)} named classes: {some}")
    return remarks


def about_sizes(looked: Looked) -> list[str]:
    """How large the pictures are, and which are too small to show anything."""
    sizes = looked.sizes[looked.good]
    area = sizes.prod(axis=1)
    small, large = (f"{sizes[row][0]} x {sizes[row][1]}" for row in (area.argmin(), area.argmax()))
    remarks = [
        f"pictures are {small} pixels"
        if (sizes == sizes[0]).all()
        else f"pictures are {small} to {large} pixels"
    ]
    tiny = np.flatnonzero(sizes.min(axis=1) < TINY)
    if len(tiny):
        name = looked.pictures.name(int(looked.good[area.argmin()]))
        remarks.append(
            f"{_count(len(tiny), 'narrower')} than {TINY} pixels, the smallest is {name} with {small}: "
            "there is next to nothing to see"
        )
    return remarks


def about_films(looked: Looked) -> list[str]:
    """How many have more frames than the one that is seen."""
    if not looked.moving:
        return []
    name = looked.pictures.name(looked.moving[0])
    return [f"{_count(len(looked.moving), 'animated or of several pages')}, such as {name}: the first counts"]


def _count(count: int, what: str) -> str:
    return f"{count} picture{' is' if count == 1 else 's are'} {what}"


def about_doubles(looked: Looked, parts: Mapping[Split, Part]) -> list[str]:
    """How many held-out pictures are byte for byte among those that are learned from."""
    if parts["test"] is parts["train"]:
        return []
    learned = {looked.digests[row] for row in parts["train"].rows}
    double = [int(row) for row in parts["test"].rows if looked.digests[row] in learned]
    if not double:
        return []
    return [
        f"{len(double)} of {len(parts['test'])} test pictures are among the training pictures too, such as "
        f"{looked.pictures.name(double[0])}: they measure memory"
    ]
