"""The Transformer: one sentence into another by attention alone.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. Read from the top:

    TransformerConfig   what a recipe may change
    SIZES               base and big                                                            table 3
    Transformer         embed, encode, decode, logits                                           fig. 1
    Decoding            its decoder one word at a time: nothing is computed twice
    translate           sentences in, the likeliest sentences out                               sec. 6.1
    attention           what every block looked at

The encoder reads all of the source at once; the decoder reads what it has said so far, may not look ahead,
and asks the encoder's answer. Source, target and what is said share one table of words (sec. 3.4). Sizes are
the paper's: 6 blocks on either side and 8 heads.

Axes: batch, sentences; keys, words of the source; queries, words of the target; width, channels of a word;
outputs, words that there are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.kernels.linear import linear
from rayformer.nets.parts.attention import Mask, causal_mask, key_mask
from rayformer.nets.parts.attention_maps import watched
from rayformer.nets.parts.block import DecoderBlock, PostNormBlock
from rayformer.nets.parts.cache import KeyValueCache
from rayformer.nets.parts.positions import sinusoidal
from rayformer.nets.parts.search import Said, beam, greedy


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    width: int = 512
    """Channels of a word."""
    depth: int = 6
    """Blocks of the encoder, and as many of the decoder."""
    heads: int = 8
    """Attentions side by side in each block; each works on width / heads channels."""
    hidden: int = 2048
    """Channels inside the MLP of a block."""
    dropout: float = 0.1
    """Share of values left out after the positions and after each branch, and inside MLPs."""
    attention_dropout: float = 0.0
    """Share of attention weights left out."""
    eps: float = 1e-5
    """Added to variances where words are normalised."""

    def __post_init__(self):
        for name in ("width", "depth", "heads", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.width % self.heads:
            raise ConfigError(
                f"model.width must be a multiple of model.heads={self.heads}, but is {self.width}."
            )
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


SIZES: Mapping[str, TransformerConfig] = {
    "base": TransformerConfig(),
    "big": TransformerConfig(width=1024, heads=16, hidden=4096, dropout=0.3),
}


class Transformer(nn.Module):
    """Source and target to the logits of every next word. Dropout draws from torch's global generator while
    the module trains."""

    def __init__(self, config: TransformerConfig, words: int):
        super().__init__()
        self.config = config

        def stack(kind: type[PostNormBlock] | type[DecoderBlock]) -> nn.ModuleList:
            return nn.ModuleList(
                kind(
                    config.width,
                    config.heads,
                    config.hidden,
                    dropout=config.dropout,
                    attention_dropout=config.attention_dropout,
                    eps=config.eps,
                )
                for _ in range(config.depth)
            )

        self.words = nn.Embedding(words, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder, self.decoder = stack(PostNormBlock), stack(DecoderBlock)
        initialise(self)

    def forward(
        self,
        source: Int[Tensor, "batch keys"],
        target: Int[Tensor, "batch queries"],
        real: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries outputs"]:
        """`real` tells words of the source from padding; without it all are words. The target needs none:
        nothing looks ahead to where its padding is."""
        return self.logits(self.decode(target, self.encode(source, real), real))

    def encode(
        self, source: Int[Tensor, "batch keys"], real: Bool[Tensor, "batch keys"] | None = None
    ) -> Float[Tensor, "batch keys width"]:
        memory, mask = self.embed(source), _masked(real)
        for block in self.encoder:
            memory = block(memory, mask)
        return memory

    def decode(
        self,
        target: Int[Tensor, "batch queries"],
        memory: Float[Tensor, "batch keys width"],
        real: Bool[Tensor, "batch keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        said, mask = self.embed(target), causal_mask(target.shape[1], target.device)
        for block in self.decoder:
            said = block(said, memory, mask, _masked(real))
        return said

    def embed(
        self, words: Int[Tensor, "batch tokens"], first: int = 0
    ) -> Float[Tensor, "batch tokens width"]:
        """Words with where they stand: the first of them at place `first` (sec. 3.4, 3.5)."""
        width = self.config.width
        positions = sinusoidal(words.shape[1], width, first, device=words.device)
        return self.dropout(self.words(words) * math.sqrt(width) + positions)

    def logits(self, said: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch outputs"]:
        return linear(said, self.words.weight)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms, biases, words."""
        return parameter.ndim <= 1 or name == "words.weight"


def initialise(model: Transformer) -> None:
    """As the paper's code begins: words from a normal distribution of standard deviation width^-1/2, so that
    they enter the network with variance 1 and leave it as plain logits; matrices as Glorot and Bengio have
    them, those of queries, keys and values each by itself."""
    nn.init.normal_(model.words.weight, std=model.config.width**-0.5)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2 and name != "words.weight":
            for part in parameter.chunk(3) if "to_qkv" in name else [parameter]:
                nn.init.xavier_uniform_(part)


def _masked(real: Tensor | None) -> Mask | None:
    return None if real is None else key_mask(real)


# ---------------------------------------------------------------------- saying


class Decoding:
    """A decoder that says one word after the other, for `rows` sentences about each source.

    What was said keeps its keys and values (`parts/cache.py`), and the source is projected once; the rows of
    one source ask it together.
    """

    def __init__(
        self,
        model: Transformer,
        source: Int[Tensor, "batch keys"],
        real: Bool[Tensor, "batch keys"] | None,
        rows: int,
        most: int,
    ):
        config, memory = model.config, model.encode(source, real)
        self.model, self.real = model, real
        self.memories = [
            block.to_memory.remember(memory) for block in model.decoder if isinstance(block, DecoderBlock)
        ]
        features = config.width // config.heads
        self.caches = [
            KeyValueCache(len(source) * rows, config.heads, most, features) for _ in range(config.depth)
        ]

    def __call__(self, words: Int[Tensor, "batch"]) -> Float[Tensor, "batch outputs"]:
        said, mask = self.model.embed(words[:, None], self.caches[0].count), _masked(self.real)
        for block, memory, cache in zip(self.model.decoder, self.memories, self.caches, strict=True):
            said = block(said, memory, memory_mask=mask, cache=cache)
        return self.model.logits(said[:, 0])

    def pick(self, rows: Int[Tensor, "_"], examples: Int[Tensor, "_"] | None) -> None:
        for cache in self.caches:
            cache.pick(rows)
        if examples is not None:
            self.memories = [memory.only(examples) for memory in self.memories]
            self.real = None if self.real is None else self.real[examples]


@torch.no_grad()
def translate(
    model: Transformer,
    source: Int[Tensor, "batch keys"],
    real: Bool[Tensor, "batch keys"] | None = None,
    *,
    begin: int,
    end: int,
    beams: int = 4,
    penalty: float | int = 0.6,
    longer: int = 50,
) -> list[list[Said]]:
    """For each sentence what it becomes, the best first: as many as there are `beams`; one beam is greedy.
    None grows more than `longer` words longer than its source."""
    lengths = torch.full_like(source[:, 0], source.shape[1]) if real is None else real.sum(dim=1)
    most = lengths + longer
    decoding = Decoding(model, source, real, beams, int(most.max()))
    if beams == 1:
        return [[said] for said in greedy(decoding, begin, end, most)]
    return beam(decoding, begin, end, most, beams, penalty)


def attention(
    model: Transformer,
    source: Int[Tensor, "batch keys"],
    target: Int[Tensor, "batch queries"],
) -> dict[str, Sequence[Float[Tensor, "batch heads _ _"]]]:
    """The weights of every block, first to last: of the `encoder` among the source's words, of the `decoder`
    among the target's, and `across`, what each word of the target took from each of the source's."""
    with watched(model) as weights:
        model(source, target)
    names = {
        "encoder": "encoder.{}.attention",
        "decoder": "decoder.{}.attention",
        "across": "decoder.{}.to_memory",
    }
    layers = range(model.config.depth)
    return {name: [weights[word.format(layer)] for layer in layers] for name, word in names.items()}
