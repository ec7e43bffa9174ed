"""DeepVoxels: a scene as a volume of features that photographs are gathered in and pictures are drawn from.

Sitzmann et al. 2019, https://arxiv.org/abs/1812.01024. Read from the top:

    DeepVoxelsConfig   what a recipe may change; the paper's sizes are in docs/deepvoxels.md
    Shot               a photograph and its camera
    lifting            where each voxel appears in a picture                          sec. 3.2, lifting
    IntegrationNet     a gated recurrent unit: what the volume keeps, what it takes   eqs. 1-4
    Frustum            the places that a camera looks through, plane by plane         canonical view volume
    OcclusionNet       which of them is seen in each column, and how deep it lies     fig. 4
    Drawing            a picture with what was found out on the way
    DeepVoxels         figure 2: extract, lift, integrate; inpaint, project, collapse, draw
    DeepVoxels.loss    L1, and a critic's opinion where one is asked for

The volume is no parameter. It is a memory: what a recurrent network has made of the views that it saw, and it
changes without gradient between steps (`absorb`). Within a step it is a constant: one more view is integrated
on top of it with gradients, and what that gives is drawn from, measured, and thrown away.

Axes: cells along x, y and z of the cube; samples, the planes of a frustum, from near to far; height and width
of a picture. Units: lengths in scene units, colour in [0, 1] as stored (sRGB).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.fields.parts.patch_critic import PatchCritic, adversarial_losses
from rayformer.fields.parts.resampling import Corners, corners, gather
from rayformer.fields.parts.unet import (
    Downscaling,
    UNet,
    Upscaling,
    convolution,
    coordinates,
    drop,
    normalisation,
)
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.rays import camera_rays
from rayformer.kernels.marching import Space

NEAREST = 0.05
"""No plane of a frustum lies nearer to its camera than this share of half the cube's side."""
COLUMNS = 64
"""Columns of a frustum, at most, where nobody says how wide they are: the paper's for its 512 pixels."""
SHARP = 5.0
"""What the occlusion network says is multiplied by this. A softmax over sixty planes is flat at first, and
what stands in a column is then a blur of all of it, which does not tell where matter is."""
ALIKE = 1.01
"""Focal lengths are the same up to this factor."""


@dataclass(frozen=True, kw_only=True)
class DeepVoxelsConfig:
    cells: int = 24
    """Voxels along each side of the cube; the paper has 32."""
    features: int = 16
    """Numbers in each voxel; the paper has 64."""
    planes: int | None = None
    """Planes of a camera's frustum, over the diagonal of the cube; none takes twice as many as `cells`."""
    stride: int | None = None
    """Pixels of a picture to a column of the frustum, along each axis: a power of 2; none takes the smallest
    that needs no more than 64 columns."""
    extract_width: int = 16
    """Features of the network that reads photographs, at its finest level; half of `most` in the paper."""
    inpaint_width: int = 16
    """Features of the network that fills the volume's gaps, at its finest level; the paper has 64."""
    occlude_width: int = 4
    """Features of the network that finds what is seen, at its finest level."""
    draw_width: int = 32
    """Features of the network that draws pictures, at its finest level."""
    most: int = 64
    """Features at the coarsest levels of all of them, at most; the paper has 256."""
    dropped: float = 0.0
    """Share of the lifted features left out at random in training; the paper has 0.2."""
    adversarial: float = 0.0
    """Weight of the critic's opinion beside the absolute error; 0 trains without a critic. The paper has
    0.005: 1 to 200."""
    critic_width: int = 28
    """Features of the critic's first layer."""

    def __post_init__(self):
        for name in ("cells", "features", "extract_width", "inpaint_width", "occlude_width", "draw_width",
                     "most", "critic_width"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}")
        if self.planes is not None and self.planes < 2:
            raise ConfigError(f"model.planes must be at least 2, but is {self.planes}")
        if self.stride is not None and (self.stride < 1 or self.stride & (self.stride - 1)):
            raise ConfigError(f"model.stride must be a power of 2 (1, 2, 4 ...), but is {self.stride}")
        if not 0 <= self.dropped < 1:
            raise ConfigError(
                f"model.dropped must be a share from 0 up to, not including, 1, but is {self.dropped}"
            )
        if self.adversarial < 0:
            raise ConfigError(f"model.adversarial must not be negative, but is {self.adversarial}")

    def stride_of(self, cameras: Sequence[Camera]) -> int:
        """The stride, or the one that suits pictures as large as those of `cameras`."""
        largest = max(max(camera.width, camera.height) for camera in cameras)
        return self.stride or 2 ** max(0, math.ceil(math.log2(largest / COLUMNS)))


@dataclass(frozen=True, eq=False)
class Shot:
    camera: Camera
    colours: Float[Tensor, "height width 3"]
    counted: Bool[Tensor, "height width"] | None = None
    """Which pixels count; None: all."""

    def to(self, device: torch.device) -> "Shot":
        counted = None if self.counted is None else self.counted.to(device)
        return Shot(self.camera, self.colours.to(device), counted)


# ---------------------------------------------------------------------- from a picture into the volume


def lifting(
    camera: Camera, space: Space, cells: int, size: tuple[int, int], device: torch.device
) -> tuple[Corners, Bool[Tensor, "points"]]:
    """Where the middle of each voxel appears among `size` = (height, width) features that lie over the
    camera's picture; and which voxels are in it at all. Voxels are in the order x y z, z fastest."""
    axis = ((2 * torch.arange(cells, device=device) + 1) / cells - 1) * space.half
    middles = torch.cartesian_prod(axis, axis, axis) + torch.tensor(space.centre, device=device)
    pixels, depth = project(camera, middles)
    picture = torch.tensor([camera.width, camera.height], device=device)
    seen = (depth > NEAREST * space.half) & ((pixels >= 0) & (pixels <= picture)).all(dim=-1)
    places = torch.where(seen[:, None], pixels / picture, -1.0).flip(-1)
    return corners(places * torch.tensor(size, device=device), size), seen


class IntegrationNet(nn.Module):
    """A gated recurrent unit over the volume, whose products are 3-D convolutions (eqs. 1-4).

    With X the lifted features and H the volume, both with their coordinates beside them:

        Z = sigmoid(conv[X, H])     how much of a voxel is renewed, one number for all of its features
        R = sigmoid(conv[X, H])     how much of it is looked at for that
        S = relu(N(conv[X, R H]))   what it may become
        H' = (1 - Z) H + Z S        where the view sees it; elsewhere H' = H

    The paper has no normalisation (N) here, and nothing then bounds the volume: the networks behind it
    normalise what they get, so that no loss tells a volume that grows from one that does not. Measured, it
    doubled in every step and was past all numbers after 85. Normalised, a voxel never holds more than the
    root of how many numbers are normalised together, times a learned factor.
    """

    def __init__(self, features: int):
        super().__init__()
        self.gates = convolution(3, 2 * features + 3, 2, 3)
        self.candidate = nn.Sequential(
            convolution(3, 2 * features + 3, features, 3), normalisation(features), nn.ReLU()
        )

    def forward(
        self,
        lifted: Float[Tensor, "1 features cells cells cells"],
        volume: Float[Tensor, "1 features cells cells cells"],
        seen: Bool[Tensor, "1 1 cells cells cells"],
    ) -> Float[Tensor, "1 features cells cells cells"]:
        where = coordinates(volume.shape[2:], volume.device)
        renewed, looked_at = torch.sigmoid(
            self.gates(torch.cat([lifted, volume, where], dim=1)).float()
        ).split(1, 1)
        candidate = self.candidate(torch.cat([lifted, looked_at * volume, where], dim=1)).float()
        return torch.where(seen, volume + renewed * (candidate - volume), volume)


# ---------------------------------------------------------------------- from the volume into a picture


@dataclass(frozen=True, eq=False)
class Frustum:
    """The places that a camera looks through: columns, one to a patch of pixels, cut by planes across its
    axis, as far apart as they are in every other frustum of the cube."""

    size: tuple[int, int]
    """Rows and columns."""
    depths: Float[Tensor, "samples"]
    """Of the planes, along the camera's axis."""
    places: Float[Tensor, "points 3"]
    """In voxels of the volume: plane by plane, row by row."""


def frustum(
    camera: Camera, space: Space, cells: int, planes: int, stride: int, device: torch.device
) -> Frustum:
    """The frustum of `camera` with a column for every `stride` x `stride` pixels, and some beyond the right
    and lower edge where that does not divide the picture.

    Planes run through the ball around the cube; where the camera stands in that ball, from the camera on.
    """
    rows, columns = -(-camera.height // stride), -(-camera.width // stride)
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    rays = camera_rays(camera, torch.stack([x, y], dim=-1).reshape(-1, 2) * stride)
    directions = rays.directions / (rays.directions @ camera.direction.float())[:, None]  # 1 deep
    centre, reach = torch.tensor(space.centre, dtype=torch.float64), math.sqrt(3) * space.half
    middle = ((centre - camera.position) @ camera.direction).item()
    first = max(middle - reach, NEAREST * space.half)
    depths = first + (torch.arange(planes, device=device) + 0.5) * (2 * reach / planes)
    per_unit = cells / (2 * space.half)
    origin = ((camera.position - centre) * per_unit + cells / 2).float().to(device)
    places = origin + (directions * per_unit).to(device) * depths[:, None, None]
    return Frustum((rows, columns), depths, places.view(-1, 3))


class OcclusionNet(nn.Module):
    """Which place of a column is seen: a softmax over its depth. There is always one that is: where nothing
    stands, the plane that the network likes best."""

    def __init__(self, features: int, width: int, most: int):
        super().__init__()
        self.narrow = convolution(3, features + 1, width, 3)
        self.net = UNet(3, width, 1, width, downs=2, most=most)

    def forward(
        self, features: Float[Tensor, "1 features samples height width"]
    ) -> Float[Tensor, "samples height width"]:
        depth = coordinates(features.shape[2:], features.device)[:, :1].to(features.dtype)
        narrow = F.leaky_relu(self.narrow(torch.cat([features, depth], dim=1)), 0.2)
        return torch.softmax(SHARP * self.net(narrow)[0, 0].float(), dim=0)


@dataclass(frozen=True, eq=False)
class Drawing:
    colour: Float[Tensor, "height width 3"]
    depth: Float[Tensor, "_ _"]
    """Along the camera's axis, in each column of the frustum: the mean over what is seen there."""
    visibility: Float[Tensor, "samples _ _"]
    """What is seen in each column; adds up to 1 over the samples."""
    inside: Bool[Tensor, "_ _"]
    """Whether the column passes through the volume."""


class DeepVoxels(nn.Module):
    volume: Float[Tensor, "cells cells cells features"]
    """What is remembered: a buffer."""

    def __init__(self, config: DeepVoxelsConfig, space: Space, cameras: Sequence[Camera]):
        """`space` is the cube; `cameras` those of the training views, to whose pixels the networks are
        tied."""
        super().__init__()
        self.config, self.space, self.stride = config, space, config.stride_of(cameras)
        self.focals = min(camera.fx for camera in cameras), max(camera.fx for camera in cameras)
        self.planes = config.planes or 2 * config.cells
        self.register_buffer("volume", torch.zeros(*[config.cells] * 3, config.features))
        halvings = self.stride.bit_length() - 1
        width, features, most = config.extract_width, config.features, config.most
        self.shrink = Downscaling(3, width, halvings)
        self.extract = UNet(2, width, features, width, downs=2, most=most)
        self.integrate = IntegrationNet(features)
        self.inpaint = UNet(3, features + 3, features, config.inpaint_width, downs=2, most=most)
        self.occlude = OcclusionNet(features, config.occlude_width, most)
        self.render = UNet(2, features, config.draw_width, config.draw_width, downs=2, most=most)
        self.enlarge = Upscaling(config.draw_width, 3, halvings)
        self.critic = PatchCritic(config.critic_width) if config.adversarial else None

    # ------------------------------------------------------------------ figure 2

    def taken_in(
        self,
        shot: Shot,
        volume: Float[Tensor, "cells cells cells features"],
        generator: Generator | None = None,
    ) -> Float[Tensor, "cells cells cells features"]:
        """The volume after one more view, with gradients; what the view does not see stays as it was.
        `generator` leaves lifted features out at random."""
        cells = self.config.cells
        picture = shot.colours.permute(2, 0, 1)[None] - 0.5
        if shot.counted is not None:  # what a mask leaves out is neither light nor dark
            picture = picture * shot.counted
        features = self.extract(self.shrink(picture))[0]
        at, seen = lifting(shot.camera, self.space, cells, features.shape[1:], volume.device)  # type: ignore[arg-type]
        table = features.permute(1, 2, 0).flatten(0, 1)
        lifted = drop(gather(table, at), self.config.dropped, generator)
        renewed = self.integrate(
            _features_first(lifted.view(*[cells] * 3, -1)),
            _features_first(volume),
            seen.view(1, 1, *[cells] * 3),
        )
        return renewed[0].permute(1, 2, 3, 0)

    def filled(self, volume: Float[Tensor, "cells cells cells features"]) -> Float[Tensor, "rows features"]:
        """The volume without its gaps, as a table of voxels: what the network adds to it."""
        where = coordinates(volume.shape[:3], volume.device)
        added = self.inpaint(torch.cat([_features_first(volume), where], dim=1))
        return (volume + added[0].permute(1, 2, 3, 0)).flatten(0, 2).float()

    def drawn(self, voxels: Float[Tensor, "rows features"], camera: Camera) -> Drawing:
        """The picture that `camera` takes of the filled volume, at the scale that the networks know."""
        cells = self.config.cells
        seen_by = frustum(camera, self.space, cells, self.planes, self.stride, voxels.device)
        at = corners(seen_by.places, [cells] * 3)
        columns = gather(voxels, at).view(self.planes, *seen_by.size, -1)
        visibility = self.occlude(_features_first(columns))
        flat = (visibility[..., None] * columns).sum(dim=0)
        depth = (visibility * seen_by.depths[:, None, None]).sum(dim=0)
        canvas = self.enlarge(self.render(flat.permute(2, 0, 1)[None]))[0].float()
        colour = 0.5 + 0.5 * torch.tanh(canvas[:, : camera.height, : camera.width]).permute(1, 2, 0)
        inside = (at.weights.sum(dim=1) > 0).view_as(visibility).any(dim=0)
        return Drawing(colour, depth, visibility, inside)

    # ------------------------------------------------------------------ training

    def loss(self, source: Shot, targets: Sequence[Shot], generator: Generator | None = None) -> Losses:
        """The absolute error of `targets` drawn from the volume with `source` taken in; and with a critic,
        its opinion of them and its own loss."""
        voxels = self.filled(self.taken_in(source, self.volume, generator))
        errors, fooling, telling = [], [], []
        for target in targets:
            colour = self.drawn(voxels, target.camera).colour
            errors.append(absolute_error(colour, target.colours, target.counted))
            if self.critic is not None:
                drawn, real = (image.permute(2, 0, 1)[None] - 0.5 for image in (colour, target.colours))
                of_drawing, of_critic = adversarial_losses(self.critic, drawn, real, generator)
                fooling.append(of_drawing)
                telling.append(of_critic)
        terms = {"absolute": torch.stack(errors).mean()}
        if self.critic is None:
            return Losses(total=terms["absolute"], terms=terms)
        terms |= {"fooling": torch.stack(fooling).mean(), "telling": torch.stack(telling).mean()}
        total = terms["absolute"] + self.config.adversarial * terms["fooling"] + terms["telling"]
        return Losses(total=total, terms=terms)

    @torch.no_grad()
    def absorb(self, shot: Shot) -> None:
        """Keep what one more view adds to the volume. Not part of a step, but between two of them."""
        self.volume.copy_(self.taken_in(shot, self.volume))

    # ------------------------------------------------------------------ looking

    @torch.no_grad()
    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """The picture of `camera`, and the distance along each ray; NaN where a ray misses the cube.

        The networks know pixels of the size that they were trained on. A camera with others is drawn at that
        scale, and its picture made larger or smaller. `background` is passed over: what is behind a scene
        the networks have learned from its photographs, and know no other.
        """
        zoom = min(max(camera.fx, self.focals[0] / ALIKE), self.focals[1] * ALIKE) / camera.fx
        close = camera
        if zoom != 1:
            width, height = (max(1, round(side * zoom)) for side in (camera.width, camera.height))
            close = camera.scaled(width, height)
        drawing = self.drawn(self.filled(self.volume), close)
        colour = drawing.colour.permute(2, 0, 1)[None]
        if zoom != 1:
            colour = F.interpolate(
                colour, (camera.height, camera.width), mode="bilinear", antialias=True, align_corners=False
            )
        # Columns reach beyond the picture where the stride does not divide it.
        x, y = ((torch.arange(side, device=colour.device) + 0.5) for side in (camera.width, camera.height))
        rows, columns = drawing.depth.shape
        x = (x * close.width / camera.width / self.stride).clamp(0.5, columns - 0.5)
        y = (y * close.height / camera.height / self.stride).clamp(0.5, rows - 0.5)
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).view(-1, 2)
        depth = gather(drawing.depth.view(-1, 1), corners(places, (rows, columns)))[:, 0]
        y, x = places.long().unbind(-1)
        directions = camera_rays(camera).directions.to(depth)
        distance = depth / (directions @ camera.direction.to(depth))
        distance = torch.where(drawing.inside[y, x], distance, torch.nan)
        return colour[0].permute(1, 2, 0).clamp(0, 1), distance.view(camera.height, camera.width)


def absolute_error(
    predicted: Float[Tensor, "height width 3"],
    truth: Float[Tensor, "height width 3"],
    counted: Bool[Tensor, "height width"] | None = None,
) -> Float[Tensor, ""]:
    """The mean over the pixels that count of the absolute difference; 0 where none does."""
    error = (predicted - truth).abs().mean(dim=-1)
    if counted is None:
        return error.mean()
    return (error * counted).sum() / counted.sum().clamp(min=1)


def _features_first(volume: Float[Tensor, "*shape features"]) -> Float[Tensor, "1 features *shape"]:
    """As a convolution wants it; in memory the features stay last, which it likes best."""
    return volume.movedim(-1, 0)[None]
