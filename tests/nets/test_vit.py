"""ViT: which token may matter, other sizes, switches that change nothing, and what is refused."""

from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.nets.parts.attention_maps import rollout
from rayformer.nets.vit import SIZES, ViT, ViTConfig, attention

TINY = ViTConfig(image_size=32, patch_size=8, width=24, depth=3, heads=3)


def vit(seed=0, **changes) -> ViT:
    """In evaluation, with a head that is not the zeros it starts from."""
    torch.manual_seed(seed)
    net = ViT(replace(TINY, **changes), 5)
    torch.nn.init.normal_(net.head.weight)
    return net.eval()


def pictures(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_class_is_as_likely_at_first():
    assert (ViT(TINY, 5)(pictures(2, 3, 32, 32)) == 0).all()


def test_examples_do_not_see_each_other():
    images, net = pictures(3, 3, 32, 32), vit()
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_without_positions_the_order_of_the_patches_means_nothing():
    net = vit()
    torch.nn.init.zeros_(net.positions.table)
    images = pictures(2, 3, 32, 32)
    swapped = images.clone()
    swapped[..., :8, :8], swapped[..., 16:24, 8:16] = images[..., 16:24, 8:16], images[..., :8, :8]
    torch.testing.assert_close(net(swapped), net(images))
    assert not torch.allclose(vit()(swapped), vit()(images))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (16, 48), (8, 8)])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_pictures_of_any_size_that_patches_cover(size, pool):
    net = vit(pool=pool)
    assert net(pictures(2, 3, *size)).shape == (2, 5)
    assert net.features(pictures(2, 3, *size)).shape == (2, 1 + size[0] * size[1] // 64, 24)


def test_the_class_token_alone_is_classified_or_not_at_all():
    tokens = pictures(2, 17, 24)
    for pool, others in {"class": True, "mean": False}.items():
        net = vit(pool=pool)
        changed = tokens.clone()
        changed[:, 1:] += 1
        changed[:, 5] += pictures(24, seed=3)
        assert torch.equal(net.classify(changed), net.classify(tokens)) == others
        changed = tokens.clone()
        changed[:, 0] += pictures(24, seed=3)
        assert torch.equal(net.classify(changed), net.classify(tokens)) != others


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_all_parameters_have_a_gradient(pool):
    net = vit(pool=pool, layer_scale=0.1).train()
    net(pictures(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_checkpointing_changes_no_gradient_not_even_with_dropout():
    images = pictures(2, 3, 32, 32)
    grads = []
    for checkpointing in (False, True):
        net = vit(checkpointing=checkpointing, dropout=0.1, attention_dropout=0.1, drop_path=0.3).train()
        torch.manual_seed(1)
        net(images).square().sum().backward()
        grads.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*grads)


def test_dropout_and_drop_path_are_for_training():
    images = pictures(2, 3, 32, 32)
    for changes in ({"dropout": 0.2}, {"attention_dropout": 0.2}, {"drop_path": 0.9}):
        net = vit(**changes)
        torch.testing.assert_close(net(images), vit()(images))
        net.train()
        assert not torch.equal(net(images), net(images))


def test_attention_is_every_blocks_and_rolls_out_to_shares_of_the_patches():
    net, images = vit(), pictures(2, 3, 32, 48)
    weights = attention(net, images)
    assert [one.shape for one in weights] == [(2, 3, 25, 25)] * 3
    shares = rollout(weights)[:, 0, 1:]
    assert (shares > 0).all()
    assert (shares.sum(dim=1) < 1).all()


def test_a_patch_whose_key_always_wins_is_what_is_looked_at():
    """All blocks look at patch 6 only: the class token's share of it is 1 - 2^-3."""
    net, images = vit(pool="mean"), pictures(1, 3, 32, 32)
    weights = [torch.zeros_like(one) for one in attention(net, images)]
    for one in weights:
        one[..., 6] = 1
    torch.testing.assert_close(rollout(weights)[0, 0, 6], torch.tensor(1 - 0.5**3))


def test_half_precision_is_near():
    net, images = vit(), pictures(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(images)
    assert (half.float() - net(images)).abs().max() < 0.05 * net(images).abs().max()


def test_depths_rise_from_the_patches_to_the_head():
    net = vit()
    depths = [net.depth_of(name) for name, _ in net.named_parameters()]
    assert depths == sorted(depths)
    assert set(depths) == {0, 1, 2, 3, 4}
    assert net.depth_of("head.weight") == net.depth_of("norm.bias") == 4
    assert vit(pool="mean").depth_of("pooled_norm.weight") == 4


def test_what_decay_passes_over():
    net = vit(layer_scale=0.1)
    decayed = {name for name, parameter in net.named_parameters() if not net.undecayed(name, parameter)}
    matrices = {"attention.to_qkv", "attention.to_output", "mlp.to_hidden", "mlp.to_output"}
    blocks = {f"blocks.{layer}.{matrix}.weight" for layer in range(3) for matrix in matrices}
    assert decayed == {"embed.project.weight", "head.weight"} | blocks


def test_sizes_are_those_of_the_papers():
    assert {name: (size.width, size.heads, size.depth) for name, size in SIZES.items()} == {
        "ti": (192, 3, 12), "s": (384, 6, 12), "b": (768, 12, 12), "l": (1024, 16, 24), "h": (1280, 16, 32),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("depth", {"depth": 0}),
        ("image_size", {"image_size": 225}),
        ("width", {"width": 100}),
        ("expansion", {"expansion": 0.0}),
        ("drop_path", {"drop_path": 1.0}),
        ("no_class_token", {"class_token": False}),
    ],
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ViTConfig(**changes)
    snapshot(name, str(refusal.value))


def test_pictures_that_patches_do_not_cover_are_refused():
    with pytest.raises(ShapeError, match="patches of 8x8"):
        vit()(pictures(1, 3, 32, 33))
