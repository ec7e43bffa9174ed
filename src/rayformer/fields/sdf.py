"""A shape as the function that says how far away it is: a signed distance field.

Read from the top:

    LossConfig   what a point may cost: distance, slope, normal, and what should not be there
    SDFConfig    what a recipe may change: a hash grid, Fourier features, or sines all through
    SDF          the field: place -> signed distance
    SDF.loss     errors of distances that are known, and of the slopes that distances have

A distance field is 0 on the surface, negative inside, and its slope has length 1 almost everywhere (the
eikonal equation). Three ways to write one down, each from a paper of its own:

    hash     a place looked up in grids, then a small network   instant-ngp, https://arxiv.org/abs/2201.05989
    fourier  a place as waves, then a perceptron                NeRF's code, https://arxiv.org/abs/2003.08934
    siren    a perceptron of sines                              SIREN, https://arxiv.org/abs/2006.09661

All start from the same sphere: the network only says by how much the shape's distance differs from that of a
ball. Without it a fresh network has zeros anywhere and inside is as good as outside, which a loss that knows
only the surface (SIREN's) need not mend. Atzmon and Lipman (https://arxiv.org/abs/1911.10414) draw the
weights of a perceptron so that it starts as a sphere; to add one does the same for any network.

Places lie in the cube from -1 to 1; distances are in half sides of it.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.encodings.hash_grid import HashGrid, HashGridConfig
from rayformer.fields.parts.mlp import SkipMLP, initialise
from rayformer.fields.parts.siren import Siren
from rayformer.losses.distance import clipped_error, eikonal, normal_error, off_surface, relative_error


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    distance: Literal["relative", "l1", "none"] = "relative"
    """relative: the error over the true distance plus `floor` (instant-ngp); l1: the error of distances cut
    off at `reach` (DeepSDF); none: only on the surface is the distance known, and it is 0 (SIREN)."""
    distance_weight: float = 1.0
    """Weight of that error; SIREN's for `none` is 3000."""
    floor: float = 0.01
    """In half sides of the cube: nearer than this, errors count alike."""
    reach: float = 0.1
    """In half sides of the cube: farther than this, only the side counts."""
    eikonal: float = 0.01
    """Weight of how far slopes are from length 1; SIREN's is 50; 0 spares the slopes."""
    normals: float = 0.0
    """Weight of 1 - cosine between slope and normal on the surface; SIREN's is 100."""
    off_surface: float = 0.0
    """Weight of exp(-sharpness |distance|) away from the surface; SIREN's is 100. What is near the surface is
    punished too, so sample without it: --shape.near-share 0."""
    sharpness: float = 100.0
    """Of that exponential, per half side of the cube."""
    sloped: int = 8
    """Slopes are asked at one point in so many: each costs as much as three distances."""

    def __post_init__(self):
        for name in ("distance_weight", "eikonal", "normals", "off_surface"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"model.loss.{name} must be 0 or more, but is {getattr(self, name):g}")
        for name in ("floor", "reach", "sharpness"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"model.loss.{name} must be above 0, but is {getattr(self, name):g}")
        if self.sloped < 1:
            raise ConfigError(f"model.loss.sloped must be 1 (every point) or more, but is {self.sloped}")
        if self.distance_weight == 0:
            raise ConfigError("model.loss.distance_weight must be above 0: nothing else says where it is")


@dataclass(frozen=True, kw_only=True)
class SDFConfig:
    kind: Literal["hash", "fourier", "siren"] = "hash"
    """How a place is written down: looked up in grids, as waves of doubling frequency, or as it is for a
    network of sines."""
    grid: HashGridConfig = HashGridConfig(finest=512)
    octaves: int = 6
    """Sine and cosine pairs per axis (fourier)."""
    omega: float = 30.0
    """Frequency of the first layer (siren)."""
    width: int | None = None
    """Channels of a hidden layer; none: 64 behind a hash grid, else 256."""
    depth: int | None = None
    """Hidden layers; none: 2 behind a hash grid, else 4."""
    start: float | None = 0.5
    """Radius of the sphere that the field starts as, in half sides of the cube; none starts from nothing."""
    loss: LossConfig = LossConfig()

    def __post_init__(self):
        for name in ("width", "depth"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}")
        if self.octaves < 0:
            raise ConfigError(f"model.octaves must be 0 (raw coordinates) or more, but is {self.octaves}")
        if not 0 < self.omega < math.inf:
            raise ConfigError(f"model.omega must be above 0, but is {self.omega:g}")
        if self.start is not None and not 0 < self.start <= 1:
            raise ConfigError(
                f"model.start must be a radius above 0 and up to 1, or none, but is {self.start:g}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and depth of the network."""
        width, depth = (64, 2) if self.kind == "hash" else (256, 4)
        return self.width or width, self.depth or depth


class SDF(nn.Module):
    """The field. Its zeros are the surface."""

    def __init__(self, config: SDFConfig):
        super().__init__()
        self.config = config
        width, depth = config.size
        if config.kind == "siren":
            self.encode: nn.Module = nn.Identity()
            self.to_distance: nn.Module = Siren(3, width, depth, 1, config.omega)
            last = self.to_distance.to_values
        else:
            grid = config.kind == "hash"
            encode = HashGrid(config.grid.layout()) if grid else FourierEncoding(3, config.octaves)
            self.encode = encode
            last = nn.Linear(width, 1)
            self.to_distance = nn.Sequential(SkipMLP(encode.size, width, depth), last)
            initialise(self.to_distance, "glorot")
        if config.start is not None:
            with torch.no_grad():  # the sphere, and hardly anything else
                last.weight.mul_(0.01)
                last.bias.zero_()

    def forward(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """The signed distance at each place, in float32. Beyond the cube a hash grid says what it says at the
        nearest place within."""
        unit = (places + 1) / 2 if self.config.kind == "hash" else places
        distance = self.to_distance(self.encode(unit)).squeeze(-1).float()
        if self.config.start is None:
            return distance
        # A root has no slope at 0; the point of the cone is rounded off where nobody will look for it.
        return distance + (places.square().sum(dim=-1) + 1e-12).sqrt() - self.config.start

    def with_slope(
        self, places: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        """Distances and their slopes, which point away from the surface outside, and where gradients are on
        can be descended themselves."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            places = places.detach().requires_grad_()
            distance = self(places)
            (slope,) = torch.autograd.grad(distance.sum(), places, create_graph=learning)
        return (distance, slope) if learning else (distance.detach(), slope)

    def loss(
        self,
        places: Float[Tensor, "points 3"],
        truth: Float[Tensor, "points"],
        normals: Float[Tensor, "points 3"],
        on_surface: Bool[Tensor, "points"],
        sloped: Bool[Tensor, "points"],
        surface_share: int | float,
    ) -> Losses:
        """The mean over points of what they cost, whichever part of a batch they are: `surface_share` of the
        whole batch lies on the surface, where `normals` are, and slopes are asked at `sloped`, one point in
        `config.loss.sloped`."""
        loss = self.config.loss
        asks_slopes = loss.eikonal > 0 or loss.normals > 0
        if asks_slopes:
            some, slope = self.with_slope(places[sloped])
            rest = self(places[~sloped])
            order = torch.cat([sloped.nonzero(), (~sloped).nonzero()]).squeeze(-1)
            predicted = torch.cat([some, rest])[order.argsort()]
        else:
            predicted, slope = self(places), places.new_zeros(0, 3)
        terms = {
            "distance": loss.distance_weight * self._distance(predicted, truth, on_surface, surface_share)
        }
        one_in = loss.sloped / len(places)
        if loss.eikonal:
            terms["eikonal"] = loss.eikonal * one_in * eikonal(slope).sum()
        if loss.normals:
            there = on_surface[sloped]
            error = normal_error(slope[there], normals[sloped][there])
            terms["normals"] = loss.normals * one_in * error.sum() / max(surface_share, 1e-9)
        if loss.off_surface:
            crowd = off_surface(predicted[~on_surface], loss.sharpness).sum() / len(places)
            terms["off_surface"] = loss.off_surface * crowd / max(1 - surface_share, 1e-9)
        return Losses(total=torch.stack(list(terms.values())).sum(), terms=terms)

    def _distance(
        self, predicted: Tensor, truth: Tensor, on_surface: Tensor, surface_share: float
    ) -> Float[Tensor, ""]:
        loss = self.config.loss
        if loss.distance == "relative":
            return relative_error(predicted, truth, loss.floor).mean()
        if loss.distance == "l1":
            return clipped_error(predicted, truth, loss.reach).mean()
        return predicted[on_surface].abs().sum() / len(predicted) / max(surface_share, 1e-9)
