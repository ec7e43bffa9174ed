"""Sentences of many lengths in one batch, without padding.

    Ragged        how long each is, and what follows from that
    Group         sentences of like length, side by side: what attention works on
    RaggedBlock   the post-norm block of `parts/block.py` on them, with the same weights
    take, place   rows out of many, and into a larger space; each is the other's gradient

The tokens of all sentences lie one after the other. Whatever treats tokens one by one (linear layers, norms,
MLPs, heads: nearly all of the work) needs to know no more. Attention needs to know who belongs together, and
is done group by group. Where all sentences of a group are equally long there is nothing to mask and, if the
batch is in the order of length, nothing to copy.

Axes: batch, the sentences; tokens, those of all of them; width, channels of a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rayformer.core.errors import ShapeError
from rayformer.nets.parts.attention import MultiHeadAttention, attend, attend_openly, causal_mask, key_mask
from rayformer.nets.parts.block import MLP, Activation

WORTH = {"cpu": 2**20, "cuda": 2**28}
"""Products of channels, over all pairs of tokens, that are rather computed for nothing than that another
group is begun."""


@dataclass(frozen=True, eq=False)
class Group:
    """Sentences `count` in number that follow each other, and take `longest` tokens each."""

    tokens: int
    """What they have in all."""
    count: int
    longest: int
    rows: Int[Tensor, "tokens"] | None
    """Where each token lies among count x longest; None where every place is taken."""
    mask: Bool[Tensor, "batch 1 1 keys"] | None
    """Which places are taken; None where all are."""


class Ragged:
    """`Ragged([5, 3, 9])`: three sentences, the first of them tokens 0 to 4."""

    def __init__(self, lengths: Sequence[int] | Int[Tensor, "batch"], device: torch.device | str = "cpu"):
        """Raises ShapeError where a sentence has no tokens."""
        self.sizes = tuple(lengths.tolist() if isinstance(lengths, Tensor) else map(int, lengths))
        self.device = torch.device(device)
        if not self.sizes or min(self.sizes) < 1:
            raise ShapeError(f"every sentence has at least one token, but their lengths are {self.sizes[:8]}")
        self._groups: dict[int, tuple[Group, ...]] = {}

    def to(self, device: torch.device | str) -> "Ragged":
        return self if torch.device(device) == self.device else Ragged(self.sizes, device)

    def __len__(self) -> int:
        """Sentences."""
        return len(self.sizes)

    @property
    def longest(self) -> int:
        return max(self.sizes)

    @cached_property
    def tokens(self) -> int:
        return sum(self.sizes)

    @cached_property
    def lengths(self) -> Int[Tensor, "batch"]:
        return torch.tensor(self.sizes, device=self.device)

    @cached_property
    def ends(self) -> Int[Tensor, "batch"]:
        """The last token of each sentence."""
        return self.lengths.cumsum(0) - 1

    @cached_property
    def starts(self) -> Int[Tensor, "batch"]:
        """The first token of each sentence."""
        return self.ends + 1 - self.lengths

    @cached_property
    def owners(self) -> Int[Tensor, "tokens"]:
        """To which sentence each token belongs."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), self.lengths)

    @cached_property
    def places(self) -> Int[Tensor, "tokens"]:
        """Where in its sentence each token stands, from 0."""
        return torch.arange(self.tokens, device=self.device) - self.starts[self.owners]

    # ------------------------------------------------------------------ in order of length

    @cached_property
    def order(self) -> Int[Tensor, "tokens"] | None:
        """Which token is first, second and so on where sentences are in order of length; None where they are
        as it is."""
        if all(a <= b for a, b in zip(self.sizes, self.sizes[1:], strict=False)):
            return None
        return torch.argsort(self.lengths[self.owners], stable=True)

    @cached_property
    def in_order(self) -> "Ragged":
        return self if self.order is None else Ragged(sorted(self.sizes), self.device)

    def groups(self, width: int) -> tuple[Group, ...]:
        """Sentences in order of length, cut so that what is computed for padding costs less than another
        group would. `width` is how many channels a token has."""
        assert self.order is None, "groups are made of sentences in order of length"
        if width not in self._groups:
            spare = WORTH.get(self.device.type, WORTH["cuda"]) // width
            self._groups[width] = tuple(self._group(part) for part in grouped(self.sizes, spare))
        return self._groups[width]

    def _group(self, sizes: tuple[int, ...]) -> Group:
        count, longest, tokens = len(sizes), sizes[-1], sum(sizes)
        if tokens == count * longest:
            return Group(tokens, count, longest, None, None)
        real = torch.arange(longest)[None] < torch.tensor(sizes)[:, None]
        rows = real.flatten().nonzero().flatten().to(self.device)
        return Group(tokens, count, longest, rows, key_mask(real.to(self.device)))


def grouped(sizes: Sequence[int], spare: int) -> list[tuple[int, ...]]:
    """Lengths in order, cut into stretches. The next sentence joins as long as all pairs of tokens that are
    then looked at beyond those of the sentences themselves are no more than `spare`."""
    stretches: list[tuple[int, ...]] = []
    stretch, own = [sizes[0]], sizes[0] ** 2
    for size in sizes[1:]:
        if (len(stretch) + 1) * size**2 - own - size**2 <= spare:
            stretch.append(size)
            own += size**2
        else:
            stretches.append(tuple(stretch))
            stretch, own = [size], size**2
    return [*stretches, tuple(stretch)]


# ---------------------------------------------------------------------- attention and the block


def attend_within(
    attention: MultiHeadAttention,
    tokens: Float[Tensor, "tokens width"],
    groups: Sequence[Group],
    causal: bool = False,
) -> Float[Tensor, "tokens width"]:
    """Self-attention where nobody looks beyond the own sentence; `causal`: nor ahead. As `attention` itself
    on each sentence alone."""
    dropout = attention.dropout if attention.training else 0.0
    packed = attention.to_qkv(tokens)
    taken = []
    for part, group in zip(packed.split([group.tokens for group in groups]), groups, strict=True):
        if group.rows is not None:
            part = place(part, group.rows, group.count * group.longest)
        q, k, v = (
            part.view(group.count, group.longest, 3, attention.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        )
        # Padding lies behind everything, where nobody looks who does not look ahead.
        mask = causal_mask(group.longest, tokens.device) if causal else group.mask
        if attention.watch is None:
            out = attend(q, k, v, mask, dropout)
        else:
            out, weights = attend_openly(q, k, v, mask, dropout)
            attention.watch(weights)
        out = out.transpose(-3, -2).reshape(-1, tokens.shape[-1])
        taken.append(out if group.rows is None else take(out, group.rows))
    return attention.to_output(taken[0] if len(taken) == 1 else torch.cat(taken))


class RaggedBlock(nn.Module):
    """norm(x + f(x)), with f attention within each sentence and then the MLP: `PostNormBlock` without
    padding, its weights under the same names. Dropout draws from torch's global generator."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-12,
    ):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout=attention_dropout)
        self.norm_attention = nn.LayerNorm(width, eps)
        # Dropout within the MLP is not BERT's.
        self.mlp = MLP(width, hidden, activation)
        self.norm_mlp = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "tokens width"], groups: Sequence[Group], causal: bool = False
    ) -> Float[Tensor, "tokens width"]:
        x = self.norm_attention(x + self.dropout(attend_within(self.attention, x, groups, causal)))
        return self.norm_mlp(x + self.dropout(self.mlp(x)))


# ---------------------------------------------------------------------- rows


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(x)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        return place(slopes[0], ctx.saved_tensors[0], ctx.count), None


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(rows)
        return x.new_zeros(count, *x.shape[1:]).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        return take(slopes[0], ctx.saved_tensors[0]), None, None


def take(x: Float[Tensor, "tokens width"], rows: Int[Tensor, "picked"]) -> Float[Tensor, "picked width"]:
    """`x[rows]` for rows of which none comes twice: its gradient is then a copy, and no sum."""
    return _Take.apply(x, rows)  # type: ignore[no-any-return]


def place(
    x: Float[Tensor, "picked width"], rows: Int[Tensor, "picked"], count: int
) -> Float[Tensor, "tokens width"]:
    """`count` rows of zeros with those of `x` at `rows`, of which none comes twice."""
    return _Place.apply(x, rows, count)  # type: ignore[no-any-return]
