"""Six places for a piece of a cone: its moments, its turns, and how fast fine levels fade."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.fields.parts.multisample import downweight, hexagon, six_distances
from rayformer.geometry.rays import Rays


def drawn_rays(count=7, seed=0, radius=0.05, dtype=torch.float64) -> Rays:
    source = torch.Generator().manual_seed(seed)
    origins = torch.randn(count, 3, generator=source, dtype=dtype)
    view = F.normalize(torch.randn(count, 3, generator=source, dtype=dtype), dim=-1)
    ends = torch.zeros(count, dtype=dtype), torch.full((count,), 9.0, dtype=dtype)
    return Rays(origins, view, view, *ends, torch.full((count,), radius, dtype=dtype))


def drawn_edges(rays: Rays, samples=5, seed=1):
    source = torch.Generator().manual_seed(seed)
    return 0.5 + 6 * torch.rand(len(rays), samples + 1, generator=source).double().sort(dim=-1).values


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cone_moments(t0, t1, radius):
    """mip-NeRF's: mean and variance along the axis of a cone's piece, variance along one axis across (its eq.
    7)."""
    m, d = (t0 + t1) / 2, (t1 - t0) / 2
    mean = m + 2 * m * d**2 / (3 * m**2 + d**2)
    along = d**2 / 3 - 4 / 15 * d**4 * (12 * m**2 - d**2) / (3 * m**2 + d**2) ** 2
    across = radius**2 * (m**2 / 4 + 5 / 12 * d**2 - 4 / 15 * d**4 / (3 * m**2 + d**2))
    return mean, along, across


def test_the_cone_moments_are_those_of_points_thrown_into_a_cone():
    source = generator()
    t = (1 + (1.7**3 - 1) * torch.rand(400_000, generator=source).double()) ** (1 / 3)
    t = t[t <= 1.7]
    side = t * torch.rand(len(t), generator=source).double().sqrt()
    x = side * torch.cos(2 * math.pi * torch.rand(len(t), generator=source).double())
    mean, along, across = cone_moments(1.0, 1.7, 1.0)
    assert t.mean().item() == pytest.approx(mean, rel=1e-3)
    assert t.var().item() == pytest.approx(along, rel=1e-2)
    assert x.var().item() == pytest.approx(across, rel=1e-2)


def test_mean_and_variance_along_the_ray_are_the_cones():
    edges = drawn_edges(drawn_rays(50))
    begin, end = edges[:, :-1], edges[:, 1:]
    t = six_distances(begin, end)
    mean, along, _ = cone_moments(begin, end, 1.0)
    torch.testing.assert_close(t.mean(dim=-1), mean)
    torch.testing.assert_close(t.var(dim=-1, correction=0), along, atol=1e-12, rtol=1e-9)


def test_distances_rise_and_leave_their_interval_hardly():
    """By 3.7 % of its width at most: the last one, where the interval begins near the eye."""
    edges = drawn_edges(drawn_rays(50))
    t = six_distances(edges[:, :-1], edges[:, 1:])
    assert (t.diff(dim=-1) > 0).all()
    assert (t > edges[:, :-1, None]).all()
    assert (t < (edges[:, 1:] + 0.037 * edges.diff(dim=-1))[..., None]).all()
    assert six_distances(torch.zeros(1, 1), torch.ones(1, 1)).max().item() == pytest.approx(1.0332, abs=1e-3)


def test_the_formula_of_the_paper():
    t0, t1 = torch.tensor([[1.0]]).double(), torch.tensor([[1.7]]).double()
    m, d = 1.35, 0.35
    root = math.sqrt((d**2 - m**2) ** 2 + 4 * m**4)
    written = [
        1 + d / (d**2 + 3 * m**2) * (1.7**2 + 2 * m**2 + 3 / math.sqrt(7) * (2 * j / 5 - 1) * root)
        for j in range(6)
    ]
    assert six_distances(t0, t1)[0, 0].tolist() == pytest.approx(written)


@pytest.mark.parametrize("random", [False, True])
def test_moments_across_the_ray_add_up_to_the_cones_and_the_axes_alone_do_not(random):
    """Begin 1, end 1.7, radius 1: .466 and .546 about .506 where the hexagon is not turned."""
    zero, one = torch.zeros(1).double(), torch.ones(1).double()
    along_x = torch.tensor([[1.0, 0, 0]]).double()
    rays = Rays(0 * along_x, along_x, along_x, zero, zero, one)
    edges = torch.tensor([[1.0, 1.7]]).double()
    positions, deviations = hexagon(rays, edges, generator() if random else None)
    across = positions[0, 0, :, 1:]
    second = across.square().mean(dim=0)
    cone = cone_moments(1.0, 1.7, 1.0)[2]
    assert cone == pytest.approx(0.506, abs=5e-4)
    assert second.sum().item() == pytest.approx(2 * cone)
    if not random:
        assert sorted(second.tolist()) == pytest.approx([0.466, 0.546], abs=5e-4)
    torch.testing.assert_close(deviations[0, 0], positions[0, 0, :, 0] / math.sqrt(2) / 2)


@pytest.mark.parametrize("random", [False, True])
def test_places_lie_on_the_cone_at_their_distances(random):
    rays = drawn_rays()
    edges = drawn_edges(rays)
    positions, deviations = hexagon(rays, edges, generator() if random else None)
    t = six_distances(edges[:, :-1], edges[:, 1:])
    away = positions - rays.points(t.flatten(1)).view_as(positions)
    along = (away * rays.directions[:, None, None]).sum(-1)
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-9, rtol=0)
    torch.testing.assert_close(away.norm(dim=-1), 0.05 * t / math.sqrt(2))
    torch.testing.assert_close(deviations, away.norm(dim=-1) / 2)


def test_three_places_of_a_half_turn_apart_follow_three_others():
    """A sixth of a turn or more between any two: seen from the eye, the six stand all around."""
    positions, _ = hexagon(drawn_rays(1), drawn_edges(drawn_rays(1)))
    rays = drawn_rays(1)
    away = positions - rays.origins - (((positions - rays.origins) * rays.directions).sum(-1, keepdim=True)
                                       * rays.directions)  # fmt: skip
    ways = F.normalize(away[0, 0], dim=-1)
    cosines = ways @ ways.T - 2 * torch.eye(6)
    torch.testing.assert_close(cosines.amax(dim=-1), torch.full((6,), 0.5).double())


def test_without_a_generator_neighbours_are_turned_and_nothing_is_random():
    rays = drawn_rays(1)
    edges = drawn_edges(rays)
    one, again = hexagon(rays, edges)[0], hexagon(rays, edges)[0]
    assert torch.equal(one, again)
    assert not torch.equal(hexagon(rays, edges, generator(1))[0], hexagon(rays, edges, generator(2))[0])
    whole = hexagon(rays, edges[:, [0, 1]])[0]
    torch.testing.assert_close(one[:, :1], whole)
    begin, end = edges[:, 1], edges[:, 2]
    t = six_distances(begin[:, None], end[:, None])
    plain = hexagon(rays, torch.stack([begin, end], dim=-1))[0]
    assert not torch.allclose(one[:, 1:2], plain)
    torch.testing.assert_close(
        (one[:, 1:2] - plain).norm(dim=-1).amax(dim=-1) <= 2 * 0.05 * t.amax(dim=-1), torch.tensor([[True]])
    )


@pytest.mark.parametrize("way", [(0.0, 0, 1), (0.0, 0, -1), (0.0, 1e-7, 1)])
def test_rays_straight_up_or_down_have_their_six_places_too(way):
    view = F.normalize(torch.tensor([way]), dim=-1)
    rays = Rays(torch.zeros(1, 3), view, view, torch.zeros(1), torch.ones(1), torch.tensor([0.1]))
    positions, _ = hexagon(rays, torch.tensor([[1.0, 2.0]]))
    assert torch.isfinite(positions).all()
    t = six_distances(torch.tensor([[1.0]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(positions[..., :2].norm(dim=-1), 0.1 * t / math.sqrt(2), atol=1e-5, rtol=1e-4)


def test_intervals_without_length_and_without_distance_are_places_too():
    t = six_distances(torch.tensor([[0.0, 0.0, 3.0, 0.0]]), torch.tensor([[0.0, 1.0, 3.0, 1e6]]))
    assert torch.isfinite(t).all()
    assert torch.equal(t[0, 0], torch.zeros(6))
    torch.testing.assert_close(t[0, 2], torch.full((6,), 3.0))


def test_rays_without_a_radius_are_refused_in_words():
    rays = drawn_rays()
    bare = Rays(rays.origins, rays.directions, rays.view_directions, rays.near, rays.far)
    with pytest.raises(AssertionError, match="radius of its pixel"):
        hexagon(bare, drawn_edges(rays))


def test_points_keep_every_level_and_wide_blobs_lose_the_fine_ones():
    levels = torch.tensor([16.0, 64.0, 256.0])
    kept = downweight(torch.tensor([[0.0, 1e-9, 1 / 64, 10.0]]), levels)[0]
    assert torch.equal(kept[:2], torch.ones(2, 3))
    assert (kept[2].diff() < 0).all()
    assert (kept[3] < 0.01).all()


def test_downweighting_is_the_error_function_to_within_seven_thousandths():
    deviations = torch.logspace(-5, 0, 400)[:, None]
    exact = torch.erf(1 / (8 * deviations.square() * 64**2).sqrt())
    assert (downweight(deviations, torch.tensor([64.0]))[..., 0] - exact).abs().max() < 0.007


def test_the_share_of_a_cell_that_is_as_wide_as_the_blob():
    """Deviation 1/N: erf(1 / sqrt 8) = 0.383, the part of a normal draw that falls into a cell around it."""
    kept = downweight(torch.tensor([[1 / 64]]), torch.tensor([64.0])).item()
    assert kept == pytest.approx(math.erf(1 / math.sqrt(8)), abs=0.007)
