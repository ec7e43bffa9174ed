"""Swin beside attention over all tokens with a mask in closed form; any size; locality; what is refused."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ConfigError
from rayformer.nets.swin import SIZES, Merge, Stage, Swin, SwinConfig

TINY = SwinConfig(width=8, depths=(2, 2, 2), heads=(1, 2, 4), window=4)


def swin(seed=0, **changes) -> Swin:
    torch.manual_seed(seed)
    return scattered(Swin(replace(TINY, **changes), 5))


def scattered(net):
    """In evaluation, with biases and tables that are more than the little they start from."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return net.eval()


def pictures(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def over_all_pairs(stage: Stage, places, window: int):
    """A stage whose blocks attend over the whole map, with -inf between places of different windows and a
    bias by their step: nothing is filled up, rolled or cut."""
    height, width = places.shape[1:3]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    tokens = places.flatten(1, 2)
    for turn, (block, bias) in enumerate(zip(stage.blocks, stage.biases, strict=True)):
        down, right = (window // 2 if turn % 2 and size > window else 0 for size in (height, width))
        group = torch.stack([(rows - down) // window, (columns - right) // window])
        apart = (group[:, :, None] != group[:, None, :]).any(dim=0)
        furthest = 2 * window - 2
        steps = [
            (place[:, None] - place[None, :] + window - 1).clamp(0, furthest) for place in (rows, columns)
        ]
        table = bias.table.view(furthest + 1, furthest + 1, -1)
        mask = table[steps[0], steps[1]].permute(2, 0, 1).masked_fill(apart, float("-inf"))
        tokens = block(tokens, mask)
    return tokens.unflatten(1, (height, width))


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 11), width=st.integers(1, 11), seed=st.integers(0, 1000))
def test_a_stage_is_attention_over_all_places_within_shifted_windows(height, width, seed):
    torch.manual_seed(seed)
    stage = scattered(Stage(replace(TINY, depths=(3, 1, 1)), 0, [0.0, 0.0, 0.0]))
    places = torch.randn(2, height, width, 8)
    torch.testing.assert_close(stage(places), over_all_pairs(stage, places, 4), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(11, 6), (3, 9)])
def test_so_are_its_gradients(size):
    torch.manual_seed(0)
    stage = scattered(Stage(TINY, 0, [0.0, 0.0]))
    places = torch.randn(2, *size, 8)
    grads = []
    for net in (stage, lambda x: over_all_pairs(stage, x, 4)):
        x = places.clone().requires_grad_()
        out = (net(x) * torch.linspace(-1, 1, 8)).square().sum()
        grads.append(torch.autograd.grad(out, [x, *stage.parameters()]))
    torch.testing.assert_close(*grads, atol=1e-3, rtol=1e-3)


def test_merging_lays_four_neighbours_side_by_side_column_by_column():
    merge = Merge(1, 1e-5)
    merge.norm = torch.nn.Identity()
    torch.nn.init.eye_(merge.reduce.weight)  # the first two of the four
    places = torch.arange(24.0).view(1, 4, 6, 1)
    merged = merge(places)
    assert merged.shape == (1, 2, 3, 2)
    assert merged[0, 1, 2].tolist() == [places[0, 2, 4, 0], places[0, 3, 4, 0]]


def test_merging_fills_up_odd_maps_with_zeros():
    merge = Merge(4, 1e-5)
    places = torch.randn(1, 3, 5, 4)
    torch.testing.assert_close(merge(places), merge(torch.nn.functional.pad(places, (0, 0, 0, 1, 0, 1))))


@pytest.mark.parametrize("size", [(64, 64), (33, 57), (5, 70), (1, 1), (4, 4)])
def test_pictures_of_any_size(size):
    net = swin()
    images = pictures(2, 3, *size).requires_grad_()
    out = net(images)
    assert out.shape == (2, 5)
    assert out.isfinite().all()
    out.square().sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad.abs().sum(dim=1) > 0).all()  # every pixel counts
    sides = [-(-side // 4) for side in size]
    for stage, found in enumerate(net.stage_features(images)):
        assert found.shape == (2, 8 * 2**stage, *sides)
        sides = [-(-side // 2) for side in sides]


def test_examples_do_not_see_each_other():
    images, net = pictures(3, 3, 37, 50), swin()
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_a_first_stage_of_two_blocks_sees_a_window_and_a_half_around():
    """Windows of 4 places of 4 pixels, the second ones 2 places on: nothing comes from further than 5
    places."""
    net, images = swin(), pictures(1, 3, 96, 96)
    changed = images.clone()
    changed[..., 40:44, 40:44] += 1  # place (10, 10)
    apart = (net.stage_features(changed)[0] != net.stage_features(images)[0]).any(dim=1)[0]
    rows, columns = apart.nonzero().T
    assert apart[10, 10]
    assert rows.min() == columns.min() == 6  # windows 8-11, then 6-9 and 10-13
    assert rows.max() == columns.max() == 13
    assert apart.sum() == 64


def test_no_real_token_looks_at_what_was_filled_in():
    """What is filled in is zero before the first norm, and its bias after: were it seen, this would
    change."""
    net, images = swin(), pictures(1, 3, 40, 40)
    before = net.stage_features(images)[0]
    with torch.no_grad():
        for block in net.stages[0].blocks:
            block.norm_attention.register_forward_hook(
                lambda module, given, out: torch.where(given[0].abs().sum(-1, keepdim=True) == 0, 1e3, out)
            )
    torch.testing.assert_close(net.stage_features(images)[0], before)


def test_checkpointing_changes_no_gradient_not_even_with_dropout():
    images = pictures(2, 3, 40, 64)
    grads = []
    for checkpointing in (False, True):
        net = swin(checkpointing=checkpointing, dropout=0.1, attention_dropout=0.1, drop_path=0.3).train()
        torch.manual_seed(1)
        net(images).square().sum().backward()
        grads.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*grads)


def test_all_parameters_have_a_gradient():
    net = swin().train()
    net(pictures(2, 3, 64, 64)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_half_precision_is_near():
    net, images = swin(), pictures(2, 3, 50, 64)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(images)
    assert (half.float() - net(images)).abs().max() < 0.05 * net(images).abs().max()


def test_depths_rise_from_the_patches_to_the_head():
    net = swin()
    assert net.depth_of("embed.norm.weight") == 0
    assert net.depth_of("stages.0.blocks.1.mlp.to_hidden.weight") == 2
    assert net.depth_of("stages.0.biases.1.table") == 2
    assert net.depth_of("stages.1.merge.reduce.weight") == 2
    assert net.depth_of("stages.1.blocks.0.norm_mlp.bias") == 3
    assert net.depth_of("norm.weight") == net.depth_of("head.bias") == 7


def test_what_decay_passes_over():
    net = swin()
    decayed = {name for name, parameter in net.named_parameters() if not net.undecayed(name, parameter)}
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert len(decayed) == 1 + 6 * 4 + 2 + 1  # patches, four matrices to a block, two mergings, the head


def test_sizes_are_those_of_the_paper():
    assert {name: (size.width, size.depths) for name, size in SIZES.items()} == {
        "t": (96, (2, 2, 6, 2)),
        "s": (96, (2, 2, 18, 2)),
        "b": (128, (2, 2, 18, 2)),
        "l": (192, (2, 2, 18, 2)),
    }
    for size in SIZES.values():
        assert all(size.width * 2**stage == 32 * heads for stage, heads in enumerate(size.heads))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("stages", {"depths": (2, 2)}),
        ("window", {"window": 0}),
        ("depths", {"depths": (2, 0, 6, 2)}),
        ("heads", {"heads": (5, 6, 12, 24)}),
        ("expansion", {"expansion": -1.0}),
        ("dropout", {"dropout": 1.0}),
    ],
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        SwinConfig(**changes)
    snapshot(name, str(refusal.value))
