"""Readers: whatever the format, the same cameras come out, and what a format leaves open is filled in."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.geometry.cameras import project
from rayformer.geometry.lens import Lens
from tests.data.scenes import scene_folders as folders


def plain(folder, **choices):
    """The scene in the coordinates of its data."""
    return read_scene(SceneConfig(source=str(folder), normalise=False, **choices))


WRITERS = {
    "transforms": folders.transforms,
    "colmap_text": lambda folder, cameras: folders.colmap(folder, cameras, binary=False),
    "colmap_binary": lambda folder, cameras: folders.colmap(folder, cameras, binary=True),
    "llff": lambda folder, cameras: folders.llff(folder, folders.ideal(cameras)),
    "kitti": folders.kitti,
}


@pytest.mark.parametrize("form", WRITERS)
def test_every_format_gives_back_the_same_cameras(form, tmp_path):
    lens = folders.LENS if form.startswith(("transforms", "colmap")) else Lens()
    cameras = folders.ring(lens=lens)
    scene = plain(WRITERS[form](tmp_path, cameras))
    if form == "llff":
        cameras = folders.ideal(cameras)
    assert len(scene.views) == len(cameras)
    for view, camera in zip(scene.views, cameras, strict=True):
        torch.testing.assert_close(view.camera.pose, camera.pose)
        torch.testing.assert_close(view.camera.intrinsics, camera.intrinsics)
        assert view.camera.lens == camera.lens
        assert (view.camera.width, view.camera.height) == (camera.width, camera.height)


def test_blender_keeps_its_own_split_and_only_listed_pictures_are_views(tmp_path):
    cameras = folders.ideal(folders.ring(12))
    scene = plain(folders.blender(tmp_path, cameras))
    assert [len(scene.split(part)) for part in ("train", "val", "test")] == [4, 4, 4]
    assert {view.name for view in scene.split("test")} == {f"test/r_{number}.png" for number in range(4)}
    for number, view in enumerate(scene.split("val")):
        assert torch.equal(view.camera.pose, cameras[1::3][number].pose)
        assert view.camera.fx == pytest.approx(cameras[0].fx)


@pytest.mark.parametrize("distance", [4.0, 9.0])
def test_published_bounds_hold_only_where_cameras_stand_at_the_published_distance(distance, tmp_path):
    cameras = folders.ideal(folders.ring(9))
    for camera in cameras:
        camera.pose[:3, 3] *= distance / camera.position.norm()
    scene = read_scene(SceneConfig(source=str(folders.blender(tmp_path, cameras))))
    assert ((scene.near, scene.far) == (2, 6)) == (distance == 4)
    assert scene.normalisation.is_identity == (distance == 4)


def test_a_file_may_be_named_instead_of_its_folder(tmp_path):
    folders.transforms(tmp_path / "a", folders.ring())
    folders.llff(tmp_path / "b", folders.ring())
    folders.blender(tmp_path / "c", folders.ring())
    folders.colmap(tmp_path / "d", folders.ring(), binary=True)
    for place in [
        "a/transforms.json",
        "b/poses_bounds.npy",
        "c/transforms_test.json",
        "d/sparse",
        "d/sparse/0",
    ]:
        assert len(plain(tmp_path / place).views) == 9


def test_numbers_of_a_frame_win_over_those_of_the_file(tmp_path):
    cameras = folders.ring()
    folders.transforms(tmp_path, cameras, fl_x=1.0, w=99, k1=0.5)
    assert plain(tmp_path).views[3].camera.fx == cameras[3].fx
    whole = json.loads((tmp_path / "transforms.json").read_text())
    for frame in whole["frames"][1:]:
        for key in ("fl_x", "fl_y", "w", "h", "cx", "cy", "k1"):
            frame.pop(key)
    whole |= {"fl_x": 21.0, "w": 16, "k1": 0.01}
    (tmp_path / "transforms.json").write_text(json.dumps(whole))
    camera = plain(tmp_path).views[1].camera
    assert (camera.fx, camera.fy, camera.cx, camera.height, camera.lens.k1) == (21, 21, 8, 12, 0.01)


def test_paths_may_lack_their_extension_or_begin_with_a_dot(tmp_path):
    folders.transforms(tmp_path, folders.ring())
    text = (tmp_path / "transforms.json").read_text()
    (tmp_path / "transforms.json").write_text(text.replace("images/", "./images/").replace(".png", ""))
    assert [view.name for view in plain(tmp_path).views] == [folders.name(number) for number in range(9)]


def test_listed_photographs_that_are_absent_are_left_out_and_said(tmp_path):
    for form, write in WRITERS.items():
        if form not in ("transforms", "colmap_text", "colmap_binary"):
            continue
        folder = write(tmp_path / form, folders.ring())
        (folder / folders.name(2)).unlink()
        (folder / folders.name(5)).unlink()
        scene = plain(folder)
        assert len(scene.views) == 7
        assert any("2 of 9 listed photographs are absent" in remark for remark in scene.remarks)


def test_a_split_of_its_own_in_transforms_json_is_kept(tmp_path):
    names = [folders.name(number) for number in range(9)]
    parts = {"train_filenames": names[:6], "val_filenames": names[6:7], "test_filenames": names[7:]}
    scene = plain(folders.transforms(tmp_path, folders.ring(), **parts))
    assert [view.split for view in scene.views] == ["train"] * 6 + ["val"] + ["test"] * 2


@pytest.mark.parametrize("form", ["transforms", "blender"])
def test_exposure_and_light_of_a_frame_are_read_and_unknown_where_it_has_none(form, tmp_path):
    folder = getattr(folders, form)(tmp_path, folders.ideal(folders.ring(9)))
    file = tmp_path / ("transforms.json" if form == "transforms" else "transforms_train.json")
    whole = json.loads(file.read_text())
    whole["frames"][0] |= {"exposure": 0.02, "light": "dusk"}
    whole["frames"][1] |= {"exposure": 3}
    file.write_text(json.dumps(whole))
    found = {(view.exposure, view.light) for view in plain(folder).views}
    assert found == {(0.02, "dusk"), (3.0, None), (None, None)}


def test_both_forms_of_a_colmap_model_hold_the_same_points(tmp_path):
    text = plain(folders.colmap(tmp_path / "text", folders.ring(), binary=False))
    binary = plain(folders.colmap(tmp_path / "binary", folders.ring(), binary=True))
    assert text.points.shape == (20, 3)
    np.testing.assert_allclose(text.points, binary.points)
    np.testing.assert_array_equal(text.point_colours, binary.point_colours)
    assert (text.near, text.far) == pytest.approx((binary.near, binary.far))


def test_points_keep_their_pixels_when_the_scene_is_normalised(tmp_path):
    folder = folders.colmap(tmp_path, folders.ring(), binary=True)
    before, after = plain(folder), read_scene(SceneConfig(source=str(folder)))
    for old, new in zip(before.views, after.views, strict=True):
        pixels, depth = project(old.camera, torch.from_numpy(before.points))
        moved, scaled = project(new.camera, torch.from_numpy(after.points))
        torch.testing.assert_close(pixels, moved)
        torch.testing.assert_close(depth * after.normalisation.scale, scaled)


def test_points_of_a_colmap_model_lie_between_near_and_far(tmp_path):
    scene = plain(folders.colmap(tmp_path, folders.ring(), binary=True))
    for view in scene.views:
        distances = np.linalg.norm(scene.points - view.camera.position.numpy(), axis=1)
        assert view.near < distances.min()
        assert view.far > distances.max()
        assert scene.near <= view.near < view.far <= scene.far


def test_of_several_colmap_models_the_largest_is_taken_and_said(tmp_path):
    folders.colmap(tmp_path, folders.ring()[:4], binary=True)
    folders.colmap(tmp_path, folders.ring(), binary=True, model="sparse/1")
    shutil.copytree(tmp_path / "sparse/1", tmp_path / "sparse/2")
    (tmp_path / "sparse/2/images.bin").unlink()
    scene = plain(tmp_path)
    assert len(scene.views) == 9
    assert any("0: 4, 1: 9" in remark and "largest, 1," in remark for remark in scene.remarks)
    assert any("sparse/2 is incomplete (images.bin is missing)" in remark for remark in scene.remarks)


@pytest.mark.parametrize(
    ("model", "values", "lens"),
    [
        ("SIMPLE_PINHOLE", "20 8 6", Lens()),
        ("PINHOLE", "20 20 8 6", Lens()),
        ("SIMPLE_RADIAL", "20 8 6 0.02", Lens(k1=0.02)),
        ("RADIAL", "20 8 6 0.02 0.01", Lens(k1=0.02, k2=0.01)),
        ("OPENCV", "20 20 8 6 0.02 0.01 0.001 0.002", Lens(k1=0.02, k2=0.01, p1=0.001, p2=0.002)),
    ],
)
def test_every_supported_colmap_model_finds_its_parameters(model, values, lens, tmp_path):
    folders.colmap(tmp_path, folders.ring(), binary=False)
    lines = [f"{number} {model} 16 12 {values}" for number in range(1, 10)]
    (tmp_path / "sparse/0/cameras.txt").write_text("\n".join(lines))
    camera = plain(tmp_path).views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.lens) == (20, 20, 8, 6, lens)


def test_llff_knows_distances_and_masks_and_takes_scaled_pictures(tmp_path):
    cameras = folders.ideal(folders.ring())
    folders.llff(tmp_path, cameras)
    folders.save(tmp_path / "masks/004.png", np.full((6, 8), 255, dtype=np.uint8))
    (tmp_path / "images").rename(tmp_path / "images_4")
    for number, picture in enumerate(folders.pictures(cameras)):
        folders.save(tmp_path / "images_2" / f"{number:03d}.png", picture[::2, ::2])
    scene = plain(tmp_path)
    camera = scene.views[4].camera
    assert (camera.width, camera.height, camera.fx) == (8, 6, cameras[0].fx / 2)
    assert any("0.5 times as large" in remark for remark in scene.remarks)
    assert [view.mask is not None for view in scene.views] == [False] * 4 + [True] + [False] * 4
    corner = math.sqrt(1 + (8**2 + 6**2) / (2 * camera.fx) ** 2)
    assert (scene.near, scene.far) == pytest.approx((0.9 * 2, 1.1 * 7 * corner))


@pytest.mark.slow
def test_the_drawn_scene_goes_through_the_same_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path))
    scene = read_scene(SceneConfig(source="demo"))
    assert scene.format == "Blender"
    assert (scene.near, scene.far) == (2, 6)
    assert scene.background == (1, 1, 1)


# ------------------------------------------------------------------------------------------ refusals


def edited(folder, change):
    whole = json.loads((folder / "transforms.json").read_text())
    change(whole)
    (folder / "transforms.json").write_text(json.dumps(whole))


def refusal(folder, **choices) -> str:
    with pytest.raises(DataError) as caught:
        plain(folder, **choices)
    return str(caught.value)


def _set(value, *place):
    def change(whole):
        for step in place[:-1]:
            whole = whole[step]
        whole[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("not_rigid", _set(2.5, "frames", 3, "transform_matrix", 0, 0)),
        ("nan_in_pose", _set(math.nan, "frames", 3, "transform_matrix", 0, 3)),
        ("three_rows", _set([[1, 0, 0, 0]] * 3, "frames", 3, "transform_matrix")),
        ("no_frames", _set(None, "frames")),
        ("no_path", _set(7, "frames", 1, "file_path")),
        ("no_focal_length", _set(0, "frames", 1, "fl_x")),
        ("fisheye", _set("OPENCV_FISHEYE", "camera_model")),
        ("is_fisheye", _set(True, "is_fisheye")),
        ("text_for_number", _set("wide", "frames", 0, "fl_x")),
        ("absent_mask", _set("masks/000.png", "frames", 0, "mask_path")),
        ("wrong_size", _set(17, "frames", 2, "w")),
        ("no_exposure", _set(0.0, "frames", 2, "exposure")),
        ("text_for_exposure", _set("1/60", "frames", 2, "exposure")),
        ("number_for_light", _set(3, "frames", 2, "light")),
        ("folding_lens", _set(-9.0, "frames", 2, "k1")),
        ("absent_photographs", lambda whole: [_set("no.png", "file_path")(f) for f in whole["frames"]]),
        ("no_photographs", lambda whole: whole["frames"].clear()),
        ("two_views", lambda whole: whole["frames"].__delitem__(slice(2, None))),
    ],
)
def test_a_broken_transforms_json_is_refused_by_name(case, change, tmp_path, snapshot):
    folders.transforms(tmp_path, folders.ring(4))
    edited(tmp_path, change)
    snapshot(case, refusal(tmp_path))


def test_broken_json_is_refused_with_line_and_column(tmp_path, snapshot):
    (tmp_path / "transforms.json").write_text('{"camera_angle_x": 0.7,\n "frames": [,]}')
    snapshot("broken_json", refusal(tmp_path))
    (tmp_path / "transforms.json").write_text('{"camera_angle_x": 0.7,\n "frames": [')
    snapshot("half_a_json", refusal(tmp_path))


def test_an_unknown_folder_is_told_what_is_known_and_what_was_found(tmp_path, snapshot):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "pictures").mkdir()
    snapshot("unknown_folder", refusal(tmp_path))
    folders.save(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    snapshot("no_poses", refusal(tmp_path))
    folders.save(tmp_path / "shots/images/a.png", np.zeros((2, 2), np.uint8))
    assert "photographs but no poses" in refusal(tmp_path / "shots")
    folders.kitti(tmp_path / "drives/one", folders.drive())
    snapshot("one_level_up", refusal(tmp_path / "drives"))
    (tmp_path / "empty").mkdir()
    snapshot("empty_folder", refusal(tmp_path / "empty"))
    snapshot("unknown_file", refusal(tmp_path / "notes.txt"))


def test_a_source_that_is_nowhere_gets_the_nearest_name(snapshot):
    snapshot("nowhere", refusal("demmo"))


@pytest.mark.parametrize("length", ["0", "1000", "-3", "4.5", "long", ""])
def test_a_town_of_an_impossible_length_is_refused_with_the_possible_ones(length, snapshot):
    snapshot(f"town_{length or 'nothing'}", refusal(f"town-{length}"))


def test_broken_colmap_models_are_refused_by_file(tmp_path, snapshot):
    folder = folders.colmap(tmp_path / "a", folders.ring(), binary=True)
    images = folder / "sparse/0/images.bin"
    images.write_bytes(images.read_bytes()[:-100])
    snapshot("colmap_torn", refusal(folder))
    images.unlink()
    snapshot("colmap_incomplete", refusal(folder))
    folder = folders.colmap(tmp_path / "b", folders.ring(), binary=False)
    cameras = folder / "sparse/0/cameras.txt"
    cameras.write_text(cameras.read_text().replace("OPENCV", "OPENCV_FISHEYE"))
    snapshot("colmap_fisheye", refusal(folder))
    (folder / "images").rename(folder / "photos")
    snapshot("colmap_no_images", refusal(folder))


def test_counts_that_differ_are_refused_with_both(tmp_path, snapshot):
    folders.llff(tmp_path / "llff", folders.ring())
    (tmp_path / "llff" / folders.name(0)).unlink()
    snapshot("llff_counts", refusal(tmp_path / "llff"))
    folders.kitti(tmp_path / "kitti", folders.drive())
    (tmp_path / "kitti/image_l/000003.png").unlink()
    snapshot("kitti_counts", refusal(tmp_path / "kitti"))
    (tmp_path / "kitti/poses.txt").write_text("1 2 3\n")
    snapshot("kitti_words", refusal(tmp_path / "kitti"))
    np.save(tmp_path / "llff/poses_bounds.npy", np.zeros((9, 14)))
    snapshot("llff_columns", refusal(tmp_path / "llff"))
    (tmp_path / "llff/poses_bounds.npy").write_bytes(b"nothing")
    snapshot("llff_no_array", refusal(tmp_path / "llff"))


def test_blender_without_training_views_is_refused(tmp_path, snapshot):
    snapshot("blender_no_train", refusal(folders.blender(tmp_path, folders.ring(), parts=("val", "test"))))
