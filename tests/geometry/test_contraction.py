"""Space in a ball, rays in a stretch: there and back, where nothing moves, and slopes at the edges."""

import math

import pytest
import torch

from rayformer.geometry.contraction import (
    contract,
    contract_scale,
    inverse_power_ladder,
    ladder_distances,
    power_ladder,
    uncontract,
)

NORMS = ("l2", "max")
POWERS = (-2.0, -1.5, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0)


def drawn(count=200, seed=0, spread=3.0):
    """Places inside and far outside of the part that stays."""
    source = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 3, generator=source, dtype=torch.float64)
    return points * torch.exp(spread * torch.randn(count, 1, generator=source, dtype=torch.float64))


def size(points, norm):
    return points.norm(dim=-1) if norm == "l2" else points.abs().amax(dim=-1)


@pytest.mark.parametrize("norm", NORMS)
def test_contraction_and_its_inverse_undo_each_other(norm):
    points = drawn()
    torch.testing.assert_close(uncontract(contract(points, norm), norm), points)


@pytest.mark.parametrize("norm", NORMS)
def test_what_lies_within_one_stays_and_infinity_is_at_two(norm):
    points = drawn()
    near = size(points, norm) <= 1
    assert torch.equal(contract(points, norm)[near], points[near])
    far = contract(points * 1e12, norm)
    torch.testing.assert_close(size(far, norm), torch.full((200,), 2.0, dtype=torch.float64))
    assert (size(contract(points.float(), norm), norm) <= 2).all()


def test_a_known_place():
    """Distance 4 comes to 2 - 1/4 in both norms, each measured its own way."""
    place = torch.tensor([[0.0, -4.0, 0.0]])
    for norm in NORMS:
        assert torch.equal(contract(place, norm), torch.tensor([[0.0, -1.75, 0.0]]))
    corner = torch.tensor([[4.0, -4.0, 2.0]])
    torch.testing.assert_close(contract(corner, "max"), torch.tensor([[1.75, -1.75, 0.875]]))


def test_the_l2_contraction_keeps_directions():
    points = drawn()
    moved = contract(points)
    torch.testing.assert_close(torch.linalg.cross(points, moved), torch.zeros_like(points), atol=1e-9, rtol=0)


def test_the_scale_is_the_cube_root_of_the_volume_that_autograd_finds():
    points = drawn(40, spread=1.0)
    volume = [
        torch.autograd.functional.jacobian(lambda p: contract(p[None])[0], point).det().abs()
        for point in points
    ]
    torch.testing.assert_close(contract_scale(points), torch.stack(volume) ** (1 / 3))


def test_the_scale_is_the_formula_of_the_released_code():
    points = drawn()
    points = points[points.norm(dim=-1) > 1]
    square = points.square().sum(dim=-1)
    expected = torch.exp(2 / 3 * torch.log(2 * square.sqrt() - 1) - torch.log(square))
    torch.testing.assert_close(contract_scale(points), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_of_the_contraction_are_finite_in_the_middle_on_the_edge_and_far_away(norm):
    points = torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [0, -1, 0], [1e-30, 0, 0], [1e6, 1e6, 0]], requires_grad=True
    )
    (contract(points, norm).sum() + contract_scale(points).sum()).backward()
    assert torch.isfinite(points.grad).all()
    torch.testing.assert_close(contract(points, norm)[:1], points[:1])


@pytest.mark.parametrize("power", POWERS)
def test_the_ladder_and_its_inverse_undo_each_other(power):
    distance = torch.cat([torch.zeros(1), torch.logspace(-4, 3, 60)]).double()
    torch.testing.assert_close(inverse_power_ladder(power_ladder(distance, power, 2.0), power, 2.0), distance)


@pytest.mark.parametrize("power", [-1.5, -0.25, 0.5, 2.0])
def test_the_ladder_is_the_formula_of_the_paper(power):
    x = torch.logspace(-2, 2, 30).double()
    width = abs(power - 1)
    torch.testing.assert_close(power_ladder(x, power), width / power * ((x / width + 1) ** power - 1))


@pytest.mark.parametrize("power", POWERS)
def test_the_ladder_begins_at_zero_with_its_scale_for_a_slope_and_rises(power):
    distance = torch.linspace(0, 50, 500, dtype=torch.float64, requires_grad=True)
    value = power_ladder(distance, power, 2.0)
    (slope,) = torch.autograd.grad(value.sum(), distance)
    assert value[0] == 0
    assert slope[0] == pytest.approx(2.0)
    assert (slope > 0).all()


def test_a_ladder_of_negative_power_ends():
    assert power_ladder(torch.tensor(1e30).double(), -1.5).item() == pytest.approx(2.5 / 1.5)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_ladder_passes_smoothly_through_its_special_powers(power):
    x = torch.linspace(0, 20, 50, dtype=torch.float64)
    for beside in (power - 1e-6, power + 1e-6):
        torch.testing.assert_close(power_ladder(x, beside), power_ladder(x, power), atol=1e-4, rtol=1e-4)


def test_shares_of_a_ray_are_even_on_the_ladder():
    near, far = torch.tensor([0.0, 0.5]).double(), torch.tensor([10.0, 300.0]).double()
    shares = torch.linspace(0, 1, 9, dtype=torch.float64).expand(2, 9)
    distances = ladder_distances(shares, near, far, -1.5, 2.0)
    torch.testing.assert_close(distances[:, 0], near)
    torch.testing.assert_close(distances[:, -1], far)
    steps = power_ladder(distances, -1.5, 2.0).diff(dim=-1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))


def test_a_ray_without_end_is_divided_in_float32_too():
    """Within 1e-9 of the ladder's end, the textbook way round gives infinity or no number at all."""
    near, far = torch.tensor([0.0]), torch.tensor([1e6])
    shares = (
        torch.cat([torch.linspace(0, 1, 65), torch.tensor([1 - 6e-8])]).sort().values[None].requires_grad_()
    )
    distances = ladder_distances(shares, near, far, -1.5, 2.0)
    assert torch.isfinite(distances).all()
    assert (distances.diff(dim=-1) > 0).all()
    assert distances[0, 0] == 0
    assert distances[0, -1].item() == pytest.approx(1e6)
    exact = ladder_distances(shares.double(), near.double(), far.double(), -1.5, 2.0)
    torch.testing.assert_close(distances[0, :-2].double(), exact[0, :-2], rtol=1e-4, atol=1e-6)
    (slope,) = torch.autograd.grad(distances.sum(), shares)
    assert torch.isfinite(slope).all()
    assert math.isfinite(distances.max().item())
