"""Places about a box, whose distances are known."""

import pytest
import torch

from rayformer.data.shapes.samples import about_surface, in_cube, joined, on_surface
from rayformer.data.shapes.shape import Shape
from rayformer.geometry.similarity import Similarity
from tests.geometry.solids import box, box_distance


@pytest.fixture
def cube() -> Shape:
    mesh = box()
    return Shape(
        mesh=mesh, buried=type(mesh)(mesh.vertices, mesh.faces[:0]), frame=Similarity.identity(),
        source="box", format="drawn", fingerprint="0", closed=True,
    )  # fmt: skip


def draw():
    return torch.Generator().manual_seed(0)


def test_places_on_the_surface_lie_there_and_their_normals_are_those_of_the_sides(cube):
    samples = on_surface(cube, 500, draw())
    assert box_distance(samples.places).abs().max() < 1e-6
    assert not samples.distance.any()
    assert samples.on_surface.all()
    side = samples.places.abs().argmax(dim=1)
    outward = samples.places.gather(1, side[:, None]).sign()
    assert torch.equal(samples.normals.gather(1, side[:, None]), outward)


def test_places_about_the_surface_are_as_far_off_as_was_asked_and_measured_exactly(cube):
    samples = about_surface(cube, 9000, (0.001, 0.01, 0.1), draw())
    torch.testing.assert_close(samples.distance, box_distance(samples.places), atol=1e-6, rtol=1e-5)
    for part, width in zip(samples.distance.split(3000), (0.001, 0.01, 0.1), strict=True):
        assert float(part.square().mean().sqrt()) == pytest.approx(width, rel=0.1)  # across a side, mostly
    assert not samples.on_surface.any()
    inside = (samples.distance < 0).double().mean()
    assert 0.4 < float(inside) < 0.52


def test_places_anywhere_fill_the_cube_evenly_and_are_measured_exactly(cube):
    samples = in_cube(cube, 20_000, draw())
    torch.testing.assert_close(samples.distance, box_distance(samples.places), atol=1e-6, rtol=1e-5)
    assert float((samples.distance < 0).double().mean()) == pytest.approx(1 / 8, abs=0.01)


def test_no_place_leaves_the_cube(cube):
    assert about_surface(cube, 2000, (2.0,), draw()).places.abs().max() <= 1


def test_joined_samples_keep_their_order(cube):
    one, other = on_surface(cube, 3, draw()), in_cube(cube, 4, draw())
    both = joined([one, other])
    assert len(both) == 7
    assert torch.equal(both[:3].places, one.places)
    assert torch.equal(both[3:].distance, other.distance)
    assert both.on_surface.tolist() == [True] * 3 + [False] * 4
