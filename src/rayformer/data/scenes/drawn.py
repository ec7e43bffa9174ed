"""Scenes that the package draws itself: --data demo works on a fresh machine, without a download.

A drawn scene is kept in a cache folder under a name that changes with the code that draws it. It is drawn
into a temporary folder and renamed, so that no other process ever sees half of it. The cache is
$RAYFORMER_CACHE, or $XDG_CACHE_HOME/rayformer, or ~/.cache/rayformer.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from rayformer.core.errors import DataError

NAMES = ("demo",)
LOG = logging.getLogger(__name__)


def drawn_scene(name: str) -> Path:
    """The folder of the drawn scene `name`, drawn now if it is not there yet. Raises DataError if it cannot
    be kept."""
    from rayformer.data.scenes import still_life

    code = Path(still_life.__file__).read_bytes()
    folder = cache_folder() / f"{name}-{hashlib.blake2b(code, digest_size=6).hexdigest()}"
    if not folder.is_dir():
        LOG.info("drawing the scene %r into %s: some seconds, this once", name, folder)
        try:
            _draw(still_life.draw_still_life, folder)
        except OSError as error:
            raise DataError(
                f"{folder}: the drawn scene {name!r} cannot be kept ({error.strerror or error}).\n"
                "Name a folder that can be written in the environment variable RAYFORMER_CACHE."
            ) from error
    return folder


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("RAYFORMER_CACHE") or Path(home) / "rayformer")


def _draw(draw, folder: Path) -> None:
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
