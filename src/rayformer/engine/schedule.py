"""The learning rate over time, as a pure function: no state, so a resumed run needs none."""

import math

from rayformer.engine.plan import Schedule


def rate_factor(schedule: Schedule, step: int, progress: float, steps: int) -> float:
    """What the full rate is multiplied by at `step`.

    `progress` in [0, 1] is the share of the training that is over; it is `step / steps`, or the share of
    the minutes where the clock is ahead of it, so that a run stopped by the clock still ends its schedule.
    """
    warm = schedule.warmup_steps
    if step < warm:
        return schedule.warmup_from + (1 - schedule.warmup_from) * (step + 1) / warm
    progress = min(max(progress, 0.0), 1.0)
    # The share of what comes after the warm-up.
    after = max(progress - warm / steps, 0.0) / max(1 - warm / steps, 1e-12) if warm < steps else 1.0
    match schedule.kind:
        case "constant":
            return 1.0
        case "linear":
            return 1 + (schedule.final - 1) * after
        case "cosine":
            return schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * after)) / 2
        case "exponential":
            periods = after if schedule.period_steps is None else step / schedule.period_steps
            return schedule.final**periods
        case "step":
            return schedule.gamma ** sum(after >= milestone for milestone in schedule.milestones)
        case "inverse-root":
            return math.sqrt(max(warm, 1) / max(step + 1, warm, 1))
