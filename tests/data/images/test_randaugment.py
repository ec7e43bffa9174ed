"""Policies: by lot, by their rules, and not at all without a generator."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from rayformer.core.errors import ConfigError
from rayformer.data.images import operations, randaugment
from rayformer.data.images.jitter import jittered
from rayformer.data.images.operations import OPERATIONS, Canvas
from rayformer.data.images.randaugment import PolicyConfig, applied, augmented, strengths, timm_strengths
from tests.data.images.photographs import generator, soft

CANVAS = Canvas(Image.Resampling.BILINEAR, (10, 20, 30))
STILL = {"shear-x": 0.0, "shear-y": 0.0, "translate-x": 0.0, "translate-y": 0.0, "rotate": 0.0,
         "solarise": 256.0, "solarise-add": 0.0, "posterise": 8.0,
         "colour": 1.0, "contrast": 1.0, "brightness": 1.0, "sharpness": 1.0}  # fmt: skip


def levels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int)


# ---------------------------------------------------------------- operations


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_operation_with_nothing_to_do_does_nothing(name, mode):
    picture = soft(31, 23).convert(mode)
    np.testing.assert_array_equal(levels(OPERATIONS[name](picture, STILL[name], CANVAS)), levels(picture))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_operation_keeps_size_and_kind(name, mode):
    found = OPERATIONS[name](soft(31, 23).convert(mode), 0.7, CANVAS)
    assert (found.size, found.mode) == ((31, 23), mode)


def test_brightness_follows_its_closed_forms():
    picture = soft(31, 23)
    values = levels(picture)
    assert (levels(operations.invert(picture, 0.0, CANVAS)) == 255 - values).all()
    assert (levels(operations.posterise(picture, 3.0, CANVAS)) == values // 32 * 32).all()
    assert not levels(operations.posterise(picture, 0.0, CANVAS)).any()
    assert (
        levels(operations.solarise(picture, 90.5, CANVAS)) == np.where(values < 90.5, values, 255 - values)
    ).all()
    added = np.where(values < 128, np.minimum(values + 100, 255), values)
    assert (levels(operations.solarise_add(picture, 100.0, CANVAS)) == added).all()
    assert np.abs(levels(operations.brightness(picture, 0.4)) - 0.4 * values).max() <= 1
    grey = levels(picture.convert("L"))[..., None]
    assert np.abs(levels(operations.colour(picture, 0.3)) - (grey + 0.3 * (values - grey))).max() <= 1


def test_what_moves_moves_by_its_amount_and_uncovers_the_fill():
    picture = soft(30, 20)
    moved = levels(operations.translate_x(picture, 7.0, CANVAS))
    np.testing.assert_array_equal(moved[:, :23], levels(picture)[:, 7:])
    assert (moved[:, 23:] == [10, 20, 30]).all()
    turned = operations.rotate(soft(21, 21), 90.0, CANVAS)
    np.testing.assert_array_equal(levels(turned), np.rot90(levels(soft(21, 21))))


def test_hue_comes_full_circle_and_greys_have_none():
    picture = soft(20, 20)
    assert np.abs(levels(operations.hue(picture, 0.0)) - levels(picture)).max() <= 8, "there and back in HSV"
    third = levels(operations.hue(Image.new("RGB", (2, 2), (255, 0, 0)), 1 / 3))
    assert np.abs(third - [0, 255, 0]).max() <= 6
    assert operations.hue(picture.convert("L"), 0.3) == picture.convert("L")


# ---------------------------------------------------------------- policies


@pytest.mark.parametrize("kind", ["timm", "paper", "trivial"])
def test_one_seed_gives_one_picture_and_no_generator_the_same(kind):
    config = PolicyConfig(kind=kind)
    picture, choice = soft(40, 30), strengths(config)

    def make(seed):
        return augmented(picture, config, choice, lambda: CANVAS, generator(seed))

    assert all(make(seed) == make(seed) for seed in range(5))
    assert len({make(seed).tobytes() for seed in range(20)}) > 8
    assert augmented(picture, config, choice, lambda: CANVAS, None) is picture


def test_increasing_operations_do_more_at_higher_magnitudes():
    picture = soft(64, 64)
    for strength in timm_strengths(increasing=True):
        if strength.amount is not None and strength.operation != "brightness":
            change = [
                np.abs(levels(applied(picture, strength, magnitude, CANVAS)) - levels(picture)).mean()
                for magnitude in (0.0, 3.0, 6.0, 9.0)
            ]
            assert change[0] == 0 or strength.operation == "posterise", "which never keeps more than 4 bits"
            assert change == sorted(change), strength.operation
            assert change[-1] > 0.1, strength.operation


def test_operations_are_drawn_evenly_at_their_chance_with_spread_magnitudes(monkeypatch):
    met, sizes = Counter(), []

    def seen(picture, strength, magnitude, canvas):
        met[strength.operation] += 1
        sizes.append(abs(magnitude))
        return picture

    monkeypatch.setattr(randaugment, "applied", seen)
    config, draw = PolicyConfig(magnitude=5.0, chance=0.4), generator()
    choice, picture = strengths(config), soft(4, 4)
    for _ in range(3000):
        augmented(picture, config, choice, lambda: CANVAS, draw)
    assert sum(met.values()) == pytest.approx(2 * 3000 * 0.4, rel=0.06)
    assert stats.chisquare([met[one.operation] for one in strengths(config)]).pvalue > 1e-3
    assert stats.kstest(sizes, "norm", (5.0, 0.5)).pvalue > 1e-3


def test_magnitudes_stay_within_their_bound(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        randaugment, "applied", lambda picture, _, size, __: sizes.append(abs(size)) or picture
    )
    config, draw = PolicyConfig(magnitude=15.0, most=15.0, spread=2.0, chance=1.0), generator()
    choice, picture = strengths(config), soft(4, 4)
    for _ in range(200):
        augmented(picture, config, choice, lambda: CANVAS, draw)
    assert max(sizes) == 15.0
    assert min(sizes) > 5


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"layers": -1}, "layers"),
        ({"kind": "paper", "magnitude": 31.0}, "magnitude_of_paper"),
        ({"magnitude": -1.0}, "magnitude"),
        ({"chance": 1.5}, "chance"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_field(options, name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        PolicyConfig(**options)
    snapshot(name, str(refusal.value))


# ---------------------------------------------------------------- jitter


def test_jitter_without_strength_or_generator_does_nothing():
    picture = soft(9, 9)
    assert jittered(picture, 0.0, 0.0, generator()) is picture
    assert jittered(picture, 0.4, 0.1, None) is picture
    assert jittered(picture, 0.4, 0.1, generator()) != picture
