"""NF-Net: that its signals keep their size, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.nets.nfnet import SIZES, Block, NFNet, NFNetConfig, before_blocks

TINY = {"depths": (1, 2), "widths": (16, 32), "stem_width": 16, "group_width": 8, "last_width": 48}


def tiny(classes=5, channels=3, **changes) -> NFNet:
    """With branches that count: their gains start at 0."""
    torch.manual_seed(0)
    net = NFNet(NFNetConfig(**TINY | changes), classes, channels).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, Block):
                module.gain.fill_(1.0)
    return net


@pytest.mark.parametrize(
    ("size", "parameters"),
    {"f0": 71.5, "f1": 132.6, "f2": 193.8, "f3": 254.9, "f4": 316.1, "f5": 377.2, "f6": 438.4}.items(),
)
def test_every_size_has_the_papers_parameters(size, parameters):
    """In millions (table 4). F7 is in the authors' code only."""
    with torch.device("meta"):
        net = NFNet(SIZES[size], 1000)
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(
        parameters, abs=0.06
    )


def test_every_size_has_one_more_of_the_smallest_ones_blocks():
    assert SIZES["f0"].depths == (1, 2, 6, 3)
    assert SIZES["f7"].depths == (8, 16, 48, 24)
    assert all(sum(SIZES[f"f{n}"].depths) == 12 * (n + 1) for n in range(8))


def test_beta_grows_with_the_blocks_of_a_stage_and_starts_again_after_a_halving():
    betas = before_blocks(NFNetConfig(depths=(1, 2, 6, 3), alpha=0.2))
    assert betas[0] == [1.0]
    assert betas[1] == pytest.approx([math.sqrt(1.04), math.sqrt(1.04)])
    assert betas[2] == pytest.approx([math.sqrt(1.08)] + [math.sqrt(1 + 0.04 * n) for n in range(1, 6)])
    assert betas[3][0] == pytest.approx(math.sqrt(1.24))


def variances(divide: bool) -> list[float]:
    """Of noise before each of eight blocks that count fully, as a share of what is foretold. Big steps, so
    that a few blocks show it."""
    torch.manual_seed(1)
    config = NFNetConfig(depths=(8,), widths=(256,), stem_width=256, group_width=64, alpha=1.0)
    x, found = torch.randn(2, 256, 16, 16), []
    with torch.no_grad():
        for beta in before_blocks(config)[0]:
            found.append(x.var().item() / beta**2)
            block = Block(config, 256, 256, 1, beta if divide else 1.0, 0.0)
            block.gain.fill_(1.0)
            x = block(x)
    return found


def test_signals_have_the_variance_that_was_foretold():
    """But for the zeros beyond the map's edges, which take a little."""
    assert variances(divide=True) == pytest.approx([1.0] * 8, abs=0.2)


def test_without_the_division_they_would_explode():
    assert variances(divide=False)[-1] > 5


def test_a_fresh_block_lets_everything_past():
    block, x = Block(NFNetConfig(**TINY), 32, 32, 1, 1.1, 0.0), torch.randn(2, 32, 6, 6)
    assert torch.equal(block(x), x)


def test_a_fresh_block_that_halves_averages_what_is_active():
    torch.manual_seed(0)
    block, x = Block(NFNetConfig(**TINY), 16, 32, 2, 1.5, 0.0), torch.randn(2, 16, 6, 6)
    scaled = F.gelu(x) * 1.7015043497085571 / 1.5
    pooled = F.avg_pool2d(scaled, 2)
    filters = block.shortcut.filters() / (1.7015043497085571 / 1.5)
    torch.testing.assert_close(block(x), F.conv2d(pooled, filters, block.shortcut.bias))


@pytest.mark.parametrize(("halvings", "side"), [(2, 4), (1, 8), (0, 16)])
def test_the_stem_halves_as_often_as_it_is_told(halvings, side):
    net = tiny(stem_halvings=halvings, channels=1)
    assert net.features(torch.randn(2, 1, 32, 32)).shape == (2, 48, side, side)


def test_channels_may_lie_anywhere_in_memory():
    net, images = tiny(), torch.randn(2, 3, 41, 24)
    wanted = net(images)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), wanted)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images), wanted)


def test_under_autocast_the_answer_is_near():
    net, images = tiny(), torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(images)
    torch.testing.assert_close(rounded.float(), net(images), atol=0.02, rtol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (1, 40)])
def test_a_picture_may_be_small(size):
    assert tiny()(torch.randn(2, 3, *size)).isfinite().all()


def test_the_answer_to_a_picture_does_not_depend_on_its_neighbours_even_in_training():
    net, images = tiny().train(), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(images)[2:3], net(images[2:3]))


def test_in_training_branches_and_features_are_left_out():
    images = torch.randn(4, 3, 32, 32)
    for changes in ({"drop_path": 0.5}, {"dropout": 0.5}):
        net = tiny(**changes).train()
        assert not torch.equal(net(images), net(images))


def test_a_gradient_reaches_every_parameter():
    net = tiny().train()
    net(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_every_block_is_a_layer_deeper():
    net = tiny()
    depths = {name: net.depth_of(name) for name, _ in net.named_parameters()}
    assert depths["stem.3.gain"] == 0
    assert depths["stages.0.0.gain"] == 1
    assert depths["stages.1.1.widen.weight"] == 3
    assert depths["last.weight"] == depths["head.bias"] == 4


def test_weight_decay_is_for_filters_gates_and_the_head():
    net = tiny()
    passed = {name for name, parameter in net.named_parameters() if net.undecayed(name, parameter)}
    assert passed == {name for name, _ in net.named_parameters() if name.endswith(("bias", "gain"))}


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "stages_that_do_not_match": {"depths": (1, 2, 3)},
        "no_blocks": {"depths": (0, 1)},
        "no_groups": {"widths": (16, 40)},
        "stem_too_narrow": {"stem_width": 12},
        "too_many_halvings": {"stem_halvings": 3},
        "no_last_width": {"last_width": 0},
        "no_squeeze": {"squeeze": 0.0},
        "no_step": {"alpha": 0.0},
        "all_is_left_out": {"drop_path": 1.0},
        "all_is_dropped": {"dropout": 1.0},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        NFNetConfig(**TINY | changes)
    snapshot(f"net_{name}", str(refusal.value))
