"""Similarity: turn, scale and shift, x -> scale * rotation @ x + translation. What scene normalisation does
and undoes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Similarity:
    scale: float
    rotation: Float[Tensor, "3 3"]
    """Float64, a proper rotation."""
    translation: Float[Tensor, "3"]
    """Float64, in units after scaling."""

    @classmethod
    def identity(cls) -> "Similarity":
        return cls(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

    @classmethod
    def fit(cls, points: Float[Tensor, "points 3"], targets: Float[Tensor, "points 3"]) -> "Similarity":
        """The similarity that brings `points` nearest to their `targets`, in the least squares
        (Umeyama 1991). At least three points, not all on one line, settle it."""
        points, targets = points.double(), targets.double()
        middle, goal = points.mean(dim=0), targets.mean(dim=0)
        away = points - middle
        U, stretches, Vt = torch.linalg.svd((targets - goal).T @ away)
        signs = torch.ones(3, dtype=torch.float64)
        signs[2] = torch.linalg.det(U) * torch.linalg.det(Vt)  # a turn, never a mirror
        rotation = U @ torch.diag(signs.sign()) @ Vt
        scale = ((stretches * signs.sign()).sum() / away.square().sum()).item()
        return cls(scale, rotation, goal - scale * rotation @ middle)

    @property
    def is_identity(self) -> bool:
        unturned = torch.equal(self.rotation, torch.eye(3).to(self.rotation))
        return self.scale == 1 and unturned and not self.translation.any()

    def points(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Where the points go."""
        return self.scale * points @ self.rotation.T.to(points) + self.translation.to(points)

    def pose(self, pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
        """Where a camera goes; a pose stays rigid, since scaling the world only moves the camera."""
        moved = torch.eye(4).to(pose)
        moved[:3, :3] = self.rotation.to(pose) @ pose[:3, :3]
        moved[:3, 3] = self.points(pose[None, :3, 3])[0]
        return moved

    def inverse(self) -> "Similarity":
        turned_back = self.rotation.T
        return Similarity(1 / self.scale, turned_back, -(turned_back @ self.translation) / self.scale)

    def after(self, first: "Similarity") -> "Similarity":
        """`first`, then this one."""
        return Similarity(
            self.scale * first.scale,
            self.rotation @ first.rotation,
            self.scale * self.rotation @ first.translation + self.translation,
        )
