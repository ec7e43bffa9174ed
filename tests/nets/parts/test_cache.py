"""The cache of keys and values: token by token is the same as all at once, and hypotheses keep their past."""

import pytest
import torch

from rayformer.nets.parts.attention import MultiHeadAttention, causal_mask
from rayformer.nets.parts.cache import KeyValueCache


def attention_and_tokens(batch=3, tokens=6, width=8, heads=2, dtype=torch.float64):
    torch.manual_seed(0)
    attention = MultiHeadAttention(width, heads).to(dtype).eval()
    return attention, torch.randn(batch, tokens, width, dtype=dtype)


def test_one_token_after_the_other_is_the_whole_sequence_under_the_causal_mask():
    attention, x = attention_and_tokens()
    whole = attention(x, mask=causal_mask(6))
    cache = KeyValueCache(3, 2, 6, 4)
    steps = [attention(x[:, place : place + 1], cache=cache) for place in range(6)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole)
    assert cache.count == 6


@pytest.mark.parametrize("first", [1, 3, 5])
def test_several_tokens_at_once_need_a_mask_and_are_the_same(first):
    attention, x = attention_and_tokens()
    cache = KeyValueCache(3, 2, 6, 4)
    head = attention(x[:, :first], mask=causal_mask(first), cache=cache)
    tail = attention(x[:, first:], mask=causal_mask(6 - first, before=first), cache=cache)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), attention(x, mask=causal_mask(6)))


def test_what_was_picked_goes_on_as_if_it_had_always_stood_there():
    attention, x = attention_and_tokens()
    rows = torch.tensor([2, 0, 2])
    cache, twin = KeyValueCache(3, 2, 6, 4), KeyValueCache(3, 2, 6, 4)
    for place in range(4):
        attention(x[:, place : place + 1], cache=cache)
        attention(x[rows, place : place + 1], cache=twin)
    cache.pick(rows)
    new = x[:, 4:5]
    torch.testing.assert_close(attention(new, cache=cache), attention(new, cache=twin), rtol=0, atol=0)


def test_fewer_examples_may_go_on():
    attention, x = attention_and_tokens()
    cache = KeyValueCache(3, 2, 6, 4)
    attention(x[:, :1], cache=cache)
    cache.pick(torch.tensor([1]))
    assert cache.batch == 1
    step = attention(x[1:2, 1:2], cache=cache)
    torch.testing.assert_close(step, attention(x[1:2, :2], mask=causal_mask(2))[:, 1:])


def test_nothing_is_copied_as_the_cache_grows():
    keys = torch.randn(2, 1, 3, 4)
    cache = KeyValueCache(2, 1, 9, 4, dtype=torch.float32, device="cpu")
    first, _ = cache.extend(keys, keys)
    second, _ = cache.extend(keys, keys)
    assert first.data_ptr() == second.data_ptr()
    assert second.shape == (2, 1, 6, 4)


def test_it_takes_the_kind_of_number_that_comes_or_the_one_it_was_told():
    keys = torch.randn(2, 1, 3, 4).bfloat16()
    assert KeyValueCache(2, 1, 9, 4).extend(keys, keys)[0].dtype == torch.bfloat16
    assert KeyValueCache(2, 1, 9, 4, dtype=torch.float32).extend(keys, keys)[0].dtype == torch.float32


def test_more_than_fits_is_refused():
    keys = torch.randn(2, 1, 3, 4)
    cache = KeyValueCache(2, 1, 5, 4)
    cache.extend(keys, keys)
    with pytest.raises(AssertionError, match="made for 5 tokens, and these make 6"):
        cache.extend(keys, keys)
    with pytest.raises(AssertionError, match="do not fit"):
        cache.pick(torch.tensor([0, 1, 1]))


def test_remembered_memory_is_asked_as_fresh_memory_is():
    attention, x = attention_and_tokens()
    memory = torch.randn(3, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(attention.recall(x, attention.remember(memory)), attention(x, memory))
