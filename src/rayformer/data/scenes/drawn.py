"""Scenes that the package draws itself: --data demo works on a fresh machine, without a download.

    NAMES         what can be named: the still life, and the town, whose length may follow its name (town-8)
    is_drawn      whether a word means one of them
    drawn_scene   the folder of one, drawn on first use

A drawn scene is kept in a cache folder under a name that changes with the code that draws it. It is drawn
into a temporary folder and renamed, so that no other process ever sees half of it. The cache is
$RAYFORMER_CACHE, or $XDG_CACHE_HOME/rayformer, or ~/.cache/rayformer.
"""

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rayformer.core.errors import DataError

NAMES = ("demo", "town")
LOG = logging.getLogger(__name__)


def is_drawn(name: str) -> bool:
    """Whether `drawn_scene` knows the name, or knows why not: `town-0` is a town, though there is none."""
    return name in NAMES or name.startswith("town-")


def drawn_scene(name: str) -> Path:
    """The folder of the drawn scene `name`, drawn now if it is not there yet. Raises DataError for a town of
    an impossible length, and if the scene cannot be kept."""
    draw, code = _demo() if name == "demo" else _town(name)
    folder = cache_folder() / f"{name}-{hashlib.blake2b(code, digest_size=6).hexdigest()}"
    if not folder.is_dir():
        LOG.info("drawing the scene %r into %s: some seconds, this once", name, folder)
        try:
            _draw(draw, folder)
        except OSError as error:
            raise DataError(
                f"{folder}: the drawn scene {name!r} cannot be kept ({error.strerror or error}).\n"
                "Name a folder that can be written in the environment variable RAYFORMER_CACHE."
            ) from error
    return folder


def _demo() -> tuple[Callable[[Path], object], bytes]:
    """What draws the still life, and its code."""
    from rayformer.data.scenes import still_life

    return still_life.draw_still_life, Path(still_life.__file__).read_bytes()


def _town(name: str) -> tuple[Callable[[Path], object], bytes]:
    """What draws a town, and its code."""
    from rayformer.data.scenes import town, town_rays

    blocks = town.BLOCKS
    if name != "town":
        length = name.removeprefix("town-")
        blocks = int(length) if re.fullmatch("[0-9]{1,9}", length) else 0
        if not 1 <= blocks <= town.MOST_BLOCKS:
            raise DataError(
                f"data.source: there is no drawn town {name!r}. The number is its length in blocks of "
                f"{town.BLOCK:g} m,\n1 to {town.MOST_BLOCKS}: town-8, for instance. "
                f"Without a number, town has {town.BLOCKS}."
            )
    code = Path(town.__file__).read_bytes() + Path(town_rays.__file__).read_bytes()
    return partial(town.draw_town, blocks=blocks), code


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RAYFORMER_CACHE") or Path(home) / "rayformer")


def _draw(draw: Callable[[Path], object], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draw(draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was quicker, and its scene is the same
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
