"""Shapes whose distance from each other is known."""

import math

import pytest
import torch
from tests.geometry.solids import ball, box

from rayformer.core.errors import ShapeError
from rayformer.geometry.mesh import Mesh
from rayformer.metrics.direction import higher_is_better
from rayformer.metrics.shapes import chamfer, normal_consistency, volume_iou


def draw():
    return torch.Generator().manual_seed(0)


def test_two_balls_about_one_centre_are_as_far_apart_as_their_radii():
    apart = chamfer(ball(0.5, rings=32), ball(0.6, rings=32), draw(), 4000)
    for way in (apart.forth, apart.back, apart.mean):
        assert way == pytest.approx(0.1, rel=0.01)
    assert apart.normals > 0.998


def test_a_surface_is_no_distance_from_itself_and_agrees_with_its_normals():
    apart = chamfer(box(), box(), draw(), 2000)
    assert apart.mean < 1e-12
    assert apart.normals == pytest.approx(1.0)


def test_each_way_sees_what_the_other_does_not():
    """A part is no distance from the whole, and the whole is some distance from a part."""
    whole = box()
    part = Mesh(whole.vertices, whole.faces[:2])
    apart = chamfer(part, whole, draw(), 4000)
    assert apart.forth < 1e-12
    # Of the whole's area 1/6 is the part, 1/6 is 1 away, and 4/6 stand on its edges, 1/2 away on average.
    assert apart.back == pytest.approx((0 + 1 + 4 * 0.5) / 6, rel=0.03)
    swapped = chamfer(whole, part, draw(), 4000)
    assert (swapped.forth, swapped.back) == pytest.approx((apart.back, apart.forth), rel=0.05, abs=1e-9)


def test_it_matters_little_how_many_points_are_drawn():
    few, many = (chamfer(ball(0.5), ball(0.6), draw(), points).mean for points in (200, 5000))
    assert few == pytest.approx(many, rel=0.01)


def test_a_surface_without_faces_is_refused():
    with pytest.raises(ShapeError, match="12 and 0 faces"):
        chamfer(box(), Mesh(torch.zeros(0, 3).double(), torch.zeros(0, 3, dtype=torch.int64)), draw())


def test_a_plane_and_its_flank_have_nothing_in_common():
    """Normals across each other: consistency 0."""
    sheet = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]).double(), torch.tensor([[0, 1, 2]]))
    wall = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]).double(), torch.tensor([[0, 1, 2]]))
    assert normal_consistency(sheet, wall, draw(), 100) < 1e-9
    turned = Mesh(sheet.vertices, sheet.faces.flip(1))
    assert normal_consistency(sheet, turned, draw(), 100) == pytest.approx(1.0)


def test_the_iou_of_two_balls_about_one_centre_is_the_ratio_of_their_volumes():
    places = torch.rand(200_000, 3, generator=draw()) * 2 - 1
    inside = [places.norm(dim=1) < radius for radius in (0.6, 0.8)]
    assert volume_iou(*inside) == pytest.approx((0.6 / 0.8) ** 3, rel=0.02)
    assert volume_iou(inside[0], inside[0]) == 1
    assert volume_iou(inside[0], ~inside[1]) == 0
    assert math.isclose(volume_iou(*inside), volume_iou(*inside[::-1]))


def test_nothing_and_nothing_are_the_same():
    none = torch.zeros(5, dtype=torch.bool)
    assert volume_iou(none, none) == 1


def test_the_names_of_the_numbers_say_which_way_is_better():
    assert not higher_is_better("chamfer_percent")
    assert not higher_is_better("near_distance_error_percent")
    assert higher_is_better("near_iou")
    assert higher_is_better("sign_accuracy")
    assert higher_is_better("normal_consistency")
