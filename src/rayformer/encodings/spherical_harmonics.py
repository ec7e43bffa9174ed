"""A direction as the values of the real spherical harmonics: the smoothest functions on the sphere, few
first.

    SphericalHarmonics    degree n -> n^2 features: bands 0 to n - 1

Orthonormal: the mean over the sphere of the product of two of them is 0, and of one with itself 1 / (4 pi).
Closed polynomials in x, y, z, in the order l = 0, 1, ..., m = -l ... l.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError


class SphericalHarmonics(nn.Module):
    """Raises ConfigError for a degree outside 1 to 4."""

    def __init__(self, degree: int):
        super().__init__()
        if not 1 <= degree <= 4:
            raise ConfigError(
                f"Spherical harmonics are offered for degree 1 to 4, but {degree} was asked for."
            )
        self.degree = degree
        self.size = degree**2
        """Features per direction."""

    def forward(self, directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays features"]:
        """The harmonics of unit vectors."""
        x, y, z = directions.unbind(-1)
        xx, yy, zz = x * x, y * y, z * z
        bands = [torch.full_like(x, 0.28209479177387814)]
        if self.degree > 1:
            bands += [0.4886025119029199 * value for value in (y, z, x)]
        if self.degree > 2:
            bands += [
                1.0925484305920792 * x * y,
                1.0925484305920792 * y * z,
                0.31539156525252005 * (3 * zz - 1),
                1.0925484305920792 * x * z,
                0.5462742152960396 * (xx - yy),
            ]
        if self.degree > 3:
            bands += [
                0.5900435899266435 * y * (3 * xx - yy),
                2.890611442640554 * x * y * z,
                0.4570457994644658 * y * (5 * zz - 1),
                0.3731763325901154 * z * (5 * zz - 3),
                0.4570457994644658 * x * (5 * zz - 1),
                1.445305721320277 * z * (xx - yy),
                0.5900435899266435 * x * (xx - 3 * yy),
            ]
        return torch.stack(bands, dim=-1)
