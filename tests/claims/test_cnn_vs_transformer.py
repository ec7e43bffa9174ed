"""ConvNets against transformers: the same minutes and pictures, about the same operations, and a verdict that
follows from the numbers."""

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rayformer.claims.claim import Measured
from rayformer.claims.cnn_vs_transformer import (
    CLAIM,
    CONVNETS,
    MINUTES,
    NETWORKS,
    SIMILAR,
    TRANSFORMERS,
    best,
    cells,
    judge,
    slope,
)
from rayformer.claims.recognition import forward_flops
from rayformer.nets.convnext import ConvNeXt
from rayformer.nets.nfnet import NFNet
from rayformer.nets.resnet_rs import ResNet
from rayformer.nets.swin import Swin
from rayformer.nets.vit import ViT

MADE = {"resnet-rs": ResNet, "convnext": ConvNeXt, "nfnet": NFNet, "vit": ViT, "swin": Swin}


def measured(top1=lambda name, size: 70.0, tflop=None) -> dict[str, Measured]:
    compute = tflop or {"small": 1.0, "medium": 3.0, "large": 9.0}
    found = {}
    for cell in cells(False):
        name, size = cell.name.rsplit(" ", 1)
        numbers = {"top1_percent": top1(name, size), "training_tflop": compute[size], "train_s": 30.0}
        found[cell.name] = Measured(cell, (Path("0"),), (numbers,))
    return found


def test_every_network_is_there_at_every_size_and_is_of_one_kind():
    assert {*CONVNETS, *TRANSFORMERS} == set(NETWORKS) == set(MADE)
    assert len(cells(False)) == 15
    assert sum(MINUTES.values()) * len(NETWORKS) == pytest.approx(20)


def test_networks_of_a_size_have_the_same_minutes_pictures_and_batches():
    for size, minutes in MINUTES.items():
        some = [cell.config for cell in cells(False) if cell.name.endswith(size)]
        assert {config.plan.minutes for config in some} == {minutes}
        assert len({(config.data, config.augment, config.train) for config in some}) == 1


@pytest.mark.parametrize("size", MINUTES)
def test_networks_of_a_size_compute_about_as_much_for_a_picture(size):
    with torch.device("meta"):
        models = {name: MADE[name](sizes[size], 10) for name, sizes in NETWORKS.items()}
    found = {name: forward_flops(model.to_empty(device="cpu"), 32) for name, model in models.items()}
    middle = statistics.median(found.values())
    assert all(0.7 < flops / middle < 1.4 for flops in found.values()), found


def test_the_best_of_a_kind_is_the_best_of_its_networks():
    rows = measured(lambda name, size: {"convnext": 71.0, "swin": 69.0}.get(name, 60.0))
    assert best(rows, CONVNETS, "large") == ("convnext", 71.0)
    assert best(rows, TRANSFORMERS, "large") == ("swin", 69.0)


def test_a_power_law_is_found_again():
    """Mistakes of 80 / compute^0.4."""
    compute = {"small": 1.0, "medium": 3.0, "large": 9.0}
    rows = measured(lambda name, size: 100 - 80 * compute[size] ** -0.4)
    assert slope(rows, CONVNETS) == pytest.approx(-0.4)
    assert slope(rows, TRANSFORMERS) == pytest.approx(-0.4)


def test_it_holds_where_both_kinds_end_level_whoever_leads_before():
    def top1(name, size):
        return 70.0 + (20 if size != "large" and name in CONVNETS else 0) - (3 if name == "swin" else 0)

    verdict = judge(measured(top1))
    assert verdict.holds
    assert "small resnet-rs 90.0 against vit 70.0 (+20.0)" in verdict.reason


@pytest.mark.parametrize("ahead", [CONVNETS, TRANSFORMERS])
def test_it_does_not_hold_where_one_kind_ends_well_ahead(ahead):
    def lead(points):
        return measured(lambda name, size: 60.0 + (points if name in ahead else 0))

    assert judge(lead(SIMILAR - 0.1)).holds
    assert not judge(lead(SIMILAR + 0.1)).holds


def test_the_picture_has_every_network():
    picture = CLAIM.draw(measured(lambda name, size: 50.0 + len(size)))["compute"]
    assert picture.pixels.std() > 10


@pytest.mark.slow
def test_the_smoke_size_fills_the_table(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert len(outcome.measured) == 15
    for row in outcome.measured.values():
        config = row.cell.config
        assert row.median("thousand_images") == pytest.approx(config.plan.steps * config.train.batch / 1000)
        assert replace(config, data=config.data) == config
