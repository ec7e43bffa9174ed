"""From the pixels of one view to the pixels of another, by how deep they lie.

    depth_of, distance_of   distance along each ray, depth along the axis: one from the other
    places_of               the place in space that each pixel shows
    Warp                    where in a source each pixel of a target is seen, and whether it is
    warp                    the same, found by the depths of both
    sampled                 a source's picture read there
    splatted                a source's picture sent there, the other way round

Depth is along the optical axis. A pixel without depth lies at infinity: of the camera's motion it feels the
turn and not the shift, and it is seen in a source where the source, too, has nothing in the way.

Half pixels: the centre of the top left pixel is (0.5, 0.5), and a place x in a picture W wide is 2 x / W - 1
to `grid_sample` with align_corners=False. These belong together. The released code of Free View Synthesis
takes pixel centres at +0.5 but divides by W - 1, and samples without aligned corners, which moves every
source by up to half a pixel; that is not carried over.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from rayformer.geometry.cameras import Camera
from rayformer.geometry.lens import distort
from rayformer.geometry.mesh_depth import plane_grid

OUTSIDE = -10.0
"""Where in a source, in units of its size, a pixel is that the source does not show: far outside."""

SLANT = 0.1
"""Neighbouring pixels whose depths differ by a larger share than this belong to two surfaces."""


def depth_of(camera: Camera, distance: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Depth along the axis from distance along each pixel's ray."""
    return distance / _slant(camera).to(distance)


def distance_of(camera: Camera, depth: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Distance along each pixel's ray from depth along the axis."""
    return depth * _slant(camera).to(depth)


def _slant(camera: Camera) -> Float[Tensor, "height width"]:
    return (1 + plane_grid(camera).square().sum(-1)).sqrt()


def places_of(camera: Camera, depth: Float[Tensor, "height width"]) -> Float[Tensor, "height width 3"]:
    """The place that each pixel shows, in float64; where the depth is infinite, only the direction to it from
    the camera, as long as at depth 1."""
    plane = plane_grid(camera)
    local = torch.cat([plane[..., :1], -plane[..., 1:], -torch.ones_like(plane[..., :1])], dim=-1)
    direction = local @ camera.pose[:3, :3].double().T
    there = depth.double().cpu()[..., None]
    return torch.where(there.isfinite(), camera.pose[:3, 3].double() + direction * there, direction)


@dataclass(frozen=True, eq=False)
class Warp:
    """Of every pixel of the target that was asked for."""

    places: Float[Tensor, "height width 2"]
    """(x, y) in the source, in pixels with centres at +0.5, for every pixel of the target; far outside where
    it lies behind the source. float64."""
    depth: Float[Tensor, "height width"]
    """How deep it lies before the source; infinity at infinity. float64."""
    inside: Bool[Tensor, "height width"]
    """Whether it lies within the source's picture."""
    seen: Bool[Tensor, "height width"]
    """Whether it also lies where the source's own depth has it, and so is not hidden there."""


@torch.no_grad()
def warp(
    target: Camera,
    depth: Float[Tensor, "height width"],
    source: Camera,
    source_depth: Float[Tensor, "_ _"],
    tolerance: float,
    every: int = 1,
) -> Warp:
    """Where `source` shows each pixel of `target`, which lies at `depth` (infinity: nothing there); or only
    one pixel in `every` of each row and column.

    It is seen if the source has D there and |D - d| < tolerance min(D, d) for its depth d before the source;
    of two things at infinity it is always so. `source_depth` has the source's height and width. D is read at
    the pixel in which the place lies, as the paper has it, or between pixels: the one is right at edges, the
    other on slanted surfaces, where a pixel spans more than the tolerance. Either will do.
    """
    there = depth[::every, ::every].double().cpu()
    plane, at_infinity = plane_grid(target)[::every, ::every], there.isinf()
    local = torch.cat([plane[..., :1], -plane[..., 1:], -torch.ones_like(plane[..., :1])], dim=-1)
    # One pose in the other's coordinates, so that a camera warps into itself without rounding.
    turn = source.pose[:3, :3].double().T @ target.pose[:3, :3].double()
    shift = source.pose[:3, :3].double().T @ (target.pose[:3, 3] - source.pose[:3, 3]).double()
    turned = local @ turn.T
    moved = turned * torch.where(at_infinity, 1.0, there)[..., None]
    moved = moved + torch.where(at_infinity[..., None], 0.0, shift)
    ahead = -moved[..., 2]
    before = ahead > 1e-9 * moved.abs().amax(dim=-1)
    beam = torch.stack([moved[..., 0], -moved[..., 1]], dim=-1) / torch.where(before, ahead, 1.0)[..., None]
    if not source.lens.is_pinhole:
        before &= beam.square().sum(-1) <= _reach(source)
        beam = torch.where(before[..., None], beam, 0.0)
        beam = distort(beam.flatten(0, 1), source.lens.coefficients[None].double()).view_as(beam)
    places = beam * source.intrinsics[:2] + source.intrinsics[2:]
    size = torch.tensor([source.width, source.height], dtype=torch.float64)
    places = torch.where(before[..., None], places, OUTSIDE * size)
    inside = before & (places >= 0).all(-1) & (places < size).all(-1)
    here, seen = torch.where(at_infinity, torch.inf, ahead), torch.zeros_like(inside)
    nearest, between = _read(source_depth.cpu(), places)
    for found in (nearest, between):
        seen |= (found - here).abs() < tolerance * torch.minimum(found, here)
    return Warp(places, here, inside, inside & (seen | (nearest.isinf() & at_infinity)))


def _read(
    depth: Float[Tensor, "_ _"], places: Float[Tensor, "height width 2"]
) -> tuple[Float[Tensor, "height width"], Float[Tensor, "height width"]]:
    """A depth map read at `places`: at the pixel in which each lies, and between the four around it, linearly
    in 1 / depth, as planes have it; NaN across an edge. At the border the pixels inside are continued."""
    limit = torch.tensor([depth.shape[1], depth.shape[0]]) - 1
    column, row = places.clamp(min=0).long().minimum(limit).unbind(-1)
    first = (places - 0.5).clamp(min=0).long().minimum((limit - 1).clamp(min=0))
    share = (places - 0.5 - first).clamp(-0.5, 1.5)
    x, y = first.unbind(-1)
    right, below = (first + 1).minimum(limit).unbind(-1)
    a, b = share.unbind(-1)
    four = 1 / torch.stack([depth[y, x], depth[y, right], depth[below, x], depth[below, right]]).double()
    shares = torch.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    one_surface = four.amax(dim=0) < (1 + SLANT) * four.amin(dim=0)
    between = torch.where(one_surface, 1 / (four * shares).sum(dim=0), torch.nan)
    return depth[row, column].double(), between


def _reach(camera: Camera) -> float:
    """The square of how far from the axis, on the plane at depth 1, a camera sees, with some to spare. Beyond
    it a lens model means nothing, and may fold back into the picture."""
    border = (
        plane_grid(camera)[:: max(1, camera.height - 1)],
        plane_grid(camera)[:, :: max(1, camera.width - 1)],
    )
    return 1.02 * max(side.square().sum(-1).max().item() for side in border)


def sampled(
    picture: Float[Tensor, "batch channels _ _"], places: Float[Tensor, "batch height width 2"]
) -> Float[Tensor, "batch channels height width"]:
    """Pictures read at `places` (x, y) in their own pixels, centres at +0.5: bilinear, and within half a
    pixel of their border like the border. What lies outside is to be masked by whoever asks."""
    size = torch.tensor([picture.shape[3], picture.shape[2]], dtype=places.dtype, device=places.device)
    grid = (2 * places / size - 1).to(picture)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


@torch.no_grad()
def splatted(
    colours: Float[Tensor, "points channels"],
    places: Float[Tensor, "points 2"],
    depth: Float[Tensor, "points"],
    width: int,
    height: int,
    tolerance: float,
) -> tuple[
    Float[Tensor, "height width channels"], Float[Tensor, "height width"], Float[Tensor, "height width"]
]:
    """Coloured points sent to where a picture shows them, nearer ones before farther ones.

    Each touches the four pixels whose centres are around it, by its bilinear share; in each pixel those that
    lie within `tolerance` of the nearest one (as a share of its depth) are mixed. Returns the colour, the
    depth of the nearest, and the sum of the shares, 0 where no point came.
    """
    base = (places - 0.5).floor()
    shares, pixels, owners = [], [], []
    for right in (0, 1):
        for down in (0, 1):
            corner = base + torch.tensor([right, down]).to(base)
            share = (1 - (places - 0.5 - corner).abs()).clamp(min=0).prod(-1)
            x, y = corner.long().unbind(-1)
            kept = ((x >= 0) & (x < width) & (y >= 0) & (y < height) & (share > 0)).nonzero().squeeze(-1)
            shares.append(share[kept])
            pixels.append((y * width + x)[kept])
            owners.append(kept)
    share, pixel, owner = torch.cat(shares).float(), torch.cat(pixels), torch.cat(owners)
    deep = depth[owner].double()
    nearest = torch.full((height * width,), torch.inf, dtype=torch.float64)
    # A point that barely touches a pixel does not hide what fills it.
    solid = share > 0.05
    nearest.scatter_reduce_(0, pixel[solid], deep[solid], "amin")
    front = deep <= nearest[pixel] * (1 + tolerance)
    pixel, share = pixel[front], share[front]
    total = torch.zeros(height * width).index_add_(0, pixel, share)
    colour = torch.zeros(height * width, colours.shape[1])
    colour.index_add_(0, pixel, colours[owner[front]].float() * share[:, None])
    colour = colour / total.clamp(min=1e-9)[:, None]
    shape = (height, width)
    return colour.view(*shape, -1), nearest.float().view(shape), total.view(shape)
