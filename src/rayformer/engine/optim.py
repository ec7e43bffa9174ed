"""Optimisers, and their state by parameter name.

Lars, BertAdam      the two that torch does not have
TableAdam           Adam that passes over numbers without a gradient
build_optimiser     an optimiser over the declared groups
clip_units          gradients bounded by the weights that they move, unit by unit
state_by_name       its state as tensors called "NAME.KEY", ready for safetensors
load_state_by_name  the way back
carry_over          after a task replaced parameters: a new optimiser that keeps the state of those that
                    stayed
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from rayformer.core.errors import ConfigError
from rayformer.engine.launch import like
from rayformer.engine.plan import Optim
from rayformer.engine.task import Group
from rayformer.kernels.table_adam import table_adam_


class Lars(Optimizer):
    """SGD whose step in each layer is a fixed share of that layer's weight norm.

    You et al. 2017, https://arxiv.org/abs/1708.03888, algorithm 1. Vectors (biases, norms) step without the
    trust ratio and without decay, as is usual for it.
    """

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float, trust: float):
        super().__init__(
            params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad
                if weight.ndim > 1:
                    update = update.add(weight, alpha=group["weight_decay"])
                    ratio = group["trust"] * weight.norm() / update.norm()
                    # Where either norm is 0 there is no scale to keep to.
                    update = update * torch.where(torch.isfinite(ratio) & (ratio > 0), ratio, 1.0)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                weight.add_(state["momentum_buffer"], alpha=-group["lr"])


class BertAdam(AdamW):
    """AdamW without bias correction, as BERT was trained: Devlin et al. 2018,
    https://arxiv.org/abs/1810.04805, A.2.

    Its first step is (1 - beta1) / sqrt(1 - beta2) times as long as Adam's (3.2 times with the usual
    constants), which is why it is used with a warm-up. The correction fades as steps are counted, so that
    torch's own, which is one pass over everything where it is fused, does without it once its count begins
    where nothing is left to correct.
    """

    CORRECTED = float(2**30)
    """Steps after which 1 - beta^steps is 1 to the last bit, for any beta that float32 tells from 1."""

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        fused: bool | None = None,
    ):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight] if weight.grad is not None else None
                if state is not None and not state:
                    place = weight.device if self.defaults["fused"] else "cpu"
                    state["step"] = torch.tensor(self.CORRECTED, device=place)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        super().step()


class TableAdam(Optimizer):
    """Adam; in groups that are `sparse`, for numbers with a gradient only (`kernels/table_adam.py`)."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], eps: float):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "sparse": False})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["step"] += 1
                table_adam_(
                    weight, weight.grad, state["exp_avg"], state["exp_avg_sq"], step=int(state["step"]),
                    rate=group["lr"], betas=group["betas"], eps=group["eps"], decay=group["weight_decay"],
                    skip_zeros=group["sparse"],
                )  # fmt: skip


def build_optimiser(model: nn.Module, groups: Sequence[Group], optim: Optim) -> Optimizer:
    """An optimiser over `groups`. Raises ConfigError if they do not hold every trainable parameter exactly
    once."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    grouped = [name for group in groups for name in group.parameters]
    if sorted(grouped) != sorted(parameters):
        missing, twice = set(parameters) - set(grouped), {name for name in grouped if grouped.count(name) > 1}
        unknown = set(grouped) - set(parameters)
        raise ConfigError(
            "parameter groups must hold every trainable parameter exactly once; missing: "
            f"{sorted(missing)[:5]}, "
            f"twice: {sorted(twice)[:5]}, unknown or frozen: {sorted(unknown)[:5]}"
        )
    torch_groups = [
        {
            "params": [parameters[name] for name in group.parameters],
            "name": group.name,
            "lr": optim.rate * group.rate,
            "full_rate": optim.rate * group.rate,  # the schedule multiplies this
            "weight_decay": optim.decay if group.decay is None else group.decay,
            "sparse": group.sparse,
            "clip_units": group.clip_units,
        }
        for group in groups
        if group.parameters
    ] or [{"params": [], "full_rate": 0.0}]  # a system without parameters is only measured
    # One fused pass over parameters, gradients and moments where torch has it for plain tensors.
    plain = all(type(value.data) is Tensor for value in parameters.values())
    fused = plain and all(
        value.device.type in ("cpu", "cuda") and value.is_floating_point() for value in parameters.values()
    )
    if any(group.sparse for group in groups):
        if optim.name != "adam":
            raise ConfigError(
                f"plan.optim.name must be adam here, but is {optim.name}: this system has tables of which a "
                "step touches few rows, and no other optimiser passes over the rest"
            )
        if not plain:
            raise ConfigError(
                "a system with sparse groups cannot be split over processes; leave plan.shard out"
            )
        return TableAdam(torch_groups, optim.rate, optim.betas, optim.eps)
    match optim.name:
        case "adam":
            return Adam(torch_groups, lr=optim.rate, betas=optim.betas, eps=optim.eps, fused=fused or None)
        case "adamw":
            return AdamW(torch_groups, lr=optim.rate, betas=optim.betas, eps=optim.eps, fused=fused or None)
        case "bert-adam":
            return BertAdam(
                torch_groups, optim.rate, optim.betas, optim.eps, optim.decay, fused=fused or None
            )
        case "sgd":
            return SGD(torch_groups, lr=optim.rate, momentum=optim.momentum, nesterov=optim.nesterov)
        case "lars":
            return Lars(torch_groups, optim.rate, optim.momentum, optim.decay, optim.trust)


def set_rate(optimiser: Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["full_rate"] * factor


LEAST_UNIT = 1e-3
"""Norm that a unit's weights are taken to have at least, lest what starts at zero stay there."""


@torch.no_grad()
def clip_units(optimiser: Optimizer, share: float, least: float = LEAST_UNIT) -> None:
    """Scale every unit's gradient down to `share` of the norm of the unit's weights, where it is longer, in
    the groups that want it. The weights that lead to one output are a unit (all axes but the first), and so
    is a vector or a single number.

    Brock et al. 2021 (NFNets), https://arxiv.org/abs/2102.06171, eq. 3. Needs the whole gradient: of all
    pieces, from all processes.
    """
    for group in optimiser.param_groups:
        for weight in group["params"] if group.get("clip_units", True) else ():
            if weight.grad is None:
                continue
            axes = tuple(range(1, weight.ndim)) if weight.ndim > 1 else None
            size, slope = (
                torch.linalg.vector_norm(values, dim=axes, keepdim=weight.ndim > 1)
                for values in (weight, weight.grad)
            )
            # Where the gradient is zero the quotient is infinite, and the smaller number is 1.
            weight.grad.mul_((share * size.clamp(min=least) / slope).clamp(max=1.0))


def state_by_name(optimiser: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as tensors called "PARAMETER.KEY" (Adam: exp_avg, exp_avg_sq, step).

    Step counts are stored as vectors of one: torch's consolidating writer loses tensors without axes.
    """
    names: dict[Tensor, str] = {value: name for name, value in model.named_parameters()}
    return {
        f"{names[parameter]}.{key}": torch.as_tensor(value).reshape(1) if key == "step" else value
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
        if value is not None
    }


def load_state_by_name(optimiser: Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `state_by_name` gave; a parameter without stored state starts fresh, as it would have
    been."""
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        name, key = full_name.rsplit(".", 1)
        parameter = parameters[name].detach()
        state = optimiser.state[parameters[name]]
        if key == "step":
            # The fused optimisers count on the device of the parameter, the others on the processor.
            state[key] = tensor.reshape(()).to(parameter.device if optimiser.defaults.get("fused") else "cpu")
        else:
            # A copy: what was read lies in the file still, which will be removed.
            state[key] = like(tensor, parameter).clone()


def carry_over(old: Optimizer, new: Optimizer) -> Optimizer:
    """`new`, with the state of every parameter that `old` also had. Replaced parameters start with none."""
    kept = {parameter for group in new.param_groups for parameter in group["params"]}
    for parameter, state in old.state.items():
        if parameter in kept:
            new.state[parameter] = state
    return new
