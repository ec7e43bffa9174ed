"""Folders that timm loads: the same answer there, whatever differs from the published sizes."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rayformer.data.images.transforms import AugmentConfig, EvalTransform
from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.nfnet import NFNet, NFNetConfig
from rayformer.nets.resnet_rs import ResNet, ResNetConfig
from rayformer.nets.swin import Swin, SwinConfig
from rayformer.nets.vit import ViT, ViTConfig
from rayformer.nets.weights.for_timm import for_timm
from rayformer.recipes.parts.classifier_exports import FolderOptions, timm_config, write_timm
from tests.peers.beside import apart, pictures, scattered
from tests.recipes.test_classifier_exports import begun

FOUR = {"depths": (1, 1, 2, 1)}
TINY = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}
NETS = {
    "vit": (ViT, ViTConfig(**TINY), 32),
    "vit, mean": (ViT, ViTConfig(**TINY, pool="mean", class_token=False, layer_scale=0.1), 32),
    "vit, mean beside a token": (ViT, ViTConfig(**TINY, pool="mean", activation="gelu_tanh"), 32),
    "vit, narrow": (ViT, ViTConfig(**TINY, expansion=2.5, qkv_bias=False), 32),
    "swin": (Swin, SwinConfig(patch_size=2, width=8, depths=(2, 2), heads=(1, 2), window=4), 32),
    "swin, maps smaller than windows": (
        Swin, SwinConfig(patch_size=4, width=8, depths=(2, 2, 2), heads=(1, 2, 4), window=8), 32
    ),
    "convnext": (ConvNeXt, ConvNeXtConfig(**FOUR, widths=(8, 16, 24, 32), layer_scale=0.5), 64),
    "convnext, fine": (
        ConvNeXt, ConvNeXtConfig(**FOUR, widths=(8, 16, 24, 32), patch_size=1, kernel=3), 32
    ),
    "resnet-rs": (ResNet, ResNetConfig(**FOUR, width=8), 64),
    "resnet, bare": (ResNet, ResNetConfig(**FOUR, width=8, squeeze=0.0, pooled_shortcut=False), 64),
    "resnet, plain": (
        ResNet,
        ResNetConfig(**FOUR, deep_stem=False, max_pool=True, pooled_shortcut=False, squeeze=1 / 16),
        64,
    ),
    "resnet, plain stem": (ResNet, ResNetConfig(**FOUR, deep_stem=False, squeeze=0.0), 64),
    "nfnet": (
        NFNet,
        NFNetConfig(
            **FOUR, widths=(16, 32, 48, 48), stem_width=16, group_width=8, last_width=96, alpha=0.3,
            squeeze=0.25,
        ),
        64,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_timm_builds_the_network_and_gives_its_answer(name, tmp_path):
    timm = pytest.importorskip("timm")
    kind, config, side = NETS[name]
    net, see = scattered(kind(config, 3)), EvalTransform(AugmentConfig(size=side, colours="half"))
    theirs = for_timm(net, side)
    save_file(
        {key: tensor.contiguous() for key, tensor in theirs.weights.items()}, tmp_path / "model.safetensors"
    )
    told = timm_config(theirs, ("a", "b", "c"), see.numbers, "made here")
    (tmp_path / "config.json").write_text(json.dumps(told))
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = pictures(2, 3, side, side)
    with torch.no_grad():
        assert apart(net(images), other(images)) < 1e-5
    assert other.pretrained_cfg["label_names"] == ["a", "b", "c"]
    picture = Image.effect_noise((50, 40), 60).convert("RGB")
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=other))
    torch.testing.assert_close(transform(picture), see(picture), rtol=0, atol=2 / 255 / 0.5)


@pytest.mark.parametrize("name", ["vit", "nfnet"])
def test_other_classes_get_a_head_of_their_own_there(name, tmp_path):
    """Which needs the layers' names to be right."""
    timm = pytest.importorskip("timm")
    kind, config, side = NETS[name]
    theirs = for_timm(scattered(kind(config, 3)), side)
    save_file(
        {key: tensor.contiguous() for key, tensor in theirs.weights.items()}, tmp_path / "model.safetensors"
    )
    told = timm_config(theirs, ("a", "b", "c"), EvalTransform(AugmentConfig(size=side)).numbers, "made here")
    (tmp_path / "config.json").write_text(json.dumps(told))
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7, in_chans=1)
    assert other(torch.zeros(2, 1, side, side)).shape == (2, 7)


def test_the_card_of_a_run_says_how_to_use_it_and_that_works(tmp_path, monkeypatch, capsys):
    pytest.importorskip("timm")
    loaded = begun("swin", tmp_path)
    write_timm(loaded, FolderOptions(), tmp_path / "there")
    Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / "there" / "picture.jpg")
    monkeypatch.chdir(tmp_path / "there")
    text = (tmp_path / "there" / "README.md").read_text(encoding="utf-8")
    exec(text.split("```python\n")[1].split("```")[0], {})
    said = capsys.readouterr().out.splitlines()[-1].split()
    asked = loaded.recipe.predict(loaded, ["picture.jpg"], None).values["picture.jpg"]
    assert " ".join(said[:-1]) == asked["class"]
    assert float(said[-1]) == pytest.approx(asked["probability"], abs=1e-2)
