"""A finished run, opened for one ability of its recipe, and refused in words where the recipe has it not."""

from pathlib import Path
from typing import TYPE_CHECKING

from rayformer.core.errors import RunError
from rayformer.recipes.index import ENTRIES, entry
from rayformer.runs.run import Run

if TYPE_CHECKING:
    from rayformer.recipes.open_run import Loaded


def open_able(path: Path, ability: str, device: str) -> "Loaded":
    """The run at `path`, loaded. Raises RunError, before any torch, if its recipe lacks the ability."""
    recipe = str(Run.open(path).manifest["recipe"])
    if ability not in entry(recipe).abilities:
        able = [other.name for other in ENTRIES if ability in other.abilities]
        has = ", ".join(("eval", *entry(recipe).abilities, "report"))
        raise RunError(
            f"{path}: a {recipe} run cannot {ability}; it can {has}."
            + (f"\n`rayformer {ability}` works on runs of {', '.join(able)}." if able else "")
        )

    from rayformer.recipes.open_run import open_run

    return open_run(path, device)
