"""Colours mean what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rayformer.core.errors import ShapeError
from rayformer.runs.pictures import (
    BACKGROUND,
    Picture,
    depth_colours,
    distance_colours,
    error_colours,
    read_caption,
    save_png,
    side_by_side,
)


def test_a_picture_comes_back_to_the_bit(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    save_png(tmp_path / "a.png", Picture(pixels, "straße"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert read_caption(tmp_path / "a.png") == "straße"


def test_near_is_warm_and_far_is_cool_and_nothing_is_grey():
    depth = np.array([[2.3, 5.7, np.nan, np.inf]])
    near, far, nan, infinite = depth_colours(depth, near=2, far=6)[0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]
    assert (nan == BACKGROUND).all()
    assert (infinite == BACKGROUND).all()


@given(st.floats(-100, 100))
def test_a_depth_out_of_range_has_the_colour_of_the_range_end(depth):
    beyond, at_the_end = (
        depth_colours(np.full((1, 1), value), 2, 6) for value in (depth, np.clip(depth, 2, 6))
    )
    assert np.array_equal(beyond, at_the_end)


def test_a_larger_error_is_never_darker():
    bright = error_colours(np.linspace(0, 0.5, 64)[None]).astype(int).sum(axis=-1)[0]
    assert (np.diff(bright) >= -4).all()
    assert bright[0] < 10
    assert np.array_equal(error_colours(np.array([[-0.1]])), error_colours(np.array([[0.1]])))


def test_inside_is_red_and_outside_blue_and_the_surface_a_black_line():
    inside, surface, outside = distance_colours(np.array([[-0.35, 0.001, 0.35]]), pixel=0.01)[0].astype(int)
    assert inside[0] > inside[2]
    assert outside[2] > outside[0]
    assert not surface.any()


def test_bands_of_a_distance_are_as_wide_as_was_asked():
    """Along a line away from a surface, shades change once in every band."""
    away = np.linspace(0.0105, 0.495, 4000)[None]
    shade = distance_colours(away, pixel=1e-6, band=0.05)[0].astype(float)
    jumps = np.nonzero(np.abs(np.diff(shade.sum(axis=1))) > 30)[0]
    assert np.allclose(away[0, jumps], np.arange(1, 10) * 0.05, atol=1e-3)


@pytest.mark.parametrize(("size", "times"), [(8, 25), (100, 2), (200, 1), (400, 1)])
def test_side_by_side_keeps_every_pixel_and_enlarges_small_ones(size, times):
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    row = side_by_side([Picture(each) for each in pixels], ["rendered", "truth", "error"]).pixels
    assert row.shape[1] == 3 * size * times + 2 * 4
    for index, each in enumerate(pixels):
        left = index * (size * times + 4)
        panel = row[-size * times :, left : left + size * times]
        assert np.array_equal(panel[::times, ::times], each)
        assert np.array_equal(panel[times - 1 :: times, times - 1 :: times], each)


def test_labels_are_written_above_and_stay_above_their_picture():
    pictures = [Picture(np.zeros((200, 200, 3), np.uint8))] * 2
    row = side_by_side(
        pictures, ["a label that is far too long, even small, for two hundred pixels" * 3, ""]
    ).pixels
    strip = row[:-200]
    assert (strip[:, :200] < 128).any()
    assert (strip[:, 204:] == 255).all()


def test_side_by_side_wants_one_height_and_a_label_each(snapshot):
    pictures = [Picture(np.zeros((height, 4, 3), np.uint8)) for height in (4, 5)]
    with pytest.raises(ShapeError) as error:
        side_by_side(pictures, ["a", "b"])
    snapshot("heights_differ", str(error.value))
    with pytest.raises(ShapeError):
        side_by_side(pictures[:1], [])
