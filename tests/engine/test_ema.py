import pytest
import torch
from torch import nn

from rayformer.engine.ema import Ema


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("count", torch.zeros(()))

    def at(self, value: float) -> "Net":
        with torch.no_grad():
            self.norm.weight.fill_(value)
            self.norm.running_mean.fill_(value)
            self.count.fill_(value)
        return self


def test_the_average_is_the_weighted_sum_of_all_weights():
    model = Net().at(1.0)
    ema = Ema(model, decay=0.5)
    for step, value in enumerate((2.0, 4.0), start=100):  # the warm-up of the decay is long over
        ema.update(model.at(value), step)
    assert torch.allclose(ema.average["norm.weight"], torch.tensor(0.25 * 1 + 0.25 * 2 + 0.5 * 4))


def test_statistics_of_batch_norms_are_averaged_like_weights_and_other_buffers_are_not():
    model = Net().at(1.0)
    ema = Ema(model, decay=0.5)
    ema.update(model.at(3.0), step=100)
    with ema.worn(model):
        assert torch.equal(model.norm.running_mean, torch.full((2,), 2.0))
        assert torch.equal(model.norm.weight, torch.full((2,), 2.0))
        assert model.count == 3


def test_what_wears_the_average_has_its_own_weights_again_afterwards():
    model = Net().at(1.0)
    ema = Ema(model, decay=0.5)
    model.at(3.0)

    def fail() -> None:
        with ema.worn(model):
            assert model.norm.weight[0] == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert model.norm.weight[0] == model.norm.running_mean[0] == 3


def test_early_on_the_average_follows_quickly():
    model = Net().at(0.0)
    ema = Ema(model, decay=0.999)
    ema.update(model.at(1.0), step=0)
    assert ema.average["norm.weight"][0] == pytest.approx(0.9)
