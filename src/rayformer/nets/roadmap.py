"""From ResNet to ConvNeXt, one switch a step.

Liu et al. 2022, https://arxiv.org/abs/2201.03545, section 2 and figure 2. Read from the top:

    RoadmapConfig    the switches; all off is ResNet-50
    STEPS            the road: every setting is the last one with one thing changed, until ConvNeXt-T
    PAPER            what the paper measured on the way
    Layer            a convolution, perhaps a norm, perhaps an activation
    Block            three layers and what goes past them
    Roadmap          stem, stages, the average place, classes

Two rules, ours, keep every step trainable and the ends exact. A convolution has a bias unless a batch norm
comes after it, which would take it away. A branch starts at (nearly) nothing: by the gain of its last norm,
where it ends with one, else by a layer scale.

`nets/resnet_rs.py` and `nets/convnext.py` are what to train; the tests prove both ends of the road equal to
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.nets.parts.channel_norm import ChannelNorm
from rayformer.nets.parts.drop_path import DropPath, rates
from rayformer.nets.parts.residual import residual

EXPANSION = 4
"""How much wider the wide layer of a block is than the narrow one."""
LAYER_SCALE = 1e-6
"""Of a fresh branch that does not end with a norm."""


@dataclass(frozen=True, kw_only=True)
class RoadmapConfig:
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks of each stage; each stage after the first halves the map and doubles the width."""
    width: int = 64
    """Channels of the narrow layer of the first stage's blocks, and of the stem."""
    patchify: bool = False
    """Pictures are cut into patches of 4 x 4 instead of convolved by 7 x 7 and pooled."""
    depthwise: bool = False
    """Spatial convolutions keep channels apart."""
    inverted: bool = False
    """Blocks are wide inside and narrow outside."""
    spatial_first: bool = False
    """The spatial convolution comes before both others, not between them."""
    kernel: int = 3
    """Side of the surroundings that a block sees; odd."""
    gelu: bool = False
    """GELU in place of ReLU."""
    few_activations: bool = False
    """One to a block, where it is wide, and none after the stem or where the branch joins."""
    few_norms: bool = False
    """One to a block's branch, after the spatial convolution."""
    layer_norm: bool = False
    """Layer norm in place of batch norm."""
    separate_halving: bool = False
    """Between stages a norm and a convolution of 2 x 2 halve the map, not the first block; one more norm
    before the classes."""
    small_images: bool = False
    """The stem keeps every pixel: 3 x 3 and no pooling, or patches of 1 x 1."""
    drop_path: float = 0.0
    """Probability that the last block's branch is left out for an example; it rises from 0 at the first."""

    def __post_init__(self):
        if not self.depths or min(self.depths) < 1:
            raise ConfigError(f"model.depths must be at least 1 each, but are {self.depths}.")
        if self.width < 1:
            raise ConfigError(f"model.width must be at least 1, but is {self.width}.")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"model.kernel must be odd and at least 1, but is {self.kernel}.")
        for name in ("few_activations", "few_norms"):
            if getattr(self, name) and not self.spatial_first:
                raise ConfigError(
                    f"model.{name} needs model.spatial_first: it says which layers keep theirs by that order."
                )
        if not 0 <= self.drop_path < 1:
            raise ConfigError(f"model.drop_path must lie in [0, 1), but is {self.drop_path}.")


def _road() -> dict[str, RoadmapConfig]:
    changes: dict[str, dict[str, Any]] = {
        "stage ratio": {"depths": (3, 3, 9, 3)},
        "patchify": {"patchify": True},
        "depthwise": {"depthwise": True},
        "width": {"width": 96},
        "inverted bottleneck": {"inverted": True},
        "spatial first": {"spatial_first": True},
        "7 x 7": {"kernel": 7},
        "GELU": {"gelu": True},
        "fewer activations": {"few_activations": True},
        "fewer norms": {"few_norms": True},
        "layer norm": {"layer_norm": True},
        "separate halving": {"separate_halving": True},
    }
    steps = {"ResNet-50": RoadmapConfig()}
    for name, change in changes.items():
        steps[name] = replace(list(steps.values())[-1], **change)
    return steps


STEPS: Mapping[str, RoadmapConfig] = _road()
"""In the paper's order, by what is new."""

PAPER: Mapping[str, tuple[float, float]] = dict(
    zip(
        STEPS,
        [
            (78.8, 4.1), (79.4, 4.5), (79.5, 4.4), (78.3, 2.4), (80.5, 5.3), (80.6, 4.6), (79.9, 4.1),
            (80.6, 4.2), (80.6, 4.2), (81.3, 4.2), (81.4, 4.2), (81.5, 4.2), (82.0, 4.5),
        ],
        strict=True,
    )
)  # fmt: skip
"""ImageNet top-1 in percent and thousands of millions of multiplications at 224 pixels (figure 2)."""


class Layer(nn.Sequential):
    """A convolution, perhaps a norm, perhaps an activation."""

    def __init__(
        self,
        config: RoadmapConfig,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        norm: bool = True,
        active: bool = True,
    ):
        super().__init__()
        self.convolve = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding, groups=groups,
            bias=config.layer_norm or not norm,
        )  # fmt: skip
        if norm:
            self.norm = normalisation(config, outputs)
        if active:
            self.activate = nn.GELU() if config.gelu else nn.ReLU(inplace=True)


def normalisation(config: RoadmapConfig, channels: int) -> ChannelNorm | nn.BatchNorm2d:
    return ChannelNorm(channels) if config.layer_norm else nn.BatchNorm2d(channels)


class Block(nn.Module):
    """As a ResNet's: narrow, look around, widen. Turned inside out and in ConvNeXt's order: look around,
    widen, narrow."""

    def __init__(self, config: RoadmapConfig, inputs: int, width: int, stride: int, drop_path: float):
        super().__init__()
        inside, outputs = (EXPANSION * width, width) if config.inverted else (width, EXPANSION * width)
        # What the three layers take and give, and which of them looks around.
        sizes = [(inputs, inside), (inside, inside), (inside, outputs)]
        spatial = 1
        if config.spatial_first:
            sizes, spatial = [(inputs, inputs), (inputs, inside), (inside, outputs)], 0
        layers = []
        for number, (before, after) in enumerate(sizes):
            norm = number == spatial if config.few_norms else True
            active = number == 1 if config.few_activations else number < 2
            if number == spatial:
                layer = Layer(
                    config, before, after, config.kernel, stride=stride,
                    groups=before if config.depthwise else 1, norm=norm, active=active,
                )  # fmt: skip
            else:
                layer = Layer(config, before, after, norm=norm, active=active)
            layers.append(layer)
        self.branch = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.full((outputs,), LAYER_SCALE)) if config.few_norms else None
        if not config.few_norms:
            nn.init.zeros_(layers[-1].norm.weight)
        self.shortcut = nn.Identity()
        if inputs != outputs or stride > 1:
            self.shortcut = Layer(config, inputs, outputs, stride=stride, active=False)
        self.drop_path = DropPath(drop_path)
        self.activate = nn.Identity()
        if not config.few_activations:
            self.activate = nn.GELU() if config.gelu else nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "batch inputs _ _"]) -> Float[Tensor, "batch outputs _ _"]:
        gain = None if self.scale is None else self.scale[:, None, None]
        return self.activate(residual(self.shortcut(x), self.branch(x), gain, self.drop_path))


class Roadmap(nn.Module):
    """Pictures of any size to one number for each class. Stochastic depth draws from torch's global generator
    while the module trains."""

    def __init__(self, config: RoadmapConfig, classes: int, channels: int = 3):
        super().__init__()
        self.config = config
        self.stem = stem(config, channels)
        self.stages = nn.Sequential()
        shares, inputs = iter(rates(sum(config.depths), config.drop_path)), config.width
        for stage, depth in enumerate(config.depths):
            width, blocks = config.width * 2**stage, nn.Sequential()
            stride = 2 if stage else 1
            if config.separate_halving and stage:
                outputs = width if config.inverted else EXPANSION * width
                blocks.append(halving(config, inputs, outputs))
                stride, inputs = 1, outputs
            for block in range(depth):
                blocks.append(Block(config, inputs, width, 1 if block else stride, next(shares)))
                inputs = width if config.inverted else EXPANSION * width
            self.stages.append(blocks)
        self.norm = normalisation(config, inputs) if config.separate_halving else nn.Identity()
        self.head = nn.Linear(inputs, classes)

    def features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features _ _"]:
        """The map before it is averaged."""
        return self.stages(self.stem(images.contiguous(memory_format=torch.channels_last)))

    def classify(self, features: Float[Tensor, "batch features _ _"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.norm(features.mean(dim=(2, 3), keepdim=True)).flatten(1))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.classify(self.features(images))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for the stem, one more for
        every block, the head last. A halving belongs to the block after it."""
        first, *rest = name.split(".")
        if first != "stages":
            return 0 if first == "stem" else 1 + sum(self.config.depths)
        stage, block = int(rest[0]), int(rest[1])
        if self.config.separate_halving and stage:
            block = max(block - 1, 0)
        return 1 + sum(self.config.depths[:stage]) + block

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, layer scales."""
        return parameter.ndim <= 1


def stem(config: RoadmapConfig, channels: int) -> nn.Sequential:
    """From pixels to places of a map, a quarter of the size."""
    active = not config.few_activations
    if config.patchify:
        size = 1 if config.small_images else 4
        return nn.Sequential(
            Layer(config, channels, config.width, size, stride=size, padding=0, active=active)
        )
    if config.small_images:
        return nn.Sequential(Layer(config, channels, config.width, 3, active=active))
    first = Layer(config, channels, config.width, 7, stride=2, active=active)
    return nn.Sequential(first, nn.MaxPool2d(3, 2, padding=1))


def halving(config: RoadmapConfig, inputs: int, outputs: int) -> nn.Sequential:
    """Between stages: four places become one."""
    return nn.Sequential(normalisation(config, inputs), nn.Conv2d(inputs, outputs, 2, stride=2))
