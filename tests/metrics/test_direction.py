"""Which way is better, by name."""

import pytest

from rayformer.core.errors import ConfigError
from rayformer.metrics.direction import higher_is_better


@pytest.mark.parametrize(
    "name",
    [
        "psnr_db",
        "ssim",
        "top1",
        "ap50",
        "accuracy",
        "iou",
        "f1",
        "mcc",
        "pearson",
        "fine_psnr_db",
        "right-half_psnr_db",
    ],
)
def test_more_of_a_quality_is_better(name):
    assert higher_is_better(name)


@pytest.mark.parametrize(
    "name",
    ["loss", "lpips", "perplexity", "image_nats", "bpd", "depth_error", "error_deg", "chamfer", "chamfer_mm"],
)
def test_less_of_an_error_is_better(name):
    assert not higher_is_better(name)


@pytest.mark.parametrize("name", ["pnsr", "accuracy_loss"])
def test_a_name_that_says_nothing_or_two_things_is_refused(name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        higher_is_better(name)
    snapshot(name, str(refusal.value))
