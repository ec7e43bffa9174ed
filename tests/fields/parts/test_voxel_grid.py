"""Grids of voxels: what growing and pruning keep, what a cell can hold at most."""

import pytest
import torch

from rayformer.fields.parts.voxel_grid import VoxelGrid, most_within


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def grid(side=6, ways=1, seed=0) -> VoxelGrid:
    made = VoxelGrid(side, {"density": (1, 0.0), "colour": (3, 0.5)}, {"colour": ways})
    for table in made.tables.values():
        torch.nn.init.normal_(table, generator=generator(seed))
    return made


def blob(side=6):
    axis = torch.linspace(-1, 1, side)
    return (torch.cartesian_prod(axis, axis, axis).norm(dim=-1) < 0.9).view(side, side, side)


@pytest.mark.parametrize("ways", [1, 4])
def test_a_twice_as_fine_grid_says_what_the_coarse_one_said(ways):
    """Corners of the coarse grid are corners of the fine one, so nothing is lost between them."""
    made, places = grid(ways=ways), torch.rand(200, 3, generator=generator(1))
    way = torch.randint(ways, (200,), generator=generator(2)) if ways > 1 else None
    before = made("density", places), made("colour", places, way)
    made.grow(2 * made.side - 1)
    assert made.side == 11
    torch.testing.assert_close(made("density", places), before[0])
    torch.testing.assert_close(made("colour", places, way), before[1])


@pytest.mark.parametrize("ways", [1, 4])
def test_pruned_voxels_count_as_zero_and_the_others_stay(ways):
    made, kept = grid(ways=ways), blob()
    whole = {name: table.clone() for name, table in made.tables.items()}
    made.prune(kept)
    assert int(made.links.max()) + 1 == int(kept.sum()) == len(made.tables["density"])
    assert torch.equal(made.tables["density"], whole["density"][kept.view(-1)])
    colours = whole["colour"].view(-1, ways, 3)[kept.view(-1)].reshape(-1, 3)
    assert torch.equal(made.tables["colour"], colours)
    corners = torch.cartesian_prod(*[torch.arange(6) / 5] * 3)
    assert not made("density", corners)[~kept.view(-1)].any()


def test_pruning_nothing_keeps_the_parameters_themselves():
    """The optimiser's state hangs on them."""
    made = grid()
    before = dict(made.tables)
    made.prune(torch.ones(6, 6, 6, dtype=torch.bool))
    assert all(made.tables[name] is before[name] for name in before)


def test_pruned_voxels_do_not_come_back_by_growing():
    made = grid()
    made.prune(blob())
    before = made.kept
    made.grow(11)
    assert torch.equal(made.kept[::2, ::2, ::2], before)
    far = torch.tensor([[0.02, 0.02, 0.02]])
    assert not made("density", far).any()


def test_rows_are_numbered_in_the_order_of_the_grid():
    made = grid()
    made.prune(blob())
    made.grow(9)
    assert torch.equal(made.links[made.kept], torch.arange(int(made.kept.sum()), dtype=torch.int32))
    values = torch.randn(len(made.tables["density"]), generator=generator(4))
    assert torch.equal(made.dense(values, -7.0)[made.kept], values)
    assert (made.dense(values, -7.0)[~made.kept] == -7).all()


def test_neighbours_are_one_step_along_each_axis_or_the_voxel_itself():
    made = grid()
    made.prune(blob())
    numbers = made.links
    for first, *others in made.neighbours(100, generator(5)).tolist():
        place = (numbers == first).nonzero()[0]
        for axis, other in enumerate(others):
            beyond = place.clone()
            beyond[axis] += 1
            there = int(numbers[tuple(beyond)]) if beyond[axis] < made.side else -1
            assert other == (there if there >= 0 else first)


@pytest.mark.parametrize("cells", [3, 4, 6, 13])
def test_no_place_of_a_cell_exceeds_what_it_can_hold_at_most(cells):
    made = grid(side=7, seed=6)
    most = most_within(made.dense(made.tables["density"].detach()[:, 0], 0.0), cells)
    places = torch.rand(20000, 3, generator=generator(7))
    x, y, z = (places * cells).long().unbind(-1)
    found = made("density", places)[:, 0].detach()
    assert (found <= most[x, y, z] + 1e-6).all()
    # And it is no more than the corners around the cell: the bound is met at a corner inside.
    corners = torch.cartesian_prod(*[torch.arange(7) / 6] * 3).clamp(max=1 - 1e-6)
    x, y, z = (corners * cells).long().unbind(-1)
    highest = torch.zeros_like(most).fill_(-9.0)
    highest.view(-1).scatter_reduce_(
        0, (x * cells + y) * cells + z, made.tables["density"].detach()[:, 0], "amax"
    )
    assert (highest <= most).all()
