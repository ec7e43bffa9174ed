"""The optimisers that torch does not have, against formulas and against torch's where they meet."""

import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from rayformer.core.errors import ConfigError
from rayformer.engine.optim import (
    BertAdam,
    Lars,
    TableAdam,
    build_optimiser,
    clip_units,
    load_state_by_name,
    set_rate,
    state_by_name,
)
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Group, one_group


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


def test_bert_adam_is_its_equations_however_it_is_computed():
    """Appendix A.2, line by line; and by torch's fused kernel as without."""
    start = torch.linspace(-1, 1, 12).reshape(3, 4)
    weight, first, second = start.clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    draw = torch.Generator().manual_seed(0)
    for _ in range(7):
        gradient = torch.randn(3, 4, generator=draw)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        weight = weight - 1e-2 * (first / (second.sqrt() + 1e-6) + 0.1 * weight)
    settings = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    for fused in (True, None):
        mine = stepped(lambda p, fused=fused: BertAdam(p, fused=fused, **settings), 7)
        torch.testing.assert_close(mine, weight, rtol=1e-5, atol=1e-6)


def test_bert_adam_finds_a_near_target_in_a_hundred_steps():
    """The authors' own test of their optimiser."""
    weight, target = nn.Parameter(torch.tensor([0.1, -0.2, -0.1])), torch.tensor([0.4, 0.2, -0.5])
    optimiser = BertAdam([weight], lr=0.2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
    for _ in range(100):
        optimiser.zero_grad()
        (weight - target).square().mean().backward()
        optimiser.step()
    assert (weight - target).abs().max() < 1e-2


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


# ---------------------------------------------------------------- tables


class Tabled(nn.Module):
    """A table of which a step touches few rows, and a network."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(50, 2))
        self.network = nn.Linear(2, 3)


def table_groups(model: Tabled) -> list[Group]:
    return [
        Group("tables", ("table",), decay=0.0, sparse=True),
        Group("networks", ("network.weight", "network.bias"), rate=0.5, decay=0.01),
    ]


TABLES = Optim(rate=0.02, betas=(0.9, 0.99), eps=1e-15)


def give_gradients(model: Tabled, draw: torch.Generator, rows: int) -> torch.Tensor:
    """Random gradients, in the table for so many rows; which rows those are."""
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    met = torch.zeros(50, dtype=torch.bool)
    met[torch.randperm(50, generator=draw)[:rows]] = True
    model.table.grad[~met] = 0
    return met


def test_where_every_number_has_a_gradient_tables_step_as_with_torchs_adam():
    ours, theirs = Tabled(), Tabled()
    first = build_optimiser(ours, table_groups(ours), TABLES)
    second = Adam(
        [
            {"params": [theirs.table], "lr": 0.02},
            {"params": list(theirs.network.parameters()), "lr": 0.01, "weight_decay": 0.01},
        ],
        betas=TABLES.betas,
        eps=TABLES.eps,
    )
    assert isinstance(first, TableAdam)
    draws = [torch.Generator().manual_seed(1) for _ in range(2)]
    for step in range(20):
        for model, optimiser, draw in zip((ours, theirs), (first, second), draws, strict=True):
            give_gradients(model, draw, rows=50)
            for group in optimiser.param_groups:
                group.setdefault("full_rate", group["lr"])
            set_rate(optimiser, 1 - step / 40)
            optimiser.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_rows_without_a_gradient_stay_where_they_are_and_networks_do_not():
    model = Tabled()
    optimiser, draw = build_optimiser(model, table_groups(model), TABLES), torch.Generator().manual_seed(2)
    give_gradients(model, draw, rows=50)
    optimiser.step()  # all rows have momentum now
    for _ in range(5):
        before = {name: value.detach().clone() for name, value in state_by_name(optimiser, model).items()}
        table, weight = model.table.detach().clone(), model.network.weight.detach().clone()
        met = give_gradients(model, draw, rows=7)
        model.network.weight.grad.zero_()
        optimiser.step()
        assert torch.equal(model.table[~met], table[~met])
        assert (model.table[met] != table[met]).all()
        after = state_by_name(optimiser, model)
        for moment in ("table.exp_avg", "table.exp_avg_sq"):
            assert torch.equal(after[moment][~met], before[moment][~met])
        assert (model.network.weight != weight).all(), "a network moves on by its momentum"


def test_the_state_of_tables_is_kept_by_name_and_comes_back_bit_for_bit():
    def after(steps: int, resumed_at: int | None) -> list[torch.Tensor]:
        model = Tabled()
        optimiser, draw = (
            build_optimiser(model, table_groups(model), TABLES),
            torch.Generator().manual_seed(3),
        )
        for step in range(steps):
            if step == resumed_at:
                stored = {key: value.clone() for key, value in state_by_name(optimiser, model).items()}
                assert {f"table.{key}" for key in ("step", "exp_avg", "exp_avg_sq")} <= stored.keys()
                optimiser = build_optimiser(model, table_groups(model), TABLES)
                load_state_by_name(optimiser, model, stored)
            give_gradients(model, draw, rows=9)
            optimiser.step()
        return [value.detach() for value in model.parameters()]

    assert all(map(torch.equal, after(8, resumed_at=4), after(8, resumed_at=None)))


def test_a_table_without_any_gradient_is_passed_over():
    model = Tabled()
    optimiser = build_optimiser(model, table_groups(model), TABLES)
    before = model.table.detach().clone()
    optimiser.step()
    assert torch.equal(model.table, before)
    assert state_by_name(optimiser, model) == {}


@pytest.mark.parametrize("name", ["adamw", "bert-adam", "sgd", "lars"])
def test_tables_take_no_other_optimiser_than_adam(name):
    model = Tabled()
    with pytest.raises(ConfigError, match=rf"plan\.optim\.name must be adam here, but is {name}"):
        build_optimiser(model, table_groups(model), Optim(name=name))


# ---------------------------------------------------------------- clipping unit by unit


def units(shape: tuple[int, ...], gradient: float, seed: int = 0) -> nn.Parameter:
    """A parameter whose gradient is a random one times `gradient`."""
    draw = torch.Generator().manual_seed(seed)
    parameter = nn.Parameter(torch.randn(shape, generator=draw))
    parameter.grad = gradient * torch.randn(shape, generator=draw)
    return parameter


def clipped(parameter: nn.Parameter, share: float, clip: bool = True) -> torch.Tensor:
    model = nn.ParameterDict({"one": parameter})
    clip_units(build_optimiser(model, [Group("all", ("one",), clip_units=clip)], Optim(name="sgd")), share)
    return parameter.grad


@pytest.mark.parametrize("shape", [(5, 7), (6, 3, 2, 2), (8, 1, 1, 1), (9,), ()])
def test_a_gradient_within_its_share_is_left_as_it_is(shape):
    parameter = units(shape, gradient=1e-9)
    before = parameter.grad.clone()
    assert torch.equal(clipped(parameter, 0.01), before)


@pytest.mark.parametrize("shape", [(5, 7), (6, 3, 2, 2), (9,), ()])
def test_a_longer_one_becomes_exactly_as_long_as_allowed_and_keeps_its_direction(shape):
    parameter = units(shape, gradient=100.0)
    before = parameter.grad.clone()
    after = clipped(parameter, 0.01)
    rows = (lambda x: x.flatten(1)) if len(shape) > 1 else (lambda x: x.reshape(1, -1))
    torch.testing.assert_close(rows(after).norm(dim=1), 0.01 * rows(parameter.detach()).norm(dim=1))
    assert torch.cosine_similarity(rows(after), rows(before)).min() > 1 - 1e-5


def test_one_long_unit_does_not_shorten_the_others():
    parameter = units((4, 3, 2, 2), gradient=1e-9)
    parameter.grad[2] *= 1e12
    before = parameter.grad.clone()
    after = clipped(parameter, 0.01)
    assert torch.equal(after[[0, 1, 3]], before[[0, 1, 3]])
    torch.testing.assert_close(after[2].norm(), 0.01 * parameter.detach()[2].norm())


def test_weights_that_are_zero_can_still_move():
    parameter = nn.Parameter(torch.zeros(3, 4))
    parameter.grad = torch.ones(3, 4)
    assert clipped(parameter, 0.01).norm(dim=1).tolist() == pytest.approx([1e-5] * 3)


def test_no_gradient_stays_none_and_zeros_stay_zero():
    parameter = nn.Parameter(torch.ones(3, 4))
    parameter.grad = torch.zeros(3, 4)
    assert torch.equal(clipped(parameter, 0.01), torch.zeros(3, 4))
    parameter.grad = None
    assert clipped(parameter, 0.01) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(value):
    parameter = units((3, 4), gradient=1.0)
    parameter.grad[1, 2] = value
    assert not clipped(parameter, 0.01)[1].isfinite().all()


def test_groups_may_stay_out():
    parameter = units((5, 7), gradient=100.0)
    before = parameter.grad.clone()
    assert torch.equal(clipped(parameter, 0.01, clip=False), before)


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"plan.clip_units must be above 0"):
        Plan(clip_units=0.0)
