"""From photographs to a scene: the cameras of a drawn place are found again, and what cannot work is said."""

import dataclasses
import json
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.core.errors import ConfigError, DataError, MissingExtra
from rayformer.data.scenes import structure_from_motion as sfm
from rayformer.data.scenes.frames import Frame, Frames
from rayformer.data.scenes.from_photos import Wishes, make_scene, refuse_too_few
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import Scene, SceneConfig
from rayformer.data.scenes.structure_from_motion import Solution, child_failed, find_cameras, same_lens
from rayformer.geometry.cameras import project
from rayformer.metrics.poses import pose_errors
from rayformer.runs.video import write_video
from tests.data.scenes import textured_corner as corner


def made_of(source, out, **wishes):
    pytest.importorskip("pycolmap", reason="structure from motion needs the extra 'scene'")
    return make_scene(source, out, Wishes(**wishes), lambda *_: None)


def as_written(folder) -> Scene:
    return read_scene(SceneConfig(source=str(folder), normalise=False))


def left_behind(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "writing" in path.name)


# ------------------------------------------------------------------------------------------ what works


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Six photographs of the corner beside one that cannot be read, and the scene made of them."""
    folder = tmp_path_factory.mktemp("six")
    cameras = corner.arc(6, 320, 240, degrees=50)
    corner.save(folder / "photos", cameras)
    (folder / "photos" / "torn.jpg").write_bytes((folder / "photos" / "photo_1.jpg").read_bytes()[:5000])
    return folder, cameras, made_of(folder / "photos", folder / "scene")


def test_the_cameras_are_where_the_photographs_were_taken_from(six):
    folder, cameras, made = six
    assert (made.frames, made.registered, made.unregistered) == (6, 6, ())
    scene = as_written(folder / "scene")
    errors = pose_errors(torch.stack([view.camera.pose for view in scene.views]), corner.poses(cameras))
    assert errors.rotation_degrees.max() < 0.5
    assert errors.position_share.max() < 0.01
    assert scene.views[0].camera.fx == pytest.approx(cameras[0].fx, rel=0.01)
    assert scene.views[0].camera.lens.k1 == pytest.approx(corner.LENS.k1, abs=0.01)
    assert made.pixels_off < 0.5


def test_the_points_lie_on_what_was_photographed_in_its_colours(six):
    folder, _, made = six
    scene = as_written(folder / "scene")
    assert scene.points is not None
    assert len(scene.points) == made.points > 300
    view = scene.views[2]
    pixels, depth = project(view.camera, torch.from_numpy(scene.points))
    size = torch.tensor([view.camera.width, view.camera.height])
    seen = ((depth > 0)[:, None] & (pixels > 2) & (pixels < size - 2)).all(dim=1)
    assert seen.double().mean() > 0.5
    with Image.open(view.image) as picture:
        column, row = pixels[seen].long().T.numpy()
        shown = np.asarray(picture, float)[row, column]
    off = np.abs(shown - scene.point_colours[seen.numpy()]).mean(axis=1)
    assert np.median(off) < 20, "a point has the colour of the pixels that show it"


def test_the_scene_stands_upright_with_its_cameras_about_the_origin(six):
    folder, cameras, _ = six
    scene = as_written(folder / "scene")
    assert max(view.camera.position.norm() for view in scene.views) == pytest.approx(1, abs=0.01)
    for view, camera in zip(scene.views, cameras, strict=True):
        assert view.camera.pose[2, 1].item() == pytest.approx(camera.pose[2, 1].item(), abs=0.12)


def test_the_unreadable_photograph_is_said_and_not_in_the_scene(six):
    folder, _, made = six
    assert "torn.jpg" in made.remarks[0]
    written = json.loads((folder / "scene" / "transforms.json").read_text())
    assert len(written["frames"]) == len(list((folder / "scene" / "images").iterdir())) == 6
    assert written["ply_file_path"] == "points.ply"
    assert (written["w"], written["h"]) == (320, 240)
    assert "train_filenames" not in written, "who reads it chooses the split"


@pytest.mark.parametrize("fault", ["absent", "torn"])
def test_a_scene_without_its_points_is_still_read_and_that_is_said(six, fault, tmp_path):
    scene = shutil.copytree(six[0] / "scene", tmp_path / "scene")
    (scene / "points.ply").unlink()
    if fault == "torn":
        (scene / "points.ply").write_bytes(b"ply, once")
    read = as_written(scene)
    assert read.points is None
    assert len(read.views) == 6
    assert any("points are left out" in remark for remark in read.remarks)


def test_there_is_a_picture_to_look_at_and_nothing_else(six):
    folder, _, _ = six
    names = {path.name for path in (folder / "scene").iterdir()}
    assert names == {"transforms.json", "images", "points.ply", "preview.png"}
    with Image.open(folder / "scene" / "preview.png") as picture:
        colours = picture.convert("RGB").getcolors(1 << 24)
        assert picture.width >= 1000
        assert len(colours) > 500
    assert not left_behind(folder)


@pytest.mark.slow
def test_the_same_photographs_give_the_same_bits(six, tmp_path):
    folder, _, _ = six
    made_of(folder / "photos", tmp_path / "again")
    for name in ("transforms.json", "points.ply"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / "scene" / name).read_bytes()


@pytest.mark.slow
def test_a_flight_on_video_becomes_a_scene(tmp_path):
    cameras = corner.arc(30, 320, 240, degrees=70)
    write_video(tmp_path / "flight.mp4", (corner.photograph(camera) for camera in cameras), fps=10)
    made = made_of(tmp_path / "flight.mp4", tmp_path / "scene", frames=15, pairs="likely")
    assert made.registered == made.frames == 15
    scene = as_written(tmp_path / "scene")
    assert [view.name for view in scene.views][:2] == ["images/frame_0001.jpg", "images/frame_0002.jpg"]
    found = torch.stack([view.camera.pose for view in scene.views])
    # The sharpest of each stretch is anybody's guess; that they follow the arc evenly and in order is not.
    steps = (found[1:, :3, 3] - found[:-1, :3, 3]).norm(dim=-1)
    assert steps.max() < 4 * steps.median()
    turn = torch.rad2deg(torch.arccos((found[0, :3, 2] @ found[-1, :3, 2]).clamp(-1, 1)))
    assert 50 < turn < 75


@pytest.mark.slow
def test_photographs_of_mixed_sizes_have_lenses_of_their_own(tmp_path):
    wide, tall = corner.arc(9, 320, 240, degrees=60), corner.arc(9, 240, 320, degrees=60)
    cameras = [(tall if number % 3 == 1 else wide)[number] for number in range(9)]
    corner.save(tmp_path / "photos", cameras)
    made = made_of(tmp_path / "photos", tmp_path / "scene")
    assert (made.registered, made.lenses) == (9, 2)
    scene = as_written(tmp_path / "scene")
    errors = pose_errors(torch.stack([view.camera.pose for view in scene.views]), corner.poses(cameras))
    assert errors.rotation_degrees.median() < 0.5
    for view, camera in zip(scene.views, cameras, strict=True):
        assert (view.camera.width, view.camera.height) == (camera.width, camera.height)
        assert view.camera.fx == pytest.approx(camera.fx, rel=0.03)


# ------------------------------------------------------------------------------------------ what does not


def test_photographs_that_do_not_overlap_make_no_scene(tmp_path, snapshot):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        blots = corner.paper(100 + number)[:240, :320].astype(np.uint8)
        Image.fromarray(blots).save(folder / f"p{number}.jpg")
    with pytest.raises(DataError) as caught:
        made_of(folder, tmp_path / "scene")
    snapshot("no_overlap", str(caught.value))
    assert not (tmp_path / "scene").exists()
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_camera_that_only_turns_makes_no_scene(tmp_path):
    folder = tmp_path / "photos"
    cameras = corner.arc(1, 320, 240)
    turned = []
    for number in range(5):
        turn = torch.eye(4, dtype=torch.float64)
        angle = torch.tensor(0.08 * (number - 2), dtype=torch.float64)
        turn[0, 0] = turn[2, 2] = angle.cos()
        turn[0, 2], turn[2, 0] = angle.sin(), -angle.sin()
        turned.append(cameras[0].at(cameras[0].pose @ turn))
    corner.save(folder, turned)
    with pytest.raises(DataError, match=r"found (its|their) place"):
        made_of(folder, tmp_path / "scene")


def test_bare_walls_make_no_scene(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (160, 120), (200, 190 + number, 180)).save(folder / f"wall{number}.png")
    with pytest.raises(DataError, match="none of 4 photographs found its place"):
        made_of(folder, tmp_path / "scene", pairs="likely")
    assert not (tmp_path / "scene").exists()


def gathered(count: int, ordered: bool = False) -> Frames:
    frames = tuple(Frame(f"f{number}.jpg", f"f{number}.jpg", 320, 240) for number in range(count))
    return Frames(frames, ordered, ())


@pytest.mark.parametrize(
    ("name", "ordered", "placed", "sizes", "matched"),
    [
        ("no_pairs", False, 0, (), 0),
        ("no_depth", True, 0, (), 12),
        ("groups", False, 8, (8, 7, 3), 40),
        ("of_likely_pairs", False, 8, (8,), 40),
        ("one_group", True, 9, (9,), 40),
        ("two", False, 2, (2,), 1),
    ],
)
def test_why_too_few_found_their_place(name, ordered, placed, sizes, matched, tmp_path, snapshot):
    total = 3 if name == "two" else 20
    solution = Solution(
        tmp_path,
        frozenset(f"f{n}.jpg" for n in range(placed)),
        sizes,
        0.5,
        matched,
        name != "of_likely_pairs",
    )
    with pytest.raises(DataError) as caught:
        refuse_too_few(gathered(total, ordered), solution)
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    snapshot(f"too_few_{name}", text)


@pytest.mark.parametrize(("placed", "total"), [(10, 20), (3, 3), (3, 6)])
def test_half_is_enough(placed, total, tmp_path):
    refuse_too_few(
        gathered(total), Solution(tmp_path, frozenset(f"f{n}.jpg" for n in range(placed)), (placed,), 0.5, 9)
    )


def test_frames_share_a_lens_where_size_and_zoom_agree():
    frames = [
        Frame("a", "a", 320, 240, None, ("phone", 4)),
        Frame("b", "b", 240, 320, None, ("phone", 4)),
        Frame("c", "c", 320, 240, None, ("phone", 4)),
        Frame("d", "d", 320, 240, None, ("phone", 7)),
    ]
    assert sorted([frame.name for frame in group] for group in same_lens(frames)) == [
        ["a", "c"],
        ["b"],
        ["d"],
    ]
    assert [len(group) for group in same_lens(frames, own_lens=True)] == [1, 1, 1, 1]


def test_an_out_that_is_taken_is_refused_before_anything_is_done(tmp_path, snapshot):
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("scene", "file"):
        with pytest.raises(ConfigError) as caught:
            make_scene(tmp_path / "nowhere", tmp_path / name, Wishes(), lambda *_: None)
        snapshot(f"taken_{name}", str(caught.value))


@pytest.mark.parametrize("wish", [{"longest": 20}, {"frames": 2}, {"seed": -1}])
def test_wishes_that_cannot_be_are_refused_by_name(wish, snapshot):
    with pytest.raises(ConfigError) as caught:
        Wishes(**wish)
    snapshot(f"wish_{next(iter(wish))}", str(caught.value))


def test_every_wish_is_explained():
    from rayformer.core.config import field_docs

    assert all(doc.help for doc in field_docs(Wishes()).values())
    assert len(dataclasses.fields(Wishes)) <= 20


def test_without_the_extra_the_error_names_it(tmp_path, snapshot, monkeypatch):
    monkeypatch.setattr(sfm, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        make_scene(tmp_path / "nowhere", tmp_path / "scene", Wishes(), lambda *_: None)
    snapshot("missing_extra", str(caught.value))


# ------------------------------------------------------------------------------------------ the process


def a_child(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import json, os, sys, time\n{program}")


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("abort", "print(json.dumps({'phase': 'matches'}), flush=True)\n"
                  "print('F1 check failed', file=sys.stderr, flush=True)\nos.abort()"),
        ("killed", "print(json.dumps({'phase': 'features'}), flush=True)\nos.kill(os.getpid(), 9)"),
        ("raised", "print(json.dumps({'phase': 'cameras'}), flush=True)\nraise ValueError('no such thing')"),
        ("silent", "pass"),
    ],
)  # fmt: skip
def test_a_process_that_dies_becomes_an_error_that_names_the_phase(
    name, program, tmp_path, snapshot, monkeypatch
):
    monkeypatch.setattr(sfm, "require_pycolmap", lambda: None)
    monkeypatch.setattr(sfm, "CHILD", a_child(program))
    with pytest.raises(DataError) as caught:
        find_cameras(gathered(4), tmp_path / "images", tmp_path / "work", lambda *_: None)
    snapshot(f"child_{name}", str(caught.value))


def test_a_crash_leaves_nothing_that_looks_like_a_scene(tmp_path, monkeypatch):
    monkeypatch.setattr("rayformer.data.scenes.from_photos.require_pycolmap", lambda: None)
    monkeypatch.setattr(sfm, "require_pycolmap", lambda: None)
    monkeypatch.setattr(sfm, "CHILD", a_child("os.abort()"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24), (number, 0, 0)).save(folder / f"{number}.png")
    with pytest.raises(DataError, match="SIGABRT"):
        make_scene(folder, tmp_path / "scene", Wishes(), lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_an_interrupt_takes_the_process_along(tmp_path, monkeypatch):
    monkeypatch.setattr(sfm, "require_pycolmap", lambda: None)
    waiting = "print(json.dumps({'phase': 'matches', 'done': os.getpid()}), flush=True)\ntime.sleep(60)"
    monkeypatch.setattr(sfm, "CHILD", a_child(waiting))
    child = []

    def interrupt(phase: str, done: int, of: int) -> None:
        child.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_cameras(gathered(4), tmp_path / "images", tmp_path / "work", interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(child[0], 0)


def test_the_advice_fits_the_phase(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("")
    assert "--longest" in str(child_failed("features", -signal.SIGKILL, log))
    assert "memory" in str(child_failed("features", -signal.SIGKILL, log))
    assert "--pairs all" in str(child_failed("pairs", 1, log))
    assert "--seed" in str(child_failed("cameras", -signal.SIGSEGV, log))


def test_threads_are_few_enough(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sfm.threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    assert 1 <= sfm.threads() <= sfm.MOST_THREADS


# ------------------------------------------------------------------------------------------ real photographs


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_castle_is_found_whole(real_data, tmp_path):
    made = made_of(real_data("sceaux_castle"), tmp_path / "scene")
    assert made.registered >= 10
    assert made.pixels_off < 0.6
    known = 1452.94  # what the photographer's calibration says
    assert as_written(tmp_path / "scene").views[0].camera.fx == pytest.approx(known, rel=0.04)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_fox_is_found_again_without_its_poses(real_data, tmp_path):
    made = made_of(real_data("nerf_fox") / "images", tmp_path / "scene")
    assert made.registered >= 48
    known = {view.image.name: view.camera.pose for view in as_written(real_data("nerf_fox")).views}
    views = as_written(tmp_path / "scene").views
    errors = pose_errors(
        torch.stack([view.camera.pose for view in views]),
        torch.stack([known[view.image.name] for view in views]),
    )
    assert errors.rotation_degrees.median() < 0.4
    assert errors.position_share.median() < 0.003
