"""`rayformer scene`: what is asked for, what is said, and what a script gets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rayformer.data.scenes import from_photos
from rayformer.data.scenes.from_photos import SceneMade


@pytest.fixture
def asked(monkeypatch):
    """Structure from motion left out: what it was asked for is kept, and 8 of 9 said to be placed."""
    kept = {}

    def make(source, out, wishes, report):
        kept.update(source=source, out=out, wishes=wishes)
        for phase, of in [("photographs", 9), ("start", 0), ("features", 9), ("pairs", 1), ("matches", 36)]:
            report(phase, 0, of)
            report(phase, of, of)
        return SceneMade(
            out, 9, 8, ("blurred.jpg",), 1234, 0.61, 1, 12.0, ("1 of 9 found no place: blurred.jpg",)
        )

    monkeypatch.setattr(from_photos, "make_scene", make)
    return kept


def test_a_person_reads_how_many_registered_and_where_to_look(rayformer, asked):
    said = rayformer("scene", "photos", "--out", "my_scene")
    assert said.status == 0
    assert "8 of 9" in said.out
    assert "my_scene/preview.png" in said.out
    assert "rayformer train ngp --data my_scene" in said.out
    assert "- 8 of 9 images registered" in said.err
    assert "blurred.jpg" in said.err
    assert "- 36 pairs compared" in said.err
    assert "start" not in said.err


def test_a_script_gets_one_document_on_stdout(rayformer, asked):
    made = json.loads(rayformer("scene", "photos", "--out", "my_scene", "--json").out)
    assert (made["frames"], made["registered"], made["unregistered"]) == (9, 8, ["blurred.jpg"])
    assert made["files"] == [f"my_scene/{name}" for name in ("transforms.json", "points.ply", "preview.png")]
    assert made["pixels_off"] == 0.61


def test_options_arrive_as_wishes(rayformer, asked):
    words = "--longest 1200 --frames 40 --pairs likely --own-lens --seed 3"
    assert rayformer("scene", "v.mp4", "--out", "s", *words.split()).status == 0
    wishes = asked["wishes"]
    assert (wishes.longest, wishes.frames, wishes.pairs, wishes.own_lens, wishes.seed) == (
        1200,
        40,
        "likely",
        True,
        3,
    )
    assert (asked["source"], asked["out"]) == (Path("v.mp4"), Path("s"))


def test_frames_are_for_videos_which_is_said(rayformer, asked, tmp_path):
    (tmp_path / "photos").mkdir()
    assert "--frames is for videos" in rayformer("scene", "photos", "--out", "s", "--frames", "9").err


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_out", "scene photos"),
        ("pairs", "scene photos --out s --pairs some"),
        ("unknown_option", "scene photos --out s --long 800"),
        ("nowhere", "scene nowhere --out s"),
        ("empty", "scene empty --out s"),
        ("video", "scene noise.mp4 --out s"),
        ("one_photo", "scene one --out s"),
        ("taken", "scene one --out one"),
        ("longest", "scene one --out s --longest 5"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_a_plain_text(name, words, rayformer, tmp_path, snapshot):
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "one" / "a.png")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(3000))
    said = rayformer(*words.split())
    assert said.status == 2
    assert said.out == ""
    assert not (tmp_path / "s").exists()
    snapshot(f"scene_{name}", re.sub(r"\d+\.\d s$", "T s", said.err, flags=re.MULTILINE))


@pytest.mark.slow
def test_from_photographs_to_a_scene_that_can_be_read(rayformer, tmp_path):
    pytest.importorskip("pycolmap", reason="structure from motion needs the extra 'scene'")
    from rayformer.data.scenes.read import read_scene
    from rayformer.data.scenes.scene import SceneConfig
    from tests.data.scenes import textured_corner as corner

    corner.save(tmp_path / "photos", corner.arc(5, 320, 240, degrees=40))
    said = rayformer("scene", "photos", "--out", "my_scene", "--json")
    assert said.status == 0, said.err
    assert json.loads(said.out)["registered"] == 5
    assert len(read_scene(SceneConfig(source="my_scene")).views) == 5
