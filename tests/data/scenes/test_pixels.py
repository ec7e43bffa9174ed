"""PixelStore: the right ray and colour for every pixel, nothing stored twice, masks and backgrounds
respected."""

import dataclasses
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rayformer.core.errors import DataError, MissingExtra
from rayformer.data.images.decode import ORIENTATION
from rayformer.data.scenes.images import area_scale, picture_size, read_mask, read_picture, resample
from rayformer.data.scenes.pixels import PixelStore, _Selection, filled_store
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import Scene, SceneConfig
from rayformer.geometry.cameras import project
from rayformer.geometry.lens import Lens
from rayformer.geometry.rays import camera_rays
from tests.data.scenes import scene_folders as folders


def read(folder, **choices) -> Scene:
    return read_scene(SceneConfig(source=str(folder), **choices))


def mixed(folder) -> Scene:
    """Views of two sizes with two lenses."""
    cameras = folders.ring(5, folders.LENS) + folders.ring(4, Lens(k1=-0.1), width=20, height=10)
    return read(folders.transforms(folder, cameras))


# ------------------------------------------------------------------------------------------ the store


def test_rays_and_colours_are_those_of_each_camera_and_its_picture(tmp_path):
    scene = mixed(tmp_path)
    store = PixelStore(scene, "train")
    assert len(store) == sum(view.camera.width * view.camera.height for view in scene.split("train"))
    rays, colours, rows = store.rays(torch.arange(len(store)))
    assert rays.origins.dtype == torch.float32
    for row, view in enumerate(scene.split("train")):
        own = camera_rays(view.camera, near=scene.near, far=scene.far)
        mine = rays[rows == row]
        torch.testing.assert_close(mine.origins, own.origins)
        torch.testing.assert_close(mine.directions, own.directions, atol=2e-6, rtol=0)
        torch.testing.assert_close((mine.near, mine.far), (own.near, own.far))
        camera, picture, mask = store.view(row)
        assert (camera is view.camera, mask) == (True, None)
        stored = torch.from_numpy(np.array(Image.open(view.image))) / 255
        assert torch.equal(picture, stored)
        assert torch.equal(colours[rows == row], stored.view(-1, 3))


def test_a_batch_in_any_order_picks_the_same_as_one_by_one(tmp_path):
    store = PixelStore(mixed(tmp_path), "train")
    index = torch.randint(len(store), (50,), generator=torch.manual_seed(0))
    rays, colours, rows = store.rays(index)
    for place in range(50):
        ray, colour, row = store.rays(index[place : place + 1])
        torch.testing.assert_close(ray.directions[0], rays.directions[place])
        assert torch.equal(colour[0], colours[place])
        assert row[0] == rows[place]


def test_distances_of_a_view_bound_its_own_rays(tmp_path):
    folders.llff(tmp_path, folders.ring())
    rows = np.load(tmp_path / "poses_bounds.npy")
    rows[1:, 15] = np.linspace(1, 3, 8)
    np.save(tmp_path / "poses_bounds.npy", rows)
    scene = read(tmp_path)
    rays, _, views = PixelStore(scene, "train").rays(torch.arange(0, 16 * 12 * 7, 50))
    known = torch.tensor([view.near for view in scene.split("train")])
    torch.testing.assert_close(rays.near, known[views])


def test_memory_is_that_of_the_pixels_and_nothing_more(tmp_path):
    store = PixelStore(mixed(tmp_path), "train")
    tensors = [value for value in vars(store).values() if isinstance(value, torch.Tensor)]
    assert store.nbytes == 3 * len(store)
    assert sum(value.nbytes for value in tensors) <= store.nbytes + 150 * len(store.views)
    before = sum(value.nbytes for value in vars(store).values() if isinstance(value, torch.Tensor))
    store.rays(torch.arange(100))
    store.view(2)
    after = sum(value.nbytes for value in vars(store).values() if isinstance(value, torch.Tensor))
    assert after == before, "reading leaves nothing behind"


def test_masks_cost_little_more_than_a_byte_per_pixel(tmp_path):
    store = PixelStore(masked(tmp_path), "train")
    pixels = 16 * 12 * len(store.views)
    assert store.nbytes <= 3 * pixels + 1.25 * pixels + 64 + 8


def test_an_empty_part_is_a_store_without_pixels(tmp_path):
    store = PixelStore(mixed(tmp_path), "val")
    assert len(store) == 0
    assert len(store.centre_index(0.5)) == 0


# ------------------------------------------------------------------------------------------ masks


def masked(folder, seed: int = 0) -> Scene:
    folders.llff(folder, folders.ring())
    draw = np.random.default_rng(seed)
    for number in range(9):
        if number != 4:
            folders.save(
                folder / f"masks/{number:03d}.png", 255 * draw.integers(0, 2, (12, 16), dtype=np.uint8)
            )
    return read(folder)


def test_masked_pixels_are_never_drawn_and_all_others_are(tmp_path):
    scene = masked(tmp_path)
    store = PixelStore(scene, "train")
    _, colours, rows = store.rays(torch.arange(len(store)))
    for row, view in enumerate(scene.split("train")):
        _, picture, mask = store.view(row)
        assert torch.equal(
            mask, torch.from_numpy(read_mask(view.mask, 16, 12)) if view.mask else mask.fill_(True)
        )
        assert torch.equal(colours[rows == row], picture[mask])


def test_masks_that_are_ignored_leave_every_pixel_in(tmp_path):
    scene = replace(masked(tmp_path), masks="ignore")
    store = PixelStore(scene, "train")
    assert len(store) == 16 * 12 * len(scene.split("train"))
    assert store.view(0)[2] is None


def test_a_wholly_masked_view_is_passed_over_and_a_wholly_masked_scene_refused(tmp_path, snapshot):
    folders.llff(tmp_path, folders.ring())
    for number in range(1, 9):
        folders.save(tmp_path / f"masks/{number:03d}.png", np.zeros((12, 16), np.uint8))
    folders.save(tmp_path / "masks/003.png", np.full((12, 16), 255, np.uint8))
    store = filled_store(read(tmp_path), "train")
    assert store.rows.tolist() == [2]
    assert len(store) == 16 * 12
    folders.save(tmp_path / "masks/003.png", np.zeros((12, 16), np.uint8))
    with pytest.raises(DataError) as refusal:
        filled_store(read(tmp_path), "train")
    snapshot("masks_leave_nothing", str(refusal.value))
    assert len(filled_store(read(tmp_path, masks="ignore"), "train")) == 7 * 16 * 12


def test_a_reader_is_told_of_masks_and_what_becomes_of_them(tmp_path, snapshot):
    masked(tmp_path)
    for choice in ("use", "cut", "ignore"):
        (said,) = [text for text in read(tmp_path, masks=choice).remarks if text.startswith("masks")]
        snapshot(f"masks_{choice}", said)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 400), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
def test_the_nth_usable_pixel_is_the_nth_of_the_list_that_is_not_kept(seed, length, share):
    usable = torch.rand(length, generator=torch.Generator().manual_seed(seed)) < share
    listed = torch.nonzero(usable).squeeze(-1)
    selection = _Selection(usable)
    assert selection.count == len(listed)
    assert torch.equal(selection(torch.arange(len(listed))), listed)
    assert torch.equal(selection.numbers(torch.arange(length)), torch.arange(len(listed)))


@pytest.mark.parametrize("with_masks", [False, True])
def test_the_centre_is_the_middle_of_every_picture(with_masks, tmp_path):
    scene = masked(tmp_path) if with_masks else mixed(tmp_path)
    store = PixelStore(scene, "train")
    assert torch.equal(store.centre_index(1.0), torch.arange(len(store)))
    rays, colours, rows = store.rays(store.centre_index(0.5))
    for row, view in enumerate(scene.split("train")):
        width, height = view.camera.width, view.camera.height
        _, picture, mask = store.view(row)
        rows_of, columns = slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)
        if height % 4:
            continue
        middle = picture[rows_of, columns].reshape(-1, 3)
        if mask is not None:
            middle = middle[mask[rows_of, columns].flatten()]
        assert torch.equal(colours[rows == row], middle)
    assert len(rays) == len(rows)


# ------------------------------------------------------------------------------------------ background


def test_transparent_pixels_show_the_background(tmp_path):
    folder = folders.blender(tmp_path, folders.ring())
    for background, shade in [("white", 1.0), ("black", 0.0)]:
        store = PixelStore(read(folder, background=background), "train")
        index = torch.arange(len(store))
        stored = store.pixels.float() / 255
        expected = stored[:, :3] * stored[:, 3:] + shade * (1 - stored[:, 3:])
        torch.testing.assert_close(store.rays(index)[1], expected)
    own = torch.rand(len(store), 3, generator=torch.manual_seed(0))
    expected = stored[:, :3] * stored[:, 3:] + own * (1 - stored[:, 3:])
    torch.testing.assert_close(store.rays(index, background=own)[1], expected)


def test_photographs_without_alpha_have_no_background(tmp_path):
    assert mixed(tmp_path).background is None


# ------------------------------------------------------------------------------------------ scaling


def test_scaling_by_a_whole_number_is_the_mean_of_blocks():
    picture = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    blocks = picture.reshape(4, 3, 4, 2, 3).mean(axis=(1, 3))
    assert np.abs(area_scale(picture, 4, 4) - blocks).max() <= 0.5 + 1e-4


def test_scaling_keeps_the_mean_whatever_the_ratio():
    draw = np.random.default_rng(1)
    for width, height in [(7, 5), (13, 9), (1, 1), (30, 31)]:
        picture = draw.integers(0, 256, (23, 29, 3), dtype=np.uint8)
        assert np.abs(area_scale(picture, width, height).mean((0, 1)) - picture.mean((0, 1))).max() < 0.6


def test_scaling_agrees_with_painting_every_pixel_as_a_square():
    picture = np.random.default_rng(2).integers(0, 256, (6, 10, 1), dtype=np.uint8)
    fine = np.kron(picture[..., 0], np.ones((7, 7)))  # 42 x 70, which 7 and 5 divide
    means = fine.reshape(7, 6, 5, 14).mean(axis=(1, 3))
    assert np.abs(area_scale(picture, 5, 7)[..., 0] - means).max() <= 0.5 + 1e-4


def test_what_is_invisible_does_not_leak_into_a_scaled_colour():
    picture = np.zeros((2, 2, 4), dtype=np.uint8)
    picture[0, 0] = [255, 255, 255, 255]
    picture[1] = picture[0, 1] = [255, 0, 0, 0]
    assert area_scale(picture, 1, 1).tolist() == [[[255, 255, 255, 64]]]


def test_blending_then_scaling_is_scaling_then_blending():
    picture = np.random.default_rng(3).integers(0, 256, (16, 16, 4), dtype=np.uint8)

    def blend(rgba):
        alpha = rgba[..., 3:] / 255
        return rgba[..., :3] * alpha + 255 * (1 - alpha)

    before = blend(picture.astype(float)).reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))
    assert np.abs(blend(area_scale(picture, 4, 4).astype(float)) - before).max() < 1.1


def test_a_scaled_scene_sees_the_same_rays(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(lens=folders.LENS))
    full, half = read(folder), read(folder, width=8)
    assert (half.views[0].camera.width, half.views[0].camera.height) == (8, 6)
    corner = torch.tensor([[4.0, 6.0]])
    torch.testing.assert_close(
        camera_rays(full.views[1].camera, corner).directions,
        camera_rays(half.views[1].camera, corner / 2).directions,
    )
    assert PixelStore(half, "train").nbytes * 4 == PixelStore(full, "train").nbytes
    assert read(folder, width=999).views[0].camera.width == 16, "nothing is scaled up"


# ------------------------------------------------------------------------------------------ undistortion


def test_an_undistorted_pixel_has_the_colour_that_its_ray_had_in_the_photograph():
    seen_by = folders.ring(1, Lens(k1=-0.2, p1=0.01), width=160, height=120)[0]
    wanted = dataclasses.replace(seen_by, lens=Lens())
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    picture = np.stack([x, y, x + y], axis=-1).astype(np.uint8)  # the colour says the place
    resampled, covered = resample(picture, seen_by, wanted)
    pixels = torch.tensor([[40.5, 30.5], [100.5, 90.5], [81.5, 59.5]])
    through = camera_rays(wanted, pixels, dtype=torch.float64).directions
    for pixel, direction in zip(pixels, through, strict=True):
        point = seen_by.position + direction
        place = project(seen_by, point[None])[0][0] - 0.5
        found = resampled[int(pixel[1]), int(pixel[0])]
        assert np.abs(found[:2] - place.numpy()).max() <= 0.51
    assert covered.mean() > 0.8


def test_an_undistorted_scene_is_a_pinhole_and_leaves_out_what_no_photograph_covers(tmp_path):
    folder = folders.transforms(tmp_path, folders.ring(lens=Lens(k1=0.6)))
    store = PixelStore(read(folder, undistort=True), "train")
    assert all(view.camera.lens.is_pinhole for view in store.views)
    assert 0.5 * len(store.pixels) < len(store) < len(store.pixels)
    _, _, mask = store.view(0)
    assert not mask[0, 0], "a corner of the pinhole lies outside the photograph"
    assert mask[6, 8]


# ------------------------------------------------------------------------------------------ files


def test_every_kind_of_picture_becomes_bytes_of_colour(tmp_path):
    colour = np.random.default_rng(4).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    grey = colour[..., 0]
    deep = grey.astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(colour).quantize(256).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([grey, grey])).save(tmp_path / "alpha.png")
    for name in ("grey", "deep"):
        np.testing.assert_array_equal(
            read_picture(tmp_path / f"{name}.png"), np.repeat(grey[..., None], 3, 2)
        )
    for name in ("colour", "palette"):
        np.testing.assert_array_equal(read_picture(tmp_path / f"{name}.png"), colour)
    assert read_picture(tmp_path / "alpha.png").shape == (3, 4, 4)


def test_a_photograph_taken_sideways_is_put_upright_unless_its_camera_was_not(tmp_path):
    picture = np.random.default_rng(5).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    Image.fromarray(picture).save(tmp_path / "a.png", exif=tags)
    upright = np.rot90(picture, -1)
    assert picture_size(tmp_path / "a.png") == (8, 12)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), upright)
    assert picture_size(tmp_path / "a.png", stated=(12, 8)) == (12, 8)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", stated=(12, 8)), picture)


def test_a_torn_photograph_is_refused_by_name(tmp_path, snapshot):
    folder = folders.transforms(tmp_path, folders.ring())
    photo = folder / folders.name(2)
    photo.write_bytes(photo.read_bytes()[:-300])
    with pytest.raises(DataError) as refusal:
        PixelStore(read(folder), "train")
    snapshot("torn", str(refusal.value))


def test_what_is_no_picture_is_refused_by_name(tmp_path, snapshot):
    folder = folders.transforms(tmp_path, folders.ring())
    (folder / folders.name(2)).write_text("not a picture")
    with pytest.raises(DataError) as refusal:
        read(folder)
    snapshot("no_picture", str(refusal.value))


def test_a_mask_of_another_shape_is_refused(tmp_path, snapshot):
    folders.save(tmp_path / "mask.png", np.zeros((90, 40), np.uint8))
    with pytest.raises(DataError) as refusal:
        read_mask(tmp_path / "mask.png", 160, 120)
    snapshot("mask_shape", str(refusal.value))


def test_heic_without_its_reader_names_the_extra(tmp_path, monkeypatch, snapshot):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    folders.save(tmp_path / "a.png", np.zeros((4, 4), np.uint8)).rename(tmp_path / "a.heic")
    with pytest.raises(MissingExtra) as refusal:
        picture_size(tmp_path / "a.heic")
    snapshot("heic", str(refusal.value))


def test_heic_with_its_reader_is_read(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    picture = np.full((16, 24, 3), 120, np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.heic", quality=90)
    assert picture_size(tmp_path / "a.heic") == (24, 16)
    assert np.abs(read_picture(tmp_path / "a.heic").astype(int) - 120).max() < 6
