"""How deep a surface of triangles lies before a camera, lens included.

    mesh_depth    the depth that every pixel of a camera sees; infinity where it sees nothing
    mesh_raster   the same with the triangle that is seen, and the place on it
    wide_pinhole  a pinhole that sees all that a camera with a lens sees

Depth is measured along the optical axis, in the unit of the mesh. A lens bends the edges of triangles, so a
camera with one is rasterised as a pinhole that sees as much; each of its pixels then takes the triangle that
the pinhole sees in its direction, and meets that triangle's plane exactly.
"""

from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import Lens, undistort
from rayformer.geometry.mesh import Mesh
from rayformer.geometry.rays import pixel_grid
from rayformer.kernels.rasterise import Raster, rasterise


def mesh_depth(camera: Camera, mesh: Mesh, near: float | int = 0.0) -> Float[Tensor, "height width"]:
    """The depth of the nearest triangle in every pixel, infinity where there is none; float32. What is no
    deeper than `near` is not seen."""
    return mesh_raster(camera, mesh, near).depth


def mesh_raster(camera: Camera, mesh: Mesh, near: float | int = 0.0) -> Raster:
    """What `camera` sees of `mesh`, from either side of its triangles. With a lens the weights are those at
    the plane of the triangle, which at its edges may lie a fraction of a pixel beside it."""
    corners = _local_corners(camera, mesh)
    if camera.lens.is_pinhole:
        return _rastered(camera, corners, near)
    plane = plane_grid(camera)
    pinhole = wide_pinhole(camera, plane)
    wide = _rastered(pinhole, corners, near)
    pixels = plane * pinhole.intrinsics[:2] + pinhole.intrinsics[2:]
    column = pixels[..., 0].floor().long().clamp(0, pinhole.width - 1)
    row = pixels[..., 1].floor().long().clamp(0, pinhole.height - 1)
    face = wide.face[row, column]
    ray = torch.cat([plane, torch.ones_like(plane[..., :1])], dim=-1)
    a, b, c = corners[face.clamp(min=0)].unbind(-2) if len(corners) else (ray, ray, ray)
    opposite = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    products = (opposite * ray[..., None, :]).sum(-1)
    total = products.sum(-1)
    depth = (a * opposite[..., 0, :]).sum(-1) / total
    seen = (face >= 0) & (depth > near) & depth.isfinite()
    return Raster(
        torch.where(seen, depth, torch.inf).float(),
        torch.where(seen, face, -1),
        torch.where(seen[..., None], products / total[..., None], 0.0).float(),
    )


def plane_grid(camera: Camera) -> Float[Tensor, "height width 2"]:
    """Where the rays through all pixel centres pass the plane at depth 1: x right, y down; float64. Not to be
    written into."""
    return _plane_grid(
        camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, camera.lens
    )  # fmt: skip


@lru_cache(maxsize=16)  # the views of a scene share a few lenses, and to undo one takes a while
def _plane_grid(
    width: int, height: int, fx: float, fy: float, cx: float, cy: float, lens: Lens
) -> Float[Tensor, "height width 2"]:
    focal, centre = torch.tensor([fx, fy], dtype=torch.float64), torch.tensor([cx, cy], dtype=torch.float64)
    plane = (pixel_grid(width, height) - centre) / focal
    if not lens.is_pinhole:
        plane = undistort(plane, lens.coefficients[None])
    return plane.view(height, width, 2)


def wide_pinhole(camera: Camera, plane: Float[Tensor, "height width 2"]) -> Camera:
    """A pinhole at the same place with pixels of the same size, whose picture holds all of `plane`: where the
    rays of `camera` pass the plane at depth 1."""
    focal = camera.intrinsics[:2]
    low = (plane.flatten(0, 1).amin(dim=0) * focal).floor() - 1
    high = (plane.flatten(0, 1).amax(dim=0) * focal).ceil() + 1
    width, height = (high - low).long().tolist()
    return replace(
        camera, width=width, height=height, cx=-low[0].item(), cy=-low[1].item(), lens=Lens()
    )  # fmt: skip


def _local_corners(camera: Camera, mesh: Mesh) -> Float[Tensor, "faces 3 3"]:
    """Corners in camera coordinates with y down and z ahead, as the kernel wants them."""
    pose = camera.pose.double()
    local = (mesh.vertices.double() - pose[:3, 3]) @ pose[:3, :3]
    return (local * torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))[mesh.faces]


def _rastered(camera: Camera, corners: Float[Tensor, "faces 3 3"], near: float | int) -> Raster:
    focal, centre = (camera.fx, camera.fy), (camera.cx, camera.cy)
    return rasterise(corners, camera.width, camera.height, focal, centre, near)
