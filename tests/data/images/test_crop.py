"""Which part of a picture is seen, and at what size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from rayformer.data.images.crop import Box, centred, flipped, random_box, resized, shifted
from rayformer.data.images.decode import ORIENTATION, decode, opened, upright_size
from tests.data.images.photographs import generator, ramps, soft, written

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


def levels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


# ---------------------------------------------------------------- boxes


@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_a_random_box_lies_inside_and_has_pixels(width, height, seed):
    box = random_box(width, height, AREA, ASPECT, generator(seed))
    assert box.width >= 1
    assert box.height >= 1
    assert 0 <= box.left <= width - box.width
    assert 0 <= box.top <= height - box.height


def test_areas_and_aspects_are_spread_evenly_where_every_box_fits():
    draw = generator()
    boxes = [random_box(1000, 1000, (0.1, 0.5), ASPECT, draw) for _ in range(2000)]
    areas = [box.width * box.height / 10**6 for box in boxes]
    aspects = [np.log(box.width / box.height) for box in boxes]
    assert stats.kstest(areas, "uniform", (0.1, 0.4)).pvalue > 1e-3
    half = np.log(4 / 3)
    assert stats.kstest(aspects, "uniform", (-half, 2 * half)).pvalue > 1e-3


def test_without_a_generator_the_box_is_the_middle_within_the_aspect():
    assert random_box(100, 90, AREA, ASPECT, None) == Box(0, 0, 100, 90)
    assert random_box(400, 90, AREA, ASPECT, None) == Box(140, 0, 120, 90)
    assert random_box(90, 400, AREA, ASPECT, None) == Box(0, 140, 90, 120)
    assert random_box(1, 1, AREA, ASPECT, None) == Box(0, 0, 1, 1)


# ---------------------------------------------------------------- scaling


def test_a_part_at_its_own_size_is_that_part():
    picture = ramps(60, 50)
    found = levels(resized(picture, Box(7, 11, 20, 20), 20, "bicubic"))
    np.testing.assert_array_equal(found, levels(picture)[11:31, 7:27])


def test_scaling_down_takes_the_mean_of_what_a_pixel_covers():
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8)[None, :, None], (64, 32, 3)))
    found = levels(resized(stripes, Box(0, 0, 64, 64), 8, "bilinear"))
    np.testing.assert_allclose(found[:, 1:-1], 127.5, atol=2)


@pytest.mark.parametrize("turns", range(1, 9))
def test_the_box_is_that_of_the_upright_picture_however_the_file_holds_it(turns):
    tags = Image.Exif()
    tags[ORIENTATION] = turns
    file = written(soft(90, 60), "PNG", exif=tags)
    box = Box(5, 12, 40, 30)
    wanted = levels(resized(decode(file), box, 25, "bicubic"))
    with opened(file) as picture:
        assert upright_size(picture) == ((60, 90) if turns > 4 else (90, 60))
        found = levels(resized(picture, box, 25, "bicubic"))
    assert np.abs(found - wanted).max() <= 1, "turned after scaling, so that rounding may differ"
    wanted = levels(centred(decode(file), 25, 0.9, "bicubic"))
    with opened(file) as picture:
        np.testing.assert_array_equal(levels(centred(picture, 25, 0.9, "bicubic")), wanted)


@pytest.mark.parametrize(("side", "times"), [(900, 4), (460, 2), (440, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("turns", [1, 6])
def test_a_jpeg_is_decoded_small_where_pixels_are_to_spare(side, times, mode, turns):
    tags = Image.Exif()
    tags[ORIENTATION] = turns
    file = written(soft(1200, 1000).convert(mode), quality=95, exif=tags)
    box = Box(51, 33, side, side)
    with opened(file) as picture:
        small = levels(resized(picture, box, 112, "bicubic", spare=2.0))
        assert picture.size == (1200 // times, 1000 // times)
    with opened(file) as picture:
        whole = levels(resized(picture, box, 112, "bicubic"))
        assert picture.size == (1200, 1000)
    error = np.abs(small - whole)
    assert error.mean() < 0.6
    assert error.max() <= 6


def test_what_a_telephone_writes_is_decoded_small_too():
    file = written(soft(800, 800), "MPO", save_all=True, append_images=[soft(80, 80)])
    with opened(file) as picture:
        resized(picture, Box(0, 0, 800, 800), 100, "bilinear", spare=2.0)
        assert picture.size == (200, 200)


def test_evaluation_sees_the_middle_at_its_share():
    found = levels(centred(ramps(200, 100), 80, 0.8, "bicubic"))
    np.testing.assert_array_equal(found, levels(ramps(200, 100))[10:90, 60:140])


def test_squashed_all_of_it_is_seen():
    found = levels(centred(ramps(200, 100), 50, 1.0, "bilinear", squash=True))
    assert abs(found[0, :, 0] - np.arange(1.5, 200, 4)).max() < 1.5
    assert abs(found[:, 0, 1] - np.arange(0.5, 100, 2)).max() < 1.5


def test_a_strip_does_not_become_huge_and_shows_its_middle():
    strip = centred(soft(3, 30_000), 64, 0.9, "bicubic")
    assert strip.size == (64, 64)
    # The same with the whole strip scaled, by the rule for pictures that are no strips.
    whole = soft(3, 30_000).crop((0, 14_960, 3, 15_040)).resize((71, 71 * 80 // 3), Image.Resampling.BICUBIC)
    left, top = round((71 - 64) / 2), (whole.height - 64) // 2
    wanted = levels(whole.crop((left, top, left + 64, top + 64)))
    assert np.abs(levels(strip) - wanted).max() <= 2


def test_one_pixel_fills_everything():
    dot = Image.new("RGB", (1, 1), (3, 140, 250))
    for found in (centred(dot, 8, 0.875, "bicubic"), resized(dot, Box(0, 0, 1, 1), 8, "bicubic")):
        assert (levels(found) == [3, 140, 250]).all()


# ---------------------------------------------------------------- small pictures, and sides


def test_a_shifted_picture_is_a_window_of_the_padded_one_and_all_windows_come():
    padded = np.pad(levels(ramps(8, 6)), ((2, 2), (2, 2), (0, 0)))
    windows = {
        padded[top : top + 6, left : left + 8].tobytes(): (top, left) for top in range(5) for left in range(5)
    }
    draw, met = generator(), set()
    for _ in range(300):
        met.add(windows[levels(shifted(ramps(8, 6), 2, draw)).tobytes()])
    assert len(met) == 25
    assert shifted(ramps(8, 6), 2, None) == ramps(8, 6)


def test_flipping_twice_is_not_flipping():
    picture = ramps(7, 5)
    once = flipped(picture, 1.0, generator())
    np.testing.assert_array_equal(levels(once), levels(picture)[:, ::-1])
    assert flipped(once, 1.0, generator()) == picture
    assert flipped(picture, 0.0, generator()) == picture
    assert flipped(picture, 1.0, None) == picture
