"""What timm cannot build is refused by the field; that it does build the rest is for `tests/peers`."""

from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.nets import convnext, nfnet, resnet_rs, swin, vit
from rayformer.nets.weights.for_timm import for_timm

NAMED = {
    "vit_base_patch32_224": lambda: vit.ViT(replace(vit.SIZES["b"], patch_size=32), 10),
    "swin_small_patch4_window7_224": lambda: swin.Swin(swin.SIZES["s"], 10),
    "convnext_large": lambda: convnext.ConvNeXt(convnext.SIZES["l"], 10),
    "resnetrs101": lambda: resnet_rs.ResNet(resnet_rs.SIZES["101"], 10),
    "resnet50": lambda: resnet_rs.ResNet(resnet_rs.SIZES["plain-50"], 10),
    "seresnet50": lambda: resnet_rs.ResNet(replace(resnet_rs.PLAIN, squeeze=1 / 16), 10),
    "dm_nfnet_f1": lambda: nfnet.NFNet(nfnet.SIZES["f1"], 10),
}
SMALL = {"depths": (1, 1, 1, 1)}
REFUSED = {
    "eps": (vit.ViT, vit.ViTConfig(depth=1, eps=1e-5), 224),
    "expansion": (vit.ViT, vit.ViTConfig(depth=1, width=30, heads=2, expansion=2.65), 224),
    "swin_eps": (swin.Swin, swin.SwinConfig(**SMALL, eps=1e-6), 224),
    "swin_patches": (swin.Swin, swin.SwinConfig(**SMALL), 30),
    "window": (swin.Swin, swin.SwinConfig(**SMALL), 64),
    "patch_size": (convnext.ConvNeXt, convnext.ConvNeXtConfig(**SMALL, patch_size=2), 64),
    "stages": (convnext.ConvNeXt, convnext.ConvNeXtConfig(depths=(1, 1), widths=(8, 16)), 64),
    "layer_scale": (convnext.ConvNeXt, convnext.ConvNeXtConfig(**SMALL, layer_scale=0.0), 64),
    "wider": (convnext.ConvNeXt, convnext.ConvNeXtConfig(**SMALL, expansion=2), 64),
    "stem": (resnet_rs.ResNet, resnet_rs.ResNetConfig(**SMALL, width=8, stem_halvings=1), 64),
    "plain_width": (resnet_rs.ResNet, resnet_rs.ResNetConfig(**SMALL, width=8, deep_stem=False), 64),
    "squeeze": (resnet_rs.ResNet, resnet_rs.ResNetConfig(**SMALL, width=8, squeeze=0.5), 64),
    "nfnet_stem": (nfnet.NFNet, nfnet.NFNetConfig(depths=(1,), widths=(256,), stem_halvings=1), 64),
    "nfnet_widths": (nfnet.NFNet, nfnet.NFNetConfig(depths=(1,), widths=(24,), group_width=4), 64),
    "nfnet_last": (nfnet.NFNet, nfnet.NFNetConfig(depths=(1,), widths=(256,), last_width=20), 64),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_published_size_has_its_name_and_needs_no_more(name):
    with torch.device("meta"):
        theirs = for_timm(NAMED[name](), 224)
    assert theirs.architecture == name
    assert not theirs.arguments


def test_the_nearest_name_needs_the_fewest_arguments():
    with torch.device("meta"):
        theirs = for_timm(convnext.ConvNeXt(replace(convnext.SIZES["b"], kernel=5), 10), 64)
    assert (theirs.architecture, dict(theirs.arguments)) == ("convnext_base", {"kernel_sizes": 5})


@pytest.mark.parametrize("name", REFUSED)
def test_what_timm_has_not_is_refused_by_the_field(name, snapshot):
    kind, config, side = REFUSED[name]
    with torch.device("meta"):
        net = kind(config, 3)
    with pytest.raises(ConfigError) as error:
        for_timm(net, side)
    snapshot(name, str(error.value))


def test_what_is_no_network_of_ours_is_refused():
    with pytest.raises(ConfigError, match=r"timm has no such network.*but this is a Linear"):
        for_timm(torch.nn.Linear(1, 1), 224)
