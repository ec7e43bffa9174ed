"""Free View Synthesis: photographs warped to a new view, and a recurrent network that blends them.

Riegler and Koltun 2020, https://arxiv.org/abs/2008.05511. Read from the top:

    FVSConfig       what a recipe may change; widths that a laptop trains, the paper's beside them
    Features        a photograph as features of its size: VGG-16's first stages and a decoder
    ConvGRU         what is remembered from one source to the next
    Merge           a U-Net with such a memory in every stage, asked once for every source
    FreeView        features of the best sources, warped by depth, merged, blended by softmax
    vgg16_weights   a published VGG-16 into Features

Sources come best first, and the network sees them one after the other: what it says of one depends on those
before it, and their order changes the picture. Heights and widths inside are multiples of what the U-Nets
halve; pictures are extended by their border and cut back.

Axes: views are the sources of one picture, in their order.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.published import put_published
from rayformer.fields.parts.sources import Blend, Look, OpenSources, Source, made_picture
from rayformer.geometry.cameras import Camera
from rayformer.geometry.warp import sampled

VGG16 = (64, 128, 256)
"""Channels of VGG-16's first three stages."""
VGG16_LAYERS = (2, 2, 3)
"""Convolutions of each."""
VGG16_NUMBERS = (0, 2, 5, 7, 10, 12, 14)
"""Their places in torchvision's `features`."""
UNSEEN = -4.0
"""What is added at first to the say of a source that does not see a pixel, where colours are carried."""
KEPT_BYTES = 2**29
"""Features of sources are kept between pictures up to this size."""


@dataclass(frozen=True, kw_only=True)
class FVSConfig:
    features: tuple[int, int, int] = (16, 32, 64)
    """Channels of the three stages that make features of a photograph; the paper takes VGG-16's: 64 128
    256."""
    merge: tuple[int, ...] = (16, 32, 64)
    """Channels of the stages of the blending network, each half the size of the one before; the paper: 64 128
    256 512."""
    convolutions: int = 2
    """In every stage of the blending network before its memory; the paper: 2."""
    carry_colours: bool = True
    """Add each source's own warped colours to what the network says of it, so that it learns corrections
    only. The paper lets it learn colours, from 17 scenes and 750,000 steps."""
    vgg16_weights: Path | None = None
    """ImageNet's weights for the features (torchvision's vgg16-397923af.pth), for widths 64 128 256; without
    them the features start at random."""

    def __post_init__(self):
        if min(*self.features, *self.merge, self.convolutions) < 1 or len(self.merge) < 2:
            raise ConfigError(
                "model.fvs: widths and convolutions must be at least 1, and merge must name two stages or "
                f"more, but they are {self.features}, {self.merge} and {self.convolutions}"
            )
        if self.vgg16_weights and self.features != VGG16:
            raise ConfigError(
                f"model.fvs.vgg16_weights fit --model.fvs.features 64 128 256 only, not {self.features}"
            )


class Features(nn.Module):
    """A photograph as features: three stages of VGG-16, halved by means instead of maxima, and back up."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = 3
        for width, layers in zip(widths, VGG16_LAYERS, strict=True):
            stage = [_conv(inputs if layer == 0 else width, width) for layer in range(layers)]
            self.stages.append(nn.ModuleList(stage))
            inputs = width
        self.up = nn.ModuleList(
            _stack(below + beside, beside, 2)
            for below, beside in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        self.outputs = widths[0]

    def forward(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features height width"]:
        """Of pictures in [0, 1]."""
        value, (height, width) = _padded(2 * pictures - 1, 2 ** (len(self.stages) - 1))
        kept = []
        for number, stage in enumerate(self.stages):
            value = F.avg_pool2d(value, 2) if number else value
            for convolution in stage:  # type: ignore[union-attr]
                value = F.relu(convolution(value))
            kept.append(value)
        value = kept.pop()
        for stage in self.up:
            value = stage(torch.cat([_doubled(value), kept.pop()], dim=1))
        return value[..., :height, :width]


class ConvGRU(nn.Module):
    """r, z = sigma(conv[x, h]);  n = relu(conv[x, r h]);  h <- z h + (1 - z) n"""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.gates = _conv(inputs + width, 2 * width, bias=False)
        self.candidate = _conv(inputs + width, width, bias=False)
        self.width = width

    def forward(
        self, x: Float[Tensor, "batch inputs height width"], h: Float[Tensor, "batch _ height width"] | None
    ) -> Float[Tensor, "batch _ height width"]:
        """The new memory; None is a memory of zeros."""
        h = x.new_zeros(x.shape[0], self.width, *x.shape[2:]) if h is None else h
        reset, keep = self.gates(torch.cat([x, h], dim=1)).sigmoid().chunk(2, dim=1)
        new = F.relu(self.candidate(torch.cat([x, reset * h], dim=1)))
        return keep * h + (1 - keep) * new


class Remembering(nn.Module):
    """A stage of the blending network: convolutions, then a memory."""

    def __init__(self, inputs: int, width: int, convolutions: int):
        super().__init__()
        self.convolutions = _stack(inputs, width, convolutions, bias=True)
        self.memory = ConvGRU(width, width)

    def forward(
        self, x: Float[Tensor, "batch inputs height width"], h: Float[Tensor, "batch _ height width"] | None
    ) -> Float[Tensor, "batch _ height width"]:
        return self.memory(self.convolutions(x), h)


class Merge(nn.Module):
    """A U-Net whose every stage remembers what it said of the sources before."""

    def __init__(self, inputs: int, widths: Sequence[int], convolutions: int):
        super().__init__()
        before = (inputs, *widths[:-1])
        self.down = nn.ModuleList(
            Remembering(enters, width, convolutions) for enters, width in zip(before, widths, strict=True)
        )
        self.up = nn.ModuleList(
            Remembering(below + beside, beside, convolutions)
            for below, beside in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )

    def forward(
        self, x: Float[Tensor, "batch inputs height width"], memory: Sequence[Tensor] | None
    ) -> tuple[Float[Tensor, "batch features height width"], list[Tensor]]:
        """What is said of this source, and the memory for the next; heights and widths must be halved evenly
        by every stage."""
        past = list(memory) if memory is not None else [None] * (len(self.down) + len(self.up))
        now: list[Tensor] = []
        for number, stage in enumerate(self.down):
            x = stage(F.avg_pool2d(x, 2) if number else x, past[number])
            now.append(x)
        beside = now[: len(self.down) - 1]
        for number, stage in enumerate(self.up, len(self.down)):
            x = stage(torch.cat([_doubled(x), beside.pop()], dim=1), past[number])
            now.append(x)
        return x, now


class FreeView(nn.Module):
    """The whole. The sources are no part of what is learned; they are opened for the first picture."""

    def __init__(self, config: FVSConfig, count: int, sources: OpenSources):
        super().__init__()
        self.config, self.count, self.sources = config, count, sources
        self.encode = Features(config.features)
        self.merge = Merge(self.encode.outputs + 2, config.merge, config.convolutions)
        self.to_colour = nn.Conv2d(config.merge[0], 3, 1, bias=False)
        self.to_say = nn.Conv2d(config.merge[0], 1, 1, bias=False)
        if config.carry_colours:  # at first, the plain mean of the sources that see a pixel
            nn.init.zeros_(self.to_colour.weight)
            nn.init.zeros_(self.to_say.weight)
        if config.vgg16_weights:
            vgg16_weights(self.encode, config.vgg16_weights)
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def forward(
        self,
        features: Float[Tensor, "views features height width"],
        colours: Float[Tensor, "views 3 height width"],
        masks: Float[Tensor, "views 2 height width"],
    ) -> tuple[Float[Tensor, "3 height width"], Float[Tensor, "views height width"]]:
        """The picture and the weights of the sources, whose sum is 1, from what the sources show of it, best
        first. The masks: 1 where the picture has a depth; 1 where the source sees the place."""
        seen, (height, width) = _padded(
            torch.cat([features, masks], dim=1), 2 ** (len(self.config.merge) - 1)
        )
        memory, said = None, []
        for view in seen.split(1):
            merged, memory = self.merge(view, memory)
            said.append(torch.cat([self.to_colour(merged), self.to_say(merged)], dim=1))
        spoken = torch.cat(said).float()[..., :height, :width]
        proposed, say = spoken[:, :3], spoken[:, 3]
        if self.config.carry_colours:
            proposed, say = proposed + colours, say + UNSEEN * (1 - masks[:, 1])
        weights = say.softmax(dim=0)
        return (weights[:, None] * proposed).sum(dim=0), weights

    def of_look(
        self, look: Look, features: Sequence[Float[Tensor, "1 features _ _"]]
    ) -> tuple[Float[Tensor, "3 height width"], Float[Tensor, "views height width"]]:
        """`forward` for a camera, from the features of its sources."""
        device = features[0].device
        warped, colours, masks = [], [], []
        there = look.depth.isfinite()
        for number, (found, feature) in enumerate(zip(look.warps, features, strict=True)):
            # What a source does not see is left black, as the paper has it; the masks say so.
            kept = found.seen.to(device)
            shown = kept & there.to(device) if look.behind is not None else kept
            warped.append(sampled(feature, found.places[None].to(device)) * shown)
            colours.append(look.warped(number).to(device))
            masks.append(torch.stack([there.to(device), kept]).float())
        inside = torch.stack([found.inside for found in look.warps]).to(device)
        return self(torch.cat(warped), _filled(torch.stack(colours), inside), torch.stack(masks))

    # ------------------------------------------------------------------ as a maker of pictures

    @torch.no_grad()
    def blend(self, camera: Camera, but: int | None = None) -> Blend:
        """The picture of `camera`, with what it was made from."""
        look = self.sources().look(camera, self.count, but=but)
        features = [self._features(row, source) for row, source in zip(look.rows, look.sources, strict=True)]
        colour, weights = self.of_look(look, features)
        warped = torch.stack([look.warped(number) for number in range(len(look.rows))])
        return Blend(look, colour.permute(1, 2, 0), weights, warped.to(colour.device))

    def picture(
        self, camera: Camera, background: Float[Tensor, "3"]
    ) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
        return made_picture(self.blend(camera), background)

    def train(self, mode: bool = True) -> "FreeView":
        self._kept.clear()  # what was kept is of other weights
        return super().train(mode)

    def _features(self, row: int, source: Source) -> Float[Tensor, "1 features height width"]:
        """Of a whole source; kept while the weights stay, those used longest ago given up first."""
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        device = self.to_colour.weight.device
        found = self.encode(source.colours()[None].to(device))
        if not self.training:
            self._kept[row] = found
            while len(self._kept) > self.count and sum(x.nbytes for x in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found


def vgg16_weights(into: Features, path: Path) -> None:
    """VGG-16's first seven convolutions, as torchvision names them. Raises DataError for another file."""
    layers = [layer for stage in into.stages for layer in stage]  # type: ignore[union-attr]
    named = {f"features.{number}": layer for number, layer in zip(VGG16_NUMBERS, layers, strict=True)}
    put_published(named, path, "VGG-16, which torchvision calls vgg16-397923af.pth")


def _filled(
    colours: Float[Tensor, "views 3 height width"], inside: Bool[Tensor, "views height width"]
) -> Float[Tensor, "views 3 height width"]:
    """Warped colours, where a source does not reach the mean of those that do: what is carried must not be
    black where nobody sees a place, but some at least look there."""
    there = inside[:, None].float()
    mean = (colours * there).sum(dim=0) / there.sum(dim=0).clamp(min=1)
    return torch.where(inside[:, None], colours, mean)


# ---------------------------------------------------------------------- what the stages are made of


def _conv(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    nn.init.normal_(made.weight, std=math.sqrt(2 / (9 * inputs)))  # keeps the size of what passes a ReLU
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def _stack(inputs: int, outputs: int, layers: int, bias: bool = False) -> nn.Sequential:
    parts: list[nn.Module] = []
    for layer in range(layers):
        parts += [_conv(inputs if layer == 0 else outputs, outputs, bias=bias), nn.ReLU()]
    return nn.Sequential(*parts)


def _doubled(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels _ _"]:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _padded(
    x: Float[Tensor, "batch channels height width"], multiple: int
) -> tuple[Float[Tensor, "batch channels _ _"], tuple[int, int]]:
    """Extended by its right and lower border to multiples; and the size that it had."""
    height, width = x.shape[2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate"), (height, width)
