"""How large a picture may be, and how much time may go into it: numbers only, no threads and no window.

Pace        sizes from measured times: small enough to keep moving, then finer while the camera rests
Allowance   at most a share of the time, for pictures that are made between training steps
"""

import time
from collections.abc import Callable

SMALLEST = 24
"""Rows of the smallest picture: below it nothing can be recognised, however slow the field is."""
FIRST = 48
"""Rows of the very first picture, before any time is known."""
ALMOST = 0.6
"""A picture that would have more than this share of the finest one's rows becomes the finest one at once."""


class Pace:
    """Sizes of pictures from the times that pictures took.

    While the camera moves, the number of pixels follows the time of the last moving picture, so that one
    takes `moving_s`. While it rests, each picture has twice the rows of the one before, which makes all of
    them together no more than a third dearer than the last one alone.
    """

    def __init__(self, moving_s: float = 0.1, band_s: float = 0.04, longest_s: float | None = None):
        self.moving_s, self.band_s, self.longest_s = moving_s, band_s, longest_s
        self._moving_pixels: float | None = None
        self._pixel_s: float | None = None

    def took(self, pixels: int, seconds: float) -> None:
        """A stretch of `pixels` was drawn in `seconds`."""
        now = seconds / pixels
        self._pixel_s = now if self._pixel_s is None else 0.7 * self._pixel_s + 0.3 * now

    def moved(self, pixels: int, seconds: float) -> None:
        """A whole moving picture of `pixels` took `seconds` until it was sent."""
        factor = min(max(self.moving_s / max(seconds, 1e-6), 0.25), 4.0)
        wanted = pixels * factor
        # Half of the way, on a scale of factors: a single slow picture halves nothing for long.
        before = self._moving_pixels
        self._moving_pixels = wanted if before is None else (before * wanted) ** 0.5

    def moving_rows(self, width: int, height: int) -> int:
        """Rows of a picture that keeps up with the camera, for a window of `width` x `height`."""
        if self._moving_pixels is None:
            return min(FIRST, height)
        rows = (self._moving_pixels * height / width) ** 0.5
        return min(max(round(rows), SMALLEST), height)

    def finer_rows(self, rows: int, width: int, height: int) -> int | None:
        """Rows of the next picture of a camera that rests, after one of `rows`; None where nothing finer is
        worth its time."""
        finest = self.finest_rows(width, height)
        if rows >= finest:
            return None
        return finest if 2 * rows > ALMOST * finest else 2 * rows

    def finest_rows(self, width: int, height: int) -> int:
        """Rows of the last picture of a camera that rests: all, or what `longest_s` allows."""
        if self.longest_s is None or self._pixel_s is None:
            return height
        rows = (self.longest_s / self._pixel_s * height / width) ** 0.5
        return min(max(round(rows), SMALLEST), height)

    def band_rows(self, width: int, rows_left: int) -> int:
        """Rows to draw before looking up again: a newer wish waits no longer than about `band_s`."""
        if self._pixel_s is None:
            return min(rows_left, 8)
        return min(rows_left, max(1, round(self.band_s / (self._pixel_s * width))))


class Allowance:
    """At most `share` of the time goes into looking; what is not used does not pile up beyond `most_s`.

    Looking for longer than was left is paid back: nothing is left until it is made up for.
    """

    def __init__(self, share: float = 0.25, most_s: float = 0.5, clock: Callable[[], float] = time.monotonic):
        assert 0 < share < 1, f"a share of the time lies between 0 and 1, unlike {share}"
        self._earned_per_s, self._most_s, self._clock = share / (1 - share), most_s, clock
        self._left, self._since = 0.0, clock()

    def left_s(self) -> float:
        """Seconds that may be spent now; 0 or less where none may."""
        now = self._clock()
        self._left = min(self._left + (now - self._since) * self._earned_per_s, self._most_s)
        self._since = now
        return self._left

    def spend(self, began: float) -> None:
        """From `began`, on this allowance's clock, until now was spent."""
        now = self._clock()
        self._left -= now - began
        self._since = now
