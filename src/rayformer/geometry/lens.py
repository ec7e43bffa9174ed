"""Lens distortion: where a real lens puts what a pinhole would put elsewhere, and exactly back.

OpenCV's radial-tangential model (Brown 1966), on the image plane at distance 1 with x right and y down:

    radial      r² = x² + y²,  s = 1 + k1 r² + k2 r⁴ + k3 r⁶
    distort     x' = x s + 2 p1 x y + p2 (r² + 2 x²)
                y' = y s + p1 (r² + 2 y²) + 2 p2 x y
    undistort   its inverse, by Newton's method; no table and no resampling

Read from the top: Lens, distort, undistort, spread, folds. Coefficients are ordered k1 k2 k3 p1 p2, as the
fields of `Lens`, and may differ from ray to ray, so that one call serves a batch drawn from many cameras.
"""

from dataclasses import astuple, dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEWTON_STEPS = 20
"""More than ever needed: five reach rounding error for any lens that does not fold the image."""


@dataclass(frozen=True)
class Lens:
    """The five coefficients of OpenCV's model; all zero is a pinhole."""

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    @property
    def is_pinhole(self) -> bool:
        return not any(astuple(self))

    @property
    def coefficients(self) -> Float[Tensor, "5"]:
        """k1 k2 k3 p1 p2 in float64."""
        return torch.tensor(astuple(self), dtype=torch.float64)


def distort(
    points: Float[Tensor, "points 2"], coefficients: Float[Tensor, "#points 5"]
) -> Float[Tensor, "points 2"]:
    """Pinhole to lens, both on the image plane at distance 1 (x right, y down)."""
    x, y = points.unbind(-1)
    k1, k2, k3, p1, p2 = coefficients.unbind(-1)
    r2 = x * x + y * y
    stretch = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return torch.stack(
        [
            x * stretch + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * stretch + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        dim=-1,
    )


def undistort(
    points: Float[Tensor, "points 2"], coefficients: Float[Tensor, "#points 5"]
) -> Float[Tensor, "points 2"]:
    """Lens to pinhole: the inverse of `distort` up to rounding, wherever the lens does not fold the image."""
    nearly = (
        torch.finfo(points.dtype).eps ** 0.5
    )  # one Newton step squares the error, so the next is the last
    pinhole = points
    for _ in range(NEWTON_STEPS):
        miss = distort(pinhole, coefficients) - points
        xx, xy, yy = _jacobian(pinhole, coefficients)
        determinant = xx * yy - xy * xy
        step_x = (yy * miss[:, 0] - xy * miss[:, 1]) / determinant
        step_y = (xx * miss[:, 1] - xy * miss[:, 0]) / determinant
        pinhole = pinhole - torch.stack([step_x, step_y], dim=-1)
        if miss.numel() == 0 or miss.abs().max() <= nearly:
            break
    return pinhole


def spread(
    pinhole: Float[Tensor, "points 2"], coefficients: Float[Tensor, "#points 5"]
) -> Float[Tensor, "points 2"]:
    """How far apart two places of the pinhole's plane are whose images lie a unit apart along x, and along
    y."""
    xx, xy, yy = _jacobian(pinhole, coefficients)
    return torch.stack([torch.hypot(yy, xy), torch.hypot(xx, xy)], dim=-1) / (xx * yy - xy * xy)[:, None]


def folds(
    points: Float[Tensor, "points 2"], coefficients: Float[Tensor, "#points 5"]
) -> Bool[Tensor, "points"]:
    """Whether `undistort` has no answer for these lens points, or one beyond a fold.

    A polynomial that was fitted to the middle of a picture may turn back on itself further out; two rays then
    meet in one pixel and an inverse means nothing. Every line from the middle to the answer must keep its
    orientation.
    """
    pinhole = undistort(points, coefficients)
    landed = (distort(pinhole, coefficients) - points).abs().amax(dim=-1) < 1e-6
    turned = torch.zeros_like(landed)
    for share in torch.linspace(0.05, 1, 20).tolist():
        xx, xy, yy = _jacobian(share * pinhole, coefficients)
        turned |= (xx * yy - xy * xy <= 0) | (xx + yy <= 0)
    return ~landed | turned


def _jacobian(
    points: Float[Tensor, "points 2"], coefficients: Float[Tensor, "#points 5"]
) -> tuple[Float[Tensor, "points"], Float[Tensor, "points"], Float[Tensor, "points"]]:
    """dx'/dx, dx'/dy = dy'/dx and dy'/dy of `distort`; the matrix is symmetric."""
    x, y = points.unbind(-1)
    k1, k2, k3, p1, p2 = coefficients.unbind(-1)
    r2 = x * x + y * y
    stretch = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))  # d stretch / d r², times two
    xx = stretch + slope * x * x + 2 * p1 * y + 6 * p2 * x
    yy = stretch + slope * y * y + 6 * p1 * y + 2 * p2 * x
    xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
    return xx, xy, yy
