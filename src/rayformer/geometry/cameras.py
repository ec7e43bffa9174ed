"""Cameras: one view of a scene as numbers, without its picture.

    Camera     size, intrinsics in pixels, pose, lens
    project    points in space -> pixels and depth

Conventions: poses are camera-to-world in OpenGL axes (x right, y up, z back: the camera looks along -z).
Pixel coordinates are (x, y), x to the right and y down, from the outer corner of the top left pixel, so that
pixel centres lie at +0.5. Intrinsics stay right under any scaling of the picture because of that.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.lens import Lens, distort


@dataclass(frozen=True, eq=False)
class Camera:
    width: int
    """Columns of pixels."""
    height: int
    """Rows of pixels."""
    fx: float
    """Focal length in pixels of the x axis; likewise fy."""
    fy: float
    cx: float
    """Where the optical axis meets the picture, in pixels; the middle of the picture is width / 2."""
    cy: float
    pose: Float[Tensor, "4 4"]
    """Camera-to-world, OpenGL axes, float64: columns x right, y up, z back, then the position."""
    lens: Lens = Lens()

    @classmethod
    def from_fov(
        cls, width: int, height: int, fov_y_degrees: float | int, pose: Float[Tensor, "4 4"]
    ) -> "Camera":
        """A pinhole with square pixels and a centred axis; `fov_y_degrees` spans the picture's height."""
        focal = height / (2 * math.tan(math.radians(fov_y_degrees) / 2))
        return cls(width, height, focal, focal, width / 2, height / 2, pose)

    @property
    def position(self) -> Float[Tensor, "3"]:
        return self.pose[:3, 3]

    @property
    def direction(self) -> Float[Tensor, "3"]:
        """The unit vector along the optical axis, into the scene."""
        return -self.pose[:3, 2]

    @property
    def fov_y_degrees(self) -> float:
        """The angle that the picture's height spans, as if the axis stood in the middle."""
        return math.degrees(2 * math.atan(self.height / (2 * self.fy)))

    @property
    def intrinsics(self) -> Float[Tensor, "4"]:
        """fx fy cx cy in float64."""
        return torch.tensor([self.fx, self.fy, self.cx, self.cy], dtype=torch.float64)

    def scaled(self, width: int, height: int) -> "Camera":
        """The same view, lens included, in a picture of another size; each axis is scaled by itself."""
        x, y = width / self.width, height / self.height
        return replace(
            self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y
        )

    def at_most(self, width: int | None) -> "Camera":
        """The same view in a picture at most so wide, whose sides keep their ratio; None leaves it as it
        is."""
        if width is None or self.width <= width:
            return self
        return self.scaled(width, max(1, round(self.height * width / self.width)))

    def cropped(self, left: int, top: int, width: int, height: int) -> "Camera":
        """What the same camera sees in a window of its picture: row `top`, column `left` becomes (0, 0)."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def at(self, pose: Float[Tensor, "4 4"]) -> "Camera":
        """The same camera elsewhere."""
        return replace(self, pose=pose)

    def framed(self, size: tuple[int, int] | None = None) -> "Camera":
        """An ideal camera for rendering: no lens, axis in the middle, the same vertical angle.

        `size` is (width, height); another shape shows more or less at the sides, and nothing is stretched.
        """
        width, height = size or (self.width, self.height)
        return Camera.from_fov(width, height, self.fov_y_degrees, self.pose)


def project(
    camera: Camera, points: Float[Tensor, "points 3"]
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, "points"]]:
    """Where points in space appear in the picture, lens included, and how deep they lie.

    Returns pixel coordinates and the depth along the optical axis in scene units; a point with depth <= 0
    lies behind the camera and its pixel means nothing. The inverse of `camera_rays`.
    """
    pose = camera.pose.to(points)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = -local[:, 2]
    # y down, as the lens model has it
    plane = torch.stack([local[:, 0], -local[:, 1]], dim=-1) / depth[:, None]
    if not camera.lens.is_pinhole:
        plane = distort(plane, camera.lens.coefficients.to(points)[None])
    focal_x, focal_y, centre_x, centre_y = camera.intrinsics.to(points)
    return plane * torch.stack([focal_x, focal_y]) + torch.stack([centre_x, centre_y]), depth
