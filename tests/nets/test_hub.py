"""A network that went to the hub comes back as it was."""

import json
import subprocess
import sys

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.nfnet import NFNet, NFNetConfig
from rayformer.nets.resnet_rs import ResNet, ResNetConfig
from rayformer.nets.swin import Swin, SwinConfig
from rayformer.nets.vit import ViT, ViTConfig
from rayformer.nets.weights.files import read

pytest.importorskip("huggingface_hub")

CLASSES = ("cat", "sea horse", "Grüße")
SEEN = {"size": 16, "mean": [0.5, 0.4, 0.3], "deviation": [0.2, 0.2, 0.2], "squash": False}
NETS = {
    "vit": lambda: ViT(ViTConfig(image_size=16, patch_size=8, width=8, depth=2, heads=2, layer_scale=0.1), 3),
    "swin": lambda: Swin(SwinConfig(patch_size=2, width=8, depths=(1, 2), heads=(1, 2), window=4), 3),
    "convnext": lambda: ConvNeXt(ConvNeXtConfig(depths=(1, 1), widths=(8, 16), patch_size=2), 3),
    "resnet-rs": lambda: ResNet(ResNetConfig(depths=(1, 1), width=8, stem_halvings=0), 3),
    "nfnet": lambda: NFNet(
        NFNetConfig(depths=(1, 1), widths=(16, 32), stem_width=16, group_width=8, last_width=16), 3
    ),
}


def scattered(name: str) -> torch.nn.Module:
    """In evaluation mode, with nothing left at zero, buffers included."""
    torch.manual_seed(0)
    net = NETS[name]().eval()
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + 0.2 * torch.rand(tensor.shape))
    return net


@pytest.mark.parametrize("name", NETS)
def test_there_and_back_the_answer_is_the_same(name, tmp_path):
    from rayformer.nets.hub import HubClassifier

    net, images = scattered(name), torch.randn(2, 3, 16, 16)
    HubClassifier.around(net, CLASSES, SEEN).save_pretrained(tmp_path / "there")
    back = HubClassifier.from_pretrained(tmp_path / "there")
    assert not back.training
    assert torch.equal(back(images), net(images))
    assert (back.family, back.classes, back.preprocessing) == (name, CLASSES, SEEN)
    assert back.model.config == net.config


@pytest.mark.parametrize("name", NETS)
def test_the_folder_is_one_of_weights_under_our_own_names(name, tmp_path):
    """So that `--from` takes it, from a disk and from the hub."""
    from rayformer.nets.hub import HubClassifier

    net = scattered(name)
    HubClassifier.around(net, CLASSES, SEEN).save_pretrained(tmp_path)
    weights = read(tmp_path)
    torch.testing.assert_close(weights, dict(net.state_dict()), rtol=0, atol=0)


def test_a_network_is_made_from_plain_values_that_a_person_can_read(tmp_path):
    from rayformer.nets.hub import HubClassifier

    HubClassifier.around(scattered("swin"), CLASSES, SEEN).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["family"] == "swin"
    assert config["classes"] == list(CLASSES)
    assert config["network"]["depths"] == [1, 2]
    assert config["preprocessing"] == SEEN


def test_what_is_no_network_is_refused():
    from rayformer.nets.hub import HubClassifier

    with pytest.raises(ConfigError, match=r"family must be one of vit.*Did you mean 'swin'"):
        HubClassifier("swim", {}, CLASSES, SEEN)
    with pytest.raises(ConfigError, match=r"config.json: widht is not a field. Did you mean 'width'"):
        HubClassifier("vit", {"widht": 3}, CLASSES, SEEN)
    with pytest.raises(ConfigError, match="a Linear is not written for the hub"):
        HubClassifier.around(torch.nn.Linear(1, 1), CLASSES, SEEN)


def test_without_the_extra_importing_says_which_is_missing():
    program = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from rayformer.core.errors import MissingExtra\n"
        "try:\n    import rayformer.nets.hub\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'rayformer[hub]'" in ended.stdout
