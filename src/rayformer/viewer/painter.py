"""The one thread that draws: orders from the desk become pictures, band by band.

Painter     draws the most urgent picture, a few rows at a time, and hands it over when it is whole

Between two bands the desk is asked again, so that a camera that moves never waits for a fine picture, and a
fine picture goes on where it was left if nothing has come between for good.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from rayformer.core.errors import UserError
from rayformer.geometry.cameras import Camera
from rayformer.viewer.desk import Desk, Order, Style
from rayformer.viewer.show import Drawn


@dataclass(eq=False)
class _Begun:
    """A picture, so far."""

    bands: list[Drawn] = field(default_factory=list)
    rows: int = 0
    seconds: float = 0.0


class Painter:
    def __init__(
        self,
        desk: Desk,
        draw: Callable[[Camera, Style], Drawn],
        deliver: Callable[[Order, Drawn, float], None],
        refuse: Callable[[Order, UserError], None],
        clock: Callable[[], float] = time.monotonic,
        whole: bool = False,
    ):
        """`deliver` gets every whole picture and the seconds that went into it, `refuse` what cannot be
        drawn. With `whole`, a picture is one band."""
        self.whole = whole
        self.desk, self.draw, self.deliver, self.refuse, self.clock = desk, draw, deliver, refuse, clock
        self._begun: dict[Order, _Begun] = {}

    def paint(self, seconds: float) -> bool:
        """Draw for about `seconds`, a band at least if any is wanted; whether anything was wanted."""
        end, wanted = self.clock() + seconds, False
        while (order := self.desk.next()) is not None:
            wanted = True
            try:
                self._band(order)
            except UserError as error:
                self._begun.pop(order, None)
                self.desk.give_up(order)
                self.refuse(order, error)
            if self.clock() >= end:
                break
        return wanted

    def _band(self, order: Order) -> None:
        self._begun = {other: begun for other, begun in self._begun.items() if self.desk.is_wanted(other)}
        begun, camera, began = self._begun.setdefault(order, _Begun()), order.camera, self.clock()
        left = camera.height - begun.rows
        rows = left if self.whole else self.desk.pace.band_rows(camera.width, left)
        band = replace(camera, height=rows, cy=camera.cy - begun.rows)
        begun.bands.append(self.draw(band, order.style))
        begun.rows += rows
        took = self.clock() - began
        begun.seconds += took
        self.desk.pace.took(rows * camera.width, took)
        if begun.rows < camera.height:
            return
        del self._begun[order]
        whole = Drawn(
            np.concatenate([band.colour for band in begun.bands]),
            np.concatenate([band.depth for band in begun.bands]),
        )
        sent = self.clock()
        try:
            self.deliver(order, whole, begun.seconds)
        finally:
            self.desk.done(order)
        if order.kind == "moving":
            self.desk.pace.moved(camera.width * camera.height, begun.seconds + self.clock() - sent)
