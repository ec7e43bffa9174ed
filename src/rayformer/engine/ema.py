"""The running average of the weights: what is evaluated and kept when a plan asks for one.

Ema         the average, and a model that wears it
averaged    what of a model is averaged
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rayformer.engine.launch import like


class Ema:
    """average <- decay * average + (1 - decay) * weight, after every step. The statistics of batch norms are
    averaged like weights, since they belong to them; other buffers are taken as they are.

    The average starts at the weights themselves and its decay warms up as (1 + step) / (10 + step), so that
    early averages are not held back by the random start.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in averaged(model)}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in averaged(model):
            self.average[name].lerp_(value.detach(), 1 - decay)

    def follow(self, model: nn.Module, replaced: set[str]) -> None:
        """The task put new parameters in the place of those named, or took some away: averages of new ones
        start at themselves, since what the old ones averaged to means nothing to them."""
        self.average = {
            name: value.detach().clone() if name in replaced else self.average[name]
            for name, value in averaged(model)
        }

    def load(self, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        targets = dict(averaged(model))
        self.average = {
            name: like(tensor, targets[name].detach()).clone() for name, tensor in tensors.items()
        }

    @contextmanager
    def worn(self, model: nn.Module) -> Iterator[None]:
        """The model wears the average inside, and its own weights again after."""
        own = {name: value.detach().clone() for name, value in averaged(model)}
        self._put(model, self.average)
        try:
            yield
        finally:
            self._put(model, own)

    @staticmethod
    @torch.no_grad()
    def _put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
        for name, value in averaged(model):
            value.copy_(values[name])


def averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, and the running means and variances of batch norms, by name."""
    yield from model.named_parameters()
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for statistic in ("running_mean", "running_var"):
                value = getattr(module, statistic)
                if value is not None:
                    yield f"{name}.{statistic}".lstrip("."), value
