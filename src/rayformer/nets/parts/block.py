"""The blocks of transformers: tokens exchange by attention, then each thinks by itself.

    MLP             two linear layers with an activation between them, token by token
    PreNormBlock    x + f(norm(x)): the vision transformers        Wang et al. 2019, Dosovitskiy et al. 2020
    PostNormBlock   norm(x + f(x)): the first Transformer, BERT, DETR          Vaswani et al. 2017, sec. 3.1
    DecoderBlock    the same, with a look at a memory in the middle
    initialise      how their weights start

A block takes tokens of any batch shape and the mask of `parts/attention.py`. Dropout and drop path are for
training only and draw from torch's global generator, as torch's own layers do.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rayformer.kernels.linear import Linear
from rayformer.nets.parts.attention import Mask, MultiHeadAttention, Remembered
from rayformer.nets.parts.cache import KeyValueCache
from rayformer.nets.parts.drop_path import DropPath
from rayformer.nets.parts.layer_scale import LayerScale

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
}
"""The exact GELU is PyTorch's; its approximation by tanh is that of JAX and of BERT's own code; the quick one
is image GPT's."""


class MLP(nn.Module):
    """The position-wise feed-forward network (Vaswani et al., eq. 2)."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu", dropout: float = 0.0):
        super().__init__()
        self.to_hidden = Linear(width, hidden)
        self.activate = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)
        self.to_output = Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.to_output(self.dropout(self.activate(self.to_hidden(x))))


class PreNormBlock(nn.Module):
    """x + f(norm(x)), with f attention and then the MLP. The residual stream is never normalised, which is
    what lets deep stacks learn.

    `layer_scale` is what each branch is multiplied by at first, channel by channel; None leaves it out.
    `drop_path` is the share of examples that pass a branch by. `norm` makes both norms: layer norms, or
    another kind.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: Activation = "gelu",
        qkv_bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        norm: Callable[[int, float], nn.Module] = nn.LayerNorm,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.norm_attention = norm(width, eps)
        self.attention = MultiHeadAttention(width, heads, qkv_bias, attention_dropout)
        self.scale_attention = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm_mlp = norm(width, eps)
        self.mlp = MLP(width, hidden, activation, dropout)
        self.scale_mlp = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Float[Tensor, "*batch tokens width"],
        mask: Mask | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "*batch tokens width"]:
        """With a cache, the tokens come after those in it."""
        taken = self.attention(self.norm_attention(x), mask=mask, cache=cache)
        x = x + self.drop_path(self.scale_attention(self.dropout(taken)))
        return x + self.drop_path(self.scale_mlp(self.dropout(self.mlp(self.norm_mlp(x)))))


class PostNormBlock(nn.Module):
    """norm(x + f(x)), with f attention and then the MLP.

    `positions` are added to the questions and the keys of each block, never to what is taken (DETR).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: Activation = "relu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout=attention_dropout)
        self.norm_attention = nn.LayerNorm(width, eps)
        self.mlp = MLP(width, hidden, activation, dropout)
        self.norm_mlp = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "*batch tokens width"],
        mask: Mask | None = None,
        positions: Float[Tensor, "*#batch tokens width"] | None = None,
    ) -> Float[Tensor, "*batch tokens width"]:
        asked = {"queries": x} if positions is None else {"queries": x + positions, "values": x}
        x = self.norm_attention(x + self.dropout(self.attention(**asked, mask=mask)))
        return self.norm_mlp(x + self.dropout(self.mlp(x)))


class DecoderBlock(nn.Module):
    """norm(x + f(x)), with f attention among the tokens, then attention to a memory, then the MLP (Vaswani et
    al. 2017, sec. 3.1 and fig. 1, right)."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: Activation = "relu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout=attention_dropout)
        self.norm_attention = nn.LayerNorm(width, eps)
        self.to_memory = MultiHeadAttention(width, heads, dropout=attention_dropout)
        self.norm_memory = nn.LayerNorm(width, eps)
        self.mlp = MLP(width, hidden, activation, dropout)
        self.norm_mlp = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "_ tokens width"],
        memory: Float[Tensor, "_ keys width"] | Remembered,
        mask: Bool[Tensor, "tokens _"] | None = None,
        memory_mask: Mask | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "_ tokens width"]:
        """With a cache, the tokens come after those in it. A remembered memory may be that of fewer examples:
        an equal number of neighbours then ask the same one, as hypotheses about one sentence do."""
        x = self.norm_attention(x + self.dropout(self.attention(x, mask=mask, cache=cache)))
        x = self.norm_memory(x + self.dropout(self._recalled(x, memory, memory_mask)))
        return self.norm_mlp(x + self.dropout(self.mlp(x)))

    def _recalled(self, x: Tensor, memory: Tensor | Remembered, mask: Mask | None) -> Tensor:
        if isinstance(memory, Tensor):
            return self.to_memory(x, memory, mask=mask)
        neighbours = x.unflatten(0, (len(memory.keys), -1)).flatten(1, 2)
        return self.to_memory.recall(neighbours, memory, mask).reshape(x.shape)


def initialise(module: nn.Module) -> None:
    """How transformers of pictures start: weights of linear layers from a normal distribution of standard
    deviation 0.02, those of patches from one that keeps the variance of pixels, both cut off at two
    deviations; biases zero."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        std = 0.02 if isinstance(module, nn.Linear) else module.weight[0].numel() ** -0.5
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
