"""A surface through the points of a reconstruction: space in tetrahedra, those in sight lines empty.

    Sightings        which camera sees which point
    likely_sightings the same guessed, where nobody wrote it down
    point_surface    the surface between what is empty and what is not
    crossings        the tetrahedra that the way from a point to a camera goes through

The points are the corners of a Delaunay triangulation of space. Between a camera and a point that it sees
there is nothing, and right behind the point there is something. A cut through the triangulation of least cost
(Labatut, Pons, Keriven 2007, https://doi.org/10.1109/ICCV.2007.4408892, section 4) says which tetrahedra are
empty: every sight line that a full one stands in costs 1, every tetrahedron behind a point that is emptied
costs 1, and every face of the surface costs `SMOOTH`. It is the kind of surface that Free View Synthesis
takes from COLMAP, whose sight lines come from tracks of features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from rayformer.core.errors import DataError
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.mesh import Mesh

SMOOTH = 0.5
"""What a face of the surface costs, in sight lines."""
MOST_LINES = 100_000
"""Of more sight lines, so many are taken, evenly spread."""
BEHIND = 0.5
"""Matter begins so far behind a point, as a share of its distance to its nearest neighbour."""
UNIT = 100
"""Costs become whole numbers, as the cut wants them, in this fraction of a sight line."""
SPACE = 3.0
"""Space reaches so many times as far as points and cameras."""
BLOCKED = 0.1
"""A point is hidden if one in the same part of the picture is nearer by this share of its depth."""
PART = 10.0
"""Such a part holds about so many points."""


@dataclass(frozen=True, eq=False)
class Sightings:
    points: Int[np.ndarray, "points"]
    """Which point, one entry for every sight line."""
    views: Int[np.ndarray, "points"]
    """Which camera sees it."""


def likely_sightings(cameras: list[Camera], points: Float[np.ndarray, "_ 3"]) -> Sightings:
    """Every point in a picture that no point in the same small part of it stands before."""
    found_points, found_views = [], []
    places = torch.from_numpy(points).double()
    for number, camera in enumerate(cameras):
        pixels, depth = (value.numpy() for value in project(camera, places))
        size = np.array([camera.width, camera.height])
        within = (depth > 0) & np.all((pixels >= 0) & (pixels < size), axis=1)
        rows = np.flatnonzero(within)
        if not len(rows):
            continue
        side = np.sqrt(camera.width * camera.height * PART / len(rows))
        across = int(np.ceil(camera.width / side))
        cell = (pixels[rows] // side).astype(np.int64)
        cell = cell[:, 1] * across + cell[:, 0]
        nearest = np.full(cell.max() + 1, np.inf)
        np.minimum.at(nearest, cell, depth[rows])
        seen = rows[depth[rows] <= nearest[cell] * (1 + BLOCKED)]
        found_points.append(seen)
        found_views.append(np.full(len(seen), number))
    nothing = [np.zeros(0, np.int64)]
    return Sightings(np.concatenate(found_points or nothing), np.concatenate(found_views or nothing))


def point_surface(
    points: Float[np.ndarray, "points 3"],
    eyes: Float[np.ndarray, "views 3"],
    seen: Sightings,
) -> Mesh:
    """The surface through `points` that `eyes` see of them. Raises DataError for too few points in sight, or
    points that all lie in one line."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow
    from scipy.spatial import Delaunay

    if len(points) < 20 or not len(seen.points):
        raise DataError(
            f"a surface needs at least 20 points that cameras see, but there are {len(points)}, "
            f"with {len(seen.points)} sight lines"
        )
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if spread[1] <= 1e-6 * spread[0]:
        raise DataError("the points all lie in one line, so there is no surface through them")
    measured, points = len(points), np.concatenate([points, _far_corners(points, eyes)])
    space = Delaunay(points)
    chosen = np.linspace(0, len(seen.points) - 1, min(MOST_LINES, len(seen.points))).astype(np.int64)
    which, eye = seen.points[chosen], eyes[seen.views[chosen]]
    begin, facets, behind = crossings(space, which, eye)
    count = len(space.simplices)
    outside, full = count, count + 1  # all of space beyond the hull is empty, as the cameras are in it
    tetrahedra, faces = np.divmod(np.arange(4 * count), 4)
    beyond = space.neighbors.reshape(-1)
    beyond = np.where(beyond < 0, outside, beyond)
    cost = np.full(4 * count, round(SMOOTH * UNIT))
    # A line from a point to a camera leaves tetrahedra through `facets`. The cut is against its direction:
    # empty before, full behind.
    lines = np.bincount(facets, minlength=4 * count)
    ends = np.bincount(behind[behind >= 0], minlength=count)
    starts = np.bincount(begin[begin >= 0], minlength=count)
    # Arc from the empty side to the full side: from the tetrahedron entered towards the camera, back.
    rows = np.concatenate([tetrahedra, beyond, np.full(count, outside), np.arange(count)])
    columns = np.concatenate([beyond, tetrahedra, np.arange(count), np.full(count, full)])
    hull = (beyond == outside) * round(SMOOTH * UNIT)  # counted once from inside; arcs come in pairs
    costs = np.concatenate([cost, hull + UNIT * lines, UNIT * starts, UNIT * ends])
    inner = np.concatenate([beyond != outside, np.ones(4 * count + 2 * count, bool)])
    rows, columns, costs = rows[inner], columns[inner], costs[inner].astype(np.int32)
    graph = coo_array((costs, (rows, columns)), shape=(count + 2, count + 2)).tocsr()
    graph.sum_duplicates()
    flow = maximum_flow(graph, outside, full).flow
    rest = graph - flow
    rest.data = np.maximum(rest.data, 0)
    rest.eliminate_zeros()
    reached = breadth_first_order(rest, outside, return_predecessors=False)
    empty = np.zeros(count + 1, bool)
    empty[reached[reached <= count]] = True
    border = ~empty[tetrahedra] & empty[beyond]
    corners = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[faces[border]]
    triangles = np.take_along_axis(space.simplices[tetrahedra[border]], corners, axis=1).astype(np.int64)
    inside = points[space.simplices[tetrahedra[border], faces[border]]]
    a, b, c = (points[triangles[:, k]] for k in range(3))
    inward = np.einsum("fi,fi->f", np.cross(b - a, c - a), inside - a) > 0
    triangles[inward] = triangles[inward][:, ::-1]
    # What hangs on one or two far corners continues the surface; the box itself is no surface.
    real = torch.from_numpy((triangles < measured).any(axis=1))
    return Mesh(torch.from_numpy(points), torch.from_numpy(triangles)).only(real)


def _far_corners(
    points: Float[np.ndarray, "points 3"], eyes: Float[np.ndarray, "views 3"]
) -> Float[np.ndarray, "8 3"]:
    """Corners of a box far around everything, so that there is space behind every point which can be full: a
    wall that is seen from one side has no other one."""
    whole = np.concatenate([points, eyes])
    low, high = whole.min(axis=0), whole.max(axis=0)
    reach = SPACE * (high - low).max()
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    return (low + high) / 2 + reach * signs


def crossings(
    space: object, which: Int[np.ndarray, "rays"], eyes: Float[np.ndarray, "rays 3"]
) -> tuple[Int[np.ndarray, "rays"], Int[np.ndarray, "_"], Int[np.ndarray, "rays"]]:
    """Ways from points of a Delaunay triangulation to cameras, all walked side by side.

    Returns the tetrahedron that each camera stands in (-1: beyond the hull), every facet that a way leaves a
    tetrahedron through, as 4 times the tetrahedron plus the corner opposite, and the tetrahedron right behind
    each point (-1: none).
    """
    points, neighbours = space.points, space.neighbors  # type: ignore[attr-defined]
    corners = points[space.simplices]  # type: ignore[attr-defined]
    # Facet k as a plane: positive inside, 0 on it.
    normals = np.empty((len(corners), 4, 3))
    offsets = np.empty((len(corners), 4))
    for k, others in enumerate([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]):
        a, b, c = (corners[:, other] for other in others)
        normal = np.cross(b - a, c - a)
        side = np.einsum("fi,fi->f", normal, corners[:, k] - a)
        normal *= np.sign(side)[:, None]
        normals[:, k], offsets[:, k] = normal, -np.einsum("fi,fi->f", normal, a)
    start = points[which]
    way = eyes - start
    length = np.linalg.norm(way, axis=1)
    unit = way / np.maximum(length, 1e-30)[:, None]
    gap = _gaps(points)[which]
    behind = space.find_simplex(start - unit * (BEHIND * gap)[:, None])  # type: ignore[attr-defined]
    now = space.find_simplex(start + unit * (1e-3 * gap)[:, None])  # type: ignore[attr-defined]
    travelled = 1e-3 * gap
    stand = np.full(len(which), -1)
    alive = np.flatnonzero(now >= 0)
    left: list[np.ndarray] = []
    for _ in range(len(corners)):
        if not len(alive):
            break
        tetrahedron = now[alive]
        slope = np.einsum("rki,ri->rk", normals[tetrahedron], unit[alive])
        height = np.einsum("rki,ri->rk", normals[tetrahedron], start[alive]) + offsets[tetrahedron]
        with np.errstate(divide="ignore", invalid="ignore"):
            leave = np.where(slope < 0, -height / slope, np.inf)
        facet = leave.argmin(axis=1)
        at = np.maximum(np.take_along_axis(leave, facet[:, None], 1)[:, 0], travelled[alive])
        arrived = at >= length[alive]
        stand[alive[arrived]] = tetrahedron[arrived]
        going = ~arrived
        left.append((4 * tetrahedron + facet)[going])
        alive, after = alive[going], neighbours[tetrahedron, facet][going]
        now[alive], travelled[alive] = after, at[going]
        alive = alive[after >= 0]
    return stand, np.concatenate(left) if left else np.zeros(0, np.int64), behind


def _gaps(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """From each point to its nearest neighbour."""
    from scipy.spatial import KDTree

    return KDTree(points).query(points, k=2)[0][:, 1]
