"""Decibels of samples: closed forms."""

import math

import pytest
import torch

from rayformer.metrics.signal import psnr_db, snr_db


def test_an_error_of_a_tenth_of_the_peak_is_twenty_db():
    truth = torch.rand(100, 3)
    assert psnr_db(truth + 0.1, truth).item() == pytest.approx(20, abs=1e-3)
    assert psnr_db(truth + 0.5, truth, peak=5).item() == pytest.approx(20, abs=1e-3)


def test_silence_has_no_db_and_the_truth_has_all_of_them():
    truth = torch.randn(100, 1)
    assert snr_db(torch.zeros_like(truth), truth).item() == pytest.approx(0, abs=1e-9)
    assert math.isinf(snr_db(truth, truth).item())
    assert snr_db(0.9 * truth, truth).item() == pytest.approx(20, abs=1e-3)


def test_louder_sound_with_a_louder_error_has_the_same_snr():
    truth, error = torch.randn(50, 1), 0.1 * torch.randn(50, 1)
    assert snr_db(3 * (truth + error), 3 * truth).item() == pytest.approx(
        snr_db(truth + error, truth).item(), abs=1e-3
    )
