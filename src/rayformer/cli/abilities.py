"""A run from the command line, refused in words, before torch is imported, where nothing can be done with it.

begun_run   a run folder that training was begun in, of a recipe that there is
able_run    the same, of a recipe that has an ability; open_able, loaded
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rayformer.core.errors import RunError
from rayformer.recipes.index import ENTRIES, entry
from rayformer.runs.run import Run

if TYPE_CHECKING:
    from rayformer.recipes.open_run import Loaded


def begun_run(path: Path) -> Run:
    """The run at `path`. Raises RunError where there is none, where it is of an unknown recipe, and where it
    was stopped before its config was written."""
    run = Run.open(path)
    manifest = run.manifest
    known = {other.name for other in ENTRIES}
    if manifest["recipe"] not in known:
        raise RunError(
            f"{path / 'run.yaml'}: there is no recipe {manifest['recipe']!r} in this version of rayformer.\n"
            f"It knows {', '.join(sorted(known))}; install the version that the run was made with."
        )
    if not isinstance(manifest.get("config"), dict):
        raise RunError(
            f"{path / 'run.yaml'}: the run was stopped before its config was written.\n"
            "Nothing was trained in it, so nothing is lost; remove the folder and begin again."
        )
    return run


def able_run(path: Path, ability: str) -> Run:
    """The run at `path`. Raises RunError if its recipe lacks the ability, with what it has."""
    run = begun_run(path)
    recipe = str(run.manifest["recipe"])
    if ability not in entry(recipe).abilities:
        able = [other.name for other in ENTRIES if ability in other.abilities]
        has = ", ".join(("eval", *entry(recipe).abilities, "report"))
        raise RunError(
            f"{path}: a {recipe} run cannot {ability}; it can {has}."
            + (f"\n`rayformer {ability}` works on runs of {', '.join(able)}." if able else "")
        )
    return run


def open_able(path: Path, ability: str, device: str) -> "Loaded":
    """The run at `path`, loaded. Raises RunError, before any torch, if its recipe lacks the ability."""
    able_run(path, ability)

    from rayformer.recipes.open_run import open_run

    return open_run(path, device)
