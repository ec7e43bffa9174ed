"""The controls at the side of the window, and what they do.

Panel     style of the picture; cameras and points; the flight; snapshots

What is chosen holds for everyone who has the page open; what moves a camera moves that of whoever pressed the
button. The page calls from threads of its own, so that whatever is shared stands under one lock.
"""

import math
import re
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rayformer.core.errors import UserError
from rayformer.geometry.cameras import Camera
from rayformer.runs.atomic import write_text
from rayformer.runs.run import Run
from rayformer.viewer.desk import Style
from rayformer.viewer.flight import Flight, Stop
from rayformer.viewer.frames import Frame
from rayformer.viewer.furniture import Furniture
from rayformer.viewer.show import Show

if TYPE_CHECKING:
    import viser

BACKGROUNDS = ("the scene's", "black", "white", "a colour")
PREVIEW_FPS = 20
NONE_YET = "none yet"
ROWS_AT_REST = 720
"""Rows of the finest picture, unless chosen otherwise."""
LEAST_SNAPSHOT = 480
"""Rows of a snapshot: those of the photographs in training, or so many where these were scaled down."""


class Panel:
    def __init__(
        self,
        server: "viser.ViserServer",
        show: Show,
        run: Run,
        frame: Frame,
        furniture: Furniture,
        changed: Callable[[], None],
        snapshot: Callable[["viser.ClientHandle", int], None],
    ):
        """`changed` is called when pictures must be drawn anew, `snapshot` with who wants one and how many
        rows it is to have."""
        self.server, self.show, self.run, self.frame = server, show, run, frame
        self.furniture, self.changed, self.snapshot = furniture, changed, snapshot
        self.flight, self._lock, self._playing = Flight(), threading.RLock(), threading.Event()
        self._status = server.gui.add_markdown(" ")
        self._add_picture()
        self._add_cameras()
        self._add_flight()
        self._add_snapshot()

    def say(self, text: str) -> None:
        """The line on top."""
        if self._status.content != text:
            self._status.content = text

    # ------------------------------------------------------------------ the picture

    def _add_picture(self) -> None:
        gui, show = self.server.gui, self.show
        with gui.add_folder("Picture"):
            self._what = gui.add_dropdown("shows", ("colour", "depth"))
            self._behind = gui.add_dropdown("background", BACKGROUNDS)
            self._behind_colour = gui.add_rgb("colour", (120, 160, 200), visible=False)
            step = _step(show.far)
            farthest = _above(2 * show.far, step)
            self._near = gui.add_slider(
                "near", 0.0, farthest, step, show.near, visible=show.has_range, hint="where rays begin"
            )
            self._far = gui.add_slider(
                "far", 0.0, farthest, step, show.far, visible=show.has_range, hint="where rays end"
            )
            self._fov = gui.add_slider(
                "field of view", 10.0, 120.0, 0.5, _within(round(show.start.fov_y_degrees, 1), 10.0, 120.0)
            )
            self._rows = gui.add_slider(
                "finest rows", 90, 2160, 30, ROWS_AT_REST, hint="rows of the picture when the camera rests"
            )
        for control in (self._what, self._behind_colour, self._near, self._far, self._rows):
            control.on_update(lambda _: self.changed())

        @self._behind.on_update
        def _(_: Any) -> None:
            self._behind_colour.visible = self._behind.value == BACKGROUNDS[3]
            self.changed()

        @self._fov.on_update
        def _(event: Any) -> None:
            if event.client is not None:
                event.client.camera.fov = math.radians(self._fov.value)

    @property
    def style(self) -> Style:
        colours = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
        r, g, b = self._behind_colour.value
        behind = (r / 255, g / 255, b / 255) if self._behind.value == BACKGROUNDS[3] else None
        near, far, step = self._near.value, self._far.value, self._near.step
        return Style(
            what=self._what.value,
            # Sliders round; where nobody has touched them, the scene's own numbers hold exactly.
            near=None if near == self.show.near else near,
            far=None if far == self.show.far and near < far else max(far, near + step),
            background=colours.get(self._behind.value, behind),
        )

    @property
    def most_rows(self) -> int:
        return self._rows.value

    # ------------------------------------------------------------------ cameras and points

    def _add_cameras(self) -> None:
        gui, show, furniture = self.server.gui, self.show, self.furniture
        shown = len(show.photos)
        some = f"{shown} of {show.photos_in_all}" if shown < show.photos_in_all else str(shown)
        with gui.add_folder(f"Training cameras ({some})"):
            cameras = gui.add_checkbox("cameras", True, hint="click one to look through it")
            photos = gui.add_checkbox("photos", True)
            size = gui.add_slider("size", 0.25, 4.0, 0.05, 1.0)
            points = gui.add_checkbox("points", True, hint="those of the reconstruction, where there are any")
        cameras.on_update(lambda _: furniture.show_cameras(cameras.value))
        photos.on_update(lambda _: furniture.show_photos(photos.value))
        size.on_update(lambda _: furniture.scale_cameras(size.value))
        points.on_update(lambda _: furniture.show_points(points.value))
        furniture.on_photo(self._look_through)

    def _look_through(self, client: "viser.ClientHandle", camera: Camera) -> None:
        self.place(client, camera.pose, math.degrees(2 * math.atan(camera.height / (2 * camera.fy))))

    def place(self, client: "viser.ClientHandle", pose: Any, fov_y_degrees: float) -> None:
        """Put somebody's camera somewhere."""
        wxyz, position = self.frame.to_window(pose)
        with client.atomic():
            client.camera.position = position
            client.camera.wxyz = wxyz
            client.camera.fov = math.radians(fov_y_degrees)

    def _stop_here(self, client: "viser.ClientHandle", seconds: float) -> Stop:
        camera = client.camera
        pose = self.frame.from_window(camera.wxyz, camera.position)
        return Stop(pose, math.degrees(float(camera.fov)), seconds)

    # ------------------------------------------------------------------ the flight

    def _add_flight(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Flight", expand_by_default=False):
            add = gui.add_button("Add keyframe here", hint="behind the chosen one")
            self._chosen: viser.GuiDropdownHandle[str] = gui.add_dropdown("keyframe", [NONE_YET])
            self._seconds = gui.add_number(
                "seconds to it", 2.0, min=0.1, max=600.0, step=0.1, hint="from the one before"
            )
            self._order = gui.add_button_group("order", ("earlier", "later", "remove"))
            self._view = gui.add_button_group("view", ("go there", "set from here"))
            play = gui.add_button("Play")
            self._name = gui.add_text("name", "flight")
            save = gui.add_button("Save for rayformer render")
        self._play = play

        @add.on_click
        def _(event: Any) -> None:
            self._edit(lambda flight, at: flight.added(self._stop_here(event.client, 2.0), at), +1)

        @self._order.on_click
        def _(event: Any) -> None:
            if event.target.value == "remove":
                self._edit(lambda flight, at: flight if at is None else flight.without(at), 0)
            else:
                by = 1 if event.target.value == "later" else -1
                self._edit(lambda flight, at: flight if at is None else flight.moved(at, by), by)

        @self._view.on_click
        def _(event: Any) -> None:
            at = self._place
            if at is None:
                return
            if event.target.value == "go there":
                stop = self.flight.stops[at]
                self.place(event.client, stop.pose, stop.fov_y_degrees)
            else:
                here = self._stop_here(event.client, self.flight.stops[at].seconds)
                self._edit(lambda flight, at: flight.replaced(at, here), 0)

        @self._chosen.on_update
        def _(_: Any) -> None:
            at = self._place
            if at is not None:
                self._seconds.value = float(self.flight.stops[at].seconds)

        @self._seconds.on_update
        def _(event: Any) -> None:
            at = self._place
            if event.client is not None and at is not None:
                stop = replace(self.flight.stops[at], seconds=float(self._seconds.value))
                self._edit(lambda flight, at: flight.replaced(at, stop), 0)

        @play.on_click
        def _(event: Any) -> None:
            self._preview(event.client)

        @save.on_click
        def _(event: Any) -> None:
            self._save(event.client)

    @property
    def _place(self) -> int | None:
        """The chosen keyframe; None where there is none."""
        head = str(self._chosen.value).partition(":")[0]
        return int(head) - 1 if head.isdecimal() and int(head) <= len(self.flight.stops) else None

    def _edit(self, change: Callable[[Flight, Any], Flight], by: int) -> None:
        """Change the flight, and choose the keyframe so many places further."""
        with self._lock:
            at = self._place
            self.flight = change(self.flight, at)
            frames = self.flight.keyframes
            names = [
                f"{number}: {frame.time:.1f} s, {frame.fov_y_degrees:.0f}°"
                for number, frame in enumerate(frames, start=1)
            ] or [NONE_YET]
            self._chosen.options = tuple(names)
            self._chosen.value = names[min(max((-1 if at is None else at) + by, 0), len(names) - 1)]
            self.furniture.show_flight(self.flight)

    def _preview(self, client: "viser.ClientHandle") -> None:
        """Fly in the browser of whoever asked; pressed again, stop."""
        if self._playing.is_set():
            self._playing.clear()
            return
        flight = self.flight
        if len(flight.stops) < 2:
            self.tell(client, "A flight needs two keyframes", "Move the camera, and add them one by one.")
            return
        self._playing.set()
        self._play.label = "Stop"
        self.furniture.show_cameras(False)
        began = time.monotonic()
        try:
            while self._playing.is_set() and (passed := time.monotonic() - began) < flight.seconds:
                ((pose, angle),) = flight.at(np.array([passed]))
                self.place(client, pose, angle)
                time.sleep(1 / PREVIEW_FPS)
        finally:
            self._playing.clear()
            self._play.label = "Play"
            self.furniture.show_cameras(True)

    def _save(self, client: "viser.ClientHandle") -> None:
        if not self.flight.stops:
            self.tell(client, "Nothing to save", "Add keyframes first.")
            return
        name = re.sub(r"[^\w-]+", "-", self._name.value.removesuffix(".json")).strip("-") or "flight"
        path = self.run.path / "paths" / f"{name}.json"
        try:
            write_text(path, self.flight.text(self.show.normalisation))
        except UserError as error:
            self.tell(client, "Not saved", str(error), failed=True)
            return
        words = shlex.join(["rayformer", "render", str(self.run.path), "--path", str(path)])
        self.tell(client, f"Saved as paths/{path.name}", words)

    # ------------------------------------------------------------------ snapshots

    def _add_snapshot(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Snapshot"):
            usual = max(self.show.start.height, LEAST_SNAPSHOT)
            rows = gui.add_number("rows", usual, min=16, max=8192, step=1)
            take = gui.add_button("Take a snapshot")

        @take.on_click
        def _(event: Any) -> None:
            self.tell(event.client, "Snapshot", "It is being drawn, and says so when it is done.")
            self.snapshot(event.client, int(rows.value))

    def tell(self, client: "viser.ClientHandle", title: str, text: str, failed: bool = False) -> None:
        """A note in somebody's browser."""
        client.add_notification(title, text, auto_close_seconds=12.0, color="red" if failed else None)


def _step(far: float) -> float:
    """A step for distances: a hundredth of the way, as 1, 2 or 5 times a power of ten."""
    rough = far / 100
    power = 10 ** math.floor(math.log10(rough))
    return float(next(power * part for part in (1, 2, 5, 10) if power * part >= rough * 0.999))


def _above(value: float, step: float) -> float:
    return math.ceil(value / step) * step


def _within(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))
