"""Which format a folder or file has. First come, first served, in the order of FORMATS.

recognise   a path -> the reader for it
FORMATS     the formats by name, with what tells them
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rayformer.core.errors import DataError
from rayformer.data.scenes import blender, colmap, kitti, llff, transforms_json
from rayformer.data.scenes.capture import Capture, images_in


@dataclass(frozen=True)
class Format:
    name: str
    sign: str
    """What a folder of this format holds, for people."""
    find: Callable[[Path], Path | None]
    """A folder or file -> what `read` wants, or None if it is no such thing."""
    read: Callable[[Path], Capture]


def _blender(path: Path) -> Path | None:
    if path.is_dir():
        return path if blender.split_files(path) else None
    return path.parent if path in blender.split_files(path.parent).values() else None


def _transforms(path: Path) -> Path | None:
    file = path / "transforms.json" if path.is_dir() else path
    return file if file.is_file() and file.suffix == ".json" else None


def _llff(path: Path) -> Path | None:
    file = path / "poses_bounds.npy" if path.is_dir() else path
    return file if file.is_file() and file.suffix == ".npy" else None


def _colmap(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.stem not in ("cameras", "images", "points3D"):
        return None
    return folder if any(colmap.models_in(folder)) else None


def _kitti(path: Path) -> Path | None:
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and path.name not in ("poses.txt", "calib.txt"):
        return None
    return folder if (folder / "poses.txt").is_file() and (folder / "calib.txt").is_file() else None


FORMATS = (
    Format(blender.FORMAT, "transforms_train.json and its siblings", _blender, blender.read_blender),
    Format(
        transforms_json.FORMAT, "of instant-ngp and nerfstudio", _transforms, transforms_json.read_transforms
    ),
    Format(llff.FORMAT, "poses_bounds.npy and images/", _llff, llff.read_llff),
    Format(
        colmap.FORMAT,
        "sparse/0 with cameras and images as .bin or .txt, and images/",
        _colmap,
        colmap.read_colmap,
    ),
    Format(kitti.FORMAT, "poses.txt, calib.txt and image_0/", _kitti, kitti.read_kitti),
)


def recognise(path: Path) -> tuple[Format, Path]:
    """The format of a folder or file, and what its reader wants. Raises DataError that lists formats and
    finds."""
    for known in FORMATS:
        found = known.find(path)
        if found is not None:
            return known, found
    signs = ", ".join(f"{known.name} ({known.sign})" for known in FORMATS)
    raise DataError(f"{path}: no posed photographs in a known format. {_finds(path)}\nKnown: {signs}.")


def _finds(path: Path) -> str:
    if path.is_file():
        return f"It is a {path.suffix} file." if path.suffix else "It is a file of no known kind."
    inside = [
        place for place in sorted(path.iterdir()) if place.is_dir() and any(f.find(place) for f in FORMATS)
    ]
    if inside:
        return f"But {inside[0].name}/ in it is one: give {inside[0]} as the source."
    if any(images_in(place) for place in (path, path / "images") if place.is_dir()):
        return (
            "It holds photographs but no poses. These are found by\n"
            f"`rayformer scene {path} --out SCENE`; then give SCENE as the source."
        )
    names = [place.name + "/" * place.is_dir() for place in sorted(path.iterdir())]
    return (
        f"Found: {', '.join(names[:6]) + (', ...' if len(names) > 6 else '')}." if names else "It is empty."
    )
