"""The optimisers that torch does not have, against formulas and against torch's where they meet."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from rayformer.engine.optim import BertAdam, Lars, build_optimiser, load_state_by_name, state_by_name
from rayformer.engine.plan import Optim
from rayformer.engine.task import one_group


def stepped(optimiser_of, steps: int, seed: int = 0) -> torch.Tensor:
    weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    optimiser, draw = optimiser_of([weight]), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        weight.grad = torch.randn(3, 4, generator=draw)
        optimiser.step()
    return weight.detach()


def test_bert_adams_first_step_is_longer_than_adams_by_the_missing_correction():
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-12}
    plain = stepped(lambda p: BertAdam(p, weight_decay=0.0, **settings), 1) - start
    corrected = stepped(lambda p: AdamW(p, weight_decay=0.0, **settings), 1) - start
    torch.testing.assert_close(plain / corrected, torch.full_like(plain, 0.1 / 0.001**0.5), rtol=1e-3, atol=0)


def test_bert_adam_becomes_adamw_once_the_correction_has_faded():
    settings = {"lr": 1e-3, "betas": (0.5, 0.6), "eps": 1e-6}
    # With short memories the correction is gone after a few steps; what differs is the beginning.
    longer = stepped(lambda p: BertAdam(p, weight_decay=0.01, **settings), 200)
    shorter = stepped(lambda p: AdamW(p, weight_decay=0.01, **settings), 200)
    assert (longer - shorter).abs().max() < 5e-3


def test_lars_moves_each_layer_by_the_same_share_of_its_norm():
    settings = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "trust": 0.02}
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    moved = stepped(lambda p: Lars(p, **settings), 1) - start
    assert moved.norm().item() == pytest.approx(0.1 * 0.02 * start.norm().item(), rel=1e-5)


def test_lars_does_not_decay_or_rescale_vectors():
    bias = nn.Parameter(torch.ones(5))
    bias.grad = torch.full((5,), 0.5)
    Lars([bias], lr=0.1, momentum=0.9, weight_decay=10.0, trust=0.001).step()
    torch.testing.assert_close(bias.detach(), torch.full((5,), 0.95))


def test_lars_survives_a_zero_weight_and_a_zero_gradient():
    weight = nn.Parameter(torch.zeros(2, 2))
    optimiser = Lars([weight], lr=0.1, momentum=0.9, weight_decay=0.0, trust=0.001)
    weight.grad = torch.zeros(2, 2)
    optimiser.step()
    assert torch.equal(weight.detach(), torch.zeros(2, 2))


@pytest.mark.parametrize("name", ["adam", "adamw", "bert-adam", "sgd", "lars"])
def test_state_by_name_comes_back_bit_for_bit(name):
    def after(steps: int, resumed_at: int | None) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimiser = build_optimiser(model, one_group(model), Optim(name=name, rate=0.01, decay=0.01))
        draw = torch.Generator().manual_seed(1)
        for step in range(steps):
            if step == resumed_at:
                stored = {key: value.clone() for key, value in state_by_name(optimiser, model).items()}
                optimiser = build_optimiser(model, one_group(model), Optim(name=name, rate=0.01, decay=0.01))
                load_state_by_name(optimiser, model, stored)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=draw)
            optimiser.step()
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(after(8, resumed_at=4), after(8, resumed_at=None))
