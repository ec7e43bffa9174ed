"""Attention: every token asks, every token answers, and each takes most from the answers that fit its
question.

Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. In the order of the lecture:

    attend_openly        softmax(q k^T / sqrt(d)) v, line by line, with its weights     eq. 1
    attend               the same by the quicker of two ways
    MultiHeadAttention   several attentions side by side, each on its share of the channels     sec. 3.2.2
    Remembered           keys and values of tokens that are asked many times
    causal_mask          who may look at whom: nobody ahead                             sec. 3.2.3
    key_mask             nobody at padding

A mask is boolean, True where a query may look at a key (`torch.nn.MultiheadAttention` means the opposite), or
a number that is added to the scores: a relative bias, or -inf for "never". It broadcasts over batch, heads
and queries. A query that a boolean mask leaves nothing to look at takes zero.

Axes: queries, the tokens that look; keys, the tokens that are looked at; heads; features, channels of one
head; width, channels of a token = heads x features.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rayformer.kernels.linear import Linear, linear
from rayformer.nets.parts.cache import KeyValueCache

AT_ONCE = 2**21
"""Scores that a processor makes at a time where it attends openly, 8 MB in float32. More than 32 MB are, with
the usual C library, handed back to the system after every use and fetched anew page by page, which took
longer than all of the products."""
MOST = 2**23
"""Scores of one example up to which it does so. See `attend`."""

Mask = Bool[Tensor, "*_ #queries keys"] | Float[Tensor, "*_ #queries keys"]


def attend_openly(
    queries: Float[Tensor, "*batch heads queries features"],
    keys: Float[Tensor, "*batch heads keys features"],
    values: Float[Tensor, "*batch heads keys outputs"],
    mask: Mask | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "*batch heads queries outputs"], Float[Tensor, "*batch heads queries keys"]]:
    """Eq. 1, and the weights: how much each query takes from each key, in float32 or finer.

    `dropout` is the share of weights left out at random (torch's global generator); those that are returned
    are whole.
    """
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)  # scaled first: fewer numbers
    if mask is None:
        weights = _softmax(scores)
    elif mask.dtype == torch.bool:
        # The least number instead of -inf: a row without keys would else be 0 / 0.
        weights = _softmax(scores.masked_fill_(~mask, torch.finfo(scores.dtype).min))
        weights = weights.masked_fill(~mask, 0)
    else:
        weights = _softmax(scores.add_(mask.to(scores.dtype)))
    taken = F.dropout(weights, dropout) if dropout else weights
    return taken.to(values.dtype) @ values, weights


def _softmax(scores: Tensor) -> Tensor:
    """Over keys; in float32, which on processors is also quicker than in bf16."""
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def attend(
    queries: Float[Tensor, "*batch heads queries features"],
    keys: Float[Tensor, "*batch heads keys features"],
    values: Float[Tensor, "*batch heads keys outputs"],
    mask: Mask | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "*batch heads queries outputs"]:
    """Eq. 1 without its weights: by torch's fused kernel, or openly where that is quicker.

    It is quicker on processors that multiply bf16 in hardware, as long as the weights of all pairs are no
    burden: one core took half the time, forward and with the gradient, for 49 to 1,025 tokens
    (`benchmarks/attention.py`). And where the mask is learned, because no fused kernel gives its gradient on
    a processor.
    """
    batch = queries.shape[:-3]
    scores = math.prod(queries.shape[len(batch[:1]) : -1]) * keys.shape[-2]  # of one example
    few = queries.dtype == torch.bfloat16 and scores <= MOST
    learned = mask is not None and mask.requires_grad and torch.is_grad_enabled()
    if queries.device.type == "cpu" and (few or learned):
        return _a_few_at_a_time(queries, keys, values, mask, dropout, max(1, AT_ONCE // scores))
    if mask is not None:
        mask = mask if mask.dtype == torch.bool else mask.to(queries.dtype)
        if len(batch) > 1 and mask.ndim > 3:
            mask = mask.expand(*batch, *mask.shape[-3:]).flatten(0, -4)
        mask = mask[(None,) * (4 - mask.ndim)] if mask.ndim < 4 else mask
    flat = (part.reshape(-1, *part.shape[-3:]) for part in (queries, keys, values))
    taken = F.scaled_dot_product_attention(*flat, attn_mask=mask, dropout_p=dropout)
    return taken.reshape(*batch, *taken.shape[-3:])


def _a_few_at_a_time(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, count: int
) -> Tensor:
    """`attend_openly` of `count` examples after the other, as long as no compiler watches, to whom their
    number would become fixed."""
    if queries.ndim == 3 or torch.compiler.is_compiling() or queries.shape[0] <= count:
        return attend_openly(queries, keys, values, mask, dropout)[0]
    some = zip(queries.split(count), keys.split(count), values.split(count), strict=True)
    if mask is None or mask.ndim < queries.ndim or mask.shape[0] == 1:
        masks = itertools.repeat(mask)
    else:
        masks = iter(mask.split(count))
    taken = [attend_openly(q, k, v, next(masks), dropout)[0] for q, k, v in some]
    return torch.cat(taken)


@dataclass(frozen=True, eq=False)
class Remembered:
    """Keys and values as an attention has projected them, for tokens that are asked again and again."""

    keys: Float[Tensor, "*batch heads keys features"]
    values: Float[Tensor, "*batch heads keys features"]

    def only(self, examples: Int[Tensor, "_"]) -> "Remembered":
        return Remembered(self.keys[examples], self.values[examples])


class MultiHeadAttention(nn.Module):
    """Attentions side by side (sec. 3.2.2). Packed: one matrix holds those of queries, keys and values, in
    this order, and where all three come from the same tokens one product gives them.

        attention(x)                      self-attention
        attention(x, memory)              cross-attention
        attention(x + p, values=x)        positions in the questions and the keys, not in what is taken
        attention(x, cache=cache)         x comes after the tokens in the cache, and asks them and itself

    With a cache, new keys and values are appended, and all so far are looked at; several new tokens at once
    may not look ahead of themselves only if a mask says so (`causal_mask` with `before`). Where memory is
    asked many times, `remember(memory)` projects it once and `recall(x, remembered)` asks it.

    `dropout` is the share of weights left out in training, by torch's global generator.
    """

    def __init__(self, width: int, heads: int, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        assert width % heads == 0, f"width {width} must be a multiple of heads {heads}"
        self.heads = heads
        self.dropout = dropout
        self.to_qkv = Linear(width, 3 * width, bias)
        self.to_output = Linear(width, width)
        self.watch: Callable[[Tensor], None] | None = None
        """What is called with the weights of each pass; `parts/attention_maps.py` sets it."""

    def forward(
        self,
        queries: Float[Tensor, "*batch queries width"],
        keys: Float[Tensor, "*batch keys width"] | None = None,
        values: Float[Tensor, "*batch keys width"] | None = None,
        mask: Mask | None = None,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "*batch queries width"]:
        q, k, v = self.project(queries, keys, values)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self._taken(q, k, v, mask)

    def remember(self, keys: Float[Tensor, "*batch keys width"]) -> Remembered:
        """Memory as `recall` asks it."""
        return Remembered(*self._projected(keys, 1, 3))

    def recall(
        self, queries: Float[Tensor, "*batch queries width"], memory: Remembered, mask: Mask | None = None
    ) -> Float[Tensor, "*batch queries width"]:
        """What `attention(queries, memory)` gives, for memory as `remember` made it."""
        (q,) = self._projected(queries, 0, 1)
        return self._taken(q, memory.keys, memory.values, mask)

    def _taken(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if self.watch is None:
            taken = attend(q, k, v, mask, dropout)
        else:
            taken, weights = attend_openly(q, k, v, mask, dropout)
            self.watch(weights)
        return self.to_output(taken.transpose(-3, -2).flatten(-2))

    def project(self, queries: Tensor, keys: Tensor | None, values: Tensor | None) -> tuple[Tensor, ...]:
        """q, k and v, each `*batch heads tokens features`."""
        if keys is None and values is None:
            packed = self.to_qkv(queries).unflatten(-1, (3, self.heads, -1))
            return packed.movedim(-3, 0).transpose(-3, -2).unbind()
        keys = queries if keys is None else keys
        if values is None or values is keys:
            return *self._projected(queries, 0, 1), *self._projected(keys, 1, 3)
        inputs = (queries, keys, values)
        return tuple(one for part in range(3) for one in self._projected(inputs[part], part, part + 1))

    def _projected(self, tokens: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Of queries, keys and values those from `first` to `last`, without it, by one product with a part of
        the matrix."""
        width, bias = self.to_qkv.in_features, self.to_qkv.bias
        part = slice(first * width, last * width)
        packed = linear(tokens, self.to_qkv.weight[part], None if bias is None else bias[part])
        return packed.unflatten(-1, (last - first, self.heads, -1)).movedim(-3, 0).transpose(-3, -2).unbind()


def causal_mask(
    tokens: int, device: torch.device | None = None, before: int = 0
) -> Bool[Tensor, "queries keys"]:
    """Each of `tokens` may look at itself and what came before it; `before` keys came before them all."""
    return torch.ones(tokens, before + tokens, dtype=torch.bool, device=device).tril(before)


def key_mask(real: Bool[Tensor, "batch keys"]) -> Bool[Tensor, "batch 1 1 keys"]:
    """Every query may look at the keys that are `real`, and not at padding."""
    return real[:, None, None]
