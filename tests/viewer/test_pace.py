"""Sizes that follow measured times, and a share of the time that is kept."""

import random

import pytest

from rayformer.viewer.pace import ALMOST, SMALLEST, Allowance, Pace


def simulate(pixel_s: float, pictures: int, start: Pace | None = None, size=(1200, 900)) -> tuple[Pace, int]:
    """A drag over so many pictures in front of a field that needs `pixel_s` per pixel."""
    pace, (width, height) = start or Pace(moving_s=0.1), size
    rows = 0
    for _ in range(pictures):
        rows = pace.moving_rows(width, height)
        pixels = rows * round(rows * width / height)
        pace.moved(pixels, pixels * pixel_s)
    return pace, rows


@pytest.mark.parametrize("pixel_s", [1e-7, 2e-6, 1e-5, 5e-5])
def test_a_moving_picture_comes_to_take_the_time_it_may(pixel_s):
    _, rows = simulate(pixel_s, 12)
    assert rows == 900 or 0.07 < rows * rows * 4 / 3 * pixel_s < 0.13


def test_a_field_too_slow_for_any_size_gets_the_smallest():
    assert simulate(1.0, 12)[1] == SMALLEST


def test_when_the_field_becomes_slower_so_does_the_size_follow_and_back():
    pace, fast = simulate(1e-6, 12)
    pace, slow = simulate(1e-5, 12, pace)
    assert slow == pytest.approx(fast / 10**0.5, rel=0.15)
    assert simulate(1e-6, 12, pace)[1] == pytest.approx(fast, rel=0.15)


def test_one_slow_picture_hardly_shrinks_the_next():
    pace, before = simulate(1e-6, 12)
    pixels = before * before * 4 // 3
    pace.moved(pixels, 5.0)  # another program took the processor
    assert pace.moving_rows(1200, 900) >= 0.65 * before


def test_a_resting_camera_gets_finer_pictures_up_to_all_rows_for_a_third_more():
    pace, random_rows = Pace(), random.Random(3)
    for _ in range(50):
        height = random_rows.randint(60, 2000)
        rows, cost = random_rows.randint(1, height), 0.0
        while (finer := pace.finer_rows(rows, height, height)) is not None:
            assert finer > rows
            assert finer == height or finer <= ALMOST * height
            rows, cost = finer, cost + finer**2
        assert rows == height
        assert cost <= (1 + ALMOST**2 * 4 / 3 + 1e-9) * height**2


def test_while_training_the_finest_picture_keeps_to_its_time():
    pace = Pace(longest_s=2.0)
    for _ in range(20):
        pace.took(1000, 1000 * 1e-4)
    rows = pace.finest_rows(1200, 900)
    assert rows * rows * 4 / 3 * 1e-4 == pytest.approx(2.0, rel=0.02)
    assert pace.finer_rows(rows, 1200, 900) is None


def test_a_band_takes_about_as_long_as_a_wish_may_wait():
    pace = Pace(band_s=0.04)
    pace.took(1000, 1000 * 1e-5)
    assert pace.band_rows(100, 1000) * 100 * 1e-5 == pytest.approx(0.04, rel=0.05)
    assert pace.band_rows(100, 3) == 3
    assert pace.band_rows(10**9, 5) == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_looking_takes_no_more_than_its_share_however_long_the_looks(share):
    clock, draw = Clock(), random.Random(1)
    allowance, looked = Allowance(share, most_s=0.5, clock=clock), 0.0
    for _ in range(5000):
        clock.now += draw.uniform(0.001, 0.1)  # a step
        if allowance.left_s() > 0:
            began, took = clock.now, draw.uniform(0.01, 0.3)
            clock.now += took
            looked += took
            allowance.spend(began)
    assert looked / clock.now == pytest.approx(share, abs=0.01)


def test_time_in_which_nobody_looked_does_not_pile_up():
    clock = Clock()
    allowance = Allowance(0.25, most_s=0.5, clock=clock)
    clock.now = 3600.0
    assert allowance.left_s() == 0.5
