"""Mixup and CutMix: the answer has the shares that the picture has."""

import pytest
import torch
from scipy import stats

from rayformer.core.errors import ConfigError
from rayformer.data.images.draws import beta
from rayformer.data.images.mix import MixConfig, cut_box, mix
from rayformer.losses.classification import soft_labels
from tests.data.images.photographs import generator

CLASSES = 5


def batch(count: int = 6, width: int = 20):
    """Every pixel of a picture says which picture it belongs to, and so does the label."""
    labels = torch.arange(count) % CLASSES
    return labels[:, None, None, None].float().expand(count, 3, 16, width), labels


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
@pytest.mark.parametrize("count", [1, 5, 6])
def test_the_mean_of_a_picture_is_the_mean_of_its_labels_by_their_shares(mixup, cutmix, count):
    config, draw = MixConfig(mixup=mixup, cutmix=cutmix, smoothing=0.0), generator()
    images, labels = batch(count)
    for _ in range(40):
        found, targets = mix(images, labels, CLASSES, config, draw)
        torch.testing.assert_close(found.mean((1, 2, 3)), targets @ torch.arange(CLASSES).float())
        torch.testing.assert_close(targets.sum(1), torch.ones(count))


def test_cutmix_takes_every_pixel_whole_and_mixup_takes_none():
    images, labels = batch()
    cut, _ = mix(images, labels, CLASSES, MixConfig(mixup=0.0), generator(1))
    assert set(cut.unique().tolist()) <= set(range(CLASSES))
    mixed, _ = mix(images, labels, CLASSES, MixConfig(cutmix=0.0), generator(1))
    assert (mixed == mixed[:, :1, :1, :1]).all()


def test_chance_and_switch_are_shares_of_batches():
    images, labels = batch()
    draw, kinds = generator(), {"plain": 0, "cut": 0, "mixed": 0}
    for _ in range(1500):
        found, _ = mix(
            images, labels, CLASSES, MixConfig(chance=0.6, switch=0.25, mixup=5.0, cutmix=5.0), draw
        )
        if torch.equal(found, images):
            kinds["plain"] += 1
        else:
            kinds["mixed" if (found == found[:, :1, :1, :1]).all() else "cut"] += 1
    assert kinds["plain"] / 1500 == pytest.approx(0.4, abs=0.05)
    assert kinds["cut"] / 1500 == pytest.approx(0.15, abs=0.04)


def test_nothing_is_mixed_without_a_generator_or_with_both_off():
    images, labels = batch()
    for config, draw in ((MixConfig(), None), (MixConfig(mixup=0.0, cutmix=0.0), generator())):
        found, targets = mix(images, labels, CLASSES, config, draw)
        assert found is images
        torch.testing.assert_close(targets, soft_labels(labels, CLASSES, 0.1))


def test_a_cut_is_the_picture_small_and_stays_inside():
    draw = generator()
    for share in (0.0, 0.3, 0.75, 1.0):
        boxes = [cut_box(40, 30, share, draw) for _ in range(200)]
        side = (1 - share) ** 0.5
        assert max(box.width for box in boxes) <= int(40 * side) + 1
        assert (
            any(box.width == int(40 * side) and box.height == int(30 * side) for box in boxes) or share == 0
        )
        assert all(box.left >= 0 and box.left + box.width <= 40 for box in boxes)
        assert all(box.top >= 0 and box.top + box.height <= 30 for box in boxes)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    draw = generator()
    assert stats.kstest([beta(alpha, draw) for _ in range(2000)], "beta", (alpha, alpha)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("options", "name"),
    [({"mixup": -1.0}, "mixup"), ({"switch": 2.0}, "switch"), ({"smoothing": 1.0}, "smoothing")],
)
def test_shares_that_cannot_be_are_refused_by_field(options, name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        MixConfig(**options)
    snapshot(name, str(refusal.value))
