"""Block-NeRF: a street too long for one field, as fields that share it.

Tancik et al. 2022, https://arxiv.org/abs/2202.05263. Read from the top:

    BlockConfig      what a block has beside its trunk
    Photographed     what is known of each training photograph: its light, its exposure
    Visibility       the network that says how much of a place the photographs could see     sec. 4.1
    Block            one field: an Instant-NGP whose colours go by code and exposure         sec. 4.1
    Block.loss       the trunk's own, and visibility against transmittance
    transmittance    how much light comes back along rays from given distances

    StreetConfig     how blocks make one picture
    Street           the blocks: who counts for which camera                                 sec. 4.3.1
    LitStreet        the street in one light, at one exposure: a PictureMaker                sec. 4.3.2
    seen_by_both     what two blocks' pictures can be compared on

The paper's trunk is mip-NeRF, trained for hours on 32 TPU cores; ours is a hash grid in contracted space,
trained for a minute on two cores. All else is the paper's: codes of 32 numbers, exposure as sines and cosines
of 4 octaves, a visibility network of 4 layers of 128, and pictures, not samples, that are merged.

Axes: rays; samples, packed over all rays; views of a block; blocks of a street.
Units: lengths in scene units; exposures in units of the largest one of the street.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.encodings.fourier import FourierEncoding
from rayformer.fields.ngp import NGP, NGPConfig
from rayformer.fields.parts.appearance import ViewCodes, in_one_look
from rayformer.fields.parts.mlp import SkipMLP, initialise
from rayformer.fields.parts.scene_field import SceneField
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.blocks import Site, blend_weights
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays, camera_rays, pixel_grid
from rayformer.kernels.marching import Packed, Space, post, post_number, unit_place

GLANCE = 24
"""Pixels across the small picture by which a street judges what a block sees of a camera's view."""
OPAQUE = 0.5
"""Rays with less opacity than this end nowhere."""


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    codes: Literal["auto", "photo", "light", "off"] = "auto"
    """Whose appearance is learned: of every photograph, as in the paper; of every light that the data name,
    shared by its photographs; or none. auto takes lights where the data name them, photographs elsewhere."""
    code: int = 32
    """Numbers in an appearance code."""
    deviation: float = 0.1
    """Of the normal numbers that codes start as."""
    exposure_octaves: int = 4
    """Sines and cosines of the exposure that colour is told, where the data know it; 0 tells nothing."""
    visibility_width: int = 128
    """Channels of each hidden layer of the visibility network."""
    visibility_depth: int = 4
    """Its hidden layers."""
    visibility_octaves: int = 6
    """Sines and cosines of a place, in units of half the block's contracted cube; directions have 4."""
    visibility_weight: float = 1e-2
    """Weight of its loss. It has parameters of its own, and Adam does not mind; the paper has 1e-6."""

    def __post_init__(self):
        for name in ("code", "visibility_width", "visibility_depth"):
            if getattr(self, name) < 1:
                raise ConfigError(f"block.{name} must be at least 1, but is {getattr(self, name)}.")
        for name in ("exposure_octaves", "visibility_octaves", "deviation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"block.{name} must be 0 or more, but is {getattr(self, name)}.")
        if not 0 < self.visibility_weight < math.inf:
            raise ConfigError(f"block.visibility_weight must be above 0, but is {self.visibility_weight}.")


@dataclass(frozen=True)
class Photographed:
    """What is known of a block's training photographs, in their order."""

    codes: tuple[int, ...]
    """Which code each has: photographs in one light may share one. Empty: there are none."""
    names: tuple[str, ...]
    """What each code stands for, by its number: a light, or a photograph."""
    exposures: tuple[float, ...]
    """Of each photograph, in units of the largest one of the street. Empty: nobody knows them."""
    usual: float = 1.0
    """The exposure that pictures are taken with where nobody says: the median of the street's."""


class Visibility(nn.Module):
    """(place, direction) -> the share of its light that comes back to a photograph from there, 0 to 1: 1
    before the first surface that the photographs see, 0 behind it and where none of them looked."""

    def __init__(self, config: BlockConfig, space: Space):
        super().__init__()
        self.space = space
        self.encode_place = FourierEncoding(3, config.visibility_octaves)
        self.encode_direction = FourierEncoding(3, 4)
        inputs = self.encode_place.size + self.encode_direction.size
        self.trunk = SkipMLP(inputs, config.visibility_width, config.visibility_depth)
        self.head = nn.Linear(config.visibility_width, 1)
        initialise(self, "glorot")

    def forward(
        self, places: Float[Tensor, "points 3"], directions: Float[Tensor, "points 3"]
    ) -> Float[Tensor, "points"]:
        """At places in scene units, each seen along its own unit direction."""
        local = 4 * unit_place(places, self.space) - 2 if self.space.contracted else self._in_box(places)
        told = torch.cat([self.encode_place(local), self.encode_direction(directions)], dim=-1)
        return torch.sigmoid(self.head(self.trunk(told)).float())[:, 0]

    def _in_box(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        return 2 * unit_place(places, self.space) - 1

    def loss(
        self,
        places: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        transmitted: Float[Tensor, "points"],
    ) -> Float[Tensor, ""]:
        """The mean squared difference from what the field says; nothing of it reaches the field."""
        return (self(places.detach(), directions.detach()) - transmitted.detach()).square().mean()


class Block(nn.Module):
    """An AppearingField: a trunk that is told of each ray its photograph's code and exposure."""

    code_rows: Int[Tensor, "views"]
    """Which code each training view has; likewise its exposure."""
    exposures: Float[Tensor, "views"]

    def __init__(self, config: BlockConfig, trunk: NGPConfig, space: Space, photographed: Photographed):
        super().__init__()
        self.config, self.photographed = config, photographed
        views, names = len(photographed.codes), len(photographed.names)
        self.codes = ViewCodes(names, config.code, config.deviation) if names else None
        octaves = config.exposure_octaves if photographed.exposures else 0
        self.encode_exposure = FourierEncoding(1, octaves) if octaves else None
        self.trunk = NGP(trunk, space, views=views, looks=self.look_size)
        self.visibility = Visibility(config, space)
        self.register_buffer(
            "code_rows", torch.tensor(photographed.codes, dtype=torch.int64), persistent=False
        )
        self.register_buffer("exposures", torch.tensor(photographed.exposures), persistent=False)

    @property
    def look_size(self) -> int:
        """Numbers that colour is told of a ray beside its direction."""
        return self.code_size + (self.encode_exposure.size if self.encode_exposure else 0)

    # ------------------------------------------------------------------ looks

    @property
    def code_size(self) -> int:
        return self.codes.size if self.codes else 0

    def code_of(self, view: int) -> Float[Tensor, "features"]:
        """The code of a training view, by its place among them."""
        return self.codes.of(int(self.code_rows[view])) if self.codes else self._no_code

    def code_named(self, name: str | None) -> Float[Tensor, "features"]:
        """The code of a light, or of a photograph; the usual one where the block has none of that name."""
        if self.codes is None or name not in self.photographed.names:
            return self.usual_code()
        return self.codes.of(self.photographed.names.index(name))

    def usual_code(self) -> Float[Tensor, "features"]:
        """The mean over all training views."""
        return self.codes.code[self.code_rows].mean(dim=0) if self.codes else self._no_code

    @property
    def _no_code(self) -> Float[Tensor, "features"]:
        return torch.empty(0, device=self.trunk.needed.device)

    def look(
        self, code: Float[Tensor, "*rays features"], exposure: float | Float[Tensor, "*rays"] | None = None
    ) -> Float[Tensor, "*rays dims"]:
        """What colour is told: a code, and an exposure in the street's units (None: the usual one)."""
        if self.encode_exposure is None:
            return code
        exposure = self.photographed.usual if exposure is None else exposure
        known = torch.as_tensor(exposure, dtype=torch.float32, device=code.device).expand(code.shape[:-1])
        return torch.cat([code, self.encode_exposure(known[..., None])], dim=-1)

    def seen(self, code: Float[Tensor, "features"], exposure: float | None = None) -> SceneField:
        """This block, not a copy, in one light and at one exposure. Differentiable in the code."""
        return in_one_look(self.trunk, self.look(code, exposure)) if self.look_size else self.trunk

    def in_light(self, code: Float[Tensor, "features"]) -> SceneField:
        return self.seen(code)

    def at(self, exposure: float | None) -> "Block":
        """This block with another usual exposure; it shares its parameters."""
        other = copy(self)
        usual = self.photographed.usual if exposure is None else exposure
        other.photographed = replace(self.photographed, usual=usual)
        return other

    # ------------------------------------------------------------------ as a field

    @property
    def samples_per_ray(self) -> int:
        return self.trunk.samples_per_ray

    @property
    def rays_at_once(self) -> int:
        return self.trunk.rays_at_once

    def before_step(self, step: int, generator: Generator, some_rays: Callable[[int], Rays]) -> None:
        self.trunk.before_step(step, generator, some_rays)

    def loss(
        self,
        rays: Rays,
        colours: Float[Tensor, "rays 3"],
        background: Float[Tensor, "rays 3"],
        generator: Generator,
    ) -> Losses:
        seen, packed = self.trunk.look(rays, generator, self._looks_of(rays))
        losses = self.trunk.judged(rays, seen, packed, colours, background)
        distances = self._places_to_ask(rays, seen, generator)
        told = transmittance(packed, seen.weights.detach(), distances)
        places = rays.points(distances).flatten(0, 1)
        directions = rays.directions.repeat_interleave(distances.shape[1], dim=0)
        visibility = self.config.visibility_weight * self.visibility.loss(places, directions, told.flatten())
        return Losses(losses.total + visibility, {**losses.terms, "visibility": visibility})

    def _looks_of(self, rays: Rays) -> Float[Tensor, "rays dims"] | None:
        """Of training rays: the code and the exposure of the photograph that each is of."""
        if not self.look_size:
            return None
        view = ViewCodes.views_of(rays)
        code = self.codes(rays.replaced(view=self.code_rows[view])) if self.codes else rays.origins[:, :0]
        return self.look(code, self.exposures[view] if self.encode_exposure else None)

    def _places_to_ask(
        self, rays: Rays, seen: Rendered, generator: Generator
    ) -> Float[Tensor, "rays samples"]:
        """Two distances along each ray: one drawn evenly over the steps that a ray goes, so that all of space
        is asked, and one around what is seen, where visibility changes."""
        drawn = torch.rand(len(rays), 2, generator=generator, device=rays.origins.device)
        step, cone = self.trunk.step, self.trunk.cone
        first, last = (post_number(end, step, cone) for end in (rays.near, rays.far))
        anywhere = post(first + drawn[:, 0] * (last - first), step, cone)
        around = (seen.mean_depth.detach() * (0.5 + drawn[:, 1])).clamp(rays.near, rays.far)
        return torch.stack([anywhere, around], dim=-1)

    def render(
        self,
        rays: Rays,
        background: Float[Tensor, "rays 3"],
        looks: Float[Tensor, "rays dims"] | None = None,
    ) -> Rendered:
        """In the usual light and at the usual exposure, unless told otherwise."""
        if looks is None:
            return self.seen(self.usual_code()).render(rays, background)
        return self.trunk.render(rays, background, looks)

    def radiance(
        self,
        positions: Float[Tensor, "points 3"],
        directions: Float[Tensor, "points 3"],
        looks: Float[Tensor, "points dims"] | None = None,
    ) -> tuple[Float[Tensor, "points"], Float[Tensor, "points 3"]]:
        if looks is None:
            return self.seen(self.usual_code()).radiance(positions, directions)
        return self.trunk.radiance(positions, directions, looks)


def transmittance(
    packed: Packed, weights: Float[Tensor, "samples"], distances: Float[Tensor, "rays points"]
) -> Float[Tensor, "rays points"]:
    """The share of light that comes back from each distance along its ray: what the samples before it leave,
    of the one around it a part in proportion."""
    begin, end = packed.begin[:, None], packed.end[:, None]
    passed = ((distances[packed.ray] - begin) / (end - begin)).clamp(0, 1)
    taken = torch.zeros_like(distances).index_add_(0, packed.ray, weights[:, None] * passed)
    return (1 - taken).clamp(0, 1)


# ---------------------------------------------------------------------- many blocks


@dataclass(frozen=True, kw_only=True)
class StreetConfig:
    merge: Literal["inverse", "nearest"] = "inverse"
    """inverse: pictures of all blocks around, each by its distance to the camera; nearest: one block's."""
    power: float = 4.0
    """A block at distance d counts as d to minus this."""
    visible: float = 0.05
    """Blocks that saw less than this share of what a camera sees, on average, lend nothing to its picture;
    they count fully from twice as much on. 0 asks nobody."""
    root: int | None = None
    """The block, along the street from 0 on, whose light the others are aligned to; none takes the middle
    one."""
    light: str | None = None
    """The light of the root that pictures show: a light, or a photograph, by name; none takes the light that
    most of its photographs were taken in, or the mean of all."""
    exposure: float | None = None
    """The exposure of pictures, in the data's units; none takes the median of the photographs."""
    align: bool = True
    """Align the codes of all blocks to the root's; otherwise each takes its own code of that name, or its
    mean."""
    align_steps: int = 150
    """Steps by which a neighbour's code is moved."""
    align_rays: int = 1024
    """Rays of the overlap in each of them."""
    align_rate: float = 0.05
    """Learning rate of the codes, which falls to zero."""

    def __post_init__(self):
        if not self.power > 0:
            raise ConfigError(f"street.power must be above 0, but is {self.power}.")
        if not 0 <= self.visible < 0.5:
            raise ConfigError(f"street.visible must lie in [0, 0.5), but is {self.visible}.")
        if self.exposure is not None and not 0 < self.exposure < math.inf:
            raise ConfigError(
                f"street.exposure is shutter time times gain and must be above 0, but is {self.exposure}."
            )
        for name in ("align_steps", "align_rays"):
            if getattr(self, name) < 1:
                raise ConfigError(f"street.{name} must be at least 1, but is {getattr(self, name)}.")
        if not self.align_rate > 0:
            raise ConfigError(f"street.align_rate must be above 0, but is {self.align_rate}.")


class Street(nn.Module):
    """Trained blocks in the order of the street."""

    centres: Float[Tensor, "blocks 3"]
    radii: Float[Tensor, "blocks"]

    def __init__(
        self,
        config: StreetConfig,
        blocks: Sequence[Block],
        sites: Sequence[Site],
        reaches: Sequence[tuple[float, float]],
    ):
        """`reaches`: where the rays of each block begin and end, in scene units."""
        super().__init__()
        self.config, self.reaches = config, tuple(reaches)
        self.members = nn.ModuleList(blocks)
        self.register_buffer("centres", torch.tensor([site.centre for site in sites]), persistent=False)
        self.register_buffer("radii", torch.tensor([site.radius for site in sites]), persistent=False)

    def __len__(self) -> int:
        return len(self.members)

    def block(self, number: int) -> Block:
        return self.members[number]  # type: ignore[return-value]  # a list of blocks and nothing else

    def beyond(self, camera: Camera) -> bool:
        """Whether the camera is within no block's radius."""
        return bool(((self.centres - camera.position.to(self.centres)).norm(dim=-1) >= self.radii).all())

    def weights(
        self, camera: Camera, merge: Literal["inverse", "nearest"] | None = None
    ) -> Float[Tensor, "blocks"]:
        """How much each block lends to the camera's picture: those around it by distance, without those that
        did not see what it sees. If none of them did, the one that saw most is all there is."""
        power = self.config.power if (merge or self.config.merge) == "inverse" else None
        weights = blend_weights(camera.position.to(self.centres), self.centres, self.radii, power)
        around = weights.nonzero()[:, 0].tolist()
        if len(around) == 1 or self.config.visible == 0:
            return weights
        share = torch.zeros_like(weights)
        for number in around:
            share[number] = self.mean_visibility(number, camera)
        kept = weights * (share / self.config.visible - 1).clamp(0, 1)
        if not kept.any():
            kept[share.argmax()] = 1
        return kept / kept.sum()

    @torch.no_grad()
    def mean_visibility(self, number: int, camera: Camera) -> float:
        """How much of what the camera sees, as block `number` has it, that block's photographs saw: the mean
        of its visibility network over the pixels of a small picture."""
        small = camera.at_most(GLANCE)
        return self.visible(number, self.rays(number, small)).mean().item()

    def visible(self, number: int, rays: Rays) -> Float[Tensor, "rays"]:
        """How well block `number` saw the place at which it has each ray end."""
        block = self.block(number)
        seen = block.render(rays, torch.zeros_like(rays.origins))
        # A mean depth lies in the surface or behind it; a little before it the surface is still to be seen.
        before = 0.95 * seen.mean_depth
        return block.visibility(rays.origins + before[:, None] * rays.directions, rays.directions)

    def rays(self, number: int, camera: Camera, pixels: Float[Tensor, "rays 2"] | None = None) -> Rays:
        """The camera's rays, as far as block `number` reaches."""
        near, far = self.reaches[number]
        return camera_rays(camera, pixels, near=near, far=far).to(self.centres.device)


@dataclass(frozen=True, eq=False)
class LitStreet:
    """A PictureMaker: the street in a light, at an exposure."""

    street: Street
    codes: tuple[Float[Tensor, "features"], ...]
    """Of each block."""
    exposure: float | None = None
    """In the street's units; None: the usual one."""
    merge: Literal["inverse", "nearest"] | None = None
    """Instead of the street's own way."""

    @torch.no_grad()
    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """Pictures of the blocks around the camera, merged pixel by pixel with the weights that all pixels
        share; the depth is that of the block that counts most."""
        weights = self.street.weights(camera, self.merge)
        colour, depth = torch.zeros(0), torch.zeros(0)
        for number in weights.argsort(descending=True).tolist():
            if weights[number] == 0:
                break
            seen, distance = self.alone(number, camera, background)
            colour = weights[number] * seen if not len(colour) else colour + weights[number] * seen
            depth = distance if not len(depth) else depth
        return colour, depth

    @torch.no_grad()
    def alone(
        self, number: int, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        """The picture as one block has it."""
        block = self.street.block(number)
        field = block.seen(self.codes[number], self.exposure)
        colours, depths = [], []
        for pixels in pixel_grid(camera.width, camera.height).split(block.rays_at_once):
            rays = self.street.rays(number, camera, pixels)
            seen = field.render(rays, background.expand(len(rays), 3))
            colours.append(seen.colour.clamp(0, 1))
            depths.append(torch.where(seen.opacity > OPAQUE, seen.mean_depth, torch.nan))
        shape = (camera.height, camera.width)
        return torch.cat(colours).float().view(*shape, 3), torch.cat(depths).float().view(shape)


def seen_by_both(
    street: Street, one: int, other: int, rays: Rays, share: float = 0.5
) -> Bool[Tensor, "rays"]:
    """Rays of which two blocks both saw the end: what their pictures are compared on."""
    with torch.no_grad():
        return (street.visible(one, rays) > share) & (street.visible(other, rays) > share)
