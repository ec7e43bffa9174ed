"""A trained field of distances in forms that other programs read, in the coordinates of its mesh.

MeshOptions, write_mesh_of   the surface as triangles: PLY, OBJ, GLB
SHAPE_EXPORTS                this and the weights, by the name of the format: what a recipe lists
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rayformer.core.errors import ConfigError, DataError
from rayformer.engine.task import Export
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.shapes import write_mesh

FINEST = 1024
GREY = 190
"""The colour of a surface that has none of its own, as a byte."""


@dataclass(frozen=True, kw_only=True)
class MeshOptions:
    resolution: int = 256
    """Voxels along the cube's side."""
    min_share: float = 0.001
    """Leave out pieces with less than this share of the largest one's area; 0 keeps all."""
    keep_largest: bool = False
    """Keep the largest piece alone."""

    def __post_init__(self):
        if not 8 <= self.resolution <= FINEST:
            raise ConfigError(
                f"resolution must be 8 to {FINEST} voxels along the cube's side, but is {self.resolution}.\n"
                "Time grows with its cube: 512 asks the field 134 million times."
            )
        if not 0 <= self.min_share <= 1:
            raise ConfigError(f"min_share must be a share, 0 to 1, but is {self.min_share:g}")


def write_mesh_of(loaded: Loaded, options: MeshOptions, path: Path) -> dict[str, Any]:
    """Where the learned distance is zero. Raises DataError where it is so nowhere."""
    found = loaded.task.surface(options.resolution)
    if not len(found.faces):
        raise DataError(
            f"{loaded.run.path}: the learned distance is zero nowhere, on {options.resolution} voxels a "
            "side: no surface to export.\n"
            "Raise the resolution, or train longer: look at RUN/pictures first."
        )
    mesh = found.without_small(1.0 if options.keep_largest else options.min_share)
    mesh = mesh.moved(loaded.task.frame.move.inverse())
    colours = np.full((len(mesh.vertices), 3), GREY, np.uint8)
    write_mesh(path, mesh.vertices.numpy(), mesh.faces.numpy(), mesh.normals.numpy(), colours)
    return {
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "closed": mesh.is_closed,
        "volume": mesh.volume,
    }


SHAPE_EXPORTS = {
    "mesh": Export(
        does="the surface as triangles, in the coordinates of the input mesh",
        options=MeshOptions(),
        write=write_mesh_of,
        name="mesh",
        suffixes=(".ply", ".obj", ".glb"),
    ),
    "safetensors": WEIGHTS,
}
