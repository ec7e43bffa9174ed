"""A baked grid: a field as the voxels that hold matter, each with its density and mean colour, in one file.

    BakedGrid     what is in the file, and what can be asked of it
    write_grid    into .safetensors or .npz; read_grid, back

The file holds, under the same names in both forms:

    cells        int32   (points, 3)   which voxels hold matter: numbers along x, y and z, from 0
    density      float32 (points,)     in the middle of each, in 1 / grid unit
    colour       uint8   (points, 3)   there, seen from all sides and averaged; sRGB
    shape        int32   (3,)          voxels along x, y and z, empty ones included
    low          float64 (3,)          the corner of voxel (0, 0, 0), in grid coordinates
    step         float64 (1,)          the side of a voxel, likewise
    to_input     float64 (4, 4)        from grid coordinates to those of the input data

Voxel (i, j, k) fills the cube from `low + step * (i, j, k)` on; how opaque it is, looked straight through, is
`1 - exp(-density * step)`. All other voxels are empty. The file needs no rayformer to be read:
`safetensors.numpy.load_file` or `numpy.load` gives the arrays.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, UInt8

from rayformer.core.errors import DataError
from rayformer.runs.atomic import replacing, write_bytes


@dataclass(frozen=True, eq=False)
class BakedGrid:
    cells: Int32[np.ndarray, "points 3"]
    density: Float32[np.ndarray, "points"]
    colour: UInt8[np.ndarray, "points 3"]
    shape: Int32[np.ndarray, "3"]
    low: Float64[np.ndarray, "3"]
    step: Float64[np.ndarray, "1"]
    to_input: Float64[np.ndarray, "4 4"]

    @property
    def opacity(self) -> Float[np.ndarray, "points"]:
        """Of each voxel that holds matter, looked straight through."""
        return -np.expm1(-self.density * self.step)

    @property
    def middles(self) -> Float64[np.ndarray, "points 3"]:
        """Where the voxels that hold matter are, in the coordinates of the input data."""
        there = self.low + self.step * (self.cells + 0.5)
        return there @ self.to_input[:3, :3].T + self.to_input[:3, 3]

    def dense(self) -> tuple[Float32[np.ndarray, "_ _ _"], UInt8[np.ndarray, "_ _ _ 3"]]:
        """Density and colour of every voxel, zero where it is empty."""
        shape, place = tuple(self.shape.tolist()), tuple(self.cells.T)
        density, colour = np.zeros(shape, np.float32), np.zeros((*shape, 3), np.uint8)
        density[place], colour[place] = self.density, self.colour
        return density, colour


def write_grid(path: Path, grid: BakedGrid) -> None:
    """Write `grid` in the form that the suffix names. Raises RunError where the disk refuses."""
    arrays = {field.name: np.ascontiguousarray(getattr(grid, field.name)) for field in fields(grid)}
    if path.suffix == ".npz":
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]
        return
    from safetensors.numpy import save

    write_bytes(path, save(arrays, metadata={"format": "rayformer baked grid 1"}))


def read_grid(path: Path) -> BakedGrid:
    """The grid written at `path`. Raises DataError if it is not there, torn, or something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                whole = dict(file)
        else:
            whole = load_file(path)
    except (OSError, ValueError, EOFError, BadZipFile, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as a baked grid: {error}") from error
    absent = [field.name for field in fields(BakedGrid) if field.name not in whole]
    if absent:
        raise DataError(
            f"{path} is no baked grid: it holds no array {absent[0]!r}.\n"
            "`rayformer export RUN --to grid` writes one."
        )
    return BakedGrid(**{field.name: whole[field.name] for field in fields(BakedGrid)})
