"""The documents describe the house as it stands."""

import re
from pathlib import Path

import pytest

from rayformer.core.axes import AXES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "rayformer"


def module_paths() -> set[str]:
    return {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
    }


def rooms() -> set[str]:
    return {path.parent.relative_to(PACKAGE).as_posix() + "/" for path in PACKAGE.rglob("__init__.py")} - {
        "./"
    }


def test_the_tour_passes_through_every_room_and_no_room_that_is_not_there():
    tour = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", tour))
    assert named == module_paths(), (
        "docs/tour.md names each module by its path inside the package, in backticks"
    )
    assert rooms() <= set(re.findall(r"`((?:\w+/)+)`", tour))


def test_the_vocabulary_of_axes_is_in_the_conventions():
    conventions = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    missing = [
        f"{axis}: {meaning}"
        for axis, meaning in AXES.items()
        if f"| `{axis}` | {meaning} |" not in conventions
    ]
    assert not missing, missing


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"
