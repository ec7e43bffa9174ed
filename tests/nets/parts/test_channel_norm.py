"""Layer norm over the channels of a map."""

import torch

from rayformer.nets.parts.channel_norm import ChannelNorm


def test_every_place_has_mean_0_and_variance_1_whatever_the_others_hold():
    x = torch.randn(2, 16, 3, 5) * torch.rand(2, 1, 3, 5) * 10 + 3
    out = ChannelNorm(16)(x)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=1, correction=0), torch.ones(2, 3, 5), atol=1e-3, rtol=0)


def test_its_gain_and_bias_are_of_channels():
    norm, x = ChannelNorm(4), torch.randn(2, 4, 3, 5)
    plain = norm(x)
    gain, bias = torch.randn(4), torch.randn(4)
    norm.load_state_dict({"weight": gain, "bias": bias})
    torch.testing.assert_close(norm(x), plain * gain[:, None, None] + bias[:, None, None])


def test_where_channels_lie_last_the_answer_does_too():
    x = torch.randn(2, 4, 3, 5).to(memory_format=torch.channels_last)
    norm = ChannelNorm(4)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(norm(x), norm(x.contiguous()))
