"""What stands in the scene beside its picture: the cameras that took the photographs, points, the flight.

Furniture     frustums with photographs, points, the line of a flight; each can be hidden
"""

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from rayformer.geometry.cameras import Camera
from rayformer.viewer.flight import Flight
from rayformer.viewer.frames import Frame
from rayformer.viewer.show import Show

if TYPE_CHECKING:
    import viser

CAMERA, FLIGHT = (70, 110, 160), (230, 120, 20)
"""Colours of the cameras that took the photographs, and of the flight."""
FRUSTUM = 0.08
"""From a camera to its photograph, in units of the distance between cameras."""
MOST_POINTS = 200_000


class Furniture:
    def __init__(self, server: "viser.ViserServer", show: Show, frame: Frame):
        self.server, self.show, self.frame = server, show, frame
        self.unit = show.unit * frame.scale
        self.photos_shown = True
        self._hidden: int | None = None
        self._cameras = server.scene.add_frame("/cameras", show_axes=False)
        self._frustums = [
            self._frustum(f"/cameras/{number:04d}", photo.camera, CAMERA, FRUSTUM)
            for number, photo in enumerate(show.photos)
        ]
        self._thumbnails: list[np.ndarray | None] = [None] * len(show.photos)
        self._points: viser.PointCloudHandle | None = None
        self._flight: list[viser.SceneNodeHandle] = []
        self._closing = threading.Event()
        # Photographs are decoded while the page is open already; a hundred of them take seconds.
        threading.Thread(target=self._load, name="photographs", daemon=True).start()

    def close(self) -> None:
        self._closing.set()

    def on_photo(self, clicked: Callable[["viser.ClientHandle", Camera], None]) -> None:
        """Call `clicked` with whoever clicked a frustum, and with its camera."""
        for number, (handle, photo) in enumerate(zip(self._frustums, self.show.photos, strict=True)):

            def meet(event: "viser.SceneNodePointerEvent", number: int = number, photo=photo) -> None:
                self._hide(number)  # it would fill the picture of whoever stands in it
                clicked(event.client, photo.camera)

            handle.on_click(meet)

    def show_cameras(self, visible: bool) -> None:
        self._cameras.visible = visible
        self._hide(None)

    def show_photos(self, visible: bool) -> None:
        self.photos_shown = visible
        self._hide(None)
        for handle, thumbnail in zip(self._frustums, self._thumbnails, strict=True):
            handle.image = thumbnail if visible else None

    def scale_cameras(self, factor: float) -> None:
        for handle in self._frustums:
            handle.scale = FRUSTUM * factor * self.unit * _bulk(handle.fov, handle.aspect)

    def show_points(self, visible: bool) -> None:
        if self._points is not None:
            self._points.visible = visible

    def show_flight(self, flight: Flight) -> None:
        """The keyframes as frustums and the way between them as a line, in the place of any before."""
        for handle in self._flight:
            handle.remove()
        self._flight = [
            self._frustum(
                f"/flight/{number:03d}",
                Camera.from_fov(160, 90, stop.fov_y_degrees, stop.pose),
                FLIGHT,
                FRUSTUM * 0.7,
            )
            for number, stop in enumerate(flight.stops)
        ]
        if len(flight.stops) < 2:
            return
        times = np.linspace(0, flight.seconds, 24 * (len(flight.stops) - 1) + 1)
        line = self.frame.points(np.stack([pose[:3, 3].numpy() for pose, _ in flight.at(times)]))
        self._flight.append(
            self.server.scene.add_line_segments(
                "/flight/line",
                np.stack([line[:-1], line[1:]], axis=1).astype(np.float32),
                FLIGHT,
                thickness=3.0,
                thickness_units="screen",
            )
        )

    def _hide(self, number: int | None) -> None:
        if self._hidden is not None:
            self._frustums[self._hidden].visible = True
        if number is not None:
            self._frustums[number].visible = False
        self._hidden = number

    def _frustum(self, name: str, camera: Camera, colour: tuple[int, int, int], size: float):
        wxyz, position = self.frame.to_window(camera.pose)
        fov = 2 * math.atan(camera.height / (2 * camera.fy))
        aspect = (camera.width / camera.fx) / (camera.height / camera.fy)
        return self.server.scene.add_camera_frustum(
            name,
            fov=fov,
            aspect=aspect,
            scale=size * self.unit * _bulk(fov, aspect),
            thickness=1.5,
            thickness_units="screen",
            color=colour,
            wxyz=wxyz,
            position=position,
            cast_shadow=False,
            receive_shadow=False,
        )

    def _load(self) -> None:
        """In a thread of its own: points, then photographs, until the window is closed."""
        with suppress(RuntimeError):  # the server may go while a picture is on its way
            if (found := self.show.points()) is not None and not self._closing.is_set():
                self._add_points(*found)
            for number, photo in enumerate(self.show.photos):
                if self._closing.is_set():
                    return
                self._thumbnails[number] = photo.thumbnail()
                if self.photos_shown:
                    self._frustums[number].image = self._thumbnails[number]

    def _add_points(self, points: np.ndarray, colours: np.ndarray | None) -> None:
        step = -(-len(points) // MOST_POINTS)
        self._points = self.server.scene.add_point_cloud(
            "/points",
            self.frame.points(points[::step]).astype(np.float32),
            (200, 80, 40) if colours is None else colours[::step],
            point_size=0.006 * self.unit,
            point_shape="circle",
            precision="float32",
            point_shading="flat",
        )


def _bulk(fov: float, aspect: float) -> float:
    """What viser divides a frustum by to give all of them one volume; we give all of them one depth."""
    half = math.tan(fov / 2)
    return (half * half * aspect / 3) ** (1 / 3)
