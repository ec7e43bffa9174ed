"""Photographs harmed on purpose: which, how far, where, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from rayformer.core.errors import ConfigError
from rayformer.data.scenes.perturb import OFFSET, SCALE, Perturbation
from rayformer.data.scenes.pixels import PixelStore, load_view
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import record_of, scene_of
from rayformer.data.scenes.scene import SceneConfig
from tests.data.scenes import scene_folders as folders

NUMBERS = range(1, 40)


def drawn(channels=4, side=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["colour", "occluders", "both"])
def test_the_first_photograph_stays_and_every_other_one_changes_alike_each_time(kind):
    picture = drawn()
    assert np.array_equal(Perturbation(kind, 0)(picture), picture)
    harmed = [Perturbation(kind, number)(picture) for number in NUMBERS]
    assert all(not np.array_equal(one, picture) for one in harmed)
    assert len({one.tobytes() for one in harmed}) == len(harmed)
    assert np.array_equal(Perturbation(kind, 7)(picture), harmed[6])
    assert np.array_equal(picture, drawn()), "the photograph itself was written into"


def test_colours_become_a_straight_line_of_what_they_were_channel_by_channel_and_alpha_stays():
    picture = drawn()
    picture[..., :3] = picture[..., :3] // 3 + 85  # nothing is cut off: from 85 to 170
    slopes, offsets = [], []
    for number in NUMBERS:
        harmed = Perturbation("colour", number)(picture)
        assert np.array_equal(harmed[..., 3], picture[..., 3])
        for channel in range(3):
            before, after = picture[..., channel].ravel() / 255, harmed[..., channel].ravel() / 255
            inside = (after > 0) & (after < 1)
            slope, offset = np.polyfit(before[inside], after[inside], 1)
            slopes.append(slope)
            offsets.append(offset)
            assert np.abs(after - np.clip(slope * before + offset, 0, 1)).max() < 0.004
    for found, (least, most) in ((slopes, SCALE), (offsets, OFFSET)):
        assert least - 0.02 < min(found) < least + 0.1
        assert most - 0.1 < max(found) < most + 0.02


@pytest.mark.parametrize("channels", [3, 4])
def test_an_occluder_is_a_square_of_ten_opaque_stripes_within_the_middle_half(channels):
    picture = drawn(channels, side=160)
    picture[..., 3:] = 0
    corners = []
    for number in NUMBERS:
        harmed = Perturbation("occluders", number)(picture)
        changed = (harmed != picture).any(axis=-1)
        rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
        top, left = rows[0], columns[0]
        assert (rows[-1] - top + 1, columns[-1] - left + 1) == (40, 40)
        assert min(top, left) >= 40
        assert max(rows[-1], columns[-1]) < 120
        square = harmed[top : top + 40, left : left + 40]
        assert (square == square[:1]).all(), "stripes are upright"
        assert len(np.unique(square[0].reshape(10, 4, -1), axis=0)) == 10
        assert (square.reshape(40, 10, 4, -1) == square.reshape(40, 10, 4, -1)[:, :, :1]).all()
        assert (square[..., 3:] == 255).all()
        corners.append((top, left))
    assert len(set(corners)) > 30


def test_both_is_the_same_occluder_before_the_same_recoloured_picture():
    picture, number = drawn(side=160), 3
    occluded = Perturbation("occluders", number)(picture)
    changed = (occluded != picture).any(axis=-1)
    both = Perturbation("both", number)(picture)
    assert np.array_equal(both[changed], occluded[changed]), "the occluder is not recoloured"
    assert np.array_equal(both[~changed], Perturbation("colour", number)(picture)[~changed])


@pytest.fixture
def photos(tmp_path):
    cameras = folders.ring(width=40, height=32)
    folders.transforms(tmp_path, cameras)
    for number, picture in enumerate(folders.pictures(cameras)):
        folders.save(tmp_path / folders.name(number), picture)
    return tmp_path


def test_training_photographs_are_harmed_and_held_out_ones_are_not(photos):
    config = SceneConfig(source=str(photos), holdout_every=3, perturb="both")
    harmed, clean = read_scene(config), read_scene(replace(config, perturb="none"))
    same = [
        np.array_equal(load_view(one)[0], load_view(other)[0])
        for one, other in zip(harmed.views, clean.views, strict=True)
    ]
    assert [view.split for view in harmed.views] == ["test", "train", "train"] * 3
    assert same == [True, True, False, True, False, False, True, False, False]
    assert harmed.fingerprint != clean.fingerprint, "a run cannot be resumed on other pixels"
    assert [view.perturbation.number for view in harmed.split("train")] == list(range(6))
    assert any(
        "harmed on purpose (colours and occluders), all of 6 but images/001.png" in text
        for text in harmed.remarks
    )


def test_a_photograph_is_harmed_alike_in_every_size_and_after_the_record_was_read(photos):
    config = SceneConfig(source=str(photos), holdout_every=3, perturb="colour", scales=(1, 2))
    scene = read_scene(config)
    views = scene.split("train")
    assert [view.perturbation.number for view in views] == [*range(6), *range(6)]
    again = scene_of(record_of(scene))
    one, other = PixelStore(scene, "train"), PixelStore(again, "train")
    assert np.array_equal(one.pixels, other.pixels)
    assert again.split("test")[0].perturbation is None


def test_a_harm_that_is_not_known_is_refused(snapshot):
    from rayformer.core.config import from_plain

    with pytest.raises(ConfigError) as refusal:
        from_plain(SceneConfig, {"perturb": "blur"})
    snapshot("unknown_harm", str(refusal.value))
