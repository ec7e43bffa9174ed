"""The drawn set: distances that are distances, pictures that are always the same, and not too easy."""

import numpy as np
import pytest

from rayformer.core.errors import DataError
from rayformer.data.images import drawn, still_shapes
from rayformer.data.images.bodies import PEBBLE, REACH, distances
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.read import read_images
from rayformer.data.images.still_shapes import SHAPES, SOLIDS, shape_pictures


def measured(solid, places):
    out = np.zeros(len(places))
    distances(solid, places, out)
    return out


@pytest.mark.parametrize("solid", range(PEBBLE + 1))
def test_no_step_by_the_distance_ever_leads_through_a_surface(solid):
    """From anywhere outside, no place inside is nearer than the distance says."""
    draw = np.random.default_rng(solid)
    places = draw.uniform(-1.3, 1.3, (2000, 3))
    far = measured(solid, places)
    inside, outside = places[far < 0], places[far > 0]
    assert len(inside) > 5, "there is a body"
    assert np.linalg.norm(inside, axis=1).max() <= REACH
    nearest = np.linalg.norm(outside[:, None] - inside[None], axis=-1).min(axis=1)
    assert (far[far > 0] <= nearest + 1e-9).all()


def test_more_pictures_begin_with_the_same_ones():
    few, labels = shape_pictures(1, seed=3, side=16)
    more, _ = shape_pictures(2, seed=3, side=16)
    np.testing.assert_array_equal(more[: len(few)], few)
    assert labels.tolist() == list(range(len(SHAPES)))
    other, _ = shape_pictures(1, seed=4, side=16)
    assert (other != few).any(axis=(1, 2, 3)).all()


def test_bodies_stand_on_the_floor_and_not_in_it():
    for solid in SOLIDS:
        for seed in range(3):
            turn = still_shapes._turned(solid, np.random.default_rng(seed))
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
            low = still_shapes._lowest(solid, turn)
            places = np.random.default_rng(9).uniform(-1.2, 1.2, (20000, 3))
            inside = places[measured(solid, places) < 0] @ turn[:, 2]
            assert -inside.min() == pytest.approx(low, abs=0.09)


@pytest.fixture(scope="module")
def pictures():
    return shape_pictures(25, seed=0, side=32), shape_pictures(8, seed=1, side=32)


def test_the_nearest_picture_does_not_tell_the_class(pictures):
    """If pixels alone gave the answer away, no network would be needed."""
    (known, labels), (asked, truth) = pictures
    known, asked = (some.reshape(len(some), -1).astype(np.float64) for some in (known, asked))
    apart = (asked**2).sum(1)[:, None] - 2 * asked @ known.T + (known**2).sum(1)[None]
    assert (labels[apart.argmin(axis=1)] == truth).mean() < 0.35


def test_colour_tells_nothing_about_the_class(pictures):
    (known, labels), _ = pictures
    means = known.reshape(len(known), -1, 3).mean(axis=1)
    of_classes = np.stack([means[labels == label].mean(axis=0) for label in range(len(SHAPES))])
    within = np.mean([means[labels == label].std(axis=0) for label in range(len(SHAPES))])
    assert of_classes.std(axis=0).max() < within / 2


@pytest.mark.slow
def test_outlines_do_tell_the_class(pictures):
    """Histograms of edge directions and a linear classifier: far better than a guess, so it can be
    learned."""
    features = pytest.importorskip("skimage.feature")
    linear = pytest.importorskip("sklearn.linear_model")
    (known, labels), (asked, truth) = pictures

    def seen(some):
        return np.array([features.hog(one, 9, (6, 6), (2, 2), channel_axis=-1) for one in some])

    taught = linear.RidgeClassifier(alpha=5.0).fit(seen(known), labels)
    assert taught.score(seen(asked), truth) > 0.25


def test_a_drawn_set_is_drawn_once_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(drawn, "HELD_OUT", 1)
    first = read_images(ImagesConfig(source="shapes-2", validation=0.0))
    assert first.counts == {"classes": 10, "train": 20, "test": 10}
    assert first.classes == SHAPES
    monkeypatch.setattr(still_shapes, "draw", None)  # which would fail
    assert read_images(ImagesConfig(source="shapes-2", validation=0.0)).fingerprint == first.fingerprint


def test_a_kept_set_that_is_torn_is_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(drawn, "HELD_OUT", 1)
    first = read_images(ImagesConfig(source="shapes-1", validation=0.0)).fingerprint
    for file in tmp_path.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:-100])
    assert read_images(ImagesConfig(source="shapes-1", validation=0.0)).fingerprint == first


def test_an_impossible_number_of_shapes_is_refused(snapshot):
    with pytest.raises(DataError) as refusal:
        read_images(ImagesConfig(source="shapes-0"))
    snapshot("no_shapes", str(refusal.value))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYFORMER_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(drawn, "HELD_OUT", 1)
    with pytest.raises(DataError) as refusal:
        read_images(ImagesConfig(source="shapes-1"))
    assert "the drawn pictures cannot be kept (Not a directory)" in str(refusal.value)
    assert "RAYFORMER_CACHE" in str(refusal.value)
