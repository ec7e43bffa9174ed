"""Labelled pictures that the package draws itself: --data shapes works on a fresh machine.

    NAMES         what can be named; a number behind it says how many pictures of each class to learn from
    is_drawn      whether a word means one of them
    drawn_set     its pictures, drawn on first use

What is drawn is kept in the cache folder of all drawn data (`data.scenes.drawn`), under a name that changes
with the code that draws it.
"""

import hashlib
import logging
import os
import re
import tempfile
from pathlib import Path

import numpy as np

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import Arrays, Found
from rayformer.data.scenes.drawn import cache_folder

NAMES = ("shapes",)
FORMAT = "drawn"
EACH = 300
"""Pictures of each class to learn from, where no number says otherwise."""
HELD_OUT = 50
"""Of each class, for testing; the same for every number."""
MOST = 20_000
LOG = logging.getLogger(__name__)


def is_drawn(name: str) -> bool:
    """Whether `drawn_set` knows the name, or knows why not: `shapes-0` are shapes, though there are none."""
    return name in NAMES or name.startswith("shapes-")


def drawn_set(name: str) -> Found:
    """The drawn set `name`: of two of them, the larger one begins with the pictures of the smaller one.

    Raises DataError for an impossible number, and where the pictures cannot be kept.
    """
    from rayformer.data.images import bodies, still_shapes  # which bring the compiler

    number = name.removeprefix("shapes").removeprefix("-")
    each = EACH if name == "shapes" else int(number) if re.fullmatch("[0-9]{1,9}", number) else 0
    if not 1 <= each <= MOST:
        raise DataError(
            f"data.source: there is no drawn set {name!r}. The number is how many pictures of each class "
            f"to learn from,\n1 to {MOST}: shapes-50, for instance. Without a number there are {EACH}."
        )
    code = Path(bodies.__file__).read_bytes() + Path(still_shapes.__file__).read_bytes()
    version = hashlib.blake2b(code, digest_size=6).hexdigest()
    values = [
        _kept(cache_folder() / f"shapes-{version}" / f"{part}-{count}.npy", count, seed)
        for part, count, seed in (("train", each, 0), ("test", HELD_OUT, 1))
    ]
    counts = [len(some) for some in values]
    classes = len(still_shapes.SHAPES)
    return Found(
        format=FORMAT,
        pictures=Arrays(np.concatenate(values)),
        labels=np.concatenate([np.arange(count) % classes for count in counts]),
        classes=still_shapes.SHAPES,
        parts={"train": np.arange(counts[0]), "test": np.arange(counts[0], sum(counts))},
        remarks=(f"{name} are drawn: ten solids in any colour, paint, pose and light",),
    )


def _kept(file: Path, each: int, seed: int) -> np.ndarray:
    """The pictures in `file`, drawn into it now if it is not there: whole, or not at all."""
    from rayformer.data.images.still_shapes import shape_pictures

    if file.is_file():
        try:
            return np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            LOG.info("%s is torn and drawn anew", file)
    LOG.info("drawing %d pictures into %s: some seconds, this once", 10 * each, file)
    pictures, _ = shape_pictures(each, seed)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as data:
                np.save(data, pictures)
            Path(draft).replace(file)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{file}: the drawn pictures cannot be kept ({error.strerror or error}).\n"
            "Name a folder that can be written in the environment variable RAYFORMER_CACHE."
        ) from error
    return pictures
