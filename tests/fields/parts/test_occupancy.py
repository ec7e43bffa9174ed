"""The occupancy grid against fields whose matter is known: a ball, a fog, nothing, one cell."""

import math

import pytest
import torch
from torch import Tensor

from rayformer.core.errors import ConfigError
from rayformer.fields.parts.occupancy import FOG_BAR, FOG_REFRESHMENTS, Occupancy, OccupancyConfig
from rayformer.kernels.marching import Space

CELLS = 16
SPACE = Space((0.0, 0.0, 0.0), 1.0)
STEP = 0.01
ENOUGH = -math.log1p(-0.01) / STEP
"""The density of which a step takes a hundredth of the light."""


def occupancy(space=SPACE, **changes) -> Occupancy:
    return Occupancy(OccupancyConfig(**{"cells": CELLS, "asked": 2 * CELLS**3, **changes}), space)


def lengths(places: Tensor) -> Tensor:
    return torch.full_like(places[:, 0], STEP)


def ball(places: Tensor, radius: float = 0.3, density: float = 1000.0) -> Tensor:
    return density * ((places - 0.5).norm(dim=-1) < radius)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def distances() -> Tensor:
    """Of the cells' middles from the cube's."""
    middle = (torch.arange(CELLS) + 0.5) / CELLS - 0.5
    return torch.cartesian_prod(middle, middle, middle).norm(dim=-1).view(CELLS, CELLS, CELLS)


def test_before_anything_is_asked_every_cell_is_occupied():
    assert occupancy().occupied.all()


def test_the_occupied_cells_of_a_ball_become_the_balls():
    """Those wholly inside at once, those cut by its face sooner or later, those outside never."""
    grid, reach = occupancy(), math.sqrt(3) / 2 / CELLS
    for step in range(30):
        grid.refresh(ball, lengths, generator(step))
        assert grid.occupied[distances() < 0.3 - reach].all()
        assert not grid.occupied[distances() > 0.3 + reach].any()
    mostly = distances() < 0.3
    assert grid.occupied[mostly].float().mean() > 0.99


def test_hidden_cells_stay_empty_whatever_the_field_says():
    grid = occupancy()
    visible = distances() < 0.4
    grid.hide(visible)
    assert torch.equal(grid.occupied, visible)
    asked = []

    def everywhere(places: Tensor) -> Tensor:
        asked.append(places)
        return torch.full_like(places[:, 0], 1e6)

    grid.refresh(everywhere, lengths, generator())
    assert torch.equal(grid.occupied, visible)
    x, y, z = (torch.cat(asked) * CELLS).long().unbind(-1)
    assert visible[x, y, z].all(), "a hidden cell was asked"


def test_a_cell_remembers_the_largest_answer_which_fades():
    grid = occupancy(fade=0.5)
    for answer, wanted in [(8.0, 8.0), (1.0, 4.0), (1.0, 2.0), (1.0, 1.0), (1.0, 1.0), (3.0, 3.0)]:
        grid.refresh(lambda places, a=answer: torch.full_like(places[:, 0], a), lengths, generator())
        torch.testing.assert_close(grid.density, torch.full_like(grid.density, wanted))


def test_what_has_gone_is_forgotten_as_it_fades_and_what_is_there_stays():
    grid = occupancy(fade=0.5)

    def slab(places: Tensor) -> Tensor:
        return 1000.0 * (places[:, 0] < 0.125)

    grid.refresh(lambda places: ball(places) + slab(places), lengths, generator())
    assert grid.occupied[distances() < 0.2].all()
    for step in range(12):
        grid.refresh(slab, lengths, generator(step))
    assert grid.occupied[:2].all()
    assert not grid.occupied[2:].any()


def test_a_cell_is_asked_at_a_place_within_it():
    """A field that gives every cell its own number is remembered number by number."""
    grid = occupancy()

    def number(places: Tensor) -> Tensor:
        x, y, z = (places * CELLS).floor().unbind(-1)
        return 1 + x * CELLS**2 + y * CELLS + z

    grid.refresh(number, lengths, generator(), all_cells=True)
    wanted = 1 + torch.arange(CELLS**3).view(CELLS, CELLS, CELLS)
    assert torch.equal(grid.density, wanted.float())


def test_where_few_are_asked_half_of_them_are_occupied_cells():
    grid = occupancy(asked=200)
    grid.refresh(ball, lengths, generator(), all_cells=True)
    asked = []

    def counted(places: Tensor) -> Tensor:
        asked.append(places)
        return ball(places)

    for step in range(50):
        grid.refresh(counted, lengths, generator(step))
    assert all(len(places) <= 200 for places in asked)
    inside = torch.cat([ball(places) > 0 for places in asked]).float().mean().item()
    by_volume = 4 / 3 * math.pi * 0.3**3
    assert inside > 0.3 + by_volume / 2


def test_a_thin_fog_stays_and_of_it_what_is_well_above_the_average():
    grid = occupancy()

    def fog(places: Tensor) -> Tensor:  # far too thin for any step to count, thrice as thick in one half
        return torch.where(places[:, 0] < 0.2, 7.0, 1.0) * ENOUGH / 100

    for _ in range(FOG_REFRESHMENTS):
        grid.refresh(fog, lengths, generator())
        average = grid.density.mean()
        assert torch.equal(grid.occupied, grid.density > FOG_BAR[0] * average)
    grid.refresh(fog, lengths, generator())
    thick = (torch.arange(CELLS) + 1) / CELLS <= 0.2
    assert grid.occupied[thick].all()
    assert not grid.occupied[torch.arange(CELLS) / CELLS > 0.2].any()


def test_dense_matter_stays_however_dense_the_rest_is():
    """The bar of the average never rises above what a step takes a hundredth of the light through."""
    grid = occupancy()

    def two(places: Tensor) -> Tensor:
        return torch.where(places[:, 0] < 0.5, 1e6 * ENOUGH, 1.1 * ENOUGH)

    for _ in range(FOG_REFRESHMENTS + 2):
        grid.refresh(two, lengths, generator())
        assert grid.occupied.all()


def test_longer_steps_need_less_density():
    def steps(places: Tensor) -> Tensor:
        return torch.where((places - 0.5).abs().amax(dim=-1) > 0.25, 10 * STEP, STEP)

    grid = occupancy(Space((0.0, 0.0, 0.0), 1.0, contracted=True))

    def even(places: Tensor) -> Tensor:
        inside_a_spot = (places - 0.5).norm(dim=-1) < 0.1
        return torch.where(inside_a_spot, 100 * ENOUGH, 0.5 * ENOUGH)

    for step in range(FOG_REFRESHMENTS + 1):
        grid.refresh(even, steps, generator(step), all_cells=True)
    outer = torch.arange(CELLS)
    outer = (outer < CELLS // 4) | (outer >= 3 * CELLS // 4)
    outer = outer[:, None, None] | outer[None, :, None] | outer[None, None, :]
    assert grid.occupied[outer].all()
    assert not grid.occupied[~outer & (distances() > 0.2)].any()


def test_refreshing_is_a_function_of_the_generator():
    def refreshed(seed: int) -> Tensor:
        grid = occupancy(asked=500)
        for step in range(3):
            grid.refresh(lambda places: places.sum(dim=-1), lengths, generator(seed + step))
        return grid.density

    assert torch.equal(refreshed(1), refreshed(1))
    assert not torch.equal(refreshed(1), refreshed(7))


def test_all_that_it_knows_is_in_its_state():
    first, second = occupancy(asked=500), occupancy(asked=500)
    first.hide(distances() < 0.45)
    for step in range(3):
        first.refresh(ball, lengths, generator(step))
    second.load_state_dict(first.state_dict())
    for grid in (first, second):
        grid.refresh(ball, lengths, generator(9))
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "cells_in_no_blocks": {"cells": 30},
        "never": {"every": 0},
        "one_cell_asked": {"asked": 1},
        "no_fading": {"fade": 1.0},
        "all_opaque": {"opaque": 0.0},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        OccupancyConfig(**changes)
    snapshot(name, str(refusal.value))
