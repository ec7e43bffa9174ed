"""ResNet-RS beside timm's, and the plain ResNet beside timm's and torchvision's."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from rayformer.nets.resnet_rs import PLAIN, SIZES, ResNet, ResNetConfig
from rayformer.nets.weights.loading import exported
from rayformer.nets.weights.resnet_rs import RESNET
from tests.peers.beside import (
    apart,
    count,
    gradients_apart,
    losses_apart,
    ours_by_theirs,
    pictures,
    put_strictly,
    scattered,
)

DEPTHS, WIDTH = (1, 2, 1, 1), 8
FORMS = {
    (True, True): "timm",
    (False, False): "torchvision",
    (True, False): "timm, plain shortcuts",
    (False, True): "timm, plain stem",
}


def timms(config: ResNetConfig) -> torch.nn.Module:
    """The network that timm builds for our switches."""
    timm = pytest.importorskip("timm")
    resnet = timm.models.resnet
    excite = partial(timm.layers.SEModule, rd_ratio=config.squeeze) if config.squeeze else None
    net = resnet.ResNet(
        block=resnet.Bottleneck, layers=config.depths, num_classes=5,
        channels=tuple(config.width * 2**n for n in range(4)),
        stem_width=config.width // 2, stem_type="deep" if config.deep_stem else "",
        replace_stem_pool=not config.max_pool, avg_down=config.pooled_shortcut,
        block_args={"attn_layer": excite} if excite else None,
    )  # fmt: skip
    return scattered(net)


def pair(**changes):
    """Ours and timm's of the same weights."""
    width = WIDTH if changes.get("deep_stem", True) else 64  # which timm's plain stem always has
    config = ResNetConfig(depths=DEPTHS, width=width, **changes)
    theirs, ours = timms(config), ResNet(config, 5).eval()
    put_strictly(ours, theirs, RESNET, FORMS[config.deep_stem, config.pooled_shortcut])
    return ours, theirs


@pytest.mark.parametrize("size", [(64, 64), (97, 45), (32, 160)])
def test_the_answer_is_timms(size):
    ours, theirs = pair()
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5
        assert apart(ours.features(images), theirs.forward_features(images)) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [{"squeeze": 0.0}, {"max_pool": True}, {"pooled_shortcut": False}, {"deep_stem": False}],
)
def test_every_switch_gives_timms_answer(changes):
    ours, theirs = pair(**changes)
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 64, 64)), theirs(pictures(2, 3, 64, 64))) < 1e-5


@pytest.mark.parametrize("changes", [{}, {"squeeze": 0.0}], ids=["excited", "bare"])
def test_gradients_are_timms(changes):
    ours, theirs = pair(**changes)
    names = ours_by_theirs(theirs, RESNET, "timm")
    assert gradients_apart(ours, theirs, pictures(2, 3, 64, 64), names) < 1e-4


def test_in_training_batch_statistics_and_gradients_are_timms():
    """In double precision: batch statistics of few numbers magnify rounding."""
    ours, theirs = pair()
    images = pictures(4, 3, 64, 64).double()
    with torch.no_grad():
        for net in (ours, theirs):
            net.double().train()
    assert gradients_apart(ours, theirs, images, ours_by_theirs(theirs, RESNET, "timm")) < 1e-8
    mine = exported(ours, RESNET, "timm")
    assert all(
        apart(mine[key].double(), tensor.double()) < 1e-9 for key, tensor in theirs.state_dict().items()
    )


def test_ten_steps_of_training_follow_timms():
    ours, theirs = (net.double() for net in pair())
    assert losses_apart(ours, theirs, pictures(8, 3, 64, 64).double()) < 1e-8


@pytest.mark.parametrize(("size", "squeeze"), [("plain-50", 0.0), ("plain-50", 1 / 16)])
def test_weights_go_to_timm_and_give_the_same_answer_there(size, squeeze):
    """At full size: the names of the 50-layer network, all of them."""
    timm = pytest.importorskip("timm")
    ours = scattered(ResNet(replace(SIZES[size], squeeze=squeeze), 1000))
    theirs = timm.create_model("seresnet50" if squeeze else "resnet50").eval()
    theirs.load_state_dict(exported(ours, RESNET, "torchvision"))
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, 64, 64)), theirs(pictures(1, 3, 64, 64))) < 1e-5


def test_the_plain_answer_is_torchvisions():
    resnet = pytest.importorskip("torchvision.models.resnet")
    theirs = scattered(resnet.ResNet(resnet.Bottleneck, list(DEPTHS), num_classes=5))
    ours = ResNet(replace(PLAIN, depths=DEPTHS), 5).eval()
    put_strictly(ours, theirs, RESNET, "torchvision")
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, 64, 96)), theirs(pictures(1, 3, 64, 96))) < 1e-5


def test_no_format_writes_a_network_of_other_shortcuts():
    """`downsample.1` would otherwise be written where another network reads it as something else."""
    with pytest.raises(AssertionError, match="do not know"):
        exported(ResNet(replace(PLAIN, depths=(1,)), 5), RESNET, "timm")
    with pytest.raises(AssertionError, match="do not know"):
        exported(ResNet(ResNetConfig(depths=(1,)), 5), RESNET, "torchvision")


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_timms_tensors(size):
    timm = pytest.importorskip("timm")
    name = f"resnet{size.removeprefix('plain-')}" if "plain" in size else f"resnetrs{size}"
    with torch.device("meta"):
        ours, theirs = ResNet(SIZES[size], 1000), timm.create_model(name)
    mine = exported(ours, RESNET, "torchvision" if "plain" in size else "timm")
    assert {key: tensor.shape for key, tensor in mine.items()} == {
        key: tensor.shape for key, tensor in theirs.state_dict().items()
    }
    assert count(ours) == count(theirs)
