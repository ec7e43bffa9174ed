"""COLMAP: a structure-from-motion model in text or binary, beside its photographs.

    cameras.txt|.bin    sizes, models, intrinsics; pixel centres at +0.5, as ours
    images.txt|.bin     poses and names of the photographs; world-to-camera with OpenCV axes
    points3D.txt|.bin   points with colours

https://colmap.github.io/format.html. The model lies in sparse/0, in sparse or in the folder itself, the
photographs in images/ beside it. Poses are inverted to camera-to-world and turned to OpenGL axes. Of several
models (sparse/0, sparse/1, ...) the one with the most photographs is taken.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Capture, Photo, absent_remark, find_mask, name_of, sensible
from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens

FORMAT = "COLMAP"
MODELS = {  # by number, as binary files have it: name and count of parameters
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
}
SUPPORTED = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
NEARLY_ALL = (0.5, 99.5)
"""Percentiles of the distances to the points of a photograph that count as its nearest and farthest thing."""


@dataclass(frozen=True)
class Model:
    """One reconstruction as its files have it."""

    cameras: dict[int, tuple[str, int, int, tuple[float, ...]]]
    """Number -> model, width, height, parameters."""
    images: list[tuple[str, int, tuple[float, ...], np.ndarray]]
    """Name, number of its camera, quaternion w x y z with translation, numbers of the points seen."""
    points: dict[int, tuple[tuple[float, float, float], tuple[int, int, int]]]
    """Number -> place, colour."""


def models_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Folders of complete and of incomplete models in, or under, a folder."""
    bases = [folder, folder / "sparse"]
    numbered = [path for base in bases for path in sorted(base.glob("[0-9]*")) if path.is_dir()]
    complete, incomplete = [], []
    for place in [*bases, *numbered]:
        parts = [_part(place, name) is not None for name in ("cameras", "images")]
        if all(parts):
            complete.append(place)
        elif any(parts) or _part(place, "points3D"):
            incomplete.append(place)
    return complete, incomplete


def read_colmap(folder: Path) -> Capture:
    """The largest model in, or under, `folder`. Raises DataError by file for what is torn, absent or
    unsupported."""
    complete, incomplete = models_in(folder)
    remarks = [incomplete_remark(place) for place in incomplete]
    if not complete:
        raise DataError(f"{folder}: no complete COLMAP model.\n" + "\n".join(remarks))
    models = {place: _read_model(place) for place in complete}
    place = max(complete, key=lambda place: len(models[place].images))
    if len(complete) > 1:
        sizes = ", ".join(f"{path.name}: {len(models[path].images)}" for path in complete)
        remarks.append(f"several models (photographs in {sizes}); the largest, {place.name}, is taken")
    root, pictures = _pictures_beside(place)
    photos, absent = [], []
    model = models[place]
    for name, number, motion, seen in model.images:
        image = pictures / name
        if not image.is_file():
            absent.append(name)
            continue
        camera = _camera(model, number, _pose(motion), f"{place}: the camera of {name}")
        places = np.array([model.points[point][0] for point in seen.tolist() if point in model.points])
        mask = find_mask(root / "masks", image)
        photos.append(Photo(name_of(image, root), image, camera, mask, distances=_distances(places, camera)))
    remarks += absent_remark(absent, len(model.images))
    points = np.array([place for place, _ in model.points.values()], dtype=np.float64).reshape(-1, 3)
    colours = np.array([colour for _, colour in model.points.values()], dtype=np.uint8).reshape(-1, 3)
    photos.sort(key=lambda photo: photo.name)
    return Capture(FORMAT, photos, points=points, point_colours=colours, remarks=remarks)


def incomplete_remark(place: Path) -> str:
    missing = [name for name in ("cameras", "images") if _part(place, name) is None]
    where = f"{place.parent.name}/{place.name}"
    return f"the COLMAP model in {where} is incomplete ({missing[0]}.bin is missing) and passed over"


def _part(place: Path, name: str) -> Path | None:
    """A file of a model, binary rather than text, as COLMAP itself prefers."""
    return next((path for path in (place / f"{name}.bin", place / f"{name}.txt") if path.is_file()), None)


def _pictures_beside(place: Path) -> tuple[Path, Path]:
    """The data's folder and the one of its photographs: images/ beside the model or above it."""
    roots = [place, place.parent, place.parent.parent]
    for root in roots:
        if (root / "images").is_dir():
            return root, root / "images"
    raise DataError(
        f"{place}: no folder images/ with the photographs, neither here nor in {place.parent} nor above.\n"
        "Put the photographs there under the names that the model gives them."
    )


def _distances(places: np.ndarray, camera: Camera) -> tuple[float, float] | None:
    if len(places) < 10:  # too few to tell near from far
        return None
    distances = np.linalg.norm(places - camera.position.numpy(), axis=-1)
    near, far = np.percentile(distances, NEARLY_ALL)
    return sensible(float(near), float(far))


def _camera(model: Model, number: int, pose: Float[Tensor, "4 4"], where: str) -> Camera:
    if number not in model.cameras:
        raise DataError(f"{where} has the number {number}, which the cameras file does not list")
    name, width, height, values = model.cameras[number]
    match name:
        case "SIMPLE_PINHOLE":
            f, cx, cy = values
            return Camera(width, height, f, f, cx, cy, pose)
        case "PINHOLE":
            fx, fy, cx, cy = values
            return Camera(width, height, fx, fy, cx, cy, pose)
        case "SIMPLE_RADIAL":
            f, cx, cy, k1 = values
            return Camera(width, height, f, f, cx, cy, pose, Lens(k1=k1))
        case "RADIAL":
            f, cx, cy, k1, k2 = values
            return Camera(width, height, f, f, cx, cy, pose, Lens(k1=k1, k2=k2))
        case "OPENCV":
            fx, fy, cx, cy, k1, k2, p1, p2 = values
            return Camera(width, height, fx, fy, cx, cy, pose, Lens(k1=k1, k2=k2, p1=p1, p2=p2))
    raise DataError(
        f"{where} has the model {name}; supported are {', '.join(SUPPORTED)}.\n"
        "Run COLMAP's image_undistorter and use its result."
    )


def _pose(motion: tuple[float, ...]) -> Float[Tensor, "4 4"]:
    """World-to-camera quaternion and translation with OpenCV axes -> camera-to-world with OpenGL axes."""
    w, x, y, z = np.array(motion[:4]) / np.linalg.norm(motion[:4])
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = np.eye(4)
    pose[:3, :3] = rotation.T * [1, -1, -1]  # y down -> y up, z ahead -> z back
    pose[:3, 3] = -rotation.T @ motion[4:]
    return torch.from_numpy(pose)


# ------------------------------------------------------------------------------------------ the files


def _read_model(place: Path) -> Model:
    parts = {name: _part(place, name) for name in ("cameras", "images", "points3D")}
    readers = {
        (name, suffix): reader
        for name, by_suffix in {
            "cameras": {".bin": _binary_cameras, ".txt": _text_cameras},
            "images": {".bin": _binary_images, ".txt": _text_images},
            "points3D": {".bin": _binary_points, ".txt": _text_points},
        }.items()
        for suffix, reader in by_suffix.items()
    }
    found = {}
    for name, path in parts.items():
        if path is None:
            found[name] = {}
            continue
        try:
            found[name] = readers[name, path.suffix](path)
        except (struct.error, ValueError, IndexError, KeyError, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: torn or not a COLMAP file ({error})") from error
    return Model(found["cameras"], found["images"], found["points3D"])


class _Bytes:
    """A little-endian file, read piece by piece."""

    def __init__(self, path: Path):
        self.data, self.at = path.read_bytes(), 0

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def name(self) -> str:
        end = self.data.index(b"\0", self.at)
        text = self.data[self.at : end].decode()
        self.at = end + 1
        return text

    def rows(self, count: int, kind: np.dtype) -> np.ndarray:
        rows = np.frombuffer(self.data, kind, count, self.at)
        self.at += rows.nbytes
        return rows


def _binary_cameras(path: Path) -> dict:
    data, cameras = _Bytes(path), {}
    for _ in range(data.take("Q")[0]):
        number, model, width, height = data.take("iiQQ")
        name, count = MODELS.get(model, (f"number {model}", None))
        if count is None:
            raise DataError(f"{path}: camera {number} has the unknown model number {model}")
        cameras[number] = (name, width, height, data.take(f"{count}d"))
    return cameras


def _binary_images(path: Path) -> list:
    data, images = _Bytes(path), []
    track = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
    for _ in range(data.take("Q")[0]):
        _, *motion, camera = data.take("i7di")
        name = data.name()
        seen = data.rows(data.take("Q")[0], track)["point"]
        images.append((name, camera, tuple(motion), seen[seen >= 0]))
    return images


def _binary_points(path: Path) -> dict:
    data, points = _Bytes(path), {}
    for _ in range(data.take("Q")[0]):
        number, x, y, z, red, green, blue, _, length = data.take("Q3d3BdQ")
        data.at += 8 * length  # the track: which photographs see it, which the photographs tell as well
        points[number] = ((x, y, z), (red, green, blue))
    return points


def _lines(path: Path) -> Iterator[str]:
    """Lines that are no comments; empty ones too, since an image without points has an empty second line."""
    return (line.strip() for line in path.read_text().splitlines() if not line.startswith("#"))


def _text_cameras(path: Path) -> dict:
    cameras = {}
    for line in filter(None, _lines(path)):
        number, model, width, height, *values = line.split()
        cameras[int(number)] = (model, int(width), int(height), tuple(map(float, values)))
    return cameras


def _text_images(path: Path) -> list:
    lines, images = list(_lines(path)), []
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) % 2:
        lines.append("")
    for head, tail in zip(lines[::2], lines[1::2], strict=True):
        _, *motion, camera, name = head.split(maxsplit=9)
        seen = np.array(tail.split()[2::3], dtype=np.float64).astype(np.int64)
        images.append((name, int(camera), tuple(map(float, motion)), seen[seen >= 0]))
    return images


def _text_points(path: Path) -> dict:
    points = {}
    for line in filter(None, _lines(path)):
        number, x, y, z, red, green, blue, *_ = line.split()
        points[int(number)] = ((float(x), float(y), float(z)), (int(red), int(green), int(blue)))
    return points
