"""What a run that recognises pictures is written as: folders for the hub and for timm."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.core.errors import ConfigError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig
from rayformer.engine.plan import Plan
from rayformer.nets.vit import ViTConfig
from rayformer.recipes import index
from rayformer.recipes.open_run import open_run, train
from rayformer.recipes.parts.classifier_exports import FolderOptions, write_hub, write_timm
from rayformer.recipes.parts.open import Loaded

PLAIN = AugmentConfig(size=16, crop="shifted", padding=2, policy=PolicyConfig(kind="none"), crop_share=0.8)


def begun(name: str, folder: Path, **changes) -> Loaded:
    """A run of no steps on a few noisy pictures, its weights all drawn at random."""
    draw = np.random.default_rng(0)
    for colour in ("dark red", "green"):
        (folder / "pictures" / colour).mkdir(parents=True, exist_ok=True)
        for number in range(5):
            pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / colour / f"{number}.png")
    smoke = index.load(name).smoke
    changes = {"augment": PLAIN, "train": replace(smoke.train, shown=0)} | changes
    config = replace(
        smoke,
        data=ImagesConfig(source=str(folder / "pictures"), validation=0.0),
        plan=Plan(steps=0, evaluate_every=0, save_every=0, precision="32"),
        **changes,
    )
    train(name, config, out=folder / "run", device="cpu")
    loaded = open_run(folder / "run", device="cpu")
    with torch.no_grad():
        for tensor in loaded.model.parameters():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)))
    return loaded


@pytest.fixture(scope="module")
def vit(tmp_path_factory) -> Loaded:
    model = ViTConfig(patch_size=8, width=16, depth=2, heads=2)
    return begun("vit", tmp_path_factory.mktemp("vit"), model=model)


def test_the_card_of_the_hub_says_how_to_use_it_and_that_works(vit, tmp_path, monkeypatch, capsys):
    pytest.importorskip("huggingface_hub")
    told = write_hub(vit, FolderOptions(), tmp_path / "there")
    assert told["parameters"] == sum(one.numel() for one in vit.model.parameters())
    assert {path.name for path in (tmp_path / "there").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }
    text = (tmp_path / "there" / "README.md").read_text(encoding="utf-8")
    assert "`dark red`, `green`" in text
    assert "| top1 |" in text
    draw = np.random.default_rng(1)
    Image.fromarray(draw.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(
        tmp_path / "there" / "picture.jpg"
    )
    monkeypatch.chdir(tmp_path / "there")
    exec(text.split("```python\n")[1].split("```")[0], {})
    said = capsys.readouterr().out.splitlines()[-1].split()
    asked = vit.recipe.predict(vit, ["picture.jpg"], None).values["picture.jpg"]
    assert " ".join(said[:-1]) == asked["class"]
    assert float(said[-1]) == pytest.approx(asked["probability"], abs=1e-5)


def test_a_folder_for_the_hub_is_what_training_begins_from(vit, tmp_path):
    pytest.importorskip("huggingface_hub")
    write_hub(vit, FolderOptions(), tmp_path / "there")
    config = replace(vit.config, plan=replace(vit.config.plan, steps=0))
    begun = train("vit", config, out=tmp_path / "run", device="cpu", start=str(tmp_path / "there"))
    taken = open_run(begun.run.path, device="cpu").model.state_dict()
    torch.testing.assert_close(dict(taken), dict(vit.model.state_dict()), rtol=0, atol=0)


def test_for_timm_all_that_differs_from_the_nearest_name_is_said(vit, tmp_path):
    told = write_timm(vit, FolderOptions(), tmp_path / "there")
    config = json.loads((tmp_path / "there" / "config.json").read_text(encoding="utf-8"))
    assert told["architecture"] == config["architecture"] == "vit_small_patch8_224"
    assert config["label_names"] == ["dark red", "green"]
    assert config["model_args"] == {
        "img_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
    }  # fmt: skip
    seen = config["pretrained_cfg"]
    assert seen["input_size"] == [3, 16, 16]
    assert seen["crop_pct"] == 0.8
    assert (seen["first_conv"], seen["classifier"]) == ("patch_embed.proj", "head")


def test_a_folder_is_made_anew(vit, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old.txt").write_text("old")
    write_timm(vit, FolderOptions(), tmp_path / "there")
    assert not (tmp_path / "there" / "old.txt").exists()


def test_what_timm_cannot_build_is_refused_by_the_field(tmp_path, snapshot):
    loaded = begun("resnet-rs", tmp_path)
    with pytest.raises(ConfigError) as error:
        write_timm(loaded, FolderOptions(), tmp_path / "there")
    snapshot("not_for_timm", str(error.value))
    assert not (tmp_path / "there").exists()
