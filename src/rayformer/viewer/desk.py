"""Who wants to see what, and which picture is drawn next: the newest wish of everyone who looks.

Style     how a picture is to be drawn: colour or depth, from where to where, over what
Look      what one browser looks at: a camera of the size of its window, and a style
Order     one picture to draw for a look, at a size of its own
Desk      wishes come in from any thread; orders go out to the one thread that draws

The order of things: pictures for cameras that have just moved, snapshots, finer pictures for cameras that
rest. A moving picture that is begun is finished, even if the camera has moved on: otherwise a long drag would
show nothing at all. A finer one is dropped the moment its camera moves.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rayformer.geometry.cameras import Camera
from rayformer.viewer.pace import Pace

REST_S = 0.15
"""A camera that has not moved for so long rests."""


@dataclass(frozen=True, kw_only=True)
class Style:
    what: Literal["colour", "depth"] = "colour"
    near: float | None = None
    """Where rays begin, in scene units; None as the scene has it. Likewise far."""
    far: float | None = None
    background: tuple[float, float, float] | None = None
    """What is behind everything; None as the scene has it."""


@dataclass(frozen=True, eq=False)
class Look:
    camera: Camera
    """In scene coordinates, as large as the window of the browser, or as the finest picture may be."""
    style: Style


@dataclass(frozen=True, eq=False)
class Order:
    who: int
    """The browser that it is for."""
    number: int
    """Of the wish that it answers."""
    camera: Camera
    """At the size to be drawn."""
    style: Style
    kind: Literal["moving", "finer", "finest", "snapshot"]


@dataclass(eq=False)
class _Visitor:
    look: Look
    number: int
    since: float
    rows: int = 0
    """Rows of the finest picture that the look has got so far."""
    order: Order | None = None
    """What is drawn for it at present."""


@dataclass(eq=False)
class Desk:
    pace: Pace
    clock: Callable[[], float] = time.monotonic
    _visitors: dict[int, _Visitor] = field(default_factory=dict)
    _snapshots: list[Order] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _numbers: int = 0

    # ------------------------------------------------------------------ from any thread

    def wish(self, who: int, look: Look) -> None:
        """From now on `who` wants to see `look`, and nothing older."""
        with self._changed:
            number = self._next_number()
            visitor = self._visitors.get(who)
            if visitor is None:
                self._visitors[who] = _Visitor(look, number, self.clock())
            else:
                visitor.look, visitor.number, visitor.since, visitor.rows = look, number, self.clock(), 0
                if visitor.order and visitor.order.kind != "moving":
                    visitor.order = None
            self._changed.notify_all()

    def look_of(self, who: int) -> Look | None:
        """What `who` looks at; None for a stranger."""
        with self._changed:
            visitor = self._visitors.get(who)
            return visitor.look if visitor else None

    def snapshot(self, who: int, look: Look) -> None:
        """Draw `look` once, at its full size, whatever else is looked at meanwhile."""
        with self._changed:
            number = self._next_number()
            self._snapshots.append(Order(who, number, look.camera, look.style, "snapshot"))
            self._changed.notify_all()

    def leave(self, who: int) -> None:
        """`who` has gone. A snapshot that was ordered is still taken."""
        with self._changed:
            self._visitors.pop(who, None)

    def again(self) -> None:
        """What there is to see has changed: everyone who has their finest picture gets it anew."""
        with self._changed:
            for visitor in self._visitors.values():
                finest = self._finest(visitor)
                if visitor.order is None and visitor.rows >= finest:
                    visitor.rows = max(1, finest - 1)

    @property
    def visitors(self) -> int:
        """How many look at present."""
        with self._changed:
            return len(self._visitors)

    # ------------------------------------------------------------------ for the thread that draws

    def next(self) -> Order | None:
        """The picture to go on with; None where everyone has what they want. The same order until it is done
        or has lost its sense."""
        with self._changed:
            visitors = sorted(self._visitors.items(), key=lambda item: item[1].since)
            for who, visitor in visitors:
                if visitor.rows == 0 or (visitor.order and visitor.order.kind == "moving"):
                    visitor.order = visitor.order or self._order(who, visitor, "moving")
                    return visitor.order
            if self._snapshots:
                return self._snapshots[0]
            rested = [item for item in visitors if self.clock() - item[1].since >= REST_S]
            rested.sort(key=lambda item: item[1].rows)
            for who, visitor in rested:
                if visitor.order or visitor.rows < self._finest(visitor):
                    visitor.order = visitor.order or self._order(who, visitor, "finer")
                    return visitor.order
            return None

    def is_wanted(self, order: Order) -> bool:
        """Whether drawing `order` still makes sense."""
        with self._changed:
            if order.kind == "snapshot":
                return order in self._snapshots
            visitor = self._visitors.get(order.who)
            return visitor is not None and visitor.order is order

    def done(self, order: Order) -> None:
        """`order` was drawn and shown, or cannot be drawn at all."""
        with self._changed:
            if order.kind == "snapshot":
                self._snapshots = [other for other in self._snapshots if other is not order]
                return
            visitor = self._visitors.get(order.who)
            if visitor is None or visitor.order is not order:
                return
            visitor.order = None
            if visitor.number == order.number:  # else the camera has moved on, and its next picture is due
                visitor.rows = self._finest(visitor) if order.kind == "finest" else order.camera.height

    def give_up(self, order: Order) -> None:
        """`order` cannot be drawn; nothing finer of it will be tried."""
        with self._changed:
            self.done(order)
            visitor = self._visitors.get(order.who)
            if visitor and visitor.number == order.number:
                visitor.rows = visitor.look.camera.height

    def wait(self, seconds: float) -> None:
        """Until a wish comes in, or a camera may have come to rest, at most `seconds`."""
        with self._changed:
            resting = any(visitor.rows < self._finest(visitor) for visitor in self._visitors.values())
            self._changed.wait(min(seconds, REST_S / 3) if resting else seconds)

    # ------------------------------------------------------------------ inside, under the lock

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _finest(self, visitor: _Visitor) -> int:
        camera = visitor.look.camera
        return self.pace.finest_rows(camera.width, camera.height)

    def _order(self, who: int, visitor: _Visitor, kind: Literal["moving", "finer"]) -> Order:
        camera = visitor.look.camera
        if kind == "moving":
            rows = self.pace.moving_rows(camera.width, camera.height)
        else:
            rows = self.pace.finer_rows(visitor.rows, camera.width, camera.height) or self._finest(visitor)
        finest = kind == "finer" and rows >= self._finest(visitor)
        width = max(1, round(rows * camera.width / camera.height))
        return Order(
            who, visitor.number, camera.scaled(width, rows), visitor.look.style, "finest" if finest else kind
        )
