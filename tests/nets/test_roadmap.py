"""The road from ResNet to ConvNeXt: both ends, every step, and what each costs."""

import re
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rayformer.core.errors import ConfigError
from rayformer.nets.convnext import SIZES as CONVNEXTS
from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.resnet_rs import PLAIN, ResNet
from rayformer.nets.roadmap import PAPER, STEPS, Roadmap, RoadmapConfig

FIRST, LAST = next(iter(STEPS.values())), list(STEPS.values())[-1]
SMALL = {"depths": (1, 2, 2), "width": 8}


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def scattered(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim < 2 else tensor * 2)
    return net.eval()


def of_resnet(name: str) -> str:
    """A name of ResNet's in the road's words."""
    name = name.replace("stem.only.", "stem.0.").replace("shortcut.pick.", "shortcut.convolve.")
    for number, part in enumerate(("narrow", "spatial", "widen")):
        name = re.sub(rf"^(stages\.\d+\.\d+)\.{part}\.", rf"\1.branch.{number}.", name)
    return name


def of_convnext(name: str) -> str:
    """A name of ConvNeXt's; a halving stands before the blocks of its stage."""
    name = name.replace("stem.", "stem.0.")
    name = re.sub(r"^(stages\.\d+)\.halve\.norm\.", r"\1.0.0.", name)
    name = re.sub(r"^(stages\.\d+)\.halve\.convolve\.", r"\1.0.1.", name)
    if found := re.match(r"stages\.(\d+)\.blocks\.(\d+)\.(.*)", name):
        stage, block, rest = int(found[1]), int(found[2]), found[3]
        rest = re.sub("^spatial", "branch.0.convolve", rest)
        rest = re.sub("^norm", "branch.0.norm", rest)
        rest = re.sub("^widen", "branch.1.convolve", rest)
        rest = re.sub("^narrow", "branch.2.convolve", rest)
        name = f"stages.{stage}.{block + (stage > 0)}.{rest}"
    return name


def copied(road: Roadmap, weights: dict[str, Tensor]) -> Roadmap:
    """The road with these weights, every one of its own replaced; linear layers are convolutions of 1 x 1."""
    own = road.state_dict()
    assert own.keys() == weights.keys()
    road.load_state_dict({name: tensor.reshape(own[name].shape) for name, tensor in weights.items()})
    return road.eval()


def test_the_road_starts_at_resnet_50():
    with torch.device("meta"):
        assert count(Roadmap(FIRST, 1000)) == count(ResNet(PLAIN, 1000))
    resnet = scattered(ResNet(replace(PLAIN, **SMALL), 5))
    weights = {of_resnet(name): tensor for name, tensor in resnet.state_dict().items()}
    road, images = copied(Roadmap(replace(FIRST, **SMALL), 5), weights), torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(road(images), resnet(images))


def test_the_road_ends_at_convnext_t():
    with torch.device("meta"):
        assert count(Roadmap(LAST, 1000)) == count(ConvNeXt(CONVNEXTS["t"], 1000))
    convnext = scattered(ConvNeXt(ConvNeXtConfig(depths=SMALL["depths"], widths=(8, 16, 32)), 5))
    weights = {of_convnext(name): tensor for name, tensor in convnext.state_dict().items()}
    road, images = copied(Roadmap(replace(LAST, **SMALL), 5), weights), torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(road(images), convnext(images))


def test_every_step_changes_one_thing():
    for before, after in pairwise(STEPS.values()):
        changed = [name for name, value in asdict(after).items() if value != asdict(before)[name]]
        assert len(changed) == 1


@pytest.mark.parametrize("step", STEPS)
def test_every_step_costs_what_the_paper_says(step):
    """In thousands of millions of multiplications for a picture of 224 pixels."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Roadmap(STEPS[step], 1000).eval()(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(PAPER[step][1], abs=0.06)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_trains(step):
    """After one step every parameter has a gradient. Pictures have an odd size."""
    torch.manual_seed(0)
    net = Roadmap(replace(STEPS[step], **SMALL, small_images=True, drop_path=0.1), 3, channels=1)
    images, classes = torch.randn(8, 1, 17, 13), torch.arange(8) % 3
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), classes).backward()
        optimiser.step()
    silent = [name for name, parameter in net.named_parameters() if not parameter.grad.any()]
    assert not silent


@pytest.mark.parametrize("config", [FIRST, LAST])
def test_every_block_is_a_layer_deeper(config):
    with torch.device("meta"):
        net = Roadmap(config, 3)
    blocks = [net.depth_of(name) for name, _ in net.named_modules() if name.endswith(".branch")]
    assert blocks == list(range(1, sum(config.depths) + 1))
    assert {net.depth_of(name) for name, _ in net.named_parameters()} == set(range(sum(config.depths) + 2))


def test_what_keeps_the_size_of_small_pictures():
    for config in (FIRST, LAST):
        net = Roadmap(replace(config, **SMALL, small_images=True), 3, channels=1).eval()
        assert net.features(torch.randn(1, 1, 32, 32)).shape[2:] == (8, 8)


def test_channels_may_lie_anywhere_in_memory():
    for config in STEPS.values():
        net, images = Roadmap(replace(config, **SMALL), 3).eval(), torch.randn(2, 3, 40, 24)
        torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), net(images))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_blocks": {"depths": (0,)},
        "no_width": {"width": 0},
        "even_kernel": {"kernel": 4},
        "few_activations_out_of_order": {"few_activations": True},
        "few_norms_out_of_order": {"few_norms": True},
        "all_is_left_out": {"drop_path": 1.0},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        RoadmapConfig(**changes)
    snapshot(f"net_{name}", str(refusal.value))
