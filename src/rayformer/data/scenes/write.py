"""A scene as transforms.json.

    write_transforms   a scene that was read, with its photographs, in the coordinates of its data
    write_capture      photographs whose cameras were found, with the points they were found by

What write_transforms writes is `View.original`: poses, intrinsics and lens as they were read, with every
digit, so that reading the result gives equal numbers, and photographs are copied byte for byte. Distances
(near, far), exposure and light, where known, go with their frames.
"""

import json
import shutil
from pathlib import Path

import torch

from rayformer.data.scenes.capture import Capture, Photo
from rayformer.data.scenes.normalise import ROOM
from rayformer.data.scenes.scene import Scene, View
from rayformer.geometry.cameras import Camera
from rayformer.runs.atomic import write_text
from rayformer.runs.ply import write_points

POINTS = "points.ply"


def write_transforms(scene: Scene, folder: Path, photos: bool = True) -> Path:
    """Write `folder`/transforms.json with photographs and masks beside it, and return its path.

    Without `photos`, nothing is copied, and the file names them where they are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    views = [view for view in scene.views if view.scale == 1]
    names = {view.name: view.name if photos else str(view.image.resolve()) for view in views}
    for view in views if photos else ():
        _copy(view.image, folder / view.name)
        if view.mask:
            _copy(view.mask, folder / _mask_name(view))
    whole: dict = {
        "camera_model": "OPENCV",
        "frames": [_frame(view, names[view.name], scene.normalisation.scale, photos) for view in views],
    }
    if scene.points is not None:
        write_points(
            folder / POINTS,
            scene.normalisation.inverse().points(torch.from_numpy(scene.points)).numpy(),
            scene.point_colours,
        )
        whole["ply_file_path"] = POINTS
    for part in ("train", "val", "test"):
        whole[f"{part}_filenames"] = [names[view.name] for view in views if view.split == part]
    path = folder / "transforms.json"
    path.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return path


def _frame(view: View, name: str, scale: float, photos: bool) -> dict:
    frame = {
        "file_path": name,
        **_numbers(view.original),
        "transform_matrix": view.original.pose.tolist(),
    }
    if view.mask:
        frame["mask_path"] = _mask_name(view) if photos else str(view.mask.resolve())
    if view.near is not None and view.far is not None:
        frame["near"], frame["far"] = view.near / scale / ROOM[0], view.far / scale / ROOM[1]
    return frame | _taken(view)


def _taken(taken: View | Photo) -> dict[str, float | str]:
    """How a photograph was taken, as far as that is known."""
    known = {"exposure": taken.exposure, "light": taken.light}
    return {key: value for key, value in known.items() if value is not None}


def write_capture(capture: Capture, folder: Path) -> Path:
    """Write `folder`/transforms.json for photographs that lie in `folder` already, with the points beside it
    as points.ply, and return its path.

    No split is written, so that whoever reads it chooses one. Numbers that all cameras share stand at the
    top, where every program that reads such files looks for them.
    """
    numbers = [_numbers(photo.camera) for photo in capture.photos]
    common = {
        key: value for key, value in numbers[0].items() if all(other[key] == value for other in numbers)
    }
    whole: dict = {"camera_model": "OPENCV", **common}
    if capture.points is not None:
        write_points(folder / POINTS, capture.points, capture.point_colours)
        whole["ply_file_path"] = POINTS
    whole["frames"] = [
        {
            "file_path": photo.name,
            **{key: value for key, value in own.items() if key not in common},
            "transform_matrix": photo.camera.pose.tolist(),
            **dict(zip(("near", "far"), photo.distances or (), strict=False)),
            **_taken(photo),
        }
        for photo, own in zip(capture.photos, numbers, strict=True)
    ]
    path = folder / "transforms.json"
    write_text(path, json.dumps(whole, indent=1))
    return path


def _numbers(camera: Camera) -> dict[str, int | float]:
    """Size, intrinsics and lens under their names in the file."""
    lens = camera.lens
    return {
        "w": camera.width,
        "h": camera.height,
        "fl_x": camera.fx,
        "fl_y": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "k1": lens.k1,
        "k2": lens.k2,
        "k3": lens.k3,
        "p1": lens.p1,
        "p2": lens.p2,
    }


def _mask_name(view: View) -> str:
    assert view.mask is not None, "only views with a mask have a name for it"
    return f"masks/{Path(view.name).with_suffix(view.mask.suffix).as_posix()}"


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if file.resolve() != place.resolve():
        shutil.copyfile(file, place)
