"""Attention: means, masks, invariances, both ways alike, and torch's own module."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rayformer.nets.parts import attention
from rayformer.nets.parts.attention import MultiHeadAttention, attend, attend_openly, causal_mask, key_mask

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=10, deadline=None)
MASKS = ["none", "boolean", "added", "of keys", "learned"]


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def triple(seed=0, queries=5, keys=7, batch=(2,), dtype=torch.float64):
    """q, k and v of 3 heads."""
    generator = source(seed)
    sizes = [(queries, 4), (keys, 4), (keys, 6)]
    return [torch.randn(*batch, 3, *size, generator=generator, dtype=dtype) for size in sizes]


def mask_of(kind: str, seed=0, queries=5, keys=7, dtype=torch.float64):
    generator = source(seed + 1)
    allowed = torch.rand(2, 3, queries, keys, generator=generator) < 0.5
    allowed[..., 0] = True
    added = torch.randn(1, 3, queries, keys, generator=generator, dtype=dtype)
    return {
        "none": None,
        "boolean": allowed,
        "added": added.masked_fill(~allowed, float("-inf")),
        "of keys": key_mask(allowed[:, 0, 0]),
        "learned": added.requires_grad_(),
    }[kind]


@few
@drawn
def test_weights_are_shares_and_what_is_taken_is_their_mean(seed):
    q, k, v = triple(seed)
    taken, weights = attend_openly(q, k, v)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5, dtype=torch.float64))
    for query in range(5):
        mean = sum(weights[..., query, key, None] * v[..., key, :] for key in range(7))
        torch.testing.assert_close(taken[..., query, :], mean)


@few
@drawn
def test_the_scores_are_inner_products_over_the_root_of_the_features(seed):
    """Eq. 1: the logarithm of two weights differs as their scores do."""
    q, k, v = triple(seed)
    _, weights = attend_openly(q, k, v)
    difference = weights[0, 0, 0, 1].log() - weights[0, 0, 0, 2].log()
    torch.testing.assert_close(difference, q[0, 0, 0] @ (k[0, 0, 1] - k[0, 0, 2]) / 4**0.5)


@few
@drawn
def test_the_order_of_the_keys_means_nothing(seed):
    q, k, v = triple(seed)
    order = torch.randperm(7, generator=source(seed))
    torch.testing.assert_close(attend(q, k[..., order, :], v[..., order, :]), attend(q, k, v))


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("batch", [(2,), (2, 2), ()])
def test_both_ways_are_alike_in_value_and_gradient(kind, batch):
    mask = mask_of(kind)
    if batch == () and mask is not None:
        mask = mask[0]
    given = [part.requires_grad_() for part in triple(batch=batch)]
    given += [mask] if kind == "learned" and mask.is_leaf else []
    one, (other, _) = attend(*given[:3], mask), attend_openly(*given[:3], mask)
    torch.testing.assert_close(one, other)
    arriving = torch.randn(one.shape, generator=source(3), dtype=one.dtype)
    slopes = (torch.autograd.grad(out, given, arriving) for out in (one, other))
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("kind", MASKS)
def test_in_half_precision_the_answer_is_the_same_but_for_rounding(kind):
    whole, mask = triple(dtype=torch.float32), mask_of(kind, dtype=torch.float32)
    half = attend(*(part.bfloat16() for part in whole), mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), attend(*whole, mask), rtol=0.05, atol=0.05)


def test_a_mask_for_each_window_broadcasts_over_the_batch():
    q, k, v = triple(batch=(2, 4))
    mask = torch.rand(4, 1, 5, 7, generator=source(0)) < 0.5
    mask[..., 0] = True
    for window in range(4):
        alone = attend(q[:, window], k[:, window], v[:, window], mask[window])
        torch.testing.assert_close(attend(q, k, v, mask)[:, window], alone)


@pytest.mark.parametrize("attend", [attend, lambda *given: attend_openly(*given)[0]], ids=["quick", "open"])
def test_a_masked_key_is_as_good_as_none(attend):
    q, k, v = triple()
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[..., 4:] = False
    torch.testing.assert_close(attend(q, k, v, mask), attend(q, k[..., :4, :], v[..., :4, :]))


@pytest.mark.parametrize("attend", [attend, lambda *given: attend_openly(*given)[0]], ids=["quick", "open"])
def test_a_query_that_may_look_at_nothing_takes_nothing(attend):
    given = [part.requires_grad_() for part in triple()]
    mask = torch.ones(5, 7, dtype=torch.bool)
    mask[2] = False
    taken = attend(*given, mask)
    assert (taken[..., 2, :] == 0).all()
    assert (taken[..., 1, :] != 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(taken.sum(), given))


def test_nobody_looks_ahead_under_a_causal_mask():
    q, k, v = triple(queries=7)
    changed = v.clone()
    changed[..., 4:, :] += 1
    before, after = (attend(q, k, values, causal_mask(7)) for values in (v, changed))
    assert torch.equal(before[..., :4, :], after[..., :4, :])
    assert (before[..., 4:, :] != after[..., 4:, :]).all()


def test_dropped_weights_keep_the_mean():
    q, k, v = triple()
    torch.manual_seed(0)
    mean = sum(attend_openly(q, k, v, dropout=0.3)[0] for _ in range(3000)) / 3000
    torch.testing.assert_close(mean, attend(q, k, v), atol=0.1, rtol=0)


# ------------------------------------------------------------------------------------------------- many heads


def modules(width=12, heads=3, bias=True):
    """Ours and torch's with the same weights."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(width, heads, bias=bias, batch_first=True).eval()
    ours = MultiHeadAttention(width, heads, bias).eval()
    with torch.no_grad():
        ours.to_qkv.weight.copy_(theirs.in_proj_weight)
        ours.to_output.weight.copy_(theirs.out_proj.weight)
        ours.to_output.bias.zero_()
        if bias:
            nn.init.normal_(theirs.in_proj_bias)
            nn.init.normal_(theirs.out_proj.bias)
            ours.to_qkv.bias.copy_(theirs.in_proj_bias)
            ours.to_output.bias.copy_(theirs.out_proj.bias)
    return ours, theirs


def tokens(count, seed=0, width=12):
    return torch.randn(2, count, width, generator=source(seed))


@pytest.mark.parametrize("bias", [True, False])
def test_looking_at_oneself_is_torchs(bias):
    ours, theirs = modules(bias=bias)
    x = tokens(5)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


def test_looking_at_others_is_torchs():
    ours, theirs = modules()
    x, memory = tokens(5), tokens(7, 1)
    torch.testing.assert_close(ours(x, memory), theirs(x, memory, memory)[0])


def test_positions_in_questions_and_keys_alone_are_torchs():
    ours, theirs = modules()
    x, places = tokens(5), tokens(5, 1)
    torch.testing.assert_close(ours(x + places, values=x), theirs(x + places, x + places, x)[0])


def test_padding_and_causal_masks_are_torchs_with_the_opposite_sign():
    ours, theirs = modules()
    x = tokens(5)
    real = torch.tensor([[True] * 5, [True, True, True, False, False]])
    wanted = theirs(x, x, x, key_padding_mask=~real, attn_mask=~causal_mask(5))[0]
    torch.testing.assert_close(ours(x, mask=key_mask(real) & causal_mask(5)), wanted)


def test_keys_and_values_given_by_name_are_those_that_packed_ones_are():
    ours, _ = modules()
    x = tokens(5)
    torch.testing.assert_close(ours(x, x.clone(), x.clone()), ours(x))


def test_tokens_that_swap_places_swap_answers():
    ours, _ = modules()
    x = tokens(5)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order])


def test_weights_are_left_out_in_training_only():
    attention = MultiHeadAttention(12, 3, dropout=0.5)
    x = tokens(5)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("batch", [(), (2,), (5, 2)])
def test_a_few_at_a_time_is_all_at_once(kind, batch):
    """In value and gradient, whatever the mask broadcasts over."""
    parts = [part.requires_grad_() for part in triple(1, batch=batch)]
    mask = mask_of(kind, 1)
    if mask is not None and not batch:
        mask = mask[0]
    learned = [*parts, *([mask] if mask is not None and mask.requires_grad and mask.is_leaf else [])]
    whole = attend_openly(*parts, mask)[0]
    wanted = torch.autograd.grad(whole.square().sum(), learned)
    for count in (1, 2, 4):
        taken = attention._a_few_at_a_time(*parts, mask, 0.0, count)
        torch.testing.assert_close(taken, whole)
        torch.testing.assert_close(torch.autograd.grad(taken.square().sum(), learned), wanted)


def test_a_mask_for_every_example_is_cut_with_the_examples():
    parts = triple(2, batch=(5,))
    mask = torch.rand(5, 1, 5, 7, generator=source(2)) < 0.7
    whole = attend_openly(*parts, mask)[0]
    torch.testing.assert_close(attention._a_few_at_a_time(*parts, mask, 0.0, 2), whole)
