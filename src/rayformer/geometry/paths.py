"""Camera paths: the flights that a trained scene is shown by.

    orbit            around the scene, where the cameras of the photographs went
    spiral           small loops in front of a scene that all photographs face (as LLFF and NeRF show theirs)
    through          smoothly through given poses, for instance the test views
    along            down the line on which the photographs were taken, looking ahead
    keyframes        a flight written down in a JSON file
    keyframes_text   the way back: keyframes as the text of such a file
    fly              where a flight through keyframes is at given times

The first four give poses; `keyframes` gives cameras, since a file also chooses angle and size. The first and
last pose of orbit and spiral follow on each other, so that the video can loop.

The form of a camera-path file, with times in seconds, poses camera-to-world in OpenGL axes, and the vertical
angle of view:

    {"fps": 24, "width": 640, "height": 480,
     "keyframes": [{"time": 0.0, "fov_y_degrees": 50,
                    "pose": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]]},
                   {"time": 2.5, "fov_y_degrees": 40, "pose": [...]}]}

`fps`, `width`, `height` may be left out (24 and the caller's size). Between keyframes positions follow a
Catmull-Rom spline, rotations a spline of continuous angular speed, angles a straight line.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.geometry.blocks import line_through
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import average_pose, average_up, focus_point, horizon, look_at, rigid_fault

WIDEST_GAP = math.radians(120)
"""An orbit that finds no photograph in a gap wider than this swings back instead of crossing it."""


def orbit(
    poses: Float[Tensor, "views 4 4"],
    frames: int,
    centre: Float[Tensor, "3"] | None = None,
    up: Float[Tensor, "3"] | None = None,
) -> list[Tensor]:
    """Poses on a circle at the cameras' mean height and distance, looking at the centre.

    `centre` defaults to the point that the cameras look at, `up` to the up they agree on. Where photographs
    exist only on one side (a gap wider than 120 degrees), the path swings to and fro over the side that was
    photographed: nobody knows what lies behind.
    """
    poses = poses.double()
    centre = focus_point(poses) if centre is None else centre.double()
    up = average_up(poses) if up is None else up.double() / up.norm()
    east, north = horizon(up)
    offsets = poses[:, :3, 3] - centre
    height = (offsets @ up).mean()
    radius = (offsets - (offsets @ up)[:, None] * up).norm(dim=-1).mean()
    azimuths = torch.atan2(offsets @ north, offsets @ east)
    return [
        look_at(
            centre + height * up + radius * (math.cos(angle) * east + math.sin(angle) * north), centre, up
        )
        for angle in _round_or_swing(azimuths, frames)
    ]


def _round_or_swing(azimuths: Tensor, frames: int) -> list[float]:
    """Angles of a full turn, or of a swing over the photographed side, one per frame."""
    angles = azimuths.sort().values
    gaps = torch.diff(angles, append=angles[:1] + 2 * math.pi)
    widest = int(gaps.argmax())
    gap, after = gaps[widest].item(), angles[(widest + 1) % len(angles)].item()
    turns = [frame / frames for frame in range(frames)]
    if gap < WIDEST_GAP:
        return [after + 2 * math.pi * turn for turn in turns]
    half = (2 * math.pi - gap) / 2
    return [after + half * (1 - math.cos(2 * math.pi * turn)) for turn in turns]


def spiral(
    poses: Float[Tensor, "views 4 4"],
    frames: int,
    near: float,
    far: float,
    turns: int = 2,
) -> list[Tensor]:
    """Poses on a spiral around the mean pose that all look at one point ahead, as LLFF and NeRF show scenes.

    The point's disparity (1 / distance) is a quarter of that of `near` and three quarters of that of `far`;
    the loops reach as wide as nine cameras in ten.
    """
    poses = poses.double()
    middle = average_pose(poses)
    ahead = 1 / (0.25 / near + 0.75 / far)
    target = middle[:3, 3] - ahead * middle[:3, 2]
    offsets = (poses[:, :3, 3] - middle[:3, 3]) @ middle[:3, :3]
    reach = torch.quantile(offsets.abs(), 0.9, dim=0)
    path = []
    for frame in range(frames):
        angle = 2 * math.pi * turns * frame / frames
        depth_angle = angle / turns  # once to and fro in depth while looping, so that the ends meet
        offset = reach * torch.tensor([math.cos(angle), -math.sin(angle), -math.sin(depth_angle)]).double()
        path.append(look_at(middle[:3, 3] + middle[:3, :3] @ offset, target, middle[:3, 1]))
    return path


def through(poses: Float[Tensor, "views 4 4"], frames: int) -> list[Tensor]:
    """Smoothly through all `poses` in their order, the same time from each to the next.

    As many frames as poses gives the poses themselves.
    """
    if len(poses) == 1:
        return [poses[0].double()] * frames
    return _flight(np.arange(len(poses)), poses.double(), np.linspace(0, len(poses) - 1, frames))


def along(poses: Float[Tensor, "views 4 4"], frames: int) -> list[Tensor]:
    """Poses at even distances on the line through the cameras, each looking to where the line goes on. Where
    all cameras stand in one place, the mean pose."""
    poses = poses.double()
    line, up = line_through(poses[:, :3, 3]), average_up(poses)
    if line is None:
        return [average_pose(poses)] * frames
    ahead = line.length / 20
    stops = torch.linspace(0, line.length, frames).tolist()
    return [
        look_at(line.at(stop), line.at(stop + ahead) + line.at(stop) - line.at(stop - ahead), up)
        for stop in stops
    ]


def _flight(times: np.ndarray, poses: Tensor, when: np.ndarray) -> list[Tensor]:
    """The poses at `when` of a smooth motion that is at `poses` at `times` (rising)."""
    from scipy.interpolate import CubicHermiteSpline
    from scipy.spatial.transform import RotationSpline

    positions = poses[:, :3, 3].numpy()
    speeds = np.empty_like(positions)  # Catmull-Rom: at a knot, the mean speed between its neighbours
    speeds[0] = (positions[1] - positions[0]) / (times[1] - times[0])
    speeds[-1] = (positions[-1] - positions[-2]) / (times[-1] - times[-2])
    speeds[1:-1] = (positions[2:] - positions[:-2]) / (times[2:] - times[:-2])[:, None]
    result = np.tile(np.eye(4), (len(when), 1, 1))
    result[:, :3, 3] = CubicHermiteSpline(times, positions, speeds)(when)
    result[:, :3, :3] = RotationSpline(times, _rotations(poses))(when).as_matrix()
    return list(torch.from_numpy(result))


def _rotations(poses: Tensor):
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(poses[:, :3, :3].numpy())


@dataclass(frozen=True, eq=False)
class Keyframe:
    """Where a flight is at one time."""

    time: float
    """In seconds from the start."""
    pose: Float[Tensor, "4 4"]
    fov_y_degrees: float


def fly(stops: Sequence[Keyframe], when: Float[np.ndarray, "frames"]) -> list[tuple[Tensor, float]]:
    """Pose and vertical angle at the times `when` of the smooth flight through `stops`, whose times rise."""
    times = np.array([stop.time for stop in stops])
    poses = torch.stack([stop.pose.double() for stop in stops])
    flight = [poses[0]] * len(when) if len(stops) == 1 else _flight(times, poses, when)
    views = np.interp(when, times, [stop.fov_y_degrees for stop in stops])
    return [(pose, float(view)) for pose, view in zip(flight, views, strict=True)]


def keyframes_text(stops: Sequence[Keyframe], fps: float | int = 24) -> str:
    """`stops` as the text of a camera-path file, which `keyframes` reads back to the last bit."""
    rows = [
        f'  {{"time": {float(stop.time)!r}, "fov_y_degrees": {float(stop.fov_y_degrees)!r},\n'
        f'   "pose": {stop.pose.double().tolist()}}}'
        for stop in stops
    ]
    return f'{{"fps": {fps},\n "keyframes": [\n' + ",\n".join(rows) + "\n]}\n"


@dataclass(frozen=True)
class CameraPath:
    """A flight as its file gives it, in the coordinates of the file."""

    fps: float
    cameras: tuple[Camera, ...]


def keyframes(path: Path, size: tuple[int, int], frames: int | None = None) -> CameraPath:
    """The flight in a camera-path file (see the head of this module).

    `size` is (width, height) where the file names none. Without `frames`, as many as the file's time and fps
    make. Raises DataError for a file that is absent, is no JSON, or breaks the form.
    """
    plan = _read_json(path)
    fps = _number(plan, "fps", path, default=24.0)
    width, height = (
        _pixels(plan, key, path, default) for key, default in zip(("width", "height"), size, strict=True)
    )
    stops = plan.get("keyframes")
    if not isinstance(stops, list) or not stops:
        raise DataError(f"{path}: 'keyframes' must be a list of at least one keyframe")
    read: list[Keyframe] = []
    for number, stop in enumerate(stops):
        where = f"{path}: keyframe {number}"
        if not isinstance(stop, dict):
            raise DataError(f"{where} must be an object with time, pose and fov_y_degrees, but is {stop!r}")
        time = _number(stop, "time", where, positive=False)
        angle = _number(stop, "fov_y_degrees", where)
        pose = _pose(stop.get("pose"), where)
        if read and time <= read[-1].time:
            raise DataError(f"{where}: times must rise, but {time:g} s comes after {read[-1].time:g} s")
        if angle >= 180:
            raise DataError(f"{where}: 'fov_y_degrees' must lie below 180, but is {angle:g}")
        read.append(Keyframe(time, pose, angle))
    start, end = read[0].time, read[-1].time
    count = frames or max(1, round((end - start) * fps) + 1)
    flight = fly(read, np.linspace(start, end, count))
    cameras = (Camera.from_fov(width, height, view, pose) for pose, view in flight)
    return CameraPath(fps, tuple(cameras))


def _read_json(path: Path) -> dict:
    try:
        plan = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: the camera path cannot be read ({error.strerror})") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not JSON, line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not JSON, since not text") from error
    if not isinstance(plan, dict):
        raise DataError(f"{path}: a camera path is one JSON object with 'keyframes'")
    return plan


def _number(
    holder: dict, key: str, where: object, default: float | int | None = None, positive: bool = True
) -> float:
    value = holder.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{where}: {key!r} must be a number, but is {value!r}")
    if positive and value <= 0:
        raise DataError(f"{where}: {key!r} must be above 0, but is {value!r}")
    return float(value)


def _pixels(holder: dict, key: str, where: object, default: int) -> int:
    value = _number(holder, key, where, default)
    if value != int(value):
        raise DataError(f"{where}: {key!r} must be a whole number of pixels, but is {value!r}")
    return int(value)


def _pose(values: object, where: str) -> Tensor:
    try:
        pose = torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        pose = torch.zeros(0)
    if tuple(pose.shape) != (4, 4):
        raise DataError(f"{where}: 'pose' must be 4 rows of 4 numbers")
    fault = rigid_fault(pose)
    if fault:
        raise DataError(f"{where}: 'pose' {fault}; a camera only turns and moves")
    return pose
