"""What a network looked at: recorded without a trace, rolled out as shares."""

import pytest
import torch
from torch import nn

from rayformer.nets.parts.attention_maps import rollout, watched
from rayformer.nets.parts.block import PreNormBlock


def stack(depth=3):
    torch.manual_seed(0)
    return nn.Sequential(*(PreNormBlock(12, 3, 24) for _ in range(depth))).eval()


def shares(layers=3, tokens=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 4, tokens, tokens, generator=generator).softmax(-1) for _ in range(layers)]


def test_every_attention_is_seen_by_name_and_its_weights_sum_to_one():
    net, x = stack(), torch.randn(2, 5, 12)
    with watched(net) as weights:
        assert not weights
        net(x)
    assert list(weights) == ["0.attention", "1.attention", "2.attention"]
    for one in weights.values():
        assert one.shape == (2, 3, 5, 5)
        torch.testing.assert_close(one.sum(dim=-1), torch.ones(2, 3, 5))


def test_nobody_is_watched_any_more_afterwards_even_after_an_error():
    net = stack()
    with pytest.raises(ZeroDivisionError), watched(net):
        raise ZeroDivisionError
    assert all(block.attention.watch is None for block in net)


def test_one_layer_rolled_out_is_half_itself_and_half_the_mean_of_its_heads():
    (layer,) = shares(1)
    torch.testing.assert_close(rollout([layer]), (layer.mean(dim=1) + torch.eye(5)) / 2)


def test_rolled_out_shares_sum_to_one():
    torch.testing.assert_close(rollout(shares(6)).sum(dim=-1), torch.ones(2, 5))


def test_layers_multiply_the_last_one_on_the_left():
    one, two = shares(2)
    torch.testing.assert_close(rollout([one, two]), rollout([two]) @ rollout([one]))
    assert not torch.allclose(rollout([one, two]), rollout([two, one]))


def test_a_token_that_looks_at_nobody_but_itself_stays_what_it_is():
    layers = shares(4)
    for layer in layers:
        layer[:, :, 2] = torch.eye(5)[2]
    torch.testing.assert_close(rollout(layers)[:, 2], torch.eye(5)[2].expand(2, -1))
