"""ConvNeXt beside timm's, torchvision's and transformers'."""

import pytest
import torch

from rayformer.nets.convnext import SIZES, ConvNeXt, ConvNeXtConfig
from rayformer.nets.weights.convnext import CONVNEXT
from rayformer.nets.weights.loading import exported
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

TINY = ConvNeXtConfig(depths=(1, 2, 1, 2), widths=(8, 16, 24, 32))


def timms(**changes):
    timm = pytest.importorskip("timm")
    return timm.models.convnext.ConvNeXt(
        num_classes=5, depths=TINY.depths, dims=TINY.widths, **changes
    )  # fmt: skip


@pytest.mark.parametrize("size", [(64, 64), (97, 45), (32, 160)])
def test_the_answer_is_timms(size):
    theirs, ours = scattered(timms()), ConvNeXt(TINY, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "timm")
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5
        assert apart(ours.features(images), theirs.forward_features(images)) < 1e-5


def test_small_patches_and_no_layer_scale_are_timms():
    config = ConvNeXtConfig(depths=TINY.depths, widths=TINY.widths, patch_size=2, kernel=5, layer_scale=0.0)
    theirs = scattered(timms(patch_size=2, kernel_sizes=5, ls_init_value=None))
    # timm halves again where patches leave more than half the size; ours never halves before the first stage.
    if "stages.0.downsample.0.weight" in theirs.state_dict():
        theirs.stages[0].downsample = torch.nn.Identity()
    ours = ConvNeXt(config, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "timm")
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 40, 40)), theirs(pictures(2, 3, 40, 40))) < 1e-5


def test_gradients_are_timms():
    theirs, ours = scattered(timms()), ConvNeXt(TINY, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "timm")
    names = ours_by_theirs(theirs, CONVNEXT, "timm")
    assert gradients_apart(ours, theirs, pictures(2, 3, 64, 64), names) < 1e-4


def test_ten_steps_of_training_follow_timms():
    theirs, ours = scattered(timms()), ConvNeXt(TINY, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "timm")
    assert losses_apart(ours, theirs, pictures(8, 3, 32, 32)) < 1e-4


def test_weights_go_to_timm_and_give_the_same_answer_there():
    theirs, ours = timms().eval(), scattered(ConvNeXt(TINY, 5))
    theirs.load_state_dict(exported(ours, CONVNEXT, "timm"))
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, 64, 64)), theirs(pictures(1, 3, 64, 64))) < 1e-5


def test_the_answer_is_torchvisions():
    convnext = pytest.importorskip("torchvision.models.convnext")
    widths, depths = (*TINY.widths, None), TINY.depths
    settings = [
        convnext.CNBlockConfig(width, widths[stage + 1], depth)
        for stage, (width, depth) in enumerate(zip(TINY.widths, depths, strict=True))
    ]
    theirs, ours = scattered(convnext.ConvNeXt(settings, num_classes=5)), ConvNeXt(TINY, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "torchvision")
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 64, 96)), theirs(pictures(2, 3, 64, 96))) < 1e-5


def test_the_answer_is_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ConvNextConfig(
        depths=list(TINY.depths), hidden_sizes=list(TINY.widths), num_labels=5, layer_norm_eps=1e-6
    )
    theirs = scattered(transformers.ConvNextForImageClassification(config))
    ours = ConvNeXt(TINY, 5).eval()
    put_strictly(ours, theirs, CONVNEXT, "transformers")
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 64, 96)), theirs(pictures(2, 3, 64, 96)).logits) < 1e-5


@pytest.mark.parametrize(
    ("size", "name"),
    {"t": "tiny", "s": "small", "b": "base", "l": "large", "xl": "xlarge"}.items(),
)
def test_every_size_has_timms_tensors(size, name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours, theirs = ConvNeXt(SIZES[size], 1000), timm.create_model(f"convnext_{name}")
    mine = exported(ours, CONVNEXT, "timm")
    assert {key: tensor.shape for key, tensor in mine.items()} == {
        key: tensor.shape for key, tensor in theirs.state_dict().items()
    }
    assert count(ours) == count(theirs)
