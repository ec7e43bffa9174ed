"""Sources chosen and warped: counts by hand, what does not count, what is nothing."""

import torch

from rayformer.fields.parts.sources import Blend, Look, Source, Sources, best, made_picture
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at

UPRIGHT = look_at((0.0, 0.0, 4.0), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def beside(shift: float) -> Camera:
    """Looks down on the plane z = 0 from height 4; a unit there is 5 pixels."""
    pose = UPRIGHT.clone()
    pose[0, 3] += shift
    return Camera(10, 8, 20.0, 20.0, 5.0, 4.0, pose)


def source(shift: float, **changes) -> Source:
    camera = beside(shift)
    picture = torch.full((3, 8, 10), round(20 * shift) + 100, dtype=torch.uint8)
    given = {"camera": camera, "picture": picture, "depth": torch.full((8, 10), 4.0)} | changes
    return Source(**given)


def sources(*views: Source, behind: torch.Tensor | None = None) -> Sources:
    return Sources(views, lambda camera: torch.full((camera.height, camera.width), 4.0), 0.01, behind)


def test_counts_are_those_that_one_counts_by_hand():
    """Shifted by a unit, a camera sees 5 of 10 columns; by two none; itself all of them."""
    of = sources(source(1.0), source(0.0), source(-0.4), source(2.0))
    depth = torch.full((8, 10), 4.0)
    assert of.counts(beside(0.0), depth) == [8 * 5, 8 * 10, 8 * 8, 0]
    assert of.counts(beside(0.0), depth, but=1) == [40, -1, 64, 0]
    look = of.look(beside(0.0), 2)
    assert look.rows == (1, 2)
    assert of.look(beside(0.0), 9, but=1).rows == (2, 0, 3), "best first, and never the one left out"


def test_the_best_are_ordered_and_ties_keep_their_order():
    assert best([3, 9, -1, 9, 0], 3) == (1, 3, 0)
    assert best([3, -1], 5) == (0,)


def test_pixels_that_do_not_count_are_not_seen():
    counts = torch.ones(8, 10, dtype=torch.bool)
    counts[:, :4] = False
    of = sources(source(0.0, counts=counts))
    assert of.counts(beside(0.0), torch.full((8, 10), 4.0)) == [8 * 6]
    assert torch.equal(of.look(beside(0.0), 1).warps[0].inside, counts)


def test_a_window_of_a_source_shows_what_the_whole_shows_there():
    draw = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 255, (3, 8, 10), generator=draw).byte()
    whole = source(0.37, picture=picture, depth=4 + 0.01 * torch.rand(8, 10, generator=draw))
    part = whole.cropped(2, 1, 6, 5)
    target, depth = beside(0.37).cropped(3, 2, 4, 3), torch.full((3, 4), 4.0)
    one, other = (
        Look(target, depth, (0,), (view,), (view.warp(target, depth, 0.01),), 0.01) for view in (whole, part)
    )
    assert one.warps[0].seen.all()
    assert torch.equal(one.warps[0].seen, other.warps[0].seen)
    torch.testing.assert_close(one.warped(0), other.warped(0))
    torch.testing.assert_close(one.warped(0), whole.colours()[:, 2:5, 3:7], atol=1e-4, rtol=0)


def test_nothing_is_seen_by_all_and_has_its_colour():
    white = torch.ones(3)
    depth = torch.full((8, 10), 4.0)
    depth[:2] = torch.inf
    of = sources(source(1.0), behind=white)
    look = of.look(beside(0.0), 1, depth=depth)
    assert look.warps[0].seen[:2].all()
    assert (look.warped(0)[:, :2] == 1).all()
    assert look.warps[0].seen[2:].sum() == 6 * 5


def test_where_no_source_gave_anything_there_is_the_background():
    look = sources(source(0.0)).look(beside(0.0), 1)
    weights = torch.ones(1, 8, 10)
    weights[:, 3] = 0
    blend = Blend(look, torch.zeros(8, 10, 3), weights, torch.zeros(1, 3, 8, 10))
    colour, distance = made_picture(blend, torch.tensor([1.0, 0.5, 0.0]))
    assert (colour[3] == torch.tensor([1.0, 0.5, 0.0])).all()
    assert colour[:3].abs().max() == 0
    assert distance.min() >= 4
    assert distance[3, 0] > distance[3, 4], "along the ray, not along the axis"
