"""write_transforms: a scene as transforms.json with its photographs, in the coordinates of the data it was
read from.

What is written is `View.original`: poses, intrinsics and lens as they were read, with every digit, so that
reading the result gives equal numbers, and photographs are copied byte for byte. Distances (near, far), where
known, go with their frames.
"""

import json
import shutil
from pathlib import Path

from rayformer.data.scenes.normalise import ROOM
from rayformer.data.scenes.scene import Scene, View


def write_transforms(scene: Scene, folder: Path, photos: bool = True) -> Path:
    """Write `folder`/transforms.json with photographs and masks beside it, and return its path.

    Without `photos`, nothing is copied, and the file names them where they are.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {view.name: view.name if photos else str(view.image.resolve()) for view in scene.views}
    for view in scene.views if photos else ():
        _copy(view.image, folder / view.name)
        if view.mask:
            _copy(view.mask, folder / _mask_name(view))
    whole: dict = {
        "camera_model": "OPENCV",
        "frames": [_frame(view, names[view.name], scene.normalisation.scale, photos) for view in scene.views],
    }
    for part in ("train", "val", "test"):
        whole[f"{part}_filenames"] = [names[view.name] for view in scene.split(part)]
    path = folder / "transforms.json"
    path.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return path


def _frame(view: View, name: str, scale: float, photos: bool) -> dict:
    camera, lens = view.original, view.original.lens
    frame = {
        "file_path": name,
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
        "transform_matrix": camera.pose.tolist(),
    }
    if view.mask:
        frame["mask_path"] = _mask_name(view) if photos else str(view.mask.resolve())
    if view.near is not None and view.far is not None:
        frame["near"], frame["far"] = view.near / scale / ROOM[0], view.far / scale / ROOM[1]
    return frame


def _mask_name(view: View) -> str:
    assert view.mask is not None, "only views with a mask have a name for it"
    return f"masks/{Path(view.name).with_suffix(view.mask.suffix).as_posix()}"


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if file.resolve() != place.resolve():
        shutil.copyfile(file, place)
