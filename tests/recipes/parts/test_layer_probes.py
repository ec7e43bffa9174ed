"""Linear probes on layers: the layer that knows is found, and the tested pictures never choose it."""

import pytest
import torch

from rayformer.recipes.parts.layer_probes import Layers, Probed, best_layer, probe_layers

CLASSES, WIDTH = 3, 6


def layers(count, knows, seed, noise=0.5):
    """Features of chance, at the depth `knows` with the class among them."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    features = [torch.randn(count, WIDTH, generator=draw) for _ in range(3)]
    features[knows] = noise * features[knows] + torch.eye(WIDTH)[labels]
    return Layers(features, labels)


@pytest.mark.parametrize("knows", [0, 1, 2])
def test_the_layer_that_knows_the_classes_is_found(knows):
    known, held, asked = (layers(count, knows, seed) for seed, count in enumerate((150, 60, 90)))
    probed = probe_layers(known, held, [asked], CLASSES)
    assert [one.depth for one in probed] == [0, 1, 2]
    assert best_layer(probed).depth == knows
    assert best_layer(probed).top1 > 0.75
    assert all(one.top1 < 0.55 for one in probed if one.depth != knows)


def test_held_out_pictures_choose_and_the_tested_do_not():
    probed = [Probed(0, 0.2, 0.2, 0.5), Probed(1, 0.9, 0.9, 0.4), Probed(2, 0.3, 0.3, 0.5)]
    assert best_layer(probed).depth == 0, "the first of equals"
    without = [Probed(depth, top1, top1, None) for depth, top1 in enumerate((0.9, 0.2, 0.1))]
    assert best_layer(without).depth == 1, "the one in the middle, whatever it says"


def test_masks_vote_and_one_by_itself_is_their_mean():
    """Two noisy looks and a blind one: the votes are right more often than one look by itself."""
    known, held = layers(150, 1, 0), layers(60, 1, 1)
    looks = [layers(300, 1, seed, noise=0.9) for seed in (2, 3, 4, 5, 6)]
    several = probe_layers(known, held, looks, CLASSES)[1]
    alone = [probe_layers(known, held, [look], CLASSES)[1] for look in looks]
    assert several.one_mask_top1 == pytest.approx(sum(one.top1 for one in alone) / 5)
    assert all(one.one_mask_top1 == one.top1 for one in alone)
    assert several.top1 > several.one_mask_top1 + 0.02
