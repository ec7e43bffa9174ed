"""Labelled pictures that the package draws itself: --data shapes works on a fresh machine.

    NAMES         what can be named; a number behind it says how many pictures of each class to learn from
    is_drawn      whether a word means one of them
    drawn_set     its pictures, drawn on first use
    DrawnSet      what there is to know of one

What is drawn is kept in the cache folder of all drawn data (`data.scenes.drawn`), under a name that changes
with the code that draws it and with what it draws with.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rayformer.core.errors import DataError, RunError
from rayformer.data.images.labelled import Arrays, Found
from rayformer.data.scenes.drawn import cache_folder
from rayformer.runs.atomic import replacing

FORMAT = "drawn"
EACH = 300
"""Pictures of each class to learn from, where no number says otherwise."""
HELD_OUT = 50
"""Of each class, for testing; the same for every number."""
MOST = 20_000
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrawnSet:
    classes: tuple[str, ...]
    draw: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    """(pictures of each class, seed) -> pictures, class after class in turn, and their labels."""
    says: str
    files: tuple[Path, ...]
    """What its pictures depend on."""


def _shapes() -> DrawnSet:
    from rayformer.data.images import bodies, still_shapes  # which bring the compiler

    files = Path(bodies.__file__), Path(still_shapes.__file__)
    says = "ten solids in any colour, paint, pose and light"
    return DrawnSet(still_shapes.SHAPES, still_shapes.shape_pictures, says, files)


def _glyphs() -> DrawnSet:
    from rayformer.data.images import glyphs  # which bring the typefaces

    files = Path(glyphs.__file__), *glyphs.font_files()
    says = "digits of any typeface, size, place and colour"
    return DrawnSet(glyphs.DIGITS, glyphs.glyph_pictures, says, files)


SETS: Mapping[str, Callable[[], DrawnSet]] = {"shapes": _shapes, "glyphs": _glyphs}
NAMES = tuple(SETS)


def is_drawn(name: str) -> bool:
    """Whether `drawn_set` knows the name, or knows why not: `shapes-0` are shapes, though there are none."""
    return name.partition("-")[0] in NAMES


def drawn_set(name: str) -> Found:
    """The drawn set `name`: of two of them, the larger one begins with the pictures of the smaller one.

    Raises DataError for an impossible number, and where the pictures cannot be drawn or kept.
    """
    kind, _, number = name.partition("-")
    each = EACH if name == kind else int(number) if re.fullmatch("[0-9]{1,9}", number) else 0
    if not 1 <= each <= MOST:
        raise DataError(
            f"data.source: there is no drawn set {name!r}. The number is how many pictures of each class "
            f"to learn from,\n1 to {MOST}: {kind}-50, for instance. Without a number there are {EACH}."
        )
    drawn = SETS[kind]()
    code = b"".join(file.read_bytes() for file in drawn.files)
    folder = cache_folder() / f"{kind}-{hashlib.blake2b(code, digest_size=6).hexdigest()}"
    values = [
        _kept(folder / f"{part}-{count}.npy", drawn, count, seed)
        for part, count, seed in (("train", each, 0), ("test", HELD_OUT, 1))
    ]
    counts = [len(some) for some in values]
    return Found(
        format=FORMAT,
        pictures=Arrays(np.concatenate(values)),
        labels=np.concatenate([np.arange(count) % len(drawn.classes) for count in counts]),
        classes=drawn.classes,
        parts={"train": np.arange(counts[0]), "test": np.arange(counts[0], sum(counts))},
        remarks=(f"{name} are drawn: {drawn.says}",),
    )


def _kept(file: Path, drawn: DrawnSet, each: int, seed: int) -> np.ndarray:
    """The pictures in `file`, drawn into it now if it is not there: whole, or not at all."""
    if file.is_file():
        try:
            return np.load(file, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            LOG.info("%s is torn and drawn anew", file)
    count = each * len(drawn.classes)
    LOG.info("drawing %d pictures into %s: some seconds, this once", count, file)
    pictures, _ = drawn.draw(each, seed)
    try:
        with replacing(file) as draft:
            np.save(draft, pictures)
    except RunError as refused:
        error = refused.__cause__
        raise DataError(
            f"{file}: the drawn pictures cannot be kept ({getattr(error, 'strerror', None) or error}).\n"
            "Name a folder that can be written in the environment variable RAYFORMER_CACHE."
        ) from refused
    return pictures
