"""A regular lattice in a box: where a function of space is asked, and which numbers its points have.

    Lattice     the first corner, the step, and how many points along each axis

Points are numbered (i, j, k) along x, y and z; point (i, j, k) lies at `low + step * (i, j, k)`. The step is
the same along all axes, so that a cell is a cube, which is called a voxel.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Lattice:
    low: Float[Tensor, "3"]
    """Where point (0, 0, 0) lies; float64."""
    step: float
    """From one point to the next, along each axis: the side of a voxel."""
    shape: tuple[int, int, int]
    """Points along x, y and z."""

    @classmethod
    def over(cls, low: Float[Tensor, "3"], high: Float[Tensor, "3"], resolution: int) -> "Lattice":
        """The lattice whose voxels cover the box from `low` to `high`, `resolution` of them along its longest
        side; along the others it may reach beyond the box by part of a voxel."""
        sides = (high - low).double()
        assert (sides > 0).all(), f"a box has its low corner below its high one, but the sides are {sides}"
        step = float(sides.max()) / resolution
        first, second, third = (1 + math.ceil(float(side) / step - 1e-9) for side in sides)
        return cls(low.double(), step, (first, second, third))

    @property
    def high(self) -> Float[Tensor, "3"]:
        """Where the last point lies."""
        return self.low + self.step * (torch.tensor(self.shape) - 1)

    @property
    def per_plane(self) -> int:
        """Points with one x."""
        return self.shape[1] * self.shape[2]

    def at(self, index: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Where numbers, whole or not, lie in space."""
        return self.low.to(index) + self.step * index

    def planes(self, first: int, last: int) -> Float[Tensor, "points 3"]:
        """The points of planes `first` to `last - 1` along x, in the order of their numbers; float64."""
        axes = [torch.arange(first, last), *(torch.arange(count) for count in self.shape[1:])]
        return self.at(torch.cartesian_prod(*axes).view(-1, 3).double())

    def grown(self) -> "Lattice":
        """With one more point at each end of each axis."""
        first, second, third = (count + 2 for count in self.shape)
        return replace(self, low=self.low - self.step, shape=(first, second, third))

    def centred(self) -> "Lattice":
        """The middles of the voxels."""
        first, second, third = (count - 1 for count in self.shape)
        return replace(self, low=self.low + self.step / 2, shape=(first, second, third))
