"""Blocks beside torch's layers, and what their switches mean."""

import pytest
import torch
from torch import nn

from rayformer.nets.parts.attention import causal_mask, key_mask
from rayformer.nets.parts.block import ACTIVATIONS, MLP, PostNormBlock, PreNormBlock, initialise
from rayformer.nets.parts.cache import KeyValueCache


def tokens(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(before: bool, activation: str):
    """A block of ours and torch's encoder layer with the same weights."""
    torch.manual_seed(0)
    theirs = nn.TransformerEncoderLayer(12, 3, 24, 0.0, activation, batch_first=True, norm_first=before)
    ours = (PreNormBlock if before else PostNormBlock)(12, 3, 24, activation=activation, eps=1e-5)
    names = {
        "self_attn.in_proj_weight": "attention.to_qkv.weight",
        "self_attn.in_proj_bias": "attention.to_qkv.bias",
        "self_attn.out_proj": "attention.to_output",
        "linear1": "mlp.to_hidden",
        "linear2": "mlp.to_output",
        "norm1": "norm_attention",
        "norm2": "norm_mlp",
    }
    state = {}
    for name, tensor in theirs.state_dict().items():
        nn.init.normal_(tensor, std=0.3)
        theirs_stem = next(stem for stem in names if name.startswith(stem))
        state[name.replace(theirs_stem, names[theirs_stem])] = tensor
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("before", [True, False], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_block_is_torchs_in_value_and_gradient(before, activation):
    ours, theirs = pair(before, activation)
    x = tokens(2, 5, 12).requires_grad_()
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    mask = key_mask(real) & causal_mask(5)
    one = ours(x, mask)
    other = theirs(x, src_mask=~causal_mask(5), src_key_padding_mask=~real)
    torch.testing.assert_close(one, other)
    slopes = (torch.autograd.grad(out.square().sum(), x) for out in (one, other))
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-4)


def test_positions_move_questions_and_keys_and_are_not_taken():
    """Where neither questions nor keys are told apart, positions change nothing."""
    block = PostNormBlock(12, 3, 24).eval()
    x, places = tokens(2, 5, 12), tokens(2, 5, 12, seed=1)
    assert not torch.allclose(block(x, positions=places), block(x))
    nn.init.zeros_(block.attention.to_qkv.weight[:24].data)
    torch.testing.assert_close(block(x, positions=places), block(x))


def test_a_block_that_adds_nothing_is_the_identity():
    block = PreNormBlock(12, 3, 24, layer_scale=0.0)
    x = tokens(2, 5, 12)
    assert torch.equal(block(x), x)


def test_layer_scale_multiplies_each_branch():
    torch.manual_seed(0)
    plain = PreNormBlock(12, 3, 24)
    scaled = PreNormBlock(12, 3, 24, layer_scale=0.5)
    scaled.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        plain.attention.to_output.weight *= 0.5
        plain.mlp.to_output.weight *= 0.5
        plain.attention.to_output.bias *= 0.5
        plain.mlp.to_output.bias *= 0.5
    x = tokens(2, 5, 12)
    torch.testing.assert_close(scaled(x), plain(x))


def test_an_example_passes_both_branches_by_or_takes_them_larger():
    torch.manual_seed(0)
    block = PreNormBlock(12, 3, 24, drop_path=0.5)
    x = tokens(1, 5, 12).expand(64, -1, -1)
    kinds = torch.unique(block(x).detach().flatten(1), dim=0)
    assert len(kinds) == 4  # neither, one, the other, both
    assert (kinds - x[0].flatten()).abs().amax(dim=1).min() < 1e-6


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_any_batch_shape_will_do(batch):
    block = PreNormBlock(12, 3, 24).eval()
    x = tokens(*batch, 5, 12)
    torch.testing.assert_close(block(x).reshape(-1, 5, 12)[-1], block(x.reshape(-1, 5, 12)[-1]))


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "quick_gelu", "relu"])
def test_each_token_is_thought_about_alone(activation):
    mlp = MLP(12, 24, activation)
    x = tokens(2, 5, 12)
    changed = x.clone()
    changed[:, 3] += 1
    before, after = mlp(x), mlp(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3] != after[:, 3]).any()


def test_the_gelus_approximate_the_exact_one():
    x = torch.linspace(-4, 4, 200)
    exact = x * torch.special.ndtr(x)
    for name, near in {"gelu": 1e-6, "gelu_tanh": 1e-3, "quick_gelu": 2.1e-2}.items():
        error = (ACTIVATIONS[name](x) - exact).abs().max()
        assert near / 10 < error + near / 5 < near * 1.3


def test_patches_start_so_that_they_keep_the_variance_of_pixels():
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 500, 8, stride=8)
    initialise(layer)
    assert layer(torch.randn(20, 3, 8, 8)).std().item() == pytest.approx(0.88, abs=0.03)
    assert (layer.bias == 0).all()


def test_a_block_that_remembers_gives_what_one_pass_gives():
    torch.manual_seed(0)
    block, x = PreNormBlock(12, 3, 24, norm=nn.RMSNorm).eval(), tokens(2, 7, 12)
    whole = block(x, causal_mask(7))
    cache = KeyValueCache(2, 3, 7, 4)
    parts = [block(x[:, :3], causal_mask(3), cache)]
    parts += [block(x[:, place : place + 1], None, cache) for place in range(3, 7)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_norms_are_of_the_kind_that_was_asked_for():
    for kind in (nn.LayerNorm, nn.RMSNorm):
        block = PreNormBlock(12, 3, 24, norm=kind, eps=0.5)
        assert {type(block.norm_attention), type(block.norm_mlp)} == {kind}
        assert block.norm_mlp.eps == 0.5
