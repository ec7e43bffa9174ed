"""BERT: a sentence read in both directions at once, by a network that learned to fill in blanks.

Devlin et al. 2018, https://arxiv.org/abs/1810.04805. Read from the top:

    BertConfig       what a recipe may change; the defaults are BERT-base
    SIZES            tiny, mini, small, medium, base, large            sec. 3; Turc et al. 2019 for the small
    Bert             words, places and kinds added up; post-norm blocks; what stands for a sentence    fig. 2
    BertPretraining  which word was here, and does this sentence follow that one                    sec. 3.1
    attention        what every block looked at

`objective` is what the lecture compares: "mlm" looks both ways and learns from blanks; "causal" looks back
only, as GPT does, and learns from the next word. The network is otherwise the same.

Batches are ragged (`parts/ragged.py`): the tokens of all sentences one after the other, no padding. One thing
differs between implementations, and is a switch: the authors' code computes GELU by tanh, everybody else
exactly.

Axes: batch, the sentences or pairs of them; tokens, those of all of them; width, channels of a token; picked,
tokens that are asked about; outputs, entries of the vocabulary, or answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.kernels.linear import Linear, linear
from rayformer.nets.parts.attention_maps import watched
from rayformer.nets.parts.block import ACTIVATIONS
from rayformer.nets.parts.ragged import Ragged, RaggedBlock, take


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    vocabulary: int = 30522
    """Entries of the vocabulary. A recipe that has one counts them itself."""
    positions: int = 512
    """Tokens of the longest sentence or pair; each place is a learned vector."""
    kinds: int = 2
    """Sentences that a token can be of: the first or the second."""
    width: int = 768
    """Channels of a token."""
    depth: int = 12
    """Blocks."""
    heads: int = 12
    """Attentions side by side in each block; each works on width / heads channels."""
    expansion: float = 4.0
    """How much wider the MLP of a block is inside."""
    activation: Literal["gelu", "gelu_tanh"] = "gelu"
    """The exact GELU, as everybody has it, or its approximation by tanh, as the authors' code has it."""
    dropout: float = 0.1
    """Share of values left out after the embedding and after each branch."""
    attention_dropout: float = 0.1
    """Share of attention weights left out."""
    objective: Literal["mlm", "causal"] = "mlm"
    """mlm: every token sees all others, and what was blanked out is guessed. causal: every token sees what
    came before it, and the next one is guessed, as GPT learns."""
    eps: float = 1e-12
    """Added to variances where tokens are normalised."""
    initial: float = 0.02
    """Standard deviation of weights at the start. 0.02 is for hundreds of channels; networks of few begin to
    learn sooner with more, about 0.5 / sqrt(width)."""

    def __post_init__(self):
        for name in ("vocabulary", "positions", "kinds", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must be at least 1, but is {getattr(self, name)}.")
        if self.width % self.heads:
            raise ConfigError(
                f"model.width must be a multiple of model.heads={self.heads}, but is {self.width}."
            )
        for name in ("expansion", "initial"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"model.{name} must be above 0, but is {getattr(self, name)}.")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.{name} must lie in [0, 1), but is {getattr(self, name)}.")


SIZES: Mapping[str, BertConfig] = {
    "tiny": BertConfig(width=128, depth=2, heads=2),
    "mini": BertConfig(width=256, depth=4, heads=4),
    "small": BertConfig(width=512, depth=4, heads=8),
    "medium": BertConfig(width=512, depth=8, heads=8),
    "base": BertConfig(width=768, depth=12, heads=12),
    "large": BertConfig(width=1024, depth=24, heads=16),
}
"""With the authors' vocabulary of 30,522 entries."""


class Bert(nn.Module):
    """Pieces of words to what they mean where they stand. Dropout draws from torch's global generator while
    the module trains."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.words = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Embedding(config.positions, width)
        self.kinds = nn.Embedding(config.kinds, width)
        self.norm = nn.LayerNorm(width, config.eps)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            RaggedBlock(
                width,
                config.heads,
                round(width * config.expansion),
                activation=config.activation,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                eps=config.eps,
            )
            for _ in range(config.depth)
        )
        self.pool = nn.Linear(width, width)
        self.apply(partial(start, std=config.initial))

    def forward(
        self, words: Int[Tensor, "tokens"], kinds: Int[Tensor, "tokens"], ragged: Ragged
    ) -> Float[Tensor, "tokens width"]:
        """Each token as the last block leaves it. Sentences may come in any order; in that of their length
        nothing has to be moved. Raises ShapeError for a sentence that is longer than there are positions."""
        if ragged.longest > self.config.positions:
            raise ShapeError(
                f"a sentence has {ragged.longest} tokens, but there are {self.config.positions} positions: "
                "cut it before"
            )
        order, lying = ragged.order, ragged
        if order is not None:
            words, kinds, ragged = words[order], kinds[order], ragged.in_order
        x = self.words(words) + self.positions(ragged.places) + self.kinds(kinds)
        x = self.dropout(self.norm(x))
        groups, causal = ragged.groups(self.config.width), self.config.objective == "causal"
        for block in self.blocks:
            x = block(x, groups, causal)
        return x if lying.order is None else take(x, torch.argsort(lying.order))

    def spoken(self, tokens: Float[Tensor, "tokens width"], ragged: Ragged) -> Float[Tensor, "batch width"]:
        """Of each sentence the token that stands for it: the first, [CLS], which may look at all others;
        where tokens look back only, the last."""
        return take(tokens, ragged.ends if self.config.objective == "causal" else ragged.starts)

    def pooled(self, tokens: Float[Tensor, "tokens width"], ragged: Ragged) -> Float[Tensor, "batch width"]:
        """What is classified of each sentence: that token, through one more layer."""
        return torch.tanh(self.pool(self.spoken(tokens, ragged)))

    def depth_of(self, name: str) -> int:
        """How deep a parameter lies, for rates that fall from layer to layer: 0 for embeddings, one more for
        every block, all else last."""
        first, *rest = name.removeprefix("bert.").split(".")
        if first in ("words", "positions", "kinds", "norm"):
            return 0
        return 1 + (int(rest[0]) if first == "blocks" else self.config.depth)

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        """Whether weight decay passes a parameter over: norms and biases."""
        return parameter.ndim <= 1


class BertPretraining(nn.Module):
    """Both tasks (sec. 3.1): words at some places, by the embedding read backwards; and whether the second
    sentence followed the first."""

    def __init__(self, config: BertConfig):
        super().__init__()
        self.config = config
        self.bert = Bert(config)
        self.transform = Linear(config.width, config.width)
        self.activate = ACTIVATIONS[config.activation]
        self.norm = nn.LayerNorm(config.width, config.eps)
        self.word_bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.follows = nn.Linear(config.width, 2)
        for head in (self.transform, self.follows):
            start(head, config.initial)

    def which_word(self, tokens: Float[Tensor, "picked width"]) -> Float[Tensor, "picked outputs"]:
        """A number for every word of the vocabulary. Words are compared with the very vectors that they are
        read by."""
        said = self.norm(self.activate(self.transform(tokens)))
        return linear(said, self.bert.words.weight, self.word_bias)

    def does_follow(
        self, tokens: Float[Tensor, "tokens width"], ragged: Ragged
    ) -> Float[Tensor, "batch outputs"]:
        """Two numbers for each pair: it follows (0), it comes from elsewhere (1), as the authors count."""
        return self.follows(self.bert.pooled(tokens, ragged))

    def forward(
        self,
        words: Int[Tensor, "tokens"],
        kinds: Int[Tensor, "tokens"],
        ragged: Ragged,
        picked: Int[Tensor, "picked"],
    ) -> tuple[Float[Tensor, "picked _"], Float[Tensor, "batch outputs"]]:
        """What the words at `picked` may be (no place twice), and whether pairs belong together. Only the
        picked places go through the vocabulary, which is half of the work in a small network."""
        tokens = self.bert(words, kinds, ragged)
        return self.which_word(take(tokens, picked)), self.does_follow(tokens, ragged)

    def depth_of(self, name: str) -> int:
        """As that of `Bert`; the heads are last."""
        return self.bert.depth_of(name) if name.startswith("bert.") else 1 + self.config.depth

    @staticmethod
    def undecayed(name: str, parameter: Tensor) -> bool:
        return Bert.undecayed(name, parameter)


def start(module: nn.Module, std: float = 0.02) -> None:
    """Weights from a normal distribution, cut off at two deviations; biases zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def attention(
    model: Bert, words: Int[Tensor, "tokens"], kinds: Int[Tensor, "tokens"]
) -> list[Float[Tensor, "batch heads tokens tokens"]]:
    """The weights of every block, first to last, for one sentence or pair: row i is what token i looked
    at."""
    with watched(model) as weights:
        model(words, kinds, Ragged([len(words)], words.device))
    return [weights[f"blocks.{layer}.attention"] for layer in range(len(model.blocks))]
