"""NF-Net beside timm's `dm_nfnet_f*`."""

import pytest
import torch

from rayformer.nets.nfnet import SIZES, NFNet, NFNetConfig
from rayformer.nets.weights.loading import exported
from rayformer.nets.weights.nfnet import NFNET
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

TINY = NFNetConfig(
    depths=(1, 2, 3, 1), widths=(16, 32, 48, 48), stem_width=16, group_width=8, last_width=96
)  # fmt: skip


def pair():
    """Ours and timm's of the same weights."""
    timm = pytest.importorskip("timm")
    nfnet = timm.models.nfnet
    config = nfnet.NfCfg(
        depths=TINY.depths, channels=TINY.widths, stem_type="deep_quad", stem_chs=16, group_size=8,
        extra_conv=True, gamma_in_act=True, same_padding=True, skipinit=True, num_features=96,
        act_layer="gelu", attn_layer="se", attn_kwargs={"rd_ratio": 0.5},
    )  # fmt: skip
    theirs, ours = scattered(nfnet.NormFreeNet(config, num_classes=5)), NFNet(TINY, 5).eval()
    put_strictly(ours, theirs, NFNET, "timm")
    return ours, theirs


@pytest.mark.parametrize("size", [(64, 64), (97, 45), (33, 160)])
def test_the_answer_is_timms(size):
    """Odd sizes too, where what is padded differs from even ones."""
    ours, theirs = pair()
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5
        assert apart(ours.features(images), theirs.forward_features(images)) < 1e-5


def test_gradients_are_timms():
    ours, theirs = pair()
    names = ours_by_theirs(theirs, NFNET, "timm")
    assert gradients_apart(ours, theirs, pictures(2, 3, 64, 64), names) < 1e-4


def test_ten_steps_of_training_follow_timms():
    ours, theirs = pair()
    assert losses_apart(ours, theirs, pictures(8, 3, 32, 32)) < 1e-4


def test_weights_go_to_timm_and_give_the_same_answer_there():
    ours, theirs = pair()
    scattered(ours, seed=3)
    theirs.load_state_dict(exported(ours, NFNET, "timm"))
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, 64, 64)), theirs(pictures(1, 3, 64, 64))) < 1e-5


@pytest.mark.parametrize("size", [size for size in SIZES if size != "f7"])
def test_every_size_has_timms_tensors(size):
    """timm has no weights of the authors' for F7, and so no such network."""
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours, theirs = NFNet(SIZES[size], 1000), timm.create_model(f"dm_nfnet_{size}")
    mine = exported(ours, NFNET, "timm")
    assert {key: tensor.shape for key, tensor in mine.items()} == {
        key: tensor.shape for key, tensor in theirs.state_dict().items()
    }
    assert count(ours) == count(theirs)
