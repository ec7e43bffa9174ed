"""Curves as inline SVG: coloured by the page, so that they follow it into the dark.

    Series      one named run of numbers over steps
    smoothed    its running average, without a lag
    ticks       round numbers for an axis
    chart       a few series in one frame, raw faint and smoothed strong

The page's style sheet gives `.s0` to `.s5` their colours, and grid, axes and text theirs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

from rayformer.report.words import figure

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 10, 24
DRAWN = 400
"""More points than this in a curve are averaged in runs: the screen has no room for them, the file need
not.
"""
DECADES_FOR_LOG = 1
SMOOTHED_FROM = 30
"""Points; fewer are drawn as they are."""


@dataclass(frozen=True, eq=False)
class Series:
    name: str
    steps: Float[np.ndarray, "points"]
    values: Float[np.ndarray, "points"]
    """Finite: what was NaN is left out by whoever makes the series."""


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels along one axis; `log` in the number's logarithm."""

    low: int | float
    high: int | float
    start: int | float
    end: int | float
    log: bool = False

    def __call__(self, value: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), np.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def chart(series: Sequence[Series], title: str, may_be_log: bool = True) -> str:
    """An SVG of `series` over steps. The value axis is logarithmic where positive values span decades."""
    values = np.concatenate([one.values for one in series])
    steps = np.concatenate([one.steps for one in series])
    low, high = float(values.min()), float(values.max())
    # What is all but zero, or all but infinite, has no room around it on an axis of decades.
    log = may_be_log and low > 1e-200 and high < 1e200 and math.log10(high / low) > DECADES_FOR_LOG
    across = Scale(*_apart(min(0.0, steps.min()), steps.max()), LEFT, WIDTH - RIGHT)
    upward = Scale(*_roomy(values, log), HEIGHT - BOTTOM, TOP, log)
    parts = [*_grid(across, upward)]
    for index, one in enumerate(series):
        parts += _curve(one, across, upward, f"s{index % 6}")
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def smoothed(values: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """A running average over a twentieth of the curve, around each point and narrower towards the ends.

    The window is the same to the left as to the right, so that nothing lags and a straight line stays itself.
    """
    index = np.arange(len(values))
    reach = np.minimum(np.minimum(index, index[::-1]), max(1, len(values) // 40))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)


def ticks(low: float, high: float, log: bool = False, about: int = 4) -> list[float]:
    """Round numbers from `low` to `high`, `about` of them, evenly spaced or, for `log`, by decades."""
    if log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        if last - first >= 2:
            return [10.0**power for power in range(first, last + 1, max(1, (last - first) // about))]
        every = [mantissa * 10.0**power for power in range(first - 1, last + 1) for mantissa in (1, 2, 5)]
        return [value for value in every if low <= value <= high]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _grid(across: Scale, upward: Scale) -> list[str]:
    parts = []
    values = ticks(upward.low, upward.high, upward.log)
    for value, y in zip(values, upward(np.array(values, dtype=np.float64)), strict=True):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    steps = ticks(across.low, across.high)
    for value, x in zip(steps, across(np.array(steps, dtype=np.float64)), strict=True):
        anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{_short(value)}</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    return parts


def _curve(one: Series, across: Scale, upward: Scale, colour: str) -> list[str]:
    told = f"<title>{escape(one.name)}: {figure(one.values[-1])} at step {figure(one.steps[-1])}</title>"
    if len(one.values) == 1:
        x, y = across(one.steps)[0], upward(one.values)[0]
        return [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3">{told}</circle>']
    if len(one.values) < SMOOTHED_FROM:
        dots = "".join(
            f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'
            for x, y in zip(across(one.steps), upward(one.values), strict=True)
        )
        return [_line(one, across, upward, colour, told), dots]
    average = Series(one.name, one.steps, smoothed(one.values))
    return [
        _line(_thinned(one), across, upward, f"{colour} raw", ""),
        _line(_thinned(average), across, upward, colour, told),
    ]


def _line(one: Series, across: Scale, upward: Scale, style: str, told: str) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across(one.steps), upward(one.values), strict=True))
    return f'<polyline class="{style}" points="{points}">{told}</polyline>'


def _thinned(one: Series) -> Series:
    """At most DRAWN points, each the mean of a run of neighbours; the last one stays itself."""
    if len(one.values) <= DRAWN:
        return one
    runs = np.array_split(np.arange(len(one.values) - 1), DRAWN - 1)
    steps, values = (np.array([*(of[run].mean() for run in runs), of[-1]]) for of in (one.steps, one.values))
    return Series(one.name, steps, values)


def _roomy(values: Float[np.ndarray, "points"], log: bool) -> tuple[float, float]:
    """The range of the value axis: a little more than that of the values."""
    low, high = float(values.min()), float(values.max())
    if log:
        room = (high / low) ** 0.06
        return low / room, high * room
    low, high = _apart(low, high)
    room = 0.06 * (high - low)
    return (0.0 if 0 <= low < room else low - room), high + room


def _apart(low: float, high: float) -> tuple[float, float]:
    """The same range, or, where it is a single number, one around it."""
    low, high = float(low), float(high)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    room = abs(high) / 2 or 0.5
    return low - room, high + room


def _short(value: float) -> str:
    """A tick: 20k, 1.5M, 0.01, 1e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.0e}"
