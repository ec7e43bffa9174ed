"""transforms.json: the form of instant-ngp and nerfstudio. One file lists photographs, poses and intrinsics.

Poses are camera-to-world in OpenGL axes, as ours, and pixel centres lie at +0.5: nothing is converted. What
is understood, for the whole file or for one frame (which wins):

    w h fl_x fl_y cx cy               pixels; what is missing follows from camera_angle_x, _y and the picture
    itself
    k1 k2 k3 p1 p2                    OpenCV lens; fisheye and other models are refused by name
    frames: file_path                 with or without extension and leading ./
            transform_matrix          4 x 4
            mask_path                 a picture, white where pixels count
            near far                  distances of the nearest and farthest thing, in the file's units (our
            own addition, as the next two)
            exposure                  shutter time times gain, above 0, in any unit that all frames share
            light                     a name for the light it was taken in: frames of one drive share one
    train_filenames val_filenames test_filenames    a split of its own
    ply_file_path                     coloured points, in the same coordinates
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Capture, Photo, Split, absent_remark, find_image, name_of, sensible
from rayformer.data.scenes.images import picture_size
from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens
from rayformer.runs.ply import read_points

FORMAT = "transforms.json"
LENSES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


def read_transforms(path: Path) -> Capture:
    """Everything in one file. Raises DataError by file, frame and key."""
    photos, remarks = read_frames(path, split=None)
    listed = load_json(path).get("ply_file_path")
    if listed is None:
        return Capture(FORMAT, photos, remarks=remarks)
    if not isinstance(listed, str):
        raise DataError(f"{path}: 'ply_file_path' must be a text, but is {_shown(listed)}")
    file = path.parent / listed
    try:
        points, colours = read_points(file)
    except DataError as error:  # points only help; the photographs are the data
        return Capture(FORMAT, photos, remarks=[*remarks, f"{error}; its points are left out"])
    return Capture(FORMAT, photos, points=points, point_colours=colours, remarks=remarks)


def read_frames(path: Path, split: Split | None) -> tuple[list[Photo], list[str]]:
    """The photographs that a file lists and that are there, sorted by name, and a remark about those that are
    not."""
    whole = load_json(path)
    frames = whole.get("frames")
    if not isinstance(frames, list):
        raise DataError(f"{path}: 'frames' must be a list of photographs, but is {_shown(frames)}")
    splits = _own_splits(whole)
    photos, absent = [], []
    for number, frame in enumerate(frames):
        where = f"{path}: frame {number}"
        if not isinstance(frame, dict):
            raise DataError(f"{where} must be an object, but is {_shown(frame)}")
        listed = frame.get("file_path")
        if not isinstance(listed, str):
            raise DataError(f"{where}: 'file_path' must be a text, but is {_shown(listed)}")
        image = find_image(path.parent, listed)
        if image is None:
            absent.append(listed)
            continue
        where = f"{where} ({listed})"
        photos.append(
            Photo(
                name=name_of(image, path.parent),
                image=image,
                camera=_camera(whole, frame, image, where),
                mask=_mask(frame, path.parent, where),
                split=split or splits.get(Path(listed)),
                distances=sensible(_number(frame, "near", where), _number(frame, "far", where)),
                exposure=_exposure(frame, where),
                light=_light(frame, where),
            )
        )
    return sorted(photos, key=lambda photo: photo.name), absent_remark(absent, len(frames))


def load_json(path: Path) -> dict:
    """A JSON object from a file; DataError with line and column where it is broken."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not JSON, since it is not text") from error
    except json.JSONDecodeError as error:
        ends = " (the file ends there, so it is not whole)" if not error.doc[error.pos :].strip() else ""
        raise DataError(
            f"{path}: broken JSON at line {error.lineno}, column {error.colno}{ends}: {error.msg}.\n"
            "Mend that place, or have the tool that made the file write it again."
        ) from error
    if not isinstance(whole, dict):
        raise DataError(f"{path}: must hold one JSON object with 'frames', but holds {_shown(whole)}")
    return whole


def _own_splits(whole: dict) -> dict[Path, Split]:
    names: tuple[Split, ...] = ("train", "val", "test")
    return {Path(listed): name for name in names for listed in whole.get(f"{name}_filenames") or []}


def _camera(whole: dict, frame: dict, image: Path, where: str) -> Camera:
    model = frame.get("camera_model", whole.get("camera_model", "OPENCV"))
    fisheye = frame.get("is_fisheye", whole.get("is_fisheye", False))
    if model not in LENSES or fisheye:
        raise DataError(
            f"{where}: the camera model {'fisheye' if fisheye else model} is not supported;\n"
            f"supported are {', '.join(LENSES)}.\n"
            "Undistort the photographs with the tool that made the poses and use its result."
        )

    def value(*keys: str) -> float | None:
        found = (_number({**whole, **frame}, key, where) for key in keys)
        return next((number for number in found if number is not None), None)

    width, height = value("w"), value("h")
    if width is None or height is None:
        width, height = picture_size(image)
    fx = _focal(width, value("camera_angle_x")) if (fx := value("fl_x")) is None else fx
    fy = _focal(height, value("camera_angle_y")) if (fy := value("fl_y")) is None else fy
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)  # pixels are square
    if fx is None or fy is None or fx <= 0 or fy <= 0:
        raise DataError(
            f"{where}: no focal length. Give 'fl_x' in pixels or 'camera_angle_x' in radians, above 0."
        )
    if value("k4", "k5", "k6"):
        raise DataError(f"{where}: lens terms k4 to k6 are not supported, only k1 k2 k3 p1 p2")
    return Camera(
        width=round(width),
        height=round(height),
        fx=fx,
        fy=fy,
        cx=width / 2 if (cx := value("cx")) is None else cx,
        cy=height / 2 if (cy := value("cy")) is None else cy,
        pose=_pose(frame.get("transform_matrix"), where),
        lens=Lens(**{term: value(term) or 0.0 for term in ("k1", "k2", "k3", "p1", "p2")}),
    )


def _focal(size: float | int, angle: float | None) -> float | None:
    return None if angle is None else size / 2 / math.tan(angle / 2)


def _pose(matrix: object, where: str) -> Tensor:
    try:
        pose = torch.tensor(matrix, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        pose = torch.zeros(0)
    if tuple(pose.shape) != (4, 4):
        raise DataError(f"{where}: 'transform_matrix' must be 4 rows of 4 numbers")
    return pose


def _mask(frame: dict, folder: Path, where: str) -> Path | None:
    listed = frame.get("mask_path")
    if listed is None:
        return None
    mask = find_image(folder, listed) if isinstance(listed, str) else None
    if mask is None:
        raise DataError(f"{where}: its mask {_shown(listed)} is absent; without 'mask_path' all pixels count")
    return mask


def _exposure(frame: dict, where: str) -> float | None:
    exposure = _number(frame, "exposure", where)
    if exposure is not None and exposure <= 0:
        raise DataError(
            f"{where}: 'exposure' is shutter time times gain and must be above 0, but is {exposure:g};\n"
            "leave it out of photographs of which it is not known"
        )
    return exposure


def _light(frame: dict, where: str) -> str | None:
    light = frame.get("light")
    if light is not None and not isinstance(light, str):
        raise DataError(f"{where}: 'light' must be a text, the name of a light, but is {_shown(light)}")
    return light


def _number(holder: dict, key: str, where: str) -> float | None:
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise DataError(f"{where}: {key!r} must be a finite number, but is {_shown(value)}")
    return float(value)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
