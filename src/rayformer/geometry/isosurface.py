"""The surface where a function of space passes a threshold, as triangles: marching cubes, slab by slab.

Lorensen and Cline 1987, with Lewiner's table (2003), which leaves no holes where a cube is ambiguous; the
table is scikit-image's. Read from the top:

    isosurface      any density, a lattice, a threshold -> Surface
    _march          slab by slab, joined where slabs meet
    _refine         each vertex to where the density really passes the threshold on its edge

It knows of a field only `density(places)`, so it serves radiance fields and signed distances alike, which is
why it lives with the geometry.

Marching cubes puts a vertex where a line between two samples passes the threshold. Densities of radiance
fields jump: from 0 to 500, with a threshold of 30, the line would pass it right beside the empty sample, and
every surface would be fat by half a voxel. So the line is drawn through `1 - 2^(-density / threshold)`
instead, which is 0 in empty space, 1/2 at the threshold and never above 1: the same points are inside, and a
jump is met in its middle. What is left of the voxel's staircase goes by asking the density again, on the
edge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import MissingExtra
from rayformer.geometry.lattice import Lattice
from rayformer.geometry.mesh import Mesh

Density = Callable[[Tensor], Tensor]
"""Places (points, 3) in the lattice's coordinates -> density (points)."""

POINTS_AT_ONCE = 2**22
"""Points of a slab: about 100 MB with all that hangs on them, however fine the lattice is."""
LEAST_GAP = 2e-3
"""No sample is nearer to the level than this, so that no vertex falls on a point of the lattice."""


@dataclass(frozen=True, eq=False)
class Surface:
    mesh: Mesh
    """In the lattice's coordinates; without faces where the density passes the threshold nowhere."""
    lowest: float
    """The least density met on the lattice; likewise highest."""
    highest: float


def isosurface(
    density: Density, lattice: Lattice, threshold: float, refinements: int = 4, close: bool = False
) -> Surface:
    """Where `density` passes `threshold`, with what is denser inside.

    `refinements` halve the stretch of an edge that is known to hold its vertex. With `close`, all beyond the
    lattice is empty, and what reaches its border gets a lid there; otherwise the surface is left open.
    Memory grows with the surface and with one slab, not with the lattice. Raises MissingExtra without
    scikit-image.
    """
    assert threshold > 0, f"densities are compared with a positive threshold, not {threshold}"
    if close:
        density, lattice = _with_nothing_outside(density, lattice), lattice.grown()
    index, faces, lowest, highest = _march(density, lattice, threshold)
    if refinements:
        index = _refine(index, density, lattice, threshold, refinements)
    return Surface(Mesh(lattice.at(index), faces), lowest, highest)


def _with_nothing_outside(density: Density, lattice: Lattice) -> Density:
    low, high = lattice.low - 1e-6 * lattice.step, lattice.high + 1e-6 * lattice.step

    def inside(places: Tensor) -> Tensor:
        return density(places) * ((places >= low) & (places <= high)).all(dim=-1)

    return inside


def _share(density: Tensor, threshold: float) -> Tensor:
    """0 in empty space, 1/2 at the threshold, below 1 everywhere."""
    share = -torch.expm1(-np.log(2) * density.double() / threshold) - 0.5
    return 0.5 + torch.where(share < 0, share.clamp(max=-LEAST_GAP), share.clamp(min=LEAST_GAP))


def _march(density: Density, lattice: Lattice, threshold: float) -> tuple[Tensor, Tensor, float, float]:
    """Vertices by number on the lattice, faces, and the range of the densities met."""
    try:
        from skimage.measure import marching_cubes
    except ImportError as error:
        raise MissingExtra("mesh", "making a mesh") from error

    at_once = max(2, POINTS_AT_ONCE // lattice.per_plane)
    lowest, highest = np.inf, -np.inf
    vertices, faces = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int64)]
    count, joints, last_plane = 0, {}, None
    for start in range(0, lattice.shape[0] - 1, at_once - 1):
        end = min(start + at_once, lattice.shape[0])
        first_new = start if last_plane is None else start + 1
        found = density(lattice.planes(first_new, end))
        lowest, highest = min(lowest, float(found.min())), max(highest, float(found.max()))
        slab = _share(found, threshold).float().view(-1, *lattice.shape[1:])
        slab = slab if last_plane is None else torch.cat([last_plane, slab])
        last_plane = slab[-1:]
        if slab.min() >= 0.5 or slab.max() < 0.5:
            joints = {}
            continue
        own, own_faces, _, _ = marching_cubes(
            slab.numpy(), level=0.5, allow_degenerate=True, gradient_direction="ascent"
        )
        # Vertices on the plane that two slabs share were made by both, from the same numbers.
        rows = np.arange(count, count + len(own))
        shared = np.nonzero(own[:, 0] == 0)[0]
        keys = np.round(own[:, 1:] * 2**12).astype(np.int64)
        known = {row: joints[key] for row in shared if (key := tuple(keys[row])) in joints}
        fresh = np.ones(len(own), dtype=bool)
        fresh[list(known)] = False
        rows[fresh] = count + np.arange(fresh.sum())
        rows[list(known)] = list(known.values())
        count += int(fresh.sum())
        last = np.nonzero(own[:, 0] == len(slab) - 1)[0]
        joints = {tuple(keys[row]): int(rows[row]) for row in last}
        vertices.append(own[fresh].astype(np.float64) + np.array([start, 0, 0]))
        faces.append(rows[own_faces.astype(np.int64)])
    whole = torch.from_numpy(np.concatenate(vertices)), torch.from_numpy(np.concatenate(faces))
    return *whole, lowest, highest


def _refine(
    index: Float[Tensor, "points 3"], density: Density, lattice: Lattice, threshold: float, times: int
) -> Float[Tensor, "points 3"]:
    """Vertices moved along their edges to where the density passes the threshold: bisection, and a straight
    line at the end. The few in the middle of an ambiguous cube stay."""
    off = (index - index.round()).abs() > 1e-4
    rows = (off.sum(dim=1) == 1).nonzero().squeeze(-1)
    moved = index.clone()
    for part in rows.split(POINTS_AT_ONCE // 16):
        low, high = index[part].floor(), index[part].ceil()
        axis = off[part]
        low, high = torch.where(axis, low, index[part].round()), torch.where(axis, high, index[part].round())

        def share(where: Tensor) -> Tensor:
            return _share(density(lattice.at(where)), threshold)

        at_low, at_high = share(low), share(high)
        for _ in range(times):
            middle = (low + high) / 2
            here = share(middle)
            beyond = ((here >= 0.5) == (at_low >= 0.5))[:, None]  # the passage lies in the upper half
            low, high = torch.where(beyond, middle, low), torch.where(beyond, high, middle)
            at_low, at_high = (
                torch.where(beyond[:, 0], here, at_low),
                torch.where(beyond[:, 0], at_high, here),
            )
        way = ((0.5 - at_low) / (at_high - at_low)).clamp(0, 1)
        passes = (at_low >= 0.5) != (at_high >= 0.5)  # else rounding made the two askings differ
        moved[part] = torch.where(passes[:, None], low + way[:, None] * (high - low), index[part])
    return moved
