"""The Transformer beside torch's own: layer by layer, masks included, and whole."""

import pytest
import torch
from torch import nn

from rayformer.nets.parts.block import DecoderBlock, PostNormBlock
from rayformer.nets.transformer import Transformer, TransformerConfig
from rayformer.nets.weights.names import published_names, renamed
from rayformer.nets.weights.transformer import TORCH

from .beside import apart, scattered

TINY = TransformerConfig(width=24, depth=2, heads=4, hidden=40, dropout=0.0)
SIZES = {"d_model": 24, "nhead": 4, "dim_feedforward": 40, "dropout": 0.0, "batch_first": True}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def ours_of(theirs: nn.Module, block: nn.Module, side: str) -> nn.Module:
    """Their layer's weights in our block."""
    named = {f"{side}.layers.0.{name}": tensor for name, tensor in theirs.state_dict().items()}
    ours, unknown = renamed(named, TORCH)
    assert not unknown
    block.load_state_dict({name.removeprefix(f"{side}.0."): tensor for name, tensor in ours.items()})
    return block.eval()


def gradients(out: torch.Tensor, given: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad((out * torch.linspace(-1, 2, out.shape[-1])).sum(), given)


@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_block_is_torchs_in_value_and_gradient(padded):
    theirs = scattered(nn.TransformerEncoderLayer(**SIZES, activation="relu", norm_first=False)).train()
    ours = ours_of(theirs, PostNormBlock(24, 4, 40), "encoder")
    x = drawn(2, 7, 24).requires_grad_()
    real = torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = not padded
    one, other = ours(x, real[:, None, None]), theirs(x, src_key_padding_mask=~real)
    seen = real[..., None]
    assert apart(one * seen, other * seen) < 1e-5
    assert apart(gradients(one * seen, [x])[0], gradients(other * seen, [x])[0]) < 1e-5


@pytest.mark.parametrize("padded", [False, True])
def test_a_decoder_block_is_torchs_in_value_and_gradient(padded):
    theirs = scattered(nn.TransformerDecoderLayer(**SIZES, activation="relu", norm_first=False)).train()
    ours = ours_of(theirs, DecoderBlock(24, 4, 40), "decoder")
    x, memory = drawn(2, 5, 24).requires_grad_(), drawn(2, 7, 24, seed=1).requires_grad_()
    real = torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = not padded
    ahead = nn.Transformer.generate_square_subsequent_mask(5)
    one = ours(x, memory, ahead == 0, real[:, None, None])
    other = theirs(x, memory, tgt_mask=ahead.isinf(), memory_key_padding_mask=~real)
    assert apart(one, other) < 1e-5
    for mine, their in zip(gradients(one, [x, memory]), gradients(other, [x, memory]), strict=True):
        assert apart(mine, their) < 1e-5


def test_the_whole_network_is_torchs_without_the_norms_that_the_paper_has_not():
    stacks = scattered(nn.Transformer(**SIZES, num_encoder_layers=2, num_decoder_layers=2, activation="relu"))
    stacks.encoder.norm = stacks.decoder.norm = None
    ours = Transformer(TINY, 13).eval()
    weights, unknown = renamed(stacks.state_dict(), TORCH)
    assert not unknown
    ours.load_state_dict({**weights, "words.weight": ours.words.weight})
    source, target = torch.randint(0, 13, (2, 7)), torch.randint(0, 13, (2, 5))
    real = torch.ones(2, 7, dtype=torch.bool)
    real[0, 5:] = False
    ahead = nn.Transformer.generate_square_subsequent_mask(5).isinf()
    said = stacks(
        ours.embed(source), ours.embed(target), tgt_mask=ahead, src_key_padding_mask=~real,
        memory_key_padding_mask=~real,
    )  # fmt: skip
    assert apart(ours(source, target, real), said @ ours.words.weight.T) < 1e-5


def test_weights_go_to_torchs_names_and_back():
    ours = Transformer(TINY, 13)
    theirs, unknown = published_names(ours.state_dict(), TORCH)
    assert not unknown
    stacks = nn.Transformer(**SIZES, num_encoder_layers=2, num_decoder_layers=2)
    norms = {name for name in stacks.state_dict() if name.startswith(("encoder.norm", "decoder.norm"))}
    assert set(theirs) - {"words.weight"} == set(stacks.state_dict()) - norms
    back, _ = renamed(theirs, TORCH)
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.state_dict().items())


def test_label_smoothing_is_torchs_on_what_is_real():
    from rayformer.losses.classification import cross_entropy

    logits, truth = drawn(9, 13), torch.randint(1, 13, (9,))
    truth[6:] = 0
    theirs = nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=0)(logits, truth)
    torch.testing.assert_close(cross_entropy(logits[truth != 0], truth[truth != 0], 0.1), theirs)
