"""Voxel tables against their readable twin, and against what trilinear blends must be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ShapeError
from rayformer.kernels.voxel_table import _backward, _gather, voxel_values, voxel_values_twin

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=8, deadline=None)
both = pytest.mark.parametrize("values", [voxel_values, voxel_values_twin])


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linked(generator: torch.Generator, side: int, share: float) -> torch.Tensor:
    """Links of a grid of which a share of the voxels is kept."""
    kept = torch.rand(side, side, side, generator=generator) < share
    return torch.where(kept, kept.view(-1).cumsum(0).view(kept.shape) - 1, -1).int()


def case(seed: int, ways: int, dtype=torch.float64, side: int = 9, count: int = 300, channels: int = 5):
    """Places with 12 bits, on borders of cells and outside too: no rounding decides whose cell it is."""
    generator = source(seed)
    links = linked(generator, side, 0.7)
    where = torch.randint(-410, 4507, (count, 3), generator=generator).to(dtype) / 4096
    rows = int(links.max() + 1) * ways
    table = torch.randn(rows, channels, generator=generator, dtype=dtype)
    way = torch.randint(ways, (count,), generator=generator) if ways > 1 else None
    return where.requires_grad_(), links, table.requires_grad_(), ways, way


@pytest.mark.parametrize("ways", [1, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@few
@drawn
def test_values_and_gradients_are_those_of_the_twin(ways, dtype, seed):
    given = case(seed, ways, dtype)
    ours, wanted = voxel_values(*given), voxel_values_twin(*given)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(ours, wanted, **close)
    arriving = torch.randn(ours.shape, dtype=dtype, generator=source(seed))
    slopes = [torch.autograd.grad(found, (given[0], given[2]), arriving) for found in (ours, wanted)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, **close)


@both
@few
@drawn
def test_a_blend_of_a_linear_function_is_the_function(values, seed):
    """Also beyond the outermost voxels, where it is that of the nearest place within."""
    side, generator = 7, source(seed)
    axis = torch.linspace(0, 1, side, dtype=torch.float64)
    slope = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    links = torch.arange(side**3, dtype=torch.int32).view(side, side, side)
    places = 2 * torch.rand(50, 3, generator=generator, dtype=torch.float64) - 0.5
    found = values(places, links, torch.cartesian_prod(axis, axis, axis) @ slope)
    torch.testing.assert_close(found, places.clamp(0, 1) @ slope)


@both
def test_at_a_voxel_there_is_the_voxels_value_and_nothing_where_it_is_missing(values):
    links = linked(source(0), 5, 0.5)
    table = torch.randn(int(links.max()) + 1, 3, dtype=torch.float64, generator=source(1))
    corners = torch.cartesian_prod(*[torch.arange(5, dtype=torch.float64) / 4] * 3)
    found = values(corners, links, table)
    kept = links.view(-1) >= 0
    torch.testing.assert_close(found[kept], table)
    assert not found[~kept].any()


@both
def test_each_way_is_a_table_of_its_own(values):
    where, links, table, ways, _ = case(3, ways=4)
    for number in range(ways):
        way = torch.full((len(where),), number)
        alone = table.view(-1, ways, table.shape[1])[:, number]
        torch.testing.assert_close(values(where, links, table, ways, way), values(where, links, alone))


def test_the_gradients_are_those_of_finite_differences():
    _, links, table, ways, way = case(5, ways=3, side=3, count=6, channels=2)
    inside = (torch.randint(0, 2, (6, 3)) + 0.25 + 0.5 * torch.rand(6, 3)).double().div(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, t: voxel_values(x, links, t, ways, way), (inside, table))


def test_the_tables_gradient_has_the_same_bits_for_any_number_of_threads():
    import numba

    where, links, table, *_ = case(7, ways=1, dtype=torch.float32, count=5000)
    slopes = []
    for threads in (1, 2):
        if threads > numba.config.NUMBA_NUM_THREADS:
            pytest.skip("this process may use one thread only")
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            slopes.append(torch.autograd.grad(voxel_values(where, links, table).sin().sum(), table)[0])
        finally:
            numba.set_num_threads(before)
    assert torch.equal(*slopes)


@both
def test_places_that_are_no_numbers_and_no_places_at_all_do_no_harm(values):
    where, links, table, *_ = case(9, ways=1)
    where = where.detach().clone()
    wanted = values(where, links, table)
    where[3, 0], where[4, 1] = float("nan"), float("inf")
    found = values(where, links, table)
    others = [number for number in range(len(where)) if number not in (3, 4)]
    assert torch.equal(found[others], wanted[others])
    assert found[4].isfinite().all()
    assert values(where[:0], links, table).shape == (0, table.shape[1])


def test_the_operators_keep_torchs_rules():
    where, links, table, ways, way = case(11, ways=2, count=20)
    given = (where, links, table, ways, way.int())
    torch.library.opcheck(_gather, given)
    arriving = torch.randn(20, table.shape[1], dtype=torch.float64)
    plain = (arriving, where.detach(), links, table.detach(), ways, way.int(), True, True)
    torch.library.opcheck(_backward, plain)


def test_ways_are_given_where_there_are_several_and_only_there(snapshot):
    where, links, table, *_ = case(13, ways=2)
    with pytest.raises(ShapeError) as refusal:
        voxel_values(where, links, table, 2)
    snapshot("no_way", str(refusal.value))
