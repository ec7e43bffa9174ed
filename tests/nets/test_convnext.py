"""ConvNeXt: what its parts see, where it starts, and what it refuses."""

import pytest
import torch
from torch import nn

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.nets.convnext import SIZES, Block, ConvNeXt, ConvNeXtConfig

TINY = {"depths": (1, 2), "widths": (8, 16)}


def tiny(classes=5, channels=3, **changes) -> ConvNeXt:
    torch.manual_seed(0)
    return ConvNeXt(ConvNeXtConfig(**TINY | changes), classes, channels).eval()


@pytest.mark.parametrize(
    ("size", "parameters"), {"t": 28.59, "s": 50.22, "b": 88.59, "l": 197.77, "xl": 350.20}.items()
)
def test_every_size_has_the_papers_parameters(size, parameters):
    """In millions (table 9 and the authors' page)."""
    with torch.device("meta"):
        net = ConvNeXt(SIZES[size], 1000)
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(
        parameters, abs=5e-3
    )


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_block_sees_its_surroundings_and_nothing_else(kernel):
    torch.manual_seed(0)
    block = Block(ConvNeXtConfig(kernel=kernel, layer_scale=1.0), 8, 0.0)
    x = torch.randn(1, 8, 15, 15, requires_grad=True)
    block(x)[0, :, 7, 7].sum().backward()
    seen = (x.grad.abs().sum(dim=1)[0] > 0).nonzero()
    reach = kernel // 2
    assert seen.amin(dim=0).tolist() == [7 - reach] * 2
    assert seen.amax(dim=0).tolist() == [7 + reach] * 2
    assert len(seen) == kernel**2


def test_a_fresh_network_is_its_halvings_alone():
    net, images = tiny(), torch.randn(2, 3, 32, 32)
    fresh = net.features(images)
    for stage in net.stages:
        stage.blocks = nn.Identity()
    torch.testing.assert_close(net.features(images), fresh, atol=1e-4, rtol=1e-4)


def test_channels_may_lie_anywhere_in_memory():
    net, images = tiny(layer_scale=1.0), torch.randn(2, 3, 40, 24)
    wanted = net(images)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), wanted)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images), wanted)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), wanted)


def test_channels_stay_last_in_memory_all_the_way():
    """Else norms and perceptrons would copy every map."""
    net, found = tiny(), []
    for module in net.modules():
        if isinstance(module, Block):
            module.register_forward_hook(
                lambda module, given, out: found.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    net(torch.randn(2, 3, 40, 24))
    assert found == [True] * 3


def test_under_autocast_the_answer_is_near():
    net, images = tiny(layer_scale=1.0), torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(images)
    torch.testing.assert_close(rounded.float(), net(images), atol=0.02, rtol=0.02)


@pytest.mark.parametrize(("patch_size", "channels", "side"), [(4, 3, 4), (2, 1, 8), (1, 3, 16)])
def test_a_map_is_as_large_as_the_picture_over_all_strides(patch_size, channels, side):
    net = tiny(patch_size=patch_size, channels=channels)
    assert net.features(torch.randn(2, channels, 32, 32)).shape == (2, 16, side, side)
    assert net(torch.randn(2, channels, 32, 32)).shape == (2, 5)


def test_the_answer_to_a_picture_does_not_depend_on_its_neighbours():
    net, images = tiny(drop_path=0.5, dropout=0.5, layer_scale=1.0), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(images)[2:3], net(images[2:3]))


def test_in_training_branches_are_left_out_and_answers_differ():
    net, images = tiny(drop_path=0.5, layer_scale=1.0).train(), torch.randn(4, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    shares = [block.drop_path.share for stage in net.stages for block in stage.blocks]
    assert shares == [0.0, 0.25, 0.5]


def test_a_gradient_reaches_every_parameter():
    net = tiny(layer_scale=0.1).train()
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_rates_fall_by_threes_of_blocks_as_in_the_papers_code():
    with torch.device("meta"):
        nets = {size: ConvNeXt(SIZES[size], 10) for size in ("t", "s")}
    depths = {
        size: {name: net.depth_of(name) for name, _ in net.named_parameters()} for size, net in nets.items()
    }
    small = depths["s"]
    assert small["stem.convolve.weight"] == 0
    assert small["stages.0.blocks.2.scale"] == 1
    assert small["stages.1.halve.norm.bias"] == small["stages.1.blocks.0.norm.weight"] == 2
    assert [small[f"stages.2.blocks.{block}.scale"] for block in (0, 2, 3, 25, 26)] == [3, 3, 4, 11, 11]
    assert small["stages.3.halve.convolve.weight"] == small["stages.3.blocks.2.scale"] == 12
    assert small["head.weight"] == small["norm.weight"] == 13
    assert sorted(set(depths["t"].values())) == list(range(8))


def test_weight_decay_is_for_matrices_and_filters():
    net = tiny()
    passed = {name for name, parameter in net.named_parameters() if net.undecayed(name, parameter)}
    assert passed == {
        name
        for name, _ in net.named_parameters()
        if name.endswith(("bias", "scale", "norm.weight"))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "stages_that_do_not_match": {"depths": (1, 2, 3)},
        "no_blocks": {"depths": (0, 1)},
        "no_channels": {"widths": (8, 0)},
        "no_patches": {"patch_size": 0},
        "even_kernel": {"kernel": 4},
        "scale_below_zero": {"layer_scale": -1.0},
        "all_is_left_out": {"drop_path": 1.0},
        "all_is_dropped": {"dropout": 1.0},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ConvNeXtConfig(**TINY | changes)
    snapshot(f"net_{name}", str(refusal.value))


def test_pictures_of_which_nothing_would_be_left_are_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        tiny()(torch.randn(1, 3, 7, 40))
    snapshot("net_picture_too_small", str(refusal.value))
    assert tiny()(torch.randn(1, 3, 8, 8)).shape == (1, 5)
