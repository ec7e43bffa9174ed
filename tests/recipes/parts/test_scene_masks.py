"""What masks do to training and to the numbers: photographs of which only a part is as the field has it."""

import json

import numpy as np
import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.record import read_record, write_record
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.task import Setting
from rayformer.fields.parts.volume import Rendered
from rayformer.recipes.parts.scene import SceneTask, SceneTraining
from rayformer.report.words import quantity
from tests.data.scenes import scene_folders as folders

GREY, OTHER = 102, 51
"""The field shows this; beyond the mask, photographs show that."""


class Flat(torch.nn.Module):
    """One opaque colour wherever one looks."""

    samples_per_ray = 1

    def render(self, rays, background):
        ones = torch.ones(len(rays))
        return Rendered(torch.full((len(rays), 3), GREY / 255), ones[:, None], ones, ones)

    def loss(self, rays, colours, background, generator): ...

    def radiance(self, positions, directions): ...


@pytest.fixture
def photos(tmp_path):
    """Nine photographs, of which eight have a mask that leaves the left half; number 4 shows no other."""
    cameras = folders.ring()
    folders.transforms(tmp_path, cameras)
    for number in range(9):
        picture = np.full((12, 16, 3), GREY, np.uint8)
        if number != 4:
            picture[:, 8:] = OTHER
            mask = np.zeros((12, 16), np.uint8)
            mask[:, :8] = 255
            folders.save(tmp_path / f"masks/{number:03d}.png", mask)
        folders.save(tmp_path / folders.name(number), picture)
    frames = []
    for number, camera in enumerate(cameras):
        mask = {"mask_path": f"masks/{number:03d}.png"} if number != 4 else {}
        frames.append(folders.frame(camera, folders.name(number)) | mask)

    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    return tmp_path


def task(folder, tmp_path, masks="use", **options) -> SceneTask:
    scene = read_scene(SceneConfig(source=str(folder), masks=masks, holdout_every=4))
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    return SceneTask(Flat(), scene, SceneTraining(rays=64, **options), False, setting)


HALF_OFF = -10 * np.log10(((GREY - OTHER) / 255) ** 2 / 2)
"""PSNR of a picture of which one half is exact."""


def test_held_out_views_are_measured_with_and_without_their_masks(photos, tmp_path):
    numbers = task(photos, tmp_path).evaluate("test", torch.Generator())
    assert list(numbers) == ["psnr_db", "ssim", "whole_psnr_db", "whole_ssim"]
    assert numbers["psnr_db"] == pytest.approx(120)  # within its mask each is exact
    # Held out are 0, 4 and 8, of which 4 has no mask and is exact everywhere.
    assert numbers["whole_psnr_db"] == pytest.approx((2 * HALF_OFF + 120) / 3, abs=1e-3)
    ignored = task(photos, tmp_path, masks="ignore").evaluate("test", torch.Generator())
    assert list(ignored) == ["psnr_db", "ssim", "masked_psnr_db", "masked_ssim"]
    assert ignored["psnr_db"] == pytest.approx(numbers["whole_psnr_db"])
    assert ignored["masked_psnr_db"] == pytest.approx(numbers["psnr_db"])


@pytest.mark.parametrize("one_image", [False, True])
def test_training_draws_only_pixels_that_count(photos, tmp_path, one_image):
    used = task(photos, tmp_path, one_image=one_image)
    whole = task(photos, tmp_path, masks="ignore", one_image=one_image)
    shown = [
        torch.cat([one.batch("train", step, 0, 1).whole.colours for step in range(20)]).unique()
        for one in (used, whole)
    ]
    assert (255 * shown[0]).round().tolist() == [GREY]
    assert (255 * shown[1]).round().tolist() == [OTHER, GREY]


def test_a_view_of_which_nothing_counts_is_not_measured(photos, tmp_path, snapshot):
    folders.save(photos / "masks/000.png", np.zeros((12, 16), np.uint8))
    numbers = task(photos, tmp_path).evaluate("test", torch.Generator())
    assert numbers["psnr_db"] == pytest.approx(120)
    assert next(iter(numbers)) == "psnr_db"
    folders.save(photos / "masks/004.png", np.zeros((12, 16), np.uint8))
    folders.save(photos / "masks/008.png", np.zeros((12, 16), np.uint8))
    text = (photos / "transforms.json").read_text()
    (photos / "transforms.json").write_text(
        text.replace('"images/004.png",', '"images/004.png", "mask_path": "masks/004.png",')
    )
    with pytest.raises(DataError) as refusal:
        task(photos, tmp_path).evaluate("test", torch.Generator())
    snapshot("nothing_to_measure", str(refusal.value).replace(str(photos), "PHOTOS"))


def test_the_choice_is_kept_in_the_run(photos, tmp_path):
    for choice in ("use", "ignore"):
        scene = read_scene(SceneConfig(source=str(photos), masks=choice))
        write_record(tmp_path / "scene.json", scene)
        assert read_record(tmp_path / "scene.json").masks == choice


def test_a_report_says_which_number_is_which():
    assert str(quantity("whole_psnr_db")) == "PSNR of whole photographs"
    assert str(quantity("masked_ssim")) == "SSIM within the masks"


def test_what_is_cut_out_is_transparent_and_all_of_the_picture_is_measured(photos, tmp_path):
    """The masked half shows the background, white as the field is not; the photograph without a mask stays
    whole."""
    cut = task(photos, tmp_path / "assets", masks="cut")
    assert cut.scene.background == (1.0, 1.0, 1.0)
    _, picture, mask = cut.store.view(0)
    assert mask is None
    assert torch.allclose(picture[:, :8], torch.tensor(GREY / 255))
    assert torch.equal(picture[:, 8:], torch.ones(12, 8, 3))
    numbers = cut.evaluate("test", torch.Generator())
    assert not [name for name in numbers if name.startswith(("whole_", "masked_"))]
    white_off = -10 * np.log10((1 - GREY / 255) ** 2 / 2)  # the field is grey where pictures are white now
    assert numbers["psnr_db"] == pytest.approx((2 * white_off + 120) / 3, abs=1e-3)


def test_what_is_cut_out_survives_the_record_and_changes_the_fingerprint(photos, tmp_path):
    scenes = {
        masks: read_scene(SceneConfig(source=str(photos), masks=masks)) for masks in ("use", "cut", "ignore")
    }
    write_record(tmp_path / "scene.json", scenes["cut"])
    again = read_record(tmp_path / "scene.json")
    assert [view.cut for view in again.views] == [True] * 9
    assert again.fingerprint == scenes["cut"].fingerprint != scenes["use"].fingerprint
