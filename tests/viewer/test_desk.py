"""The newest wish wins, a drag shows something, and what has changed is drawn again."""

import numpy as np
import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.geometry.cameras import Camera
from rayformer.viewer.desk import REST_S, Desk, Look, Style
from rayformer.viewer.pace import Pace
from rayformer.viewer.painter import Painter
from rayformer.viewer.show import Drawn


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def look(x: float = 0.0, height: int = 120, **style) -> Look:
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = x
    return Look(Camera.from_fov(160, height, 50.0, pose), Style(**style))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(clock) -> Desk:
    return Desk(Pace(), clock)


def where(order) -> float:
    return order.camera.pose[0, 3].item()


def test_nobody_wants_anything_from_an_empty_desk(desk):
    assert desk.next() is None
    assert desk.visitors == 0


def test_of_many_wishes_only_the_newest_is_drawn(desk):
    for x in range(5):
        desk.wish(1, look(float(x)))
    assert where(desk.next()) == 4.0


def test_a_moving_picture_that_is_begun_is_finished_and_the_newest_wish_comes_next(desk):
    desk.wish(1, look(0.0))
    begun = desk.next()
    desk.wish(1, look(1.0))
    desk.wish(1, look(2.0))
    assert desk.next() is begun
    desk.done(begun)
    following = desk.next()
    assert (following.kind, where(following)) == ("moving", 2.0)


def test_a_camera_that_rests_gets_finer_pictures_until_all_rows_are_there(desk, clock):
    desk.wish(1, look(height=120))
    sizes = []
    while True:
        order = desk.next()
        if order is None and clock.now >= REST_S:
            break
        if order is not None:
            sizes.append((order.kind, order.camera.height))
            desk.done(order)
        clock.now += REST_S / 2
    assert sizes[0] == ("moving", 48)
    assert sizes[-1] == ("finest", 120)
    assert [rows for _, rows in sizes] == sorted({rows for _, rows in sizes})


def test_a_finer_picture_is_dropped_the_moment_the_camera_moves(desk, clock):
    desk.wish(1, look(0.0))
    desk.done(desk.next())
    clock.now += 2 * REST_S
    finer = desk.next()
    assert finer.kind == "finest"
    assert desk.is_wanted(finer)
    desk.wish(1, look(1.0))
    assert not desk.is_wanted(finer)
    assert desk.next().kind == "moving"


def test_whoever_moves_comes_before_snapshots_and_these_before_finer_pictures(desk, clock):
    desk.wish(1, look())
    desk.done(desk.next())
    clock.now += 2 * REST_S
    desk.snapshot(1, look(7.0))
    assert desk.next().kind == "snapshot"
    desk.wish(2, look(5.0))
    assert (desk.next().kind, desk.next().who) == ("moving", 2)


def test_a_snapshot_survives_that_its_camera_moves_and_that_its_browser_goes(desk):
    desk.snapshot(1, look(3.0, height=99))
    order = desk.next()
    desk.wish(1, look())
    desk.leave(1)
    assert desk.next() is order
    assert order.camera.height == 99
    desk.done(order)
    assert desk.next() is None


def test_when_the_weights_have_changed_a_finished_picture_is_drawn_again_at_its_finest(desk, clock):
    desk.wish(1, look())
    desk.done(desk.next())
    clock.now += 2 * REST_S
    desk.done(desk.next())
    assert desk.next() is None
    desk.again()
    order = desk.next()
    assert (order.kind, order.camera.height) == ("finest", 120)


def test_who_has_left_gets_nothing(desk):
    desk.wish(1, look())
    order = desk.next()
    desk.leave(1)
    assert not desk.is_wanted(order)
    assert desk.next() is None


# ---------------------------------------------------------------- drawing


def gradient(camera: Camera, style: Style) -> Drawn:
    """A picture that shows which row of the plane each pixel belongs to."""
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    rows = np.tile(y[:, None], (1, camera.width))
    return Drawn(np.repeat((128 + 100 * rows)[..., None], 3, -1).round().astype(np.uint8), rows)


def paint_all(desk: Desk, clock: Clock, draw=gradient, whole=False) -> list:
    shown: list = []

    def timed(camera: Camera, style: Style) -> Drawn:
        clock.now += camera.width * camera.height * 1e-5
        return draw(camera, style)

    painter = Painter(
        desk,
        timed,
        lambda order, drawn, seconds: shown.append((order, drawn)),
        lambda order, error: shown.append((order, error)),
        clock,
        whole,
    )
    for _ in range(200):
        painter.paint(0.05)
        clock.now += 0.01
    return shown


def test_bands_make_the_same_picture_as_one_stroke(desk, clock):
    desk.wish(1, look(height=131))
    shown = paint_all(desk, clock)
    for order, drawn in shown:
        whole = gradient(order.camera, order.style)
        np.testing.assert_array_equal(drawn.colour, whole.colour)
        np.testing.assert_allclose(drawn.depth, whole.depth, atol=1e-12)
    assert shown[-1][0].camera.height == 131


def test_a_picture_that_must_be_whole_is_drawn_at_once_at_every_size(desk, clock):
    asked = []

    def noted(camera: Camera, style: Style) -> Drawn:
        asked.append(camera)
        return gradient(camera, style)

    desk.wish(1, look(height=131))
    shown = paint_all(desk, clock, noted, whole=True)
    assert [camera.height for camera in asked] == [order.camera.height for order, _ in shown]
    assert asked[-1].height == 131
    del asked[:]
    desk.wish(1, look(1.0, height=131))
    shown = paint_all(desk, clock, noted)
    assert len(asked) > len(shown), "where it need not be whole, it comes in bands"


def test_where_no_picture_can_be_taken_that_is_said_once_and_not_tried_finer(desk, clock):
    def refuse(camera: Camera, style: Style) -> Drawn:
        raise DataError("not from here")

    desk.wish(1, look())
    shown = paint_all(desk, clock, refuse)
    assert [str(error) for _, error in shown] == ["not from here"]
    desk.wish(1, look(1.0))
    assert paint_all(desk, clock)[-1][0].camera.height == 120
