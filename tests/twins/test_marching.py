"""Ray marching against its readable twin, and against what an occupancy grid says of every sample."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.kernels.marching import Packed, Space, march, march_twin, post, post_number, unit_place

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=8, deadline=None)

BOX = Space((0.1, -0.2, 0.3), 1.2)
EVERYWHERE = Space((0.1, -0.2, 0.3), 1.2, contracted=True)
WAYS = [(space, cone) for space in (BOX, EVERYWHERE) for cone in (0.0, 1 / 64)]


def rays(seed: int, count: int = 60):
    """Rays from in and around the box, most of them through it, some along an axis; lengths of all kinds."""
    generator = torch.Generator().manual_seed(seed)
    origins = 1.5 * torch.randn(count, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator) - origins, dim=-1)
    directions[::7] = torch.eye(3)[torch.randint(0, 3, (len(directions[::7]),), generator=generator)]
    near = 0.2 * torch.rand(count, generator=generator)
    far = near + 6 * torch.rand(count, generator=generator) - 0.2
    occupied = torch.rand(8, 8, 8, generator=generator) < 0.3
    return (origins, directions, near, far), occupied, torch.rand(count, generator=generator)


def same(ours: Packed, wanted: Packed):
    """The same samples. The twin is asked in float64, in which the compiled loop calculates too."""
    assert torch.equal(ours.starts, wanted.starts)
    assert torch.equal(ours.ray, wanted.ray)
    torch.testing.assert_close(ours.begin, wanted.begin.float())
    torch.testing.assert_close(ours.end, wanted.end.float())


def precisely(given):
    return tuple(value.double() for value in given)


# ------------------------------------------------------------------------------------------ against the twin


@pytest.mark.parametrize(("space", "cone"), WAYS)
@few
@drawn
def test_the_samples_are_those_of_the_twin(space, cone, seed):
    given, occupied, jitter = rays(seed)
    for shift in (None, jitter):
        wanted = march_twin(
            *precisely(given), occupied, space, 0.05, cone, None if shift is None else shift.double()
        )
        same(march(*given, occupied, space, 0.05, cone, shift), wanted)


@pytest.mark.parametrize("limit", [1, 5])
@few
@drawn
def test_a_limit_keeps_the_nearest(limit, seed):
    given, occupied, jitter = rays(seed)
    all_of_them = march(*given, occupied, BOX, 0.05, 0.0, jitter)
    ours = march(*given, occupied, BOX, 0.05, 0.0, jitter, limit)
    rank = torch.arange(len(all_of_them)) - all_of_them.starts[all_of_them.ray]
    same(ours, all_of_them.only(rank < limit))


# ------------------------------------------------------------------------------------------ what must hold


@pytest.mark.parametrize("walk", [march, march_twin])
@pytest.mark.parametrize(("space", "cone"), WAYS)
@few
@drawn
def test_samples_lie_in_occupied_cells_between_near_and_far_one_after_the_other(walk, space, cone, seed):
    (origins, directions, near, far), occupied, jitter = rays(seed)
    found = walk(origins, directions, near, far, occupied, space, 0.05, cone, jitter)
    middle = (found.begin + found.end) / 2
    where = unit_place(origins[found.ray] + middle[:, None] * directions[found.ray], space) * 8
    cell = where.floor().long().clamp(0, 7)
    on_a_border = ((where - where.round()).abs() < 1e-4).any(dim=-1)
    assert (occupied[tuple(cell.T)] | on_a_border).all()
    assert (found.begin >= near[found.ray] - 1e-5).all()
    assert (middle < far[found.ray]).all()
    follows = found.ray[1:] == found.ray[:-1]
    assert (found.begin[1:][follows] >= found.end[:-1][follows] - 1e-5).all()
    assert torch.equal(found.starts.diff(), torch.bincount(found.ray, minlength=len(near)))


@pytest.mark.parametrize("walk", [march, march_twin])
def test_in_a_full_box_the_stretches_add_up_to_the_way_through_it(walk):
    space = Space((0.0, 0.0, 0.0), 1.0)
    origins = torch.tensor([[-3.0, 0.1, 0.2], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    full = torch.ones(4, 4, 4, dtype=torch.bool)
    found = walk(origins, directions, torch.zeros(3), torch.full((3,), 9.0), full, space, 1 / 64)
    ways = torch.zeros(3).index_add(0, found.ray, found.end - found.begin)
    torch.testing.assert_close(ways, torch.tensor([2.0, 1.0, 0.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("walk", [march, march_twin])
@pytest.mark.parametrize("space", [BOX, EVERYWHERE])
def test_in_empty_space_no_ray_has_samples(walk, space):
    given, occupied, _ = rays(1)
    found = walk(*given, torch.zeros_like(occupied), space, 0.05)
    assert len(found) == len(found.begin) == len(found.end) == 0
    assert torch.equal(found.starts, torch.zeros(61, dtype=torch.int64))


@pytest.mark.parametrize("walk", [march, march_twin])
def test_no_rays_have_no_samples(walk):
    nothing = torch.empty(0, 3), torch.empty(0, 3), torch.empty(0), torch.empty(0)
    found = walk(*nothing, torch.ones(8, 8, 8, dtype=torch.bool), BOX, 0.05)
    assert len(found) == 0
    assert found.starts.tolist() == [0]


@pytest.mark.parametrize("walk", [march, march_twin])
@pytest.mark.parametrize("ends", [(2.0, 1.0), (1.0, 1.0)])
def test_a_ray_that_ends_before_it_begins_has_no_samples(walk, ends):
    near, far = (torch.tensor([value]) for value in ends)
    straight = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    assert len(walk(*straight, near, far, torch.ones(2, 2, 2, dtype=torch.bool), BOX, 0.05)) == 0


@pytest.mark.parametrize("walk", [march, march_twin])
def test_one_occupied_cell_can_give_one_sample(walk):
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[2, 1, 1] = True
    origins, directions = torch.tensor([[-2.0, -0.2, -0.2]]), torch.tensor([[1.0, 0.0, 0.0]])
    found = walk(
        origins, directions, torch.zeros(1), torch.full((1,), 9.0), occupied, Space((0.0,) * 3, 1.0), 0.5
    )
    assert found.starts.tolist() == [0, 1]
    assert (found.begin.item(), found.end.item()) == (2.0, 2.5)


@pytest.mark.parametrize("walk", [march, march_twin])
def test_contracted_space_has_no_end(walk):
    """The outermost cells hold what is four times as far away as the box is wide, and everything beyond."""
    full = torch.ones(16, 16, 16, dtype=torch.bool)
    origins, directions = torch.zeros(1, 3), torch.tensor([[0.6, 0.0, 0.8]])
    far = torch.full((1,), 1000.0)
    found = walk(origins, directions, torch.zeros(1), far, full, EVERYWHERE, 0.1, 0.1)
    assert found.begin[0] == 0
    assert found.end[-1] > 900
    torch.testing.assert_close(found.begin[1:], found.end[:-1])


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", [0, 1])
def test_a_ray_that_is_no_number_has_no_samples_and_harms_no_other(odd, part):
    given, occupied, _ = rays(3)
    wanted = march(*given, occupied, BOX, 0.05)
    given[part][5, 2] = odd
    found = march(*given, occupied, BOX, 0.05)
    assert found.starts.diff()[5] == 0
    same(found, wanted.only(wanted.ray != 5))


@drawn
@few
def test_leaving_samples_out_leaves_the_others_with_their_rays(seed):
    given, occupied, _ = rays(seed)
    found = march(*given, occupied, BOX, 0.05)
    kept = torch.rand(len(found), generator=torch.Generator().manual_seed(seed)) < 0.5
    rest = found.only(kept)
    assert torch.equal(rest.ray, found.ray[kept])
    assert torch.equal(rest.starts.diff(), torch.bincount(rest.ray, minlength=60))


@given(t=st.floats(1e-3, 1e4), cone=st.sampled_from([0.0, 1 / 256, 0.1]), step=st.floats(1e-3, 1.0))
def test_posts_and_their_numbers_are_inverse(t, cone, step):
    there = torch.tensor([t], dtype=torch.float64)
    torch.testing.assert_close(post(post_number(there, step, cone), step, cone), there)


@given(cone=st.floats(1e-3, 0.2), step=st.floats(1e-3, 1.0))
def test_posts_are_even_at_first_and_grow_with_the_distance_then_with_no_jump_between(cone, step):
    number = torch.arange(0, 5 / cone, 1.0, dtype=torch.float64)
    gaps = post(number, step, cone).diff()
    assert gaps[0].item() == pytest.approx(step)
    assert (gaps >= step * (1 - 1e-9)).all()
    assert (gaps[1:] / gaps[:-1] <= math.exp(cone) * (1 + 1e-6)).all()


def test_the_samples_have_the_same_bits_on_any_number_of_threads(threads):
    given, occupied, jitter = rays(4, 500)
    found = []
    for number in (1, 2, 2):
        threads(number)
        found.append(march(*given, occupied, EVERYWHERE, 0.02, 1 / 64, jitter))
    for other in found[1:]:
        for part in ("starts", "ray", "begin", "end"):
            assert torch.equal(getattr(found[0], part), getattr(other, part))
