"""Meshes into files that other programs read, through trimesh.

    write_mesh      triangles with a colour at every vertex: .ply, .obj or .glb

Colours are bytes as they would stand in a picture (sRGB); in a .glb, whose standard wants linear light, they
are converted.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from rayformer.core.errors import MissingExtra
from rayformer.runs.atomic import write_bytes


def write_mesh(
    path: Path,
    vertices: Float[np.ndarray, "points 3"],
    faces: Int[np.ndarray, "faces 3"],
    normals: Float[np.ndarray, "points 3"],
    colours: UInt8[np.ndarray, "points 3"],
) -> None:
    """Write a mesh in the form that the suffix of `path` names. Raises MissingExtra without trimesh,
    RunError where the disk refuses."""
    form = path.suffix.lower().removeprefix(".")
    trimesh = _trimesh("writing a mesh")
    if form == "glb":
        colours = _linear(colours)
    mesh = trimesh.Trimesh(
        vertices, faces, vertex_normals=normals, vertex_colors=_opaque(colours), process=False
    )
    # OBJ has no place for colours in its standard; most programs read them behind the coordinates.
    more = {"glb": {"include_normals": True}, "obj": {"include_normals": True, "include_color": True}}
    content = mesh.export(file_type=form, **more.get(form, {"vertex_normal": True}))
    write_bytes(path, content.encode() if isinstance(content, str) else content)


def _trimesh(need: str) -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtra("mesh", need) from error
    return trimesh


def _opaque(colours: UInt8[np.ndarray, "points 3"]) -> UInt8[np.ndarray, "points 4"]:
    return np.concatenate([colours, np.full_like(colours[:, :1], 255)], axis=1)


def _linear(colours: UInt8[np.ndarray, "points 3"]) -> UInt8[np.ndarray, "points 3"]:
    """sRGB bytes as bytes of linear light."""
    stored = colours / 255
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    return np.rint(light * 255).astype(np.uint8)
