"""A picture of what structure from motion found: points and cameras from above and from the side.

One look tells whether the cameras stand where the photographer walked and the points make a shape.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.data.scenes.capture import Capture
from rayformer.geometry.cameras import Camera
from rayformer.runs.atomic import replacing

MOST_POINTS = 20_000
SHOWN = (2.0, 98.0)
"""Percentiles of the points along each axis that the picture covers, and all cameras with them."""
INK = "#b03a2e"
LONG = 0.08
"""How far a camera's drawn pyramid reaches, as a share of the picture."""


def save_preview(path: Path, capture: Capture, title: str) -> None:
    """Draw the capture, z up, into a PNG. Raises RunError where the disk refuses."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # 0.3 s that no other command must pay
    from matplotlib.figure import Figure

    assert capture.points is not None, "structure from motion gives points"
    points, colours = _some(capture.points, capture.point_colours)
    places = np.stack([photo.camera.position.numpy() for photo in capture.photos])
    lowest, highest = _extent(points, places)
    figure = Figure(figsize=(14, 7.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    wide = int(np.argmax((highest - lowest)[:2]))  # the side from which most is seen
    for panel, axes, name in [(1, (0, 1), "from above"), (2, (wide, 2), "from the side")]:
        plot = figure.add_subplot(1, 2, panel)
        depth = 2 if panel == 1 else 1 - wide
        order = np.argsort(
            points[:, depth] * (1 if panel == 1 or wide == 1 else -1)
        )  # what is nearer comes last
        across, up = axes
        plot.scatter(points[order, across], points[order, up], s=2, c=colours[order] / 255, linewidths=0)
        for number, photo in enumerate(capture.photos):
            lines = _pyramid(photo.camera, LONG * float((highest - lowest).max()))
            plot.plot(lines[:, across], lines[:, up], color=INK, linewidth=0.7)
            if number in (0, len(capture.photos) - 1):
                label = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
                place = places[number][[across, up]]
                plot.annotate(Path(photo.name).stem, place, fontsize=8, color=INK, bbox=label, zorder=5)
        plot.plot(places[:, across], places[:, up], ".", color=INK, markersize=4)
        middle, half = (lowest + highest) / 2, float((highest - lowest)[[across, up]].max()) / 2
        plot.set_xlim(middle[across] - half, middle[across] + half)
        plot.set_ylim(middle[up] - half, middle[up] + half)
        plot.set_aspect("equal")
        plot.set_facecolor("#f4f4f4")
        plot.set_title(name)
        plot.set_xlabel("xyz"[across])
        plot.set_ylabel("xyz"[up])
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _some(
    points: Float[np.ndarray, "points 3"], colours: UInt8[np.ndarray, "points 3"] | None
) -> tuple[Float[np.ndarray, "_ 3"], UInt8[np.ndarray, "_ 3"]]:
    """Evenly taken from all of them, where there are too many to tell apart."""
    step = max(1, len(points) // MOST_POINTS)
    colours = np.full(points.shape, 128, np.uint8) if colours is None else colours
    return points[::step], colours[::step]


def _extent(points: np.ndarray, places: np.ndarray) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Corners of what is shown: nearly all points, all cameras, and a margin."""
    low, high = np.percentile(points, SHOWN, axis=0) if len(points) else (places.min(0), places.max(0))
    low, high = np.minimum(low, places.min(axis=0)), np.maximum(high, places.max(axis=0))
    margin = 0.06 * float((high - low).max())
    return low - margin, high + margin


def _pyramid(camera: Camera, length: float) -> Float[np.ndarray, "_ 3"]:
    """The corners of the picture before the camera, as one line that passes every edge."""
    aside, up = camera.width / camera.fx / 2, camera.height / camera.fy / 2
    corners = np.array([[-aside, up, -1], [aside, up, -1], [aside, -up, -1], [-aside, -up, -1]]) * length
    apex = np.zeros(3)
    way: Sequence[np.ndarray] = [
        *(apex, corners[0], corners[1], apex, corners[2], corners[3], apex),
        *(corners[3], corners[0], corners[1], corners[2]),
    ]
    pose = camera.pose.numpy()
    return np.stack(way) @ pose[:3, :3].T + pose[:3, 3]
