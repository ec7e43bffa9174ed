"""Names carry their units; the page says them in words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayformer.report.words import duration, figure, quantity


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("psnr_db", "PSNR [dB]"),
        ("val/psnr_db", "Held out: PSNR [dB]"),
        ("val/ssim", "Held out: SSIM"),
        ("train/learning_rate", "Training: learning rate"),
        ("rays_per_s", "Rays per second"),
        ("peak_memory_gib", "Peak memory [GiB]"),
        ("loss", "Loss"),
        ("val/cross_entropy_nats", "Held out: cross entropy [nats]"),
    ],
)
def test_a_name_says_what_in_which_unit_and_whose(name, heading):
    assert quantity(name).heading == heading


@given(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_a_figure_is_within_a_thousandth_of_its_number(value):
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


def test_figures_are_short():
    numbers = [24.1349, 0.81239, 1234567, 3.1415e-7, 100.0, math.nan, math.inf]
    texts = ["24.13", "0.8124", "1,234,567", "3.14e-07", "100", "not a number", "infinite"]
    assert [figure(number) for number in numbers] == texts


def test_durations_are_said_as_people_say_them():
    assert [duration(s) for s in (0.51, 42, 200, 7503.2)] == ["0.51 s", "42 s", "3 min 20 s", "2 h 05 min"]
