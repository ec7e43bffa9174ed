"""A flight that is put together by looking around: keyframes in a list, each so many seconds after the last.

Stop      one keyframe: a pose, an angle of view, and the seconds that lead to it
Flight    an ordered list of them; every change gives a new list
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.paths import Keyframe, fly, keyframes_text
from rayformer.geometry.similarity import Similarity


@dataclass(frozen=True, eq=False)
class Stop:
    pose: Float[Tensor, "4 4"]
    """In scene coordinates."""
    fov_y_degrees: float
    seconds: float = 2.0
    """From the stop before to this one; the first one's are not flown."""


@dataclass(frozen=True)
class Flight:
    stops: Sequence[Stop] = ()

    def added(self, stop: Stop, after: int | None = None) -> "Flight":
        """With `stop` behind number `after`, or at the end."""
        place = len(self.stops) if after is None else after + 1
        return Flight((*self.stops[:place], stop, *self.stops[place:]))

    def without(self, number: int) -> "Flight":
        return Flight((*self.stops[:number], *self.stops[number + 1 :]))

    def replaced(self, number: int, stop: Stop) -> "Flight":
        return Flight((*self.stops[:number], stop, *self.stops[number + 1 :]))

    def moved(self, number: int, by: int) -> "Flight":
        """With stop `number` so many places later, as far as there are places."""
        place = min(max(number + by, 0), len(self.stops) - 1)
        rest = self.without(number).stops
        return Flight((*rest[:place], self.stops[number], *rest[place:]))

    @property
    def keyframes(self) -> list[Keyframe]:
        """The stops with their times from the start."""
        times = np.cumsum([0.0, *(stop.seconds for stop in self.stops[1:])])
        return [
            Keyframe(float(time), stop.pose, stop.fov_y_degrees)
            for time, stop in zip(times, self.stops, strict=False)
        ]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return math.fsum(stop.seconds for stop in self.stops[1:])

    def at(self, times: Float[np.ndarray, "frames"]) -> list[tuple[Tensor, float]]:
        """Pose and vertical angle in degrees at each of `times`: what `rayformer render` will make of it."""
        return fly(self.keyframes, times)

    def text(self, normalisation: Similarity) -> str:
        """A camera-path file, in the data's coordinates, from which `normalisation` leads to the scene's."""
        back = normalisation.inverse()
        return keyframes_text(
            [Keyframe(stop.time, back.pose(stop.pose), stop.fov_y_degrees) for stop in self.keyframes]
        )
