"""Solids whose volume, area and distance are known, as triangles: boxes exactly, balls as nearly as asked."""

import torch

from rayformer.geometry.mesh import Mesh

# Corners of a cube by the bits of their number; two triangles to a side, counter-clockwise from outside.
SIDES = (
    (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
    (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
)  # fmt: skip


def box(low=(-0.5, -0.5, -0.5), high=(0.5, 0.5, 0.5)) -> Mesh:
    low, high = torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)
    corners = torch.cartesian_prod(*torch.stack([low, high]).T)
    return Mesh(corners, torch.tensor(SIDES))


def ball(radius: float = 0.5, centre=(0.0, 0.0, 0.0), rings: int = 24) -> Mesh:
    """A cube's surface as a fine lattice, blown up to a sphere: closed, without poles."""
    at = torch.tan(torch.linspace(-1, 1, rings + 1, dtype=torch.float64) * torch.pi / 4)
    at = (at - at.flip(0)) / (2 * at[-1])  # to the last bit as far to one side as to the other
    u, v = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
    one = torch.ones_like(u)
    number = torch.arange(len(u)).view(rings + 1, rings + 1)
    here, on, beside, across = (
        part.flatten() for part in (number[:-1, :-1], number[1:, :-1], number[:-1, 1:], number[1:, 1:])
    )
    quads = torch.stack([here, on, across, here, across, beside], dim=-1).view(-1, 3)
    places, faces = [], []
    for axis in range(3):
        for sign in (1.0, -1.0):
            side = torch.stack([u, v, sign * one], dim=-1).roll(axis + 1, dims=1)
            faces.append((quads if sign > 0 else quads.flip(1)) + len(u) * len(places))
            places.append(side)
    found, which = torch.unique(torch.cat(places), dim=0, return_inverse=True)
    middle = torch.tensor(centre, dtype=torch.float64)
    round_ = radius * torch.nn.functional.normalize(found, dim=1) + middle
    return Mesh(round_, which[torch.cat(faces)])


def together(*meshes: Mesh) -> Mesh:
    """Several meshes as one, not joined."""
    faces, count = [], 0
    for mesh in meshes:
        faces.append(mesh.faces + count)
        count += len(mesh.vertices)
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat(faces))


def box_distance(points, half=0.5):
    """The signed distance to a cube about the origin."""
    beyond = points.abs() - half
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0)
