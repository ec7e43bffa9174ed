"""How a stage is trained: how long, with which optimiser and rates, and how often it is looked at and saved.

Optim       the optimiser and its constants
Schedule    the learning rate over time
Plan        both, and the clock: steps, minutes, logging, evaluation, saving, precision
"""

from dataclasses import dataclass
from typing import Literal

from rayformer.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Optim:
    name: Literal["adam", "adamw", "bert-adam", "sgd", "lars"] = "adam"
    """adamw decays weights apart from the gradient; bert-adam is adamw without bias correction, as BERT was
    trained."""
    rate: float = 5e-4
    """Learning rate at the height of the schedule."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running first and second moments (the Adams)."""
    eps: float = 1e-8
    """Added to the root of the second moment (the Adams)."""
    decay: float = 0.0
    """Weight decay per step, times the learning rate."""
    momentum: float = 0.9
    """Of sgd and lars."""
    nesterov: bool = False
    """Look-ahead momentum (sgd)."""
    trust: float = 0.001
    """Layer-wise trust coefficient (lars)."""

    def __post_init__(self):
        if not self.rate > 0:
            raise ConfigError(f"plan.optim.rate must be above 0, but is {self.rate}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"plan.optim.betas must lie in [0, 1), but are {self.betas}")
        if self.nesterov and self.momentum == 0:
            raise ConfigError(
                "plan.optim.nesterov looks ahead along the momentum, but plan.optim.momentum is 0"
            )
        if self.decay < 0 or self.momentum < 0 or self.eps <= 0:
            raise ConfigError(
                f"plan.optim.decay and momentum must not be negative and eps must be above 0, "
                f"but they are {self.decay}, {self.momentum} and {self.eps}"
            )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    kind: Literal["constant", "linear", "cosine", "exponential", "step", "inverse-root"] = "constant"
    """Shape of the learning rate after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the rate first rises."""
    warmup_from: float = 0.0
    """Share of the full rate at which the warm-up starts."""
    final: float = 0.0
    """Share of the full rate left at the end (linear, cosine); for exponential, the factor per
    `period_steps`."""
    period_steps: int | None = None
    """Steps in which an exponential schedule falls by `final`; the whole training if not given."""
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training at which a step schedule falls."""
    gamma: float = 0.1
    """Factor at each milestone."""

    def __post_init__(self):
        if self.warmup_steps < 0:
            raise ConfigError(f"plan.schedule.warmup_steps must not be negative, but is {self.warmup_steps}")
        if not 0 <= self.warmup_from <= 1:
            raise ConfigError(
                f"plan.schedule.warmup_from is a share of the rate, 0 to 1, but is {self.warmup_from}"
            )
        if not 0 <= self.final <= 1:
            raise ConfigError(f"plan.schedule.final is a share of the rate, 0 to 1, but is {self.final}")
        if self.kind == "exponential" and self.final == 0:
            raise ConfigError(
                "plan.schedule.final must be above 0 for an exponential schedule: it is the factor "
                "the rate falls by"
            )
        if self.period_steps is not None and self.period_steps < 1:
            raise ConfigError(f"plan.schedule.period_steps must be at least 1, but is {self.period_steps}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    steps: int = 1000
    """Optimiser steps; 0 trains nothing and only measures."""
    minutes: float | None = None
    """Stop by the clock, if it comes before `steps`; the schedule then follows the clock too."""
    accumulate: int = 1
    """Batches per optimiser step."""
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    clip: float | None = None
    """Largest norm of the whole gradient; longer ones are scaled down to it."""
    clip_units: float | None = None
    """Largest norm of a unit's gradient, as a share of the norm of its weights: what leads to one output of
    a layer is a unit, and so is a whole vector. NFNets have 0.01. Comes before `clip`."""
    ema: float | None = None
    """Decay of the running average of the weights that is evaluated and kept; near 1, for instance 0.999."""
    precision: Literal["auto", "32", "bf16"] = "auto"
    """auto takes bf16 where the device multiplies it in hardware, float32 elsewhere; the reason is
    printed."""
    shard: bool = False
    """Under torchrun, split parameters and optimiser state over the processes (FSDP2) instead of copying
    them (DDP)."""
    prefetch: int | None = None
    """Batches made ahead, in a thread; without it, two for an accelerator and none for a processor, whose
    cores the step needs itself."""
    log_every: int = 20
    """Steps between lines in metrics.jsonl."""
    evaluate_every: int = 1000
    """Steps between evaluations on the `val` split; 0 for none before the end."""
    save_every: int = 1000
    """Steps between checkpoints; 0 for none before the end."""

    def __post_init__(self):
        if self.steps < 0:
            raise ConfigError(
                f"plan.steps must not be negative (0 trains nothing and only measures), but is {self.steps}"
            )
        for name in ("accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"plan.{name} must be at least 1, but is {getattr(self, name)}")
        for name in ("evaluate_every", "save_every", "prefetch"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(
                    f"plan.{name} must not be negative (0 turns it off), but is {getattr(self, name)}"
                )
        if self.minutes is not None and self.minutes <= 0:
            raise ConfigError(f"plan.minutes must be above 0, but is {self.minutes}")
        for name in ("clip", "clip_units"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ConfigError(
                    f"plan.{name} must be above 0 (leave it out for no clipping), but is {bound}"
                )
        if self.ema is not None and not 0 < self.ema < 1:
            raise ConfigError(f"plan.ema must lie strictly between 0 and 1, but is {self.ema}")
