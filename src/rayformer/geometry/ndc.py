"""Normalised device coordinates: the whole depth behind a near plane, infinity included, squeezed into a box.

    ndc_rays      rays into the box
    ndc_points    points into the box; points_from_ndc, back
    ndc_stretch   what becomes of lengths on the way, and so of densities

NeRF's appendix C (Mildenhall et al. 2020, https://arxiv.org/abs/2003.08934), for scenes that all cameras look
at from one side. A straight ray stays straight, t' = 0 on the near plane and t' = 1 at infinity, and samples
that are even in t' are even in disparity, which is how much a picture tells of depth. The frame must be one
in which the cameras look roughly along -z from about z = 0, as scene normalisation leaves a forward-facing
scene.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.geometry.rays import Rays


def ndc_rays(rays: Rays, fx: float, fy: float, width: int, height: int, near: float = 1.0) -> Rays:
    """The rays in NDC: x and y in [-1, 1] over the picture of a camera at the origin, z = -1 at `near` and 1
    at infinity.

    `fx` and `fy` (pixels) and the size belong to one camera that stands for all; `near` is the plane's
    distance in scene units. Viewing directions stay those of the world; t runs from 0 to 1. Raises DataError
    for a ray that never goes forward, since it never meets the plane.
    """
    if not (rays.directions[:, 2] < 0).all():
        raise DataError(
            "NDC needs every ray to run forward, along -z, but some run sideways or back.\n"
            "The scene is not forward-facing; train it without NDC."
        )
    to_plane = -(near + rays.origins[:, 2]) / rays.directions[:, 2]
    start = rays.origins + to_plane[:, None] * rays.directions
    origins = ndc_points(start, fx, fy, width, height, near)
    # At t -> infinity the warp tends to the direction's own image, at z = 1.
    ahead = rays.directions[:, :2] / rays.directions[:, 2:]
    focal = torch.tensor([2 * fx / width, 2 * fy / height]).to(start)
    ends = torch.cat([-focal * ahead, torch.ones_like(ahead[:, :1])], dim=-1)
    zeros = torch.zeros_like(rays.near)
    return Rays(origins, ends - origins, rays.view_directions, zeros, zeros + 1)


def ndc_points(
    points: Float[Tensor, "points 3"], fx: float, fy: float, width: int, height: int, near: float = 1.0
) -> Float[Tensor, "points 3"]:
    """Points before the camera (z < 0) into the box (appendix C, the projection itself, with the far plane at
    infinity)."""
    x, y, z = points.unbind(-1)
    return torch.stack([-2 * fx / width * x / z, -2 * fy / height * y / z, 1 + 2 * near / z], dim=-1)


def points_from_ndc(
    points: Float[Tensor, "points 3"], fx: float, fy: float, width: int, height: int, near: float = 1.0
) -> Float[Tensor, "points 3"]:
    """The inverse of `ndc_points`, for points before infinity (z < 1)."""
    x, y, z = points.unbind(-1)
    depth = 2 * near / (z - 1)
    return torch.stack([-x * depth * width / (2 * fx), -y * depth * height / (2 * fy), depth], dim=-1)


def ndc_stretch(points: Float[Tensor, "points 3"], near: float = 1.0) -> Float[Tensor, "points"]:
    """How much longer a short way towards the camera is in NDC than it is in the scene.

    Light that travels it meets equal matter in both, so a density in NDC times this is one in 1 / scene unit.
    """
    return 2 * near / (points[:, 2].abs() * points.norm(dim=-1))
