"""What claims about recognising share: operations counted as by hand, and chance told from what is more."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from rayformer.claims.claim import Cell, Measured
from rayformer.claims.recognition import Climb, climbs, doubt, flops_of, forward_flops, stairs, told
from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.vit import ViT, ViTConfig


def ladder(*rungs: tuple[float, ...], papers: tuple[float, ...] | None = None) -> dict[str, Measured]:
    """A ladder whose rungs have these numbers, one for each seed."""
    papers = papers or tuple(float(number) for number in range(1, len(rungs) + 1))
    return {
        f"rung {number}": Measured(
            Cell(f"rung {number}", "line", None, papers[number]),
            tuple(Path(str(seed)) for seed in range(len(values))),
            tuple({"top1_percent": value, "train_s": 1.0} for value in values),
        )
        for number, values in enumerate(rungs)
    }


def test_a_product_of_matrices_counts_two_operations_for_each_pair():
    assert flops_of(lambda: torch.ones(5, 7) @ torch.ones(7, 11)) == 2 * 5 * 7 * 11


def test_vits_operations_are_those_of_the_equations():
    """Patches, blocks of 24 n d^2 + 4 n^2 d, classes; the fused kernel's attention is counted too."""
    config = ViTConfig(image_size=32, patch_size=8, width=24, depth=2, heads=3)
    tokens, width = 16 + 1, 24
    block = 24 * tokens * width**2 + 4 * tokens**2 * width
    by_hand = 2 * 16 * 3 * 64 * width + 2 * block + 2 * width * 10
    assert forward_flops(ViT(config, 10), 32) == by_hand


def test_a_convolution_that_keeps_channels_apart_costs_as_much_less():
    config = ConvNeXtConfig(depths=(1,), widths=(8,), patch_size=4, kernel=7)
    places, width = 64, 8
    by_hand = 2 * places * (3 * 16 * width + 49 * width + 8 * width**2) + 2 * width * 10
    assert forward_flops(ConvNeXt(config, 10), 32) == by_hand


def test_counting_leaves_a_network_as_it_was():
    model = ViT(ViTConfig(image_size=16, patch_size=8, width=8, depth=1, heads=1), 2).train()
    forward_flops(model, 16)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert isinstance(model, nn.Module)


def test_gains_add_up_to_the_way_from_the_first_to_the_last():
    rungs = ladder((50.0, 52.0), (55.0, 55.0), (54.0, 53.0), papers=(79.0, 79.3, 78.8))
    steps = climbs(rungs)
    assert [step.gain for step in steps] == [4.0, -1.5]
    assert [step.paper for step in steps] == pytest.approx([0.3, -0.5])
    assert sum(step.gain for step in steps) == 53.5 - 51.0


def test_doubt_is_twice_the_deviation_of_a_difference_of_means():
    """Two seeds that differ by 2 have a variance of 2; so has the difference of two means of two."""
    assert doubt(ladder((50.0, 52.0), (60.0, 62.0))) == pytest.approx(2 * math.sqrt(2))
    assert doubt(ladder((50.0, 50.0), (60.0, 60.0))) == 0


def test_doubt_covers_what_seeds_do_by_themselves():
    """Of cells that differ in their seeds alone, nineteen of twenty pairs are within it."""
    draw = torch.Generator().manual_seed(0)
    inside = []
    for _ in range(200):
        cells = ladder(*(tuple((60 + torch.randn(2, generator=draw)).tolist()) for _ in range(11)))
        inside += [abs(step.gain) <= doubt(cells) for step in climbs(cells)]
    assert 0.9 < sum(inside) / len(inside) < 0.98


def test_one_seed_knows_nothing_of_chance_and_says_so():
    rungs = ladder((50.0,), (55.0,))
    assert doubt(rungs) == math.inf
    assert told(climbs(rungs), math.inf) == (
        "gained or lost, where one seed cannot tell it from chance: rung 1 +5.0 (+1.0)"
    )


def test_every_step_is_told_once_and_by_its_kind():
    steps = [Climb("one", 3.0, 0.3), Climb("two", -3.0, -0.5), Climb("three", 0.4, 1.2)]
    assert told(steps, 1.0) == (
        "gains: one +3.0 (+0.3); loses: two -3.0 (-0.5); within chance: three +0.4 (+1.2)"
    )


def test_the_ladder_is_drawn_with_one_seed_and_with_two():
    for seeds in (1, 2):
        rungs = ladder(*((50.0 + number, 52.0 + number)[:seeds] for number in range(4)))
        picture = stairs(rungs, "up")
        assert picture.pixels.std() > 10
        assert "beside the paper's" in picture.caption
