"""A scene kept without its pixels comes back as it was; another scene can be put into its frame."""

import json

import pytest
import torch

from rayformer.core.errors import RunError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import read_record, record_of, write_record
from rayformer.data.scenes.scene import SceneConfig
from tests.data.scenes.scene_folders import LENS, ring, transforms


def test_a_record_comes_back_bit_for_bit(tmp_path):
    scene = read_scene(SceneConfig(source=str(transforms(tmp_path / "data", ring(lens=LENS)))))
    write_record(tmp_path / "scene.json", scene)
    again = read_record(tmp_path / "scene.json")
    assert record_of(again) == record_of(scene)
    for one, other in zip(scene.views, again.views, strict=True):
        assert torch.equal(one.camera.pose, other.camera.pose)
        assert one.camera.lens == other.camera.lens
    assert torch.equal(again.normalisation.rotation, scene.normalisation.rotation)


def test_a_scene_read_into_anothers_frame_has_its_cameras_there(tmp_path):
    source = str(transforms(tmp_path / "data", ring(lens=LENS)))
    own = read_scene(SceneConfig(source=source))
    raw = read_scene(SceneConfig(source=source, normalise=False))
    put = read_scene(SceneConfig(source=source), frame=own.normalisation, distances=(0.5, 9.0))
    moved = [own.normalisation.pose(view.camera.pose) for view in raw.views]
    for view, pose in zip(put.views, moved, strict=True):
        torch.testing.assert_close(view.camera.pose, pose)
    assert (put.near, put.far) == (0.5, 9.0)


@pytest.mark.parametrize("harm", ["absent", "broken", "partial"])
def test_a_record_that_cannot_be_read_is_named(harm, tmp_path):
    path = tmp_path / "scene.json"
    if harm == "broken":
        path.write_text("{")
    elif harm == "partial":
        path.write_text(json.dumps({"source": "x"}))
    with pytest.raises(RunError, match=r"scene\.json cannot be read"):
        read_record(path)
