"""Drawn scenes: drawn once, never seen half, kept where the person says."""

import sys
import types

import pytest

from rayformer.core.errors import DataError
from rayformer.data.scenes import drawn


@pytest.fixture
def painter(monkeypatch, tmp_path):
    """A stand-in for the still life that counts how often it is drawn."""
    module = types.ModuleType("rayformer.data.scenes.still_life")
    module.__file__ = str(tmp_path / "still_life.py")
    (tmp_path / "still_life.py").write_text("first version")
    module.drawn = 0

    def draw_still_life(folder):
        module.drawn += 1
        (folder / "picture").write_text("done")

    module.draw_still_life = draw_still_life
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("rayformer.data.scenes.still_life", module, raising=False)
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path / "cache"))
    return module


def test_a_scene_is_drawn_once_and_again_when_its_code_changes(painter, tmp_path):
    first = drawn.drawn_scene("demo")
    assert drawn.drawn_scene("demo") == first
    assert painter.drawn == 1
    assert (first / "picture").read_text() == "done"
    (tmp_path / "still_life.py").write_text("second version")
    assert drawn.drawn_scene("demo") != first
    assert painter.drawn == 2


def test_a_drawing_that_fails_leaves_nothing_behind(painter, tmp_path, snapshot):
    def fail(folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    painter.draw_still_life = fail
    with pytest.raises(DataError) as refusal:
        drawn.drawn_scene("demo")
    version = next(word for word in str(refusal.value).split("/") if word.startswith("demo-")).split(":")[0]
    snapshot("no_space", str(refusal.value).replace(version, "demo-VERSION"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_whoever_is_second_takes_the_scene_of_the_first(painter, tmp_path):
    def race(folder):
        (folder / "picture").write_text("second")
        winner = tmp_path / "cache" / folder.name[1:].rsplit("-", 1)[0]
        winner.mkdir()
        (winner / "picture").write_text("first")

    painter.draw_still_life = race
    assert (drawn.drawn_scene("demo") / "picture").read_text() == "first"


def test_every_length_of_town_is_drawn_by_itself_and_town_alone_has_four_blocks(monkeypatch, tmp_path):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path))
    lengths = []

    def draw_town(folder, blocks):
        lengths.append(blocks)
        (folder / "picture").write_text(str(blocks))

    monkeypatch.setattr("rayformer.data.scenes.town.draw_town", draw_town)
    drawn_to = {name: drawn.drawn_scene(name) for name in ("town", "town-8", "town-64", "town-8")}
    assert lengths == [4, 8, 64]
    assert (drawn_to["town-8"] / "picture").read_text() == "8"


def test_the_code_of_one_scene_is_no_part_of_anothers_name(painter, tmp_path, monkeypatch):
    monkeypatch.setattr("rayformer.data.scenes.town.draw_town", lambda folder, blocks: None)
    before = drawn.drawn_scene("town")
    (tmp_path / "still_life.py").write_text("another version")
    assert drawn.drawn_scene("town") == before


def test_only_names_of_drawn_scenes_are_taken_for_such():
    assert all(map(drawn.is_drawn, ("demo", "town", "town-16", "town-0")))
    assert not any(map(drawn.is_drawn, ("Town", "township", "demo-2", "")))


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path / "own"))
    assert drawn.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("RAYFORMER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert drawn.cache_folder() == tmp_path / "xdg" / "rayformer"
