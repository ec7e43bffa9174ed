"""ViT's published names: every format there and back, the authors' files, and positions that fit."""

import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.nets.vit import ViT, ViTConfig
from rayformer.nets.weights.loading import exported, put
from rayformer.nets.weights.vit import VIT

TINY = ViTConfig(image_size=32, patch_size=8, width=24, depth=2, heads=3)


def vit(seed=0, **changes) -> ViT:
    torch.manual_seed(seed)
    net = ViT(ViTConfig(**{**TINY.__dict__, **changes}), 5)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net


@pytest.mark.parametrize("form", [name for name in VIT.formats if name != "flax"])
def test_there_and_back_is_the_same(form):
    ours, again = vit(), vit(1)
    report = put(again, exported(ours, VIT, form), VIT, "a file")
    assert report.format == form
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def flax(net: ViT) -> dict[str, torch.Tensor]:
    """The authors' file: outputs last, heads apart, slashes."""
    own, heads = net.state_dict(), net.config.heads
    tensors = {
        "cls": own["class_token"],
        "embedding/kernel": own["embed.project.weight"].permute(2, 3, 1, 0),
        "embedding/bias": own["embed.project.bias"],
        "Transformer/posembed_input/pos_embedding": own["positions.table"],
        "Transformer/encoder_norm/scale": own["norm.weight"],
        "Transformer/encoder_norm/bias": own["norm.bias"],
        "head/kernel": own["head.weight"].T,
        "head/bias": own["head.bias"],
    }
    for layer in range(net.config.depth):
        theirs, ours = f"Transformer/encoderblock_{layer}/", f"blocks.{layer}."
        attention = theirs + "MultiHeadDotProductAttention_1/"
        for word, weight, bias in zip(
            ["query", "key", "value"],
            own[ours + "attention.to_qkv.weight"].chunk(3),
            own[ours + "attention.to_qkv.bias"].chunk(3),
            strict=True,
        ):
            tensors[f"{attention}{word}/kernel"] = weight.T.unflatten(1, (heads, -1))
            tensors[f"{attention}{word}/bias"] = bias.unflatten(0, (heads, -1))
        tensors[attention + "out/kernel"] = own[ours + "attention.to_output.weight"].T.unflatten(
            0, (heads, -1)
        )
        tensors[attention + "out/bias"] = own[ours + "attention.to_output.bias"]
        for norm, name in [("LayerNorm_0", "norm_attention"), ("LayerNorm_2", "norm_mlp")]:
            tensors[f"{theirs}{norm}/scale"] = own[f"{ours}{name}.weight"]
            tensors[f"{theirs}{norm}/bias"] = own[f"{ours}{name}.bias"]
        for dense, name in [("Dense_0", "to_hidden"), ("Dense_1", "to_output")]:
            tensors[f"{theirs}MlpBlock_3/{dense}/kernel"] = own[f"{ours}mlp.{name}.weight"].T
            tensors[f"{theirs}MlpBlock_3/{dense}/bias"] = own[f"{ours}mlp.{name}.bias"]
    return tensors


def test_the_authors_files_are_read():
    ours, again = vit(), vit(1)
    report = put(again, flax(ours), VIT, "a file")
    assert report.format == "flax"
    assert not report.kept
    assert not report.unexpected
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("image_size", [24, 64])
def test_positions_fit_another_picture_size_and_the_class_tokens_stays(image_size):
    ours, other = vit(), vit(1, image_size=image_size)
    report = put(other, exported(ours, VIT, "timm"), VIT, "a file")
    assert report.resized == {"positions.table": ((1, 17, 24), (1, 1 + (image_size // 8) ** 2, 24))}
    assert torch.equal(other.positions.table[:, 0], ours.positions.table[:, 0])


def test_14_times_14_positions_without_a_class_token_are_a_grid():
    """196 is a square and 195 is none."""
    ours = vit(image_size=112, pool="mean", class_token=False)
    other = vit(1, image_size=56, pool="mean", class_token=False)
    put(other, exported(ours, VIT, "timm"), VIT, "a file")
    assert other.positions.table.shape == (1, 49, 24)


@pytest.mark.parametrize("changes", [{"width": 48}, {"depth": 3}, {"patch_size": 16}])
def test_weights_of_another_architecture_are_refused(changes):
    with pytest.raises(DataError, match="another architecture"):
        put(vit(**changes), exported(vit(), VIT, "timm"), VIT, "a file")
