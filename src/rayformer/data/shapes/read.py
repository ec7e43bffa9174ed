"""A mesh file to a Shape: read, put in order, looked over, and put into the cube.

    read_shape    the shape that a config names; everything that was found on the way is in its remarks
    _read_file    any format that trimesh reads -> vertices and faces
    _tidied       equal vertices joined; triangles without area, and double ones, left out
    _facing_out   triangles turned the same way round, outward
    _surface      which triangles have outside on one side, and which are buried inside

Formats: .obj, .ply, .stl, .glb, .off. Several bodies in one file are one shape.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from rayformer.core.errors import DataError, MissingExtra, did_you_mean
from rayformer.data.shapes.knot import rope_knot
from rayformer.data.shapes.shape import INSIDE, NAMES, Shape, ShapeConfig, framed
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.similarity import Similarity
from rayformer.kernels.triangles import Triangles

SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".off")
FLAT = 1e-7
"""What encloses less than this share of its diagonal's cube encloses nothing."""
SLIVER = 1e-14
"""A triangle with less than this share of the diagonal's square has no area."""


def read_shape(config: ShapeConfig, frame: Similarity | None = None) -> Shape:
    """The shape that `config` names, in the cube; `frame` puts it where another one was put.

    Raises DataError, with the file named, for what is no mesh, is a cloud of points, has no triangle with an
    area, encloses nothing, or has holes where those are refused; for a folder with none or several meshes.
    Raises MissingExtra without trimesh, which drawn shapes do without.
    """
    if config.named:
        mesh, form, name = rope_knot(), "drawn", config.source
    else:
        path = _one_file(Path(config.source).expanduser())
        mesh, form, name = _read_file(path), path.suffix.lower().removeprefix("."), str(path)
    remarks: list[str] = []
    mesh = _facing_out(_tidied(mesh, name, remarks), name, remarks)
    soundness = _soundness(mesh)
    if soundness and config.open == "refuse":
        raise DataError(
            f"{name}: the mesh {' and '.join(soundness)}, so what is inside is not certain.\n"
            "Mend it in a mesh editor, or train on it with data.open winding, which takes what the triangles "
            "go round more than half."
        )
    if soundness:
        remarks.append(
            f"the mesh {' and '.join(soundness)}: inside is what its triangles go round more than half "
            "(data.open refuse turns such meshes away)"
        )
    fingerprint = hashlib.blake2b(
        mesh.vertices.numpy().tobytes() + mesh.faces.numpy().tobytes(), digest_size=8
    ).hexdigest()
    frame = frame or framed(mesh, config.fill)
    mesh = mesh.moved(frame)
    outer = _surface(mesh)
    if not outer.any():
        raise DataError(f"{name}: no triangle of the mesh has inside on one side and outside on the other.")
    if not outer.all():
        remarks.append(f"left out, as buried inside and no surface: {_so_many(int((~outer).sum()))}")
    return Shape(
        mesh=mesh.only(outer), buried=mesh.only(~outer), frame=frame, source=name, format=form,
        fingerprint=fingerprint, closed=not soundness, remarks=tuple(remarks),
    )  # fmt: skip


def _one_file(path: Path) -> Path:
    """The mesh that a path names. Raises DataError where that is none, or several."""
    if path.is_dir():
        meshes = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if len(meshes) == 1:
            return meshes[0]
        if meshes:
            shown = ", ".join(file.name for file in meshes[:5]) + (" ..." if len(meshes) > 5 else "")
            raise DataError(
                f"{path} holds {len(meshes)} meshes ({shown}), and a field is of one.\n"
                f"Name it: --data {meshes[0]}"
            )
        raise DataError(f"{path} holds no mesh: none of its files ends in {_spelled()}.")
    if not path.exists():
        raise DataError(
            f"{path}: there is no such file or folder.{did_you_mean(str(path), NAMES)}\n"
            f"--data takes a mesh ({_spelled()}), a folder that holds one, or one drawn here: "
            f"{', '.join(NAMES)}."
        )
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} is no mesh that can be read: the name of one ends in {_spelled()}.")
    return path


def _spelled() -> str:
    return f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"


def _read_file(path: Path) -> Mesh:
    try:
        import trimesh
    except ImportError as error:
        raise MissingExtra("mesh", f"reading {path.name}") from error
    form = path.suffix.lower().removeprefix(".")
    try:
        with path.open("rb") as file:  # and not by its name: nothing that the file names is opened
            scene = trimesh.load_scene(file, file_type=form, process=False, skip_materials=True)
        bodies = scene.dump(concatenate=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # trimesh's readers raise whatever they stumble over
        raise DataError(
            f"{path} is not a .{form} mesh: reading it ends in {_said(error)}.\n"
            "Open it in a mesh editor and save it again."
        ) from error
    bodies = bodies if isinstance(bodies, list) else [bodies]
    meshes = [body for body in bodies if isinstance(body, trimesh.Trimesh) and len(body.faces)]
    if not meshes:
        points = sum(len(getattr(body, "vertices", ())) for body in bodies)
        raise DataError(
            f"{path} holds {points:,} points and no triangles"
            + (": a cloud of points has no inside. Make a mesh of it first." if points else ": it is empty.")
        )
    joined: Any = trimesh.util.concatenate(meshes)
    return Mesh(
        torch.from_numpy(np.array(joined.vertices, dtype=np.float64)),
        torch.from_numpy(np.array(joined.faces, dtype=np.int64)),
    )


def _so_many(count: int) -> str:
    return f"{count:,} triangle{'s' if count > 1 else ''}"


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:120]}" if text else type(error).__name__


def _tidied(mesh: Mesh, name: str, remarks: list[str]) -> Mesh:
    """Raises DataError for vertices that are no numbers, and where no triangle is left."""
    used = mesh.vertices[mesh.faces.unique()]
    if not used.isfinite().all():
        bad = int((~used.isfinite().all(dim=1)).sum())
        raise DataError(
            f"{name}: not all coordinates of the mesh are finite numbers (not those of {bad:,} vertices).\n"
            "Open it in a mesh editor and save it again."
        )
    places, which = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    faces = which[mesh.faces]
    joined = Mesh(places, faces)
    area = joined.areas > SLIVER * Mesh(used, faces[:0]).diagonal ** 2
    if not area.any():
        raise DataError(
            f"{name}: none of the {len(faces):,} triangles of the mesh has an area, so there is no surface."
        )
    if not area.all():
        remarks.append(f"left out, as without area: {_so_many(int((~area).sum()))}")
    faces = faces[area]
    first = faces.argmin(dim=1, keepdim=True)
    turned = faces.gather(1, (first + torch.arange(3)) % 3)
    once = turned.unique(dim=0)
    if len(once) < len(faces):
        remarks.append(f"left out, as there twice: {_so_many(len(faces) - len(once))}")
        faces = once
    return Mesh(places, faces).only(torch.ones(len(faces), dtype=torch.bool))


def _facing_out(mesh: Mesh, name: str, remarks: list[str]) -> Mesh:
    """Raises DataError for what encloses nothing, whichever way it faces."""
    if _passed_twice(mesh) and not mesh.is_closed:
        mesh = _turned_alike(mesh)
        remarks.append("some triangles were turned the other way round, so that all face alike")
    middle = (mesh.vertices.amin(dim=0) + mesh.vertices.amax(dim=0)) / 2
    volume = Mesh(mesh.vertices - middle, mesh.faces).volume
    if abs(volume) < FLAT * mesh.diagonal**3:
        raise DataError(
            f"{name}: the mesh encloses nothing: its volume is {volume:.3g} in a box with a diagonal of "
            f"{mesh.diagonal:.3g}.\n"
            "A flat sheet has no inside; give it some thickness in a mesh editor."
        )
    if volume > 0:
        return mesh
    remarks.append("the triangles faced inward, and were turned round")
    return Mesh(mesh.vertices, mesh.faces.flip(1))


def _edges(mesh: Mesh) -> Tensor:
    """How many triangles have each edge, whichever way they pass it."""
    there = torch.cat([mesh.faces, mesh.faces.roll(-1, dims=1)], dim=1).view(-1, 2, 3).mT.reshape(-1, 2)
    there = there.sort(dim=1).values
    return (there[:, 0] * len(mesh.vertices) + there[:, 1]).unique(return_counts=True)[1]


def _passed_twice(mesh: Mesh) -> bool:
    return bool((_edges(mesh) == 2).all())


def _turned_alike(mesh: Mesh) -> Mesh:
    import trimesh

    turned = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    trimesh.repair.fix_winding(turned)
    return Mesh(mesh.vertices, torch.from_numpy(np.array(turned.faces, dtype=np.int64)))


def _soundness(mesh: Mesh) -> list[str]:
    """What keeps inside and outside from being certain, in words: nothing for a sound mesh."""
    found = []
    if borders := int((_edges(mesh) == 1).sum()):
        found.append(f"has holes ({borders:,} edges of one triangle alone)")
    elif not mesh.is_closed:
        found.append("has edges at which more than two triangles meet, or that face different ways")
    if crossings := Triangles(mesh.vertices[mesh.faces]).crossings():
        found.append(f"passes through itself (at {crossings:,} places)")
    return found


def _surface(mesh: Mesh) -> Bool[Tensor, "faces"]:
    """Which triangles have outside on one of their sides somewhere: asked at four places of each, a little
    above and below."""
    corners = mesh.vertices[mesh.faces]
    middle = corners.mean(dim=1, keepdim=True)
    places = torch.cat([middle, 0.1 * middle + 0.9 * corners], dim=1)
    aside = 1e-4 * mesh.face_normals[:, None].expand_as(places)
    everything = Triangles(corners)
    inside = [everything.winding((places + sign * aside).reshape(-1, 3)) > INSIDE for sign in (1, -1)]
    both = (inside[0] & inside[1]).view(len(corners), 4)
    return ~both.all(dim=1)
