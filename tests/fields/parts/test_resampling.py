"""Features of a lattice between its cells: as torch's own sampling has them, there and back, and exact where
the lattice is linear."""

import pytest
import torch
import torch.nn.functional as F

from rayformer.fields.parts.resampling import corners, gather


def drawn(dims, points=200, seed=0):
    """A table of a lattice of unequal sides, and places in it, on its rim and around it."""
    source = torch.Generator().manual_seed(seed)
    cells = (5, 7, 4)[:dims]
    table = torch.randn(torch.Size(cells).numel(), 3, generator=source)
    spread = torch.tensor(cells) + 4.0
    return cells, table, torch.rand(points, dims, generator=source) * spread - 2


def twin(table, cells, places):
    """The same by `grid_sample`, whose axes run the other way."""
    volume = table.view(*cells, -1).movedim(-1, 0)[None]
    grid = (2 * places / torch.tensor(cells) - 1).flip(-1)
    grid = grid.view(1, *[1] * (len(cells) - 1), *grid.shape)
    return F.grid_sample(volume, grid, align_corners=False).flatten(2)[0].T


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_lattice_gives_its_features_back_in_the_middle_of_its_cells(dims):
    cells, table, _ = drawn(dims)
    middles = torch.cartesian_prod(*(torch.arange(count) + 0.5 for count in cells)).view(-1, dims)
    assert torch.equal(gather(table, corners(middles, cells)), table)


@pytest.mark.parametrize("dims", [2, 3])
def test_features_and_gradients_are_those_of_torchs_own_sampling(dims):
    cells, table, places = drawn(dims)
    ours, theirs = (table.clone().requires_grad_() for _ in range(2))
    one, other = gather(ours, corners(places, cells)), twin(theirs, cells, places)
    torch.testing.assert_close(one, other)
    upwards = torch.randn(one.shape, generator=torch.Generator().manual_seed(1))
    one.backward(upwards)
    other.backward(upwards)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_what_is_linear_stays_so_between_the_cells():
    cells, _, places = drawn(3)
    middles = torch.cartesian_prod(*(torch.arange(count) + 0.5 for count in cells))
    slope = torch.tensor([[0.3, -2.0], [1.5, 0.1], [-0.7, 4.0]])
    inside = ((places > 0.5) & (places < torch.tensor(cells) - 0.5)).all(dim=-1)
    assert inside.sum() > 10
    found = gather(middles @ slope + 1, corners(places, cells))
    torch.testing.assert_close(found[inside], (places @ slope + 1)[inside], atol=1e-5, rtol=1e-5)


def test_weights_add_up_to_one_within_and_to_nothing_outside():
    cells, _, places = drawn(3)
    places = torch.cat([places, torch.tensor([[torch.nan, 1, 1], [torch.inf, 1, 1], [1e30, -1e30, 2]])])
    weights = corners(places, cells).weights
    total, size = weights.sum(dim=1), torch.tensor(cells)
    assert (weights >= 0).all()
    within = ((places >= 0.5) & (places <= size - 0.5)).all(dim=-1)
    outside = ~((places > -0.5) & (places < size + 0.5)).all(dim=-1)
    assert within.any()
    torch.testing.assert_close(total[within], torch.ones_like(total[within]))
    assert (total[outside] == 0).all()
    assert outside[-3:].all()


def test_a_table_of_another_lattice_is_our_own_mistake():
    with pytest.raises(AssertionError, match="a table of 4 rows for a lattice of 6 cells"):
        gather(torch.zeros(4, 2), corners(torch.ones(1, 2), (2, 3)))
