"""The learning rate is a pure function of the step."""

import math

import pytest

from rayformer.core.errors import ConfigError
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.schedule import rate_factor


def factors(schedule: Schedule, steps: int = 100) -> list[float]:
    return [rate_factor(schedule, step, step / steps, steps) for step in range(steps + 1)]


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "exponential", "step", "inverse-root"])
def test_every_schedule_warms_up_from_its_share_and_never_exceeds_the_full_rate(kind):
    seen = factors(Schedule(kind=kind, warmup_steps=10, warmup_from=0.2, final=0.1))
    assert seen[0] == pytest.approx(0.2 + 0.8 / 10)
    assert seen[9] == pytest.approx(1)
    assert all(0 < factor <= 1 for factor in seen)
    assert seen[10:] == sorted(seen[10:], reverse=True)


@pytest.mark.parametrize(
    ("kind", "half"), [("linear", 0.55), ("cosine", 0.55), ("exponential", math.sqrt(0.1))]
)
def test_schedules_pass_their_middle_and_end_where_they_are_told(kind, half):
    seen = factors(Schedule(kind=kind, final=0.1))
    assert seen[0] == pytest.approx(1)
    assert seen[50] == pytest.approx(half)
    assert seen[100] == pytest.approx(0.1)


def test_nerfs_decay_is_a_tenth_per_period_whatever_the_length_of_the_training():
    schedule = Schedule(kind="exponential", final=0.1, period_steps=250)
    assert rate_factor(schedule, 500, 0.5, 1000) == pytest.approx(0.01)
    assert rate_factor(schedule, 500, 0.05, 10000) == pytest.approx(0.01)


def test_steps_fall_at_their_milestones():
    seen = factors(Schedule(kind="step", milestones=(0.5, 0.75), gamma=0.1))
    assert [seen[step] for step in (49, 50, 74, 75)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_the_transformers_schedule_rises_and_falls_with_the_inverse_root():
    """Vaswani et al. 2017, eq. 3, up to its height."""
    schedule = Schedule(kind="inverse-root", warmup_steps=40)
    for step in range(1, 400):
        exact = min(step**-0.5, step * 40**-1.5) / 40**-0.5
        assert rate_factor(schedule, step - 1, 0.0, 1000) == pytest.approx(exact)


def test_a_clock_ahead_of_the_steps_drives_the_schedule():
    schedule = Schedule(kind="cosine")
    assert rate_factor(schedule, 10, 1.0, 10**6) == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("negative_steps", lambda: Plan(steps=-1)),
        ("no_minutes", lambda: Plan(minutes=0.0)),
        ("ema_of_one", lambda: Plan(ema=1.0)),
        ("clip_of_nothing", lambda: Plan(clip=0.0)),
        ("negative_rate", lambda: Optim(rate=-1e-3)),
        ("beta_of_one", lambda: Optim(betas=(0.9, 1.0))),
        ("final_above_one", lambda: Schedule(kind="cosine", final=2.0)),
        ("exponential_to_nothing", lambda: Schedule(kind="exponential")),
        ("warm_from_above", lambda: Schedule(warmup_steps=10, warmup_from=2.0)),
        ("nesterov_without_momentum", lambda: Optim(name="sgd", momentum=0.0, nesterov=True)),
    ],
)
def test_plans_that_cannot_work_are_refused_by_name(name, make, snapshot):
    with pytest.raises(ConfigError) as error:
        make()
    snapshot(name, str(error.value))
