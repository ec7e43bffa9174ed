"""Image GPT: a picture as a sequence of colours, learned as texts are, pixel after pixel.

Chen et al. 2020, "Generative pretraining from pixels", https://proceedings.mlr.press/v119/chen20s.html. Read
from the top:

    IGPTConfig      what a recipe may change; the defaults are iGPT-S
    SIZES           S, M, L                                                           sec. 3.2
    IGPT            colours and places, blocks, colours again, and classes            fig. 1, sec. 2.2
    hidden_pixels   which pixels the second objective hides                           eq. 3
    nats            what is learned: either objective, picture by picture             eq. 1 and 3
    sample          pixels drawn one after the other, each by all before it
    for_sampling    the same network with less to read from memory for each pixel
    training_bytes  what training takes, known before it begins

Two objectives. `autoregressive`: every pixel from those before it, row by row; a learned start stands before
the first, and nobody looks ahead. `bert`: some pixels are hidden, and told from all others.

Axes: batch; tokens = pixels of one picture, row by row; width = channels of a token; outputs = colours of the
palette, or classes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.kernels.linear import Linear
from rayformer.nets.parts.attention import MOST, causal_mask
from rayformer.nets.parts.block import PreNormBlock, initialise
from rayformer.nets.parts.cache import KeyValueCache
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.parts.positions import LearnedPositions

Objective = Literal["autoregressive", "bert"]
EXPANSION = 4
"""How much wider the MLP of a block is inside."""


@dataclass(frozen=True, kw_only=True)
class IGPTConfig:
    objective: Objective = "autoregressive"
    """What is learned of pictures: autoregressive, every pixel from those before it; bert, hidden pixels from
    all others."""
    width: int = 512
    """Channels of a token."""
    depth: int = 24
    """Blocks."""
    heads: int = 8
    """Attentions side by side in each block; each works on width / heads channels."""
    bias: bool = False
    """Whether linear layers have biases. The authors' have none; the files on the Hugging Face hub have."""
    dropout: float = 0.0
    """Share of values left out after the positions and after each branch, and inside MLPs."""
    checkpointing: bool = False
    """Keep only what enters each block and compute the rest again for the gradient: far less memory, a third
    more time."""
    eps: float = 1e-5
    """Added to mean squares where tokens are normalised."""

    def __post_init__(self):
        for name in ("width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.width % self.heads:
            raise ConfigError(
                f"model.width must be a multiple of model.heads={self.heads}, but is {self.width}."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must lie in [0, 1), but is {self.dropout}.")


SIZES: Mapping[str, IGPTConfig] = {
    "s": IGPTConfig(width=512, depth=24, heads=8),
    "m": IGPTConfig(width=1024, depth=36, heads=8),
    "l": IGPTConfig(width=1536, depth=48, heads=16),
}
"""76, 455 and 1,362 million parameters for pictures of 32 x 32 pixels. XL (60 blocks, 3,072 channels) was
never released."""


class IGPT(nn.Module):
    """Pixels, as numbers of colours, to a guess at every pixel. `side` is that of the pictures in pixels, and
    `classes` how many there are to tell apart, if any. Dropout draws from torch's global generator while the
    module trains."""

    def __init__(self, config: IGPTConfig, side: int, colours: int, classes: int = 0):
        super().__init__()
        self.config, self.side, self.colours = config, side, colours
        width = config.width
        self.embed = nn.Embedding(colours + 1, width)  # the last row is the start
        self.positions = LearnedPositions(side, side, width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            PreNormBlock(
                width,
                config.heads,
                EXPANSION * width,
                activation="quick_gelu",
                dropout=config.dropout,
                attention_dropout=config.dropout,
                norm=nn.RMSNorm,  # no mean is taken out, no bias added
                eps=config.eps,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.RMSNorm(width, config.eps)
        self.to_colours = Linear(width, colours, bias=False)
        self.head = Linear(width, classes, bias=False) if classes else None
        self._begin()

    def _begin(self) -> None:
        """As GPT-2 begins: what the blocks add to the stream is the smaller the more of them there are. The
        two outputs begin at zero, with every answer as likely."""
        self.apply(initialise)
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, weight in self.blocks.named_parameters():
            if name.endswith("to_output.weight"):
                with torch.no_grad():
                    weight.mul_((2 * self.config.depth) ** -0.5)
        for output in (self.to_colours, self.head):
            if output is not None:
                nn.init.zeros_(output.weight)
        if not self.config.bias:
            for layer in self.blocks.modules():
                if isinstance(layer, nn.Linear):
                    layer.register_parameter("bias", None)

    @property
    def tokens(self) -> int:
        return self.side * self.side

    @property
    def looks_ahead(self) -> bool:
        return self.config.objective == "bert"

    # ------------------------------------------------------------------ forward, in the order of figure 1

    def read(
        self, pixels: Int[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens _"]:
        """What enters the first block: colours and places. Hidden pixels have a place and no colour; in the
        autoregressive objective, token i carries pixel i - 1, and the first one the start."""
        if self.looks_ahead:
            colours = self.embed(pixels)
            if hidden is not None:
                colours = colours * ~hidden[..., None]
        else:
            assert hidden is None, "nothing is hidden where nobody looks ahead"
            start = pixels.new_full((len(pixels), 1), self.colours)
            colours = self.embed(torch.cat([start, pixels[:, :-1]], dim=1))
        return self.dropout(colours + self.positions(self.side, self.side))

    def mask(self, device: torch.device) -> Float[Tensor, "queries keys"] | None:
        """Nobody looks ahead, as numbers that are added to the scores: a pass less over all of them than to
        leave some out, forward and backward, and a step of training a quarter shorter."""
        if self.looks_ahead:
            return None
        ahead = ~causal_mask(self.tokens, device)
        return torch.zeros(ahead.shape, device=device).masked_fill_(ahead, -torch.inf)

    def features(
        self, pixels: Int[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens _"]:
        """The tokens after the last block, normalised."""
        x, mask = self.read(pixels, hidden), self.mask(pixels.device)
        return self.norm(one_by_one(self.blocks, x, self.config.checkpointing, mask))

    def forward(
        self, pixels: Int[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens outputs"]:
        """For every pixel a number for each colour: what it may be."""
        return self.to_colours(self.features(pixels, hidden))

    def classify(self, features: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch outputs"]:
        """Classes off the mean of all tokens (sec. 2.3)."""
        assert self.head is not None, "a network without classes has no head"
        return self.head(features.mean(dim=1))

    def layers(
        self, pixels: Int[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"] | None = None
    ) -> list[Float[Tensor, "batch width"]]:
        """What linear probes read (sec. 2.4): the mean over tokens of what each block's attention is given,
        normalised, from the first block on; after the last one, what the outputs are given. depth + 1 in
        all, in float32."""
        x, mask = self.read(pixels, hidden), self.mask(pixels.device)
        found = []
        for block in self.blocks:
            assert isinstance(block, PreNormBlock), "all blocks are of one kind"
            found.append(block.norm_attention(x).float().mean(dim=1))
            x = block(x, mask)
        return [*found, self.norm(x).float().mean(dim=1)]

    # ------------------------------------------------------------------ for the optimiser

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for what makes tokens, one
        more for every block, the last norm and the outputs last."""
        first, *rest = name.split(".")
        if first in ("embed", "positions"):
            return 0
        return 1 + (int(rest[0]) if first == "blocks" else self.config.depth)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, positions, colours."""
        return parameter.ndim <= 1 or name in ("embed.weight", "positions.table")


# ---------------------------------------------------------------------- what is learned


def hidden_pixels(
    batch: int, tokens: int, share: float, generator: Generator
) -> Bool[Tensor, "batch tokens"]:
    """Each pixel hidden or not, by a throw of its own."""
    return torch.rand(batch, tokens, generator=generator, device=generator.device) <= share


def nats(
    model: IGPT,
    features: Float[Tensor, "batch tokens width"],
    pixels: Int[Tensor, "batch tokens"],
    hidden: Bool[Tensor, "batch tokens"] | None = None,
) -> Float[Tensor, "batch"]:
    """-log of the probability that a pixel's own colour is given, in nats: of each picture the mean over all
    of its pixels (eq. 1), or over those that were hidden (eq. 3); 0 where none was."""
    if hidden is None:
        logits = model.to_colours(features).float()
        return (
            F.cross_entropy(logits.flatten(0, 1), pixels.flatten(), reduction="none").view_as(pixels).mean(1)
        )
    # What was not hidden is not asked for, so that its guess need not be made.
    rows = hidden.nonzero()[:, 0]
    each = F.cross_entropy(model.to_colours(features[hidden]).float(), pixels[hidden], reduction="none")
    return each.new_zeros(len(pixels)).index_add(0, rows, each) / hidden.sum(dim=1).clamp(min=1)


# ---------------------------------------------------------------------- drawn


@torch.no_grad()
def sample(
    model: IGPT,
    count: int,
    generator: Generator | None = None,
    *,
    given: Int[Tensor, "batch _"] | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Int[Tensor, "batch tokens"]:
    """`count` pictures, pixel after pixel; those of `given`, one row for each picture, stand as they are and
    the rest is drawn.

    Keys and values of all pixels so far are kept, so that each is computed once. A temperature below 1 makes
    likely colours likelier; `top_k` leaves only so many of the likeliest; without a generator every pixel is
    the likeliest colour. Only for the autoregressive objective.
    """
    assert not model.looks_ahead, "BERT's objective gives no order to draw pixels in"
    device = model.embed.weight.device
    pixels = torch.empty(count, model.tokens, dtype=torch.long, device=device)
    known = 0
    if given is not None:
        assert len(given) == count, f"{len(given)} beginnings for {count} pictures"
        known = given.shape[1]
        pixels[:, :known] = given
    heads, features = model.config.heads, model.config.width // model.config.heads
    caches = [KeyValueCache(count, heads, model.tokens, features) for _ in model.blocks]
    places = model.positions(model.side, model.side)
    start = torch.full((count, 1), model.colours, device=device)
    fresh = torch.cat([start, pixels[:, :known]], dim=1)[:, : model.tokens]
    for place in range(known, model.tokens):
        first = place + 1 - fresh.shape[1]
        x = model.embed(fresh) + places[:, first : place + 1]
        mask = causal_mask(fresh.shape[1], device) if fresh.shape[1] > 1 else None
        for block, cache in zip(model.blocks, caches, strict=True):
            x = block(x, mask, cache)
        logits = model.to_colours(model.norm(x[:, -1])).float()
        pixels[:, place] = _drawn(logits, generator, temperature, top_k)
        fresh = pixels[:, place : place + 1]
    return pixels


def _drawn(
    logits: Float[Tensor, "batch outputs"], generator: Generator | None, temperature: float, top_k: int | None
) -> Int[Tensor, "batch"]:
    if generator is None:
        return logits.argmax(dim=1)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[1]:
        least = logits.topk(top_k, dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    shares = logits.softmax(dim=1)
    # The least of exponential times at these rates is each colour with its probability.
    times = torch.empty_like(shares).exponential_(generator=generator)
    return (shares / times).argmax(dim=1)


def for_sampling(model: IGPT, dtype: torch.dtype) -> IGPT:
    """A copy for `sample` under autocast to `dtype`. Each pixel reads all weights once, which is most of its
    time: those of matrices are kept as they are multiplied, and nothing else is rounded."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.to(dtype)
    return model


# ---------------------------------------------------------------------- how much memory

KEPT_WIDTHS = {torch.float32: 29, torch.bfloat16: 32}
"""What a block keeps of each token for its gradient, attention's weights left out, in channels: numbers of
the type that is multiplied, by it. Counted (tests hold them to it)."""


def training_bytes(
    config: IGPTConfig, side: int, colours: int, pictures: int, dtype: torch.dtype, device: str = "cpu"
) -> int:
    """About how much memory training takes, with `pictures` going through the network together and products
    made in `dtype`: parameters, gradients, Adam's two moments; what every block keeps; the guesses. Nothing
    is allocated for it."""
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in IGPT(config, side, colours).parameters())
    tokens, size = side * side, dtype.itemsize
    scores = config.heads * tokens * tokens
    openly = device == "cpu" and dtype == torch.bfloat16 and scores <= MOST
    weights = scores * (4 + size) if openly else 0  # of attention: fused kernels keep none
    block = tokens * config.width * KEPT_WIDTHS[dtype] * size + weights
    stream = 4 * tokens * config.width
    blocks = block + config.depth * stream if config.checkpointing else config.depth * block
    guesses = 0.15 if config.objective == "bert" else 1.0
    outputs = guesses * tokens * colours * (2 * 4 + 2 * size)  # logits, in float32 too; and their gradients
    masks = 0 if config.objective == "bert" else tokens * tokens * (4 + size)
    return int(16 * numbers + pictures * (blocks + outputs) + masks)
