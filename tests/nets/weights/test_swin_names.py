"""Swin's published names, every format there and back."""

import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.nets.swin import Swin, SwinConfig
from rayformer.nets.weights.loading import exported, put
from rayformer.nets.weights.swin import SWIN

SIZES = {"width": 8, "depths": (1, 2, 1), "heads": (1, 2, 4), "window": 4}


def swin(seed=0, **changes) -> Swin:
    torch.manual_seed(seed)
    return Swin(SwinConfig(**(SIZES | changes)), 5)


@pytest.mark.parametrize("form", list(SWIN.formats))
def test_there_and_back_is_the_same(form):
    ours, again = swin(), swin(1)
    report = put(again, exported(ours, SWIN, form), SWIN, "a file")
    assert report.format == form
    assert not report.unexpected
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_tables_fit_other_windows():
    ours, other = swin(), swin(1, window=7)
    report = put(other, exported(ours, SWIN, "timm"), SWIN, "a file")
    assert set(report.resized) == {name for name in ours.state_dict() if "table" in name}


@pytest.mark.parametrize("changes", [{"width": 16}, {"depths": (2, 2, 1)}, {"heads": (2, 2, 4)}])
def test_weights_of_another_architecture_are_refused(changes):
    with pytest.raises(DataError, match="another architecture"):
        put(swin(**changes), exported(swin(), SWIN, "timm"), SWIN, "a file")
