"""Drawn digits: always the same, all ten of them legible, and told apart by their form only."""

import numpy as np
import pytest

from rayformer.core.errors import DataError
from rayformer.data.images import drawn, glyphs
from rayformer.data.images.glyphs import BRIGHTNESS, CONTRAST, DIGITS, FONTS, font_files, glyph_pictures
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.read import read_images


@pytest.fixture(scope="module")
def pictures():
    return glyph_pictures(40, seed=0), glyph_pictures(15, seed=1)


def test_more_pictures_begin_with_the_same_ones():
    few, labels = glyph_pictures(1, seed=3)
    more, _ = glyph_pictures(2, seed=3)
    np.testing.assert_array_equal(more[: len(few)], few)
    assert labels.tolist() == list(range(len(DIGITS)))
    other, _ = glyph_pictures(1, seed=4)
    assert (other != few).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("file", font_files(), ids=lambda file: file.stem)
def test_every_typeface_has_ten_digits_that_all_look_different(file):
    stamps = [np.asarray(glyphs._upright(file, digit).resize((32, 48)), np.float64) / 255 for digit in DIGITS]
    for one in range(10):
        assert stamps[one].mean() > 0.1
        for other in range(one):
            assert abs(stamps[one] - stamps[other]).mean() > 0.05, (DIGITS[one], DIGITS[other])


def test_typefaces_come_in_our_order_whatever_the_folder_says():
    assert [file.stem for file in font_files()] == list(FONTS)


def test_digit_and_paper_differ_in_brightness(pictures):
    """Of the middle of every picture, where the digit lies."""
    (some, _), _ = pictures
    bright = some[:, 8:24, 8:24] @ BRIGHTNESS / 255
    spread = bright.max(axis=(1, 2)) - bright.min(axis=(1, 2))
    assert np.quantile(spread, 0.05) > CONTRAST * 0.8


def test_the_whole_digit_lies_within_the_picture():
    """Of the largest in the widest face, at its greatest tilt."""
    for seed in range(200):
        chance = np.random.default_rng(seed)
        stamp = glyphs._stamp("4", glyphs.SIDE, chance)
        assert max(stamp.size) <= glyphs.FINER * glyphs.SIDE
        assert np.asarray(stamp).max() > 200


def test_colour_tells_nothing_about_the_class(pictures):
    (known, labels), _ = pictures
    means = known.reshape(len(known), -1, 3).mean(axis=1)
    of_classes = np.stack([means[labels == label].mean(axis=0) for label in range(10)])
    within = np.mean([means[labels == label].std(axis=0) for label in range(10)])
    assert of_classes.std(axis=0).max() < within / 2


def test_the_nearest_picture_tells_most_but_not_all(pictures):
    """An easy set, for networks of a minute, and yet one in which there is something to learn."""
    (known, labels), (asked, truth) = pictures
    known, asked = (some.reshape(len(some), -1).astype(np.float64) for some in (known, asked))
    apart = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)[None]
    assert 0.5 < (labels[apart.argmin(axis=1)] == truth).mean() < 0.8


@pytest.mark.slow
def test_outlines_do_tell_the_class(pictures):
    features = pytest.importorskip("skimage.feature")
    linear = pytest.importorskip("sklearn.linear_model")
    (known, labels), (asked, truth) = pictures

    def seen(some):
        return np.array([features.hog(one, 9, (6, 6), (2, 2), channel_axis=-1) for one in some])

    taught = linear.RidgeClassifier(alpha=5.0).fit(seen(known), labels)
    assert taught.score(seen(asked), truth) > 0.4


def test_a_drawn_set_is_drawn_once_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(drawn, "HELD_OUT", 1)
    first = read_images(ImagesConfig(source="glyphs-2", validation=0.0))
    assert first.counts == {"classes": 10, "train": 20, "test": 10}
    assert first.classes == DIGITS
    assert first.remarks[0] == "glyphs-2 are drawn: digits of any typeface, size, place and colour"
    monkeypatch.setattr(glyphs, "_drawn", None)  # which would fail
    assert read_images(ImagesConfig(source="glyphs-2", validation=0.0)).fingerprint == first.fingerprint


def test_an_impossible_number_of_glyphs_is_refused(snapshot):
    with pytest.raises(DataError) as refusal:
        read_images(ImagesConfig(source="glyphs-0"))
    snapshot("no_glyphs", str(refusal.value))


def test_a_typeface_that_is_not_there_is_named(tmp_path, monkeypatch, snapshot):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    font_files.cache_clear()
    with pytest.raises(DataError) as refusal:
        font_files()
    font_files.cache_clear()
    snapshot("no_typeface", str(refusal.value).replace(str(tmp_path), "TMP"))
