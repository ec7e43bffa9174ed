"""Rays that meet a ball where algebra says they do."""

import torch

from rayformer.geometry.sphere_tracing import box_stretch, trace


def ball(places):
    return places.norm(dim=-1) - 0.5


def rays(count=400):
    draw = torch.Generator().manual_seed(0)
    origins = torch.randn(count, 3, generator=draw, dtype=torch.float64)
    origins = 2 * origins / origins.norm(dim=1, keepdim=True)
    aims = torch.rand(count, 3, generator=draw, dtype=torch.float64) * 1.6 - 0.8
    directions = torch.nn.functional.normalize(aims - origins, dim=1)
    return origins, directions


def test_rays_meet_a_ball_where_the_quadratic_says():
    origins, directions = rays()
    met = trace(
        ball, origins, directions, torch.zeros(400).double(), torch.full((400,), 9.0).double(), close=1e-6
    )
    half = (origins * directions).sum(dim=1)
    root = half.square() - (origins.square().sum(dim=1) - 0.25)
    clear = root.abs() > 1e-3  # a ray that grazes it is met early or not at all
    assert 50 < int((root > 0).sum()) < 350
    assert torch.equal(met[clear].isfinite(), root[clear] > 0)
    there = clear & (root > 0)
    assert (met[there] - (-half[there] - root[there].sqrt())).abs().max() < 1e-4


def test_a_distance_twice_too_large_is_met_with_caution():
    origins, directions = rays()
    ends = torch.zeros(400).double(), torch.full((400,), 9.0).double()
    true = trace(ball, origins, directions, *ends, close=1e-5, steps=400)
    careful = trace(
        lambda places: 2 * ball(places), origins, directions, *ends, close=2e-5, caution=0.5, steps=400
    )
    both = true.isfinite() & careful.isfinite()
    assert int(both.sum()) > 50
    assert (true - careful)[both].abs().max() < 1e-3


def test_nothing_is_met_beyond_the_stretch():
    origins, directions = rays()
    assert trace(ball, origins, directions, torch.zeros(400).double(), torch.ones(400).double()).isinf().all()


def test_the_stretch_in_a_cube_ends_on_its_faces():
    origins, directions = rays()
    near, far = box_stretch(origins, directions, 1.0)
    through = near < far
    assert int(through.sum()) > 100
    for along in (near, far):
        ends = origins + along[:, None] * directions
        outside = (origins.abs() > 1).any(dim=1)
        torch.testing.assert_close(
            ends[through & outside].abs().amax(dim=1), torch.ones(int((through & outside).sum())).double()
        )


def test_a_ray_along_an_axis_divides_by_no_zero():
    origins = torch.tensor([[0.2, 0.3, 4.0], [1.5, 0.3, 4.0]], dtype=torch.float64)
    near, far = box_stretch(origins, torch.tensor([[0.0, 0.0, -1.0]]).double().expand(2, 3), 1.0)
    assert (near[0], far[0]) == (3, 5)
    assert near[1] > far[1], "it misses the cube"
