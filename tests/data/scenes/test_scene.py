"""A scene as a whole: its split, its place in space, what an export gives back, and refusals of a config."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.normalise import arrangement, bounds, normalisation
from rayformer.data.scenes.pixels import load_view
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import read_record, write_record
from rayformer.data.scenes.scene import Scene, SceneConfig
from rayformer.data.scenes.write import write_transforms
from rayformer.geometry.poses import average_up, focus_point
from rayformer.geometry.rays import camera_rays
from rayformer.geometry.similarity import Similarity
from tests.data.scenes import scene_folders as folders


def read(folder, **choices) -> Scene:
    return read_scene(SceneConfig(source=str(folder), **choices))


def stacked(cameras) -> torch.Tensor:
    return torch.stack([camera.pose for camera in cameras])


# ------------------------------------------------------------------------------------------ split


def test_every_nth_view_from_the_first_on_is_for_testing(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(20))
    tested = [view.name for view in read(folder).split("test")]
    assert tested == [folders.name(number) for number in (0, 8, 16)]
    assert len(read(folder, holdout_every=4).split("test")) == 5
    assert not read(folder).split("val"), "no view is held back unasked"


def test_validation_views_are_taken_from_training_only(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(20))
    whole, held = read(folder), read(folder, validation=3)
    assert len(held.split("val")) == 3
    assert [v.name for v in held.split("test")] == [v.name for v in whole.split("test")]
    names = {view.name for view in held.split("train")} | {view.name for view in held.split("val")}
    assert names == {view.name for view in whole.split("train")}


def test_fewer_training_views_are_evenly_spread_and_leave_the_test_alone(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(20))
    few = read(folder, views=4)
    assert len(few.split("train")) == 4
    assert len(few.split("test")) == 3
    numbers = [int(view.name[-7:-4]) for view in few.split("train")]
    assert max(np.diff(numbers)) <= 6


# ------------------------------------------------------------------------------------------ place


def test_arrangements_are_told_apart():
    assert arrangement(stacked(folders.ring())) == "around"
    assert arrangement(stacked(folders.facing())) == "forward-facing"
    assert arrangement(stacked(folders.drive())) == "along"


def drawn_similarity(seed: int) -> Similarity:
    draw = np.random.default_rng(seed)
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    return Similarity(float(draw.uniform(0.1, 9)), turn, torch.from_numpy(draw.normal(size=3) * 9))


@pytest.mark.parametrize("cameras", [folders.ring, folders.facing, folders.drive])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_normalised_scene_does_not_depend_on_where_the_data_put_it(cameras, seed):
    poses = stacked(cameras())
    move = drawn_similarity(seed)
    moved = torch.stack([move.pose(pose) for pose in poses])
    kind = arrangement(poses)
    assert arrangement(moved) == kind
    one, other = normalisation(poses, kind), normalisation(moved, kind)
    places, others = one.points(poses[:, :3, 3]), other.points(moved[:, :3, 3])
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(others, others))
    if kind == "forward-facing":
        torch.testing.assert_close(places, others)
    else:  # a turn about the vertical axis is left open
        torch.testing.assert_close(places[:, 2], others[:, 2])
    first = torch.stack([one.pose(pose) for pose in poses])
    torch.testing.assert_close(first, torch.stack([one.pose(move.inverse().pose(p)) for p in moved]))


def test_cameras_around_a_thing_end_in_the_unit_ball_around_it(tmp_path):
    scene = read(folders.transforms(tmp_path, folders.ring()))
    poses = torch.stack([view.camera.pose for view in scene.views])
    assert poses[:, :3, 3].norm(dim=-1).max().item() == pytest.approx(1)
    torch.testing.assert_close(focus_point(poses), torch.zeros(3).double())
    torch.testing.assert_close(average_up(poses), torch.tensor([0.0, 0, 1]).double())
    assert 0 < scene.near < 1 < scene.far
    assert not scene.forward_facing


def test_a_forward_facing_scene_looks_along_minus_z_and_begins_behind_the_ndc_plane(tmp_path):
    cameras = folders.facing()
    scene = read(folders.llff(tmp_path, cameras, near=3.0, far=50.0))
    assert scene.forward_facing
    poses = torch.stack([view.camera.pose for view in scene.views])
    torch.testing.assert_close(poses[:, :3, 3].mean(dim=0), torch.zeros(3).double())
    assert (poses[:, 2, 2] > 0.9).all(), "every camera looks along -z"
    assert (poses[:, 1, 1] > 0.9).all(), "with y up"
    assert scene.normalisation.scale * 3.0 == pytest.approx(4 / 3)
    bent = scene.to_ndc(camera_rays(scene.views[2].camera, near=scene.near, far=scene.far))
    assert (bent.origins[:, 2] + 1).abs().max() < 1e-5
    middle = bent.origins.abs().view(12, 16, 3)[5:7, 7:9, :2]
    assert middle.max() < 1, "the middle of the picture begins inside the box"


def test_a_drive_is_centred_and_upright(tmp_path):
    scene = read(folders.kitti(tmp_path, folders.drive()))
    poses = torch.stack([view.camera.pose for view in scene.views])
    torch.testing.assert_close(poses[:, :3, 3].mean(dim=0), torch.zeros(3).double())
    assert (poses[:, 2, 1] > 0.9).all(), "the cameras' up is the world's"
    assert not scene.forward_facing
    assert (scene.near, scene.far) == bounds(poses, "along")


def test_asking_for_bounds_overrides_the_data_for_every_view(tmp_path):
    folder = folders.llff(tmp_path, folders.ring())
    scene = read(folder, near=0.25, far=2.5)
    assert (scene.near, scene.far) == (0.25, 2.5)
    assert all(view.near is None and view.far is None for view in scene.views)


def test_the_fingerprint_follows_content_and_not_the_clock(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring())
    first = read(folder).fingerprint
    (folder / folders.name(3)).touch()
    assert read(folder).fingerprint == first
    folders.save(folder / folders.name(3), np.zeros((12, 16, 3), np.uint8))
    assert read(folder).fingerprint != first


# ------------------------------------------------------------------------------------------ export


@pytest.mark.parametrize("form", ["transforms", "colmap", "llff", "kitti", "blender"])
@pytest.mark.parametrize("normalise", [True, False])
def test_reading_writing_and_reading_again_gives_equal_numbers(form, normalise, tmp_path):
    write = {
        "transforms": lambda place: folders.transforms(place, folders.ring(lens=folders.LENS)),
        "colmap": lambda place: folders.colmap(place, folders.ring(lens=folders.LENS), binary=True),
        "llff": lambda place: folders.llff(place, folders.ring()),
        "kitti": lambda place: folders.kitti(place, folders.drive()),
        "blender": lambda place: folders.blender(place, folders.ring()),
    }[form]
    first = read(write(tmp_path / "data"), normalise=normalise)
    again = read(write_transforms(first, tmp_path / "export"), normalise=normalise)
    assert again.format == "transforms.json"
    assert len(again.views) == len(first.views)
    for old, new in zip(first.views, again.views, strict=True):
        assert (new.name, new.split) == (old.name, old.split)
        assert torch.equal(new.original.pose, old.original.pose)
        assert torch.equal(new.original.intrinsics, old.original.intrinsics)
        assert new.original.lens == old.original.lens
        assert new.image.read_bytes() == old.image.read_bytes()
        assert new.image != old.image
        if form != "blender" and normalise:  # Blender's own coordinates are kept, an export's are not
            assert torch.equal(new.camera.pose, old.camera.pose)
    if form == "llff":
        assert (again.near, again.far) == pytest.approx((first.near, first.far))


def test_an_export_of_scaled_and_masked_views_is_that_of_the_data(tmp_path):
    folder = folders.llff(tmp_path / "data", folders.ring())
    for number in range(9):
        folders.save(folder / f"masks/{number:03d}.png", np.full((12, 16), 255 * (number % 2), np.uint8))
    scene = read(folder, width=8, undistort=True)
    assert scene.views[0].camera.width == 8
    again = read(write_transforms(scene, tmp_path / "export"))
    assert again.views[0].camera.width == 16
    for old, new in zip(scene.views, again.views, strict=True):
        assert new.mask.read_bytes() == old.mask.read_bytes()


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "choice",
    [{"width": 0}, {"holdout_every": 1}, {"near": -1.0}, {"near": 2.0, "far": 1.0}, {"views": 0}],
    ids="_".join,
)
def test_impossible_choices_are_refused(choice, snapshot):
    with pytest.raises(ConfigError) as refusal:
        SceneConfig(**choice)
    snapshot("config_" + "_".join(choice), str(refusal.value))


def test_bounds_that_contradict_the_data_are_refused(tmp_path, snapshot):
    folder = folders.llff(tmp_path, folders.ring(), near=2.0, far=5.0)
    with pytest.raises(DataError) as refusal:
        read(folder, near=100.0)
    snapshot("near_behind_far", str(refusal.value))


# ------------------------------------------------------------------------------------------ sizes


def test_a_scene_in_several_sizes_has_every_view_in_each_and_whole_ones_first(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(9, width=32, height=24))
    one, many = read(folder), read(folder, scales=(1, 2, 8))
    for part in ("train", "test"):
        views, whole = many.split(part), one.split(part)
        assert [view.scale for view in views] == [scale for scale in (1, 2, 8) for _ in whole]
        assert [view.name for view in views] == 3 * [view.name for view in whole]
        assert [view.camera.width for view in views[:: len(whole)]] == [32, 16, 4]
    assert many.fingerprint == one.fingerprint


def test_smaller_views_are_means_of_what_they_cover_and_see_the_same(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(9, width=32, height=24))
    scene = read(folder, scales=(1, 4))
    whole, small = scene.split("test")[0], scene.split("test")[2]
    picture, shrunk = load_view(whole)[0], load_view(small)[0]
    means = picture.reshape(6, 4, 8, 4, -1).mean(axis=(1, 3))
    assert np.abs(means - shrunk).max() <= 0.51
    corner = torch.tensor([[0.0, 0.0], [4.0, 3.0]])
    ways = [camera_rays(view.camera, corner * zoom).directions for view, zoom in [(whole, 4), (small, 1)]]
    torch.testing.assert_close(*ways)


def test_sizes_survive_the_record_and_leave_an_export_alone(tmp_path):
    folder = folders.transforms(tmp_path / "in", folders.ring(9, width=32, height=24))
    scene = read(folder, scales=(1, 2))
    write_record(tmp_path / "scene.json", scene)
    assert [view.scale for view in read_record(tmp_path / "scene.json").views] == [1] * 9 + [2] * 9
    write_transforms(scene, tmp_path / "out")
    assert len(read(tmp_path / "out").views) == 9


def test_exposure_and_light_survive_the_record_and_the_export_and_are_part_of_the_fingerprint(tmp_path):
    folder = folders.transforms(tmp_path / "in", folders.ring(9))
    without = read(folder).fingerprint
    whole = json.loads((folder / "transforms.json").read_text())
    for number, frame in enumerate(whole["frames"][:6]):
        frame |= {"exposure": 0.1 * (number + 1), "light": ["noon", "dusk"][number % 2]}
    (folder / "transforms.json").write_text(json.dumps(whole))
    scene = read(folder, scales=(1, 2))
    assert [view.light for view in scene.views[:7]] == 3 * ["noon", "dusk"] + [None]
    assert [view.exposure for view in scene.views[:9]] == [view.exposure for view in scene.views[9:]]
    assert scene.fingerprint != without
    changed = json.loads(json.dumps(whole))
    changed["frames"][0]["exposure"] = 0.7
    (folder / "transforms.json").write_text(json.dumps(changed))
    assert read(folder).fingerprint not in (without, scene.fingerprint)
    write_record(tmp_path / "scene.json", scene)
    exported = read(write_transforms(scene, tmp_path / "out"))
    for again in (read_record(tmp_path / "scene.json").views[:9], exported.views):
        for old, new in zip(scene.views[:9], again, strict=True):
            assert (new.exposure, new.light) == (old.exposure, old.light)


@pytest.mark.parametrize("scales", [(), (2, 4), (1, 3), (1, 4, 2), (1, 1)], ids=str)
def test_sizes_that_are_none_are_refused(scales):
    with pytest.raises(ConfigError, match=r"data\.scales must begin with 1 and go on with some of 2, 4, 8"):
        SceneConfig(scales=scales)
