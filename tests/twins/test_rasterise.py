"""Triangles in pixels: the compiled loop, its twin, and rays cast one by one."""

import numpy as np
import pytest
import torch

from rayformer.kernels.rasterise import rasterise, rasterise_twin

PINHOLE = (23, 17, (20.0, 18.0), (11.3, 8.1))


def drawn(count: int, seed: int) -> torch.Tensor:
    """Triangles before, behind and across the camera's plane."""
    draw = torch.Generator().manual_seed(seed)
    middle = torch.randn(count, 1, 3, generator=draw, dtype=torch.float64) * 1.5 + torch.tensor([0, 0, 2.0])
    return middle + torch.randn(count, 3, 3, generator=draw, dtype=torch.float64)


def met(corners: np.ndarray, ray: np.ndarray) -> float:
    """How far along `ray` from the origin the first of some triangles is met: Cramer's rule for each."""
    best = np.inf
    for a, b, c in corners:
        matrix = np.stack([ray, a - b, a - c], axis=1)
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        t, v, w = np.linalg.solve(matrix, a)
        if t > 0 and v >= 0 and w >= 0 and v + w <= 1:
            best = min(best, t)
    return best


@pytest.mark.parametrize("seed", range(3))
def test_every_pixel_shows_what_a_ray_through_its_centre_meets_first(seed):
    corners = drawn(12, seed)
    width, height, focal, centre = PINHOLE
    depth = rasterise(corners, *PINHOLE).depth.numpy()
    wanted = np.array(
        [
            [
                met(
                    corners.numpy(),
                    np.array([(x + 0.5 - centre[0]) / focal[0], (y + 0.5 - centre[1]) / focal[1], 1]),
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
    )
    assert np.isfinite(wanted).mean() > 0.1, "the triangles are to be seen"
    assert (np.isfinite(depth) == np.isfinite(wanted)).all()
    np.testing.assert_allclose(depth, wanted, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_loop_and_its_twin_agree(seed):
    corners = drawn(60, seed)
    one, other = rasterise(corners, *PINHOLE, near=0.3), rasterise_twin(corners, *PINHOLE, near=0.3)
    assert torch.equal(one.face, other.face)
    torch.testing.assert_close(one.depth, other.depth)
    torch.testing.assert_close(one.weights, other.weights)


def test_the_weights_lead_to_the_place_that_is_seen():
    corners = drawn(40, 7)
    _, _, focal, centre = PINHOLE
    raster = rasterise(corners, *PINHOLE)
    seen = raster.face >= 0
    there = (corners[raster.face[seen]] * raster.weights[seen].double()[..., None]).sum(dim=1)
    rows, columns = seen.nonzero().unbind(1)
    assert (there[:, 2] - raster.depth[seen]).abs().max() < 1e-4
    pixels = there[:, :2] / there[:, 2:] * torch.tensor(focal).double() + torch.tensor(centre).double()
    assert (pixels - torch.stack([columns, rows], dim=1) - 0.5).abs().max() < 1e-3


def test_a_wall_cut_into_triangles_has_no_holes_where_they_meet():
    """Corners on pixel centres, where rounding could let a ray slip through."""
    x, y = torch.meshgrid(torch.arange(-1, 20) + 0.5, torch.arange(-1, 20) + 0.5, indexing="ij")
    places = torch.stack([x, y, torch.full_like(x, 10.0)], dim=-1).double()
    places[..., :2] = (places[..., :2] - 8.0) / 7.0 * 10
    a, b, c, d = places[:-1, :-1], places[1:, :-1], places[:-1, 1:], places[1:, 1:]
    corners = torch.cat([torch.stack([a, b, c], dim=2), torch.stack([b, d, c], dim=2)]).flatten(0, 1)
    raster = rasterise(corners, 16, 16, (7.0, 7.0), (8.0, 8.0))
    assert (raster.face >= 0).all()
    torch.testing.assert_close(raster.depth, torch.full((16, 16), 10.0))


def test_nothing_is_at_infinity_and_nearer_than_near_is_nothing():
    empty = rasterise(torch.zeros(0, 3, 3), *PINHOLE)
    assert empty.depth.isinf().all()
    assert (empty.face == -1).all()
    wall = torch.tensor([[[-50.0, -50, 2], [50, -50, 2], [0, 90, 2]]])
    assert rasterise(wall, *PINHOLE, near=1.9).depth.isfinite().all()
    assert rasterise(wall, *PINHOLE, near=2.1).depth.isinf().all()
    assert rasterise(-wall, *PINHOLE).depth.isinf().all(), "what is behind is not seen"
    assert torch.equal(rasterise_twin(torch.zeros(0, 3, 3), *PINHOLE).face, empty.face)
