"""Blender: transforms_train.json, transforms_val.json and transforms_test.json, the form of NeRF's synthetic
scenes.

Each file is a transforms.json (see there) that usually knows only camera_angle_x. Poses are camera-to-world
in OpenGL axes already. Pictures are RGBA with straight alpha. Only listed pictures are views: test folders
also hold depth and normal maps.
"""

from pathlib import Path

import torch

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Capture, Split
from rayformer.data.scenes.transforms_json import read_frames

FORMAT = "Blender"
PUBLISHED_BOUNDS = (2.0, 6.0)
"""Near and far of all published results; they presuppose cameras about 4 units from the origin."""
PUBLISHED_DISTANCES = (3.0, 5.0)


def split_files(folder: Path) -> dict[Split, Path]:
    """The files of a Blender scene that are there, by the part they list."""
    names: tuple[Split, ...] = ("train", "val", "test")
    files: dict[Split, Path] = {name: folder / f"transforms_{name}.json" for name in names}
    return {name: file for name, file in files.items() if file.is_file()}


def read_blender(folder: Path) -> Capture:
    """All listed views of all parts. Raises DataError as `read_transforms`, and where no training file is."""
    files = split_files(folder)
    if "train" not in files:
        raise DataError(f"{folder}: transforms_train.json is absent; found only {_names(files)}")
    photos, remarks = [], []
    for split, file in files.items():
        more, about = read_frames(file, split)
        photos += more
        remarks += [f"{file.name}: {remark}" for remark in about]
    distances = torch.tensor([photo.camera.position.norm().item() for photo in photos])
    usual = bool(((distances > PUBLISHED_DISTANCES[0]) & (distances < PUBLISHED_DISTANCES[1])).all())
    bounds = PUBLISHED_BOUNDS if usual and photos else None
    return Capture(FORMAT, photos, published_bounds=bounds, remarks=remarks)


def _names(files: dict[Split, Path]) -> str:
    return ", ".join(file.name for file in files.values()) or "nothing"
