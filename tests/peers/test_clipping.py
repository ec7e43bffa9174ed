"""Clipping unit by unit beside timm's adaptive clipping."""

import copy

import pytest
import torch

from rayformer.engine.optim import build_optimiser, clip_units
from rayformer.engine.plan import Optim
from rayformer.engine.task import one_group
from rayformer.nets.nfnet import NFNet, NFNetConfig


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_every_gradient_of_a_network_is_timms(share):
    agc = pytest.importorskip("timm.utils.agc")
    torch.manual_seed(0)
    config = NFNetConfig(depths=(1, 1), widths=(16, 32), stem_width=16, group_width=8, last_width=16)
    ours = NFNet(config, 3).train()
    ours(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for parameter in ours.parameters():  # from far below the bound to far above it
        scale = 10 ** (4 * torch.rand(parameter.shape[:1] + (1,) * (parameter.ndim - 1)) - 3)
        parameter.grad = (torch.randn(parameter.shape) * scale).reshape(parameter.shape)
    theirs = copy.deepcopy(ours)
    for mine, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        their.grad = mine.grad.clone()
    agc.adaptive_clip_grad(theirs.parameters(), clip_factor=share, eps=1e-3)
    before = [parameter.grad.clone() for parameter in ours.parameters()]
    clip_units(build_optimiser(ours, one_group(ours), Optim(name="sgd")), share)
    after = [parameter.grad for parameter in ours.parameters()]
    torch.testing.assert_close(after, [parameter.grad for parameter in theirs.parameters()])
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
