"""ResNet-RS: every rung of the ladder that is architecture, and what is refused."""

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.nets.resnet_rs import PLAIN, SIZES, Bottleneck, Picked, Pooled, ResNet, ResNetConfig

TINY = {"depths": (1, 2), "width": 8}


def tiny(classes=5, channels=3, **changes) -> ResNet:
    torch.manual_seed(0)
    net = ResNet(ResNetConfig(**TINY | changes), classes, channels).eval()
    for module in net.modules():  # branches that start at zero would hide all before their last norm
        if isinstance(module, Bottleneck):
            torch.nn.init.ones_(module.widen.norm.weight)
    return net


@pytest.mark.parametrize(
    ("size", "parameters"),
    {
        "50": 35.69, "101": 63.62, "152": 86.62, "200": 93.21, "270": 129.86, "350": 163.96, "420": 191.89,
        "plain-50": 25.56, "plain-200": 64.67,
    }.items(),
)  # fmt: skip
def test_every_size_has_the_published_parameters(size, parameters):
    """In millions."""
    with torch.device("meta"):
        net = ResNet(SIZES[size], 1000)
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(
        parameters, abs=5e-3
    )


def test_a_fresh_block_lets_everything_past():
    block = Bottleneck(ResNetConfig(), 32, 8, 1, 0.0).eval()
    x = torch.randn(2, 32, 6, 6)
    assert torch.equal(block(x), F.relu(x))


@pytest.mark.parametrize(("kind", "share"), [(Picked, 1 / 4), (Pooled, 1.0)])
def test_a_picked_shortcut_sees_one_place_in_four_and_a_pooled_one_all(kind, share):
    shortcut = kind(4, 16, 2).eval()
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    shortcut(x).square().sum().backward()
    assert (x.grad.abs().sum(dim=1) > 0).float().mean() == share


def test_gates_multiply_the_branch_and_not_what_goes_past():
    torch.manual_seed(0)
    block, x = Bottleneck(ResNetConfig(), 32, 8, 1, 0.0).eval(), torch.rand(2, 32, 6, 6)
    torch.nn.init.ones_(block.widen.norm.weight)
    branch = block.widen(block.spatial(block.narrow(x)))
    torch.testing.assert_close(block(x), F.relu(x + block.excite(branch) * branch))


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("max_pool", [True, False])
@pytest.mark.parametrize(("halvings", "side"), [(2, 4), (1, 8), (0, 16)])
def test_the_stem_halves_as_often_as_it_is_told(deep, max_pool, halvings, side):
    net = tiny(deep_stem=deep, max_pool=max_pool, stem_halvings=halvings, channels=1)
    assert net.features(torch.randn(2, 1, 32, 32)).shape == (2, 64, side, side)


@pytest.mark.parametrize("changes", [{}, {"deep_stem": False, "max_pool": True, "squeeze": 0.0}])
def test_channels_may_lie_anywhere_in_memory(changes):
    net, images = tiny(**changes), torch.randn(2, 3, 40, 24)
    wanted = net(images)
    torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), wanted)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(images), wanted)


def test_under_autocast_the_answer_is_near():
    net, images = tiny(), torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(images)
    torch.testing.assert_close(rounded.float(), net(images), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (1, 40)])
def test_a_picture_may_be_small(size):
    assert tiny()(torch.randn(2, 3, *size)).isfinite().all()


def test_the_answer_to_a_picture_does_not_depend_on_its_neighbours():
    net, images = tiny(drop_path=0.5, dropout=0.5), torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(net(images)[2:3], net(images[2:3]))


def test_dropout_leaves_features_out_before_the_classes_and_nowhere_else():
    net, features = tiny(dropout=0.5).train(), torch.ones(1, 64, 2, 2)
    with torch.no_grad():
        net.head.weight.fill_(1.0)
        net.head.bias.zero_()
    answers = {net.classify(features)[0, 0].item() for _ in range(20)}
    assert len(answers) > 3
    assert all(answer % 2 == 0 for answer in answers), "what stays is twice as large"
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(net.features(images), net.features(images))


@pytest.mark.parametrize("squeeze", [0.25, 0.0])
def test_in_training_branches_are_left_out(squeeze):
    net, images = tiny(drop_path=0.5, squeeze=squeeze).train(), torch.randn(4, 3, 32, 32)
    assert not torch.equal(net(images), net(images))
    assert [block.drop_path.share for stage in net.stages for block in stage] == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("squeeze", [0.25, 0.0])
def test_a_gradient_reaches_every_parameter(squeeze):
    net = tiny(squeeze=squeeze, drop_path=0.1).train()
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_every_block_is_a_layer_deeper():
    net = tiny()
    depths = {name: net.depth_of(name) for name, _ in net.named_parameters()}
    assert depths["stem.first.norm.bias"] == depths["stem.halve.convolve.weight"] == 0
    assert depths["stages.0.0.widen.norm.weight"] == 1
    assert depths["stages.1.0.shortcut.norm.bias"] == 2
    assert depths["stages.1.1.excite.squeeze.bias"] == 3
    assert depths["head.weight"] == 4


def test_weight_decay_is_for_filters_and_the_head():
    net = ResNet(PLAIN, 5)
    passed = {name for name, parameter in net.named_parameters() if net.undecayed(name, parameter)}
    assert passed == {name for name, _ in net.named_parameters() if name.endswith(("bias", "norm.weight"))}


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_blocks": {"depths": (0, 1)},
        "no_stages": {"depths": ()},
        "odd_width": {"width": 9},
        "too_many_halvings": {"stem_halvings": 3},
        "squeezed_wider": {"squeeze": 1.5},
        "all_is_left_out": {"drop_path": 1.0},
        "all_is_dropped": {"dropout": -0.1},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ResNetConfig(**TINY | changes)
    snapshot(f"net_{name}", str(refusal.value))
