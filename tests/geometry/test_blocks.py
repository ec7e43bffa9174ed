"""A street cut into blocks: the line is found whatever the order, balls share what they should, and weights
sum to one, go to one at a block's centre, and never jump."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayformer.geometry.blocks import Line, Site, blend_weights, line_through, merged, sites_along


def drive(lanes=(0.0, 1.2), stops=40, apart=3.0):
    """Places of a car on a bent street, once per lane, three cameras at each."""
    places = []
    for number, lane in enumerate(lanes):
        x = torch.arange(stops, dtype=torch.float64) * apart + number * apart / 2
        places += [torch.stack([x, 4 * torch.sin(x / 30) + lane, 0.1 * lane + 0 * x], dim=-1)] * 3
    return torch.cat(places)


def sites(centres, radius=1.0):
    return torch.tensor(centres), torch.full((len(centres),), radius)


# ---------------------------------------------------------------- the line


@pytest.mark.parametrize("seed", range(3))
def test_the_line_is_the_same_whatever_the_order_of_the_places(seed):
    places = drive()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    line, other = line_through(places), line_through(places[order])
    assert other.length == pytest.approx(line.length, rel=1e-9)
    there = other.knots if (other.knots[0] - line.knots[0]).norm() < 1 else other.knots.flip(0)
    assert torch.allclose(there, line.knots)


def test_it_begins_at_the_end_nearer_to_the_first_place():
    places = drive()
    assert line_through(places).knots[0, 0] < 5
    assert line_through(places.flip(0)).knots[0, 0] > 100


def test_two_lanes_make_one_line_and_no_zigzag():
    one, two = (line_through(drive(lanes)) for lanes in [(0.0,), (0.0, 1.2)])
    assert two.length == pytest.approx(one.length, rel=0.05)
    assert (two.knots[:, 1] - (4 * torch.sin(two.knots[:, 0] / 30) + 0.6)).abs().max() < 0.7


@given(share=st.floats(0, 1))
def test_a_place_on_the_line_lies_along_it_where_it_was_taken(share):
    line = line_through(drive((0.0,)))
    along = share * line.length
    assert line.along(line.at(along)[None]).item() == pytest.approx(along, abs=1e-6)


def test_beyond_its_ends_the_line_goes_straight_on():
    line = Line(torch.tensor([[0.0, 0, 0], [2.0, 0, 0]]).double())
    assert line.at(3.0).tolist() == [3.0, 0, 0]
    assert line.at(-1.0).tolist() == [-1.0, 0, 0]


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (1e5, -3e4, 12.0)])
def test_one_place_is_no_line(place):
    places = torch.tensor([place] * 12).double()
    assert line_through(places) is None
    assert line_through(places + 1e-12 * torch.randn(12, 3).double()) is None


# ---------------------------------------------------------------- sites


@given(count=st.integers(1, 9), overlap=st.floats(0.0, 0.9))
def test_neighbours_share_what_was_asked_for(count, overlap):
    line = Line(torch.tensor([[0.0, 0, 0], [60.0, 0, 0]]).double())
    found = sites_along(line, count, overlap)
    assert len(found) == count
    for one, other in pairwise(found):
        shared = (one.along + one.radius) - (other.along - other.radius)
        assert shared / (2 * one.radius) == pytest.approx(overlap, abs=1e-9)
    assert found[0].along - found[0].radius <= 1e-9, "the first reaches the beginning"
    assert found[-1].along + found[-1].radius >= 60 - 1e-9


def test_with_half_in_common_every_inner_place_lies_in_two_blocks():
    line = Line(torch.tensor([[0.0, 0, 0], [60.0, 0, 0]]).double())
    found = sites_along(line, 5, 0.5)
    inner = torch.linspace(6.1, 53.9, 50).double()
    places = torch.stack([inner, 0 * inner, 0 * inner], dim=-1)
    counts = torch.tensor([site.holds(places) for site in found]).sum(dim=0)
    assert (counts == 2).all()


def test_poor_blocks_are_joined_with_their_poorer_neighbour_until_all_have_enough():
    line = Line(torch.tensor([[0.0, 0, 0], [60.0, 0, 0]]).double())
    x = torch.cat([torch.linspace(0, 20, 30), torch.linspace(45, 60, 8)]).double()
    places = torch.stack([x, 0 * x, 0 * x], dim=-1)
    before = sites_along(line, 6, 0.5)
    kept, joined = merged(before, line, places, 8)
    assert all(sum(site.holds(places)) >= 8 for site in kept)
    assert len(kept) == len(before) - len(joined) < len(before)
    assert all(held < 8 for _, _, held in joined)
    assert min(site.along - site.radius for site in kept) <= min(site.along - site.radius for site in before)
    assert max(site.along + site.radius for site in kept) >= max(site.along + site.radius for site in before)


def test_rich_blocks_stay_as_they_are_and_the_last_one_is_never_joined():
    line = Line(torch.tensor([[0.0, 0, 0], [60.0, 0, 0]]).double())
    x = torch.linspace(0, 60, 100).double()
    places = torch.stack([x, 0 * x, 0 * x], dim=-1)
    found = sites_along(line, 4, 0.5)
    assert merged(found, line, places, 10) == (found, [])
    alone, joined = merged(found, line, places, 1000)
    assert len(alone) == 1
    assert len(joined) == 3


# ---------------------------------------------------------------- weights


@given(x=st.floats(-3, 9), y=st.floats(-2, 2), power=st.sampled_from([1.0, 4.0, None]))
def test_weights_are_shares_of_one(x, y, power):
    centres, radii = sites([[0.0, 0, 0], [2.0, 0, 0], [4.0, 0.5, 0], [6.0, 0, 0]], 2.0)
    weights = blend_weights(torch.tensor([x, y, 0.0]), centres, radii, power)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)
    assert (weights >= 0).all()


@given(x=st.floats(-0.5, 6.5), step=st.floats(1e-4, 1e-3))
def test_weights_never_jump_where_a_camera_moves_down_the_street(x, step):
    centres, radii = sites([[0.0, 0, 0], [2.0, 0, 0], [4.0, 0, 0], [6.0, 0, 0]], 2.2)
    here, there = (blend_weights(torch.tensor([place, 0.1, 0.0]), centres, radii) for place in (x, x + step))
    assert (here - there).abs().max() < 40 * step


def test_they_do_not_jump_where_a_block_comes_within_reach_off_the_line_either():
    centres, radii = sites([[0.0, 0, 0], [1.0, 0, 0]], 1.0)
    inside, outside = (
        blend_weights(torch.tensor([0.3, math.sqrt(1 - 0.09) + off, 0]), centres, radii)
        for off in (-1e-4, 1e-4)
    )
    assert (inside - outside).abs().max() < 1e-2


def test_at_a_centre_its_block_is_alone_and_nearby_the_paper_s_law_holds():
    centres, radii = sites([[0.0, 0, 0], [1.0, 0, 0]], 1e6)
    assert blend_weights(torch.zeros(3), centres, radii).tolist() == pytest.approx([1.0, 0.0])
    near = blend_weights(torch.tensor([0.25, 0, 0]), centres, radii, 4.0)
    assert (near[0] / near[1]).item() == pytest.approx(3.0**4, rel=1e-4)


@given(x=st.floats(0.01, 1.99), further=st.floats(0.001, 0.1))
def test_a_block_counts_for_less_the_farther_the_camera_goes(x, further):
    centres, radii = sites([[0.0, 0, 0], [2.0, 0, 0]], 2.0)
    near, far = (blend_weights(torch.tensor([place, 0, 0]), centres, radii)[0] for place in (x, x + further))
    assert far <= near + 1e-6


def test_the_nearest_block_is_all_there_is_where_asked_for_and_beyond_all_of_them():
    centres, radii = sites([[0.0, 0, 0], [2.0, 0, 0]], 1.5)
    assert blend_weights(torch.tensor([0.9, 0, 0]), centres, radii, None).tolist() == [1, 0]
    assert blend_weights(torch.tensor([50.0, 3, 0]), centres, radii).tolist() == [0, 1]


def test_a_site_holds_what_lies_in_its_ball():
    site = Site((1.0, 0.0, 0.0), 2.0, 5.0)
    assert site.holds(torch.tensor([[3.0, 0, 0], [3.1, 0, 0], [1.0, 1.9, 0]])) == [True, False, True]
