"""Between our cameras and those of the browser, which viser describes in OpenCV axes with quaternions.

Frame     scene coordinates to the window's, which may be of another size, and back
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.geometry.cameras import Camera

COMFORTABLE = (0.05, 20.0)
"""A scene whose cameras stand so far apart is shown as large as it is. The browser cuts off what is nearer
than 0.01, keeps depth up to 167, and walks at one pace: a scene in millimetres would be out of its reach."""
FLIP = np.diag([1.0, -1.0, -1.0])
"""OpenGL's y up and z back against OpenCV's y down and z forward; its own inverse."""


@dataclass(frozen=True)
class Frame:
    scale: float
    """Of a scene unit, in the window."""

    @classmethod
    def for_unit(cls, unit: float) -> "Frame":
        """The frame for a scene whose cameras stand `unit` from each other."""
        return cls(1.0 if COMFORTABLE[0] <= unit <= COMFORTABLE[1] else 1 / unit)

    def points(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return points * self.scale

    def to_window(self, pose: Float[Tensor, "4 4"]) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "3"]]:
        """Quaternion (w x y z) and position of a camera-to-world pose."""
        from scipy.spatial.transform import Rotation

        matrix = pose.double().numpy()
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3] @ FLIP).as_quat()
        return np.array([w, x, y, z]), self.scale * matrix[:3, 3]

    def from_window(
        self, wxyz: Float[np.ndarray, "4"], position: Float[np.ndarray, "3"]
    ) -> Float[Tensor, "4 4"]:
        """The way back."""
        from scipy.spatial.transform import Rotation

        w, x, y, z = wxyz
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix() @ FLIP
        pose[:3, 3] = position / self.scale
        return torch.from_numpy(pose)

    def camera(
        self,
        wxyz: Float[np.ndarray, "4"],
        position: Float[np.ndarray, "3"],
        fov: float,
        size: tuple[int, int],
        most_rows: int,
    ) -> Camera:
        """What a browser looks through: vertical angle in radians, (width, height) of its window, of which
        no more than `most_rows` are drawn."""
        width, height = size
        rows = max(1, min(height, most_rows))
        columns = max(1, round(width * rows / height))
        camera = Camera.from_fov(width, height, math.degrees(float(fov)), self.from_window(wxyz, position))
        return camera.scaled(columns, rows)
