"""A scene without its pixels, as JSON: kept in the run, so that rendering needs no photographs.

    write_record    cameras, splits, bounds and normalisation of a scene into a file
    read_record     the scene again; images are paths that may or may not be there any more

Numbers are written so that they come back bit for bit.
"""

import json
from pathlib import Path
from typing import Any

import torch

from rayformer.core.errors import RunError
from rayformer.data.scenes.perturb import Perturbation
from rayformer.data.scenes.scene import Scene, View
from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens
from rayformer.geometry.similarity import Similarity
from rayformer.runs.atomic import write_text


def record_of(scene: Scene) -> dict[str, Any]:
    """What `write_record` writes. Points are left out: they are the data's, and may be many."""
    return {
        "source": scene.source,
        "format": scene.format,
        "background": scene.background,
        "near": scene.near,
        "far": scene.far,
        "forward_facing": scene.forward_facing,
        "remarks": list(scene.remarks),
        "fingerprint": scene.fingerprint,
        "masks": scene.masks,
        "normalisation": {
            "scale": scene.normalisation.scale,
            "rotation": scene.normalisation.rotation.tolist(),
            "translation": scene.normalisation.translation.tolist(),
        },
        "views": [
            {
                "name": view.name,
                "split": view.split,
                "image": str(view.image),
                "mask": None if view.mask is None else str(view.mask),
                "near": view.near,
                "far": view.far,
                "scale": view.scale,
                "exposure": view.exposure,
                "light": view.light,
                "cut": view.cut,
                "perturbation": view.perturbation and vars(view.perturbation),
                "camera": _camera_record(view.camera),
                "original": _camera_record(view.original),
            }
            for view in scene.views
        ],
    }


def scene_of(record: dict[str, Any]) -> Scene:
    """The scene that `record_of` described."""
    move = record["normalisation"]
    return Scene(
        source=record["source"],
        format=record["format"],
        views=tuple(
            View(
                name=view["name"],
                camera=_camera(view["camera"]),
                original=_camera(view["original"]),
                image=Path(view["image"]),
                mask=None if view["mask"] is None else Path(view["mask"]),
                split=view["split"],
                near=view["near"],
                far=view["far"],
                scale=view.get("scale", 1),
                exposure=view.get("exposure"),
                light=view.get("light"),
                cut=view.get("cut", False),
                perturbation=Perturbation(**view["perturbation"]) if view.get("perturbation") else None,
            )
            for view in record["views"]
        ),
        points=None,
        point_colours=None,
        normalisation=Similarity(
            move["scale"],
            torch.tensor(move["rotation"], dtype=torch.float64),
            torch.tensor(move["translation"], dtype=torch.float64),
        ),
        background=None if record["background"] is None else tuple(record["background"]),
        near=record["near"],
        far=record["far"],
        forward_facing=record["forward_facing"],
        remarks=tuple(record["remarks"]),
        fingerprint=record["fingerprint"],
        masks=record.get("masks", "use"),  # runs from before there was a choice used them
    )


def read_record(path: Path) -> Scene:
    """The scene written at `path`. Raises RunError if it is not there or broken."""
    try:
        return scene_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}), and without it the run does not "
            "know its cameras.\n"
            f"Train again, or bring the file back."
        ) from error


def _camera_record(camera: Camera) -> dict[str, Any]:
    numbers = {name: getattr(camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    return numbers | {"lens": camera.lens.coefficients.tolist(), "pose": camera.pose.tolist()}


def _camera(record: dict[str, Any]) -> Camera:
    numbers = {name: record[name] for name in ("width", "height", "fx", "fy", "cx", "cy")}
    pose = torch.tensor(record["pose"], dtype=torch.float64)
    return Camera(**numbers, lens=Lens(*record["lens"]), pose=pose)


def write_record(path: Path, scene: Scene) -> None:
    """Keep `scene` without its pixels at `path`, whole or not at all. Raises RunError where the disk
    refuses."""
    write_text(path, json.dumps(record_of(scene), indent=1) + "\n")
