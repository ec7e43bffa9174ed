"""Stochastic depth: whole examples, the mean kept, and only in training."""

import pytest
import torch

from rayformer.nets.parts.drop_path import DropPath, rates


def test_in_evaluation_nothing_is_left_out():
    x = torch.randn(8, 3, 2)
    assert DropPath(0.9).eval()(x) is x


def test_a_share_of_nothing_leaves_all():
    x = torch.randn(8, 3, 2)
    assert DropPath(0.0)(x) is x


@pytest.mark.parametrize("rescale", [True, False])
def test_an_example_is_whole_or_gone(rescale):
    torch.manual_seed(0)
    out = DropPath(0.25, rescale)(torch.ones(4000, 3, 2))
    kept = out[:, 0, 0] != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(out, (kept / (0.75 if rescale else 1.0))[:, None, None].expand(-1, 3, 2))


def test_rescaled_the_mean_stays():
    torch.manual_seed(0)
    assert DropPath(0.6)(torch.ones(20000, 1)).mean().item() == pytest.approx(1.0, abs=0.03)


def test_rates_rise_evenly_from_nothing():
    assert rates(5, 0.2) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rates(1, 0.2) == [0.0]
