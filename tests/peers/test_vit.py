"""ViT beside timm's, torchvision's and transformers'."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from rayformer.nets.parts.attention_maps import watched
from rayformer.nets.vit import SIZES, ViT, ViTConfig, attention
from rayformer.nets.weights.loading import exported, load, put
from rayformer.nets.weights.vit import VIT

from .beside import apart, count, gradients_apart, ours_by_theirs, pictures, put_strictly, scattered

TINY = ViTConfig(image_size=32, patch_size=8, width=24, depth=3, heads=3)


def timms(config: ViTConfig = TINY, **changes):
    timm = pytest.importorskip("timm")
    sizes = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "num_classes": 5,
        "dynamic_img_size": True,
    }
    return timm.models.vision_transformer.VisionTransformer(**(sizes | changes))


def pair(config: ViTConfig = TINY, **changes):
    theirs, ours = scattered(timms(config, **changes)), ViT(config, 5).eval()
    put_strictly(ours, theirs, VIT, "timm")
    return ours, theirs


@pytest.mark.parametrize("size", [(32, 32), (48, 48), (16, 40), (64, 24)])
def test_the_answer_is_timms_at_the_trained_size_and_at_others(size):
    ours, theirs = pair()
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5
        assert apart(ours.features(images), theirs.forward_features(images)) < 1e-5


@pytest.mark.parametrize(
    ("ours_changed", "theirs_changed"),
    [
        ({"pool": "mean"}, {"global_pool": "avg"}),
        ({"pool": "mean", "class_token": False}, {"global_pool": "avg", "class_token": False}),
        ({"layer_scale": 0.1}, {"init_values": 0.1}),
        ({"qkv_bias": False, "expansion": 2.0}, {"qkv_bias": False, "mlp_ratio": 2.0}),
        ({"activation": "gelu_tanh"}, {"act_layer": partial(torch.nn.GELU, approximate="tanh")}),
    ],
    ids=["mean", "mean-without-class-token", "layer-scale", "no-qkv-bias", "gelu-tanh"],
)
def test_every_switch_is_timms(ours_changed, theirs_changed):
    ours, theirs = pair(replace(TINY, **ours_changed), **theirs_changed)
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 32, 32)), theirs(pictures(2, 3, 32, 32))) < 1e-5


def test_gradients_are_timms():
    ours, theirs = pair()
    names = ours_by_theirs(theirs, VIT, "timm")
    assert gradients_apart(ours, theirs, pictures(2, 3, 32, 32), names) < 1e-4


def test_ten_steps_of_training_follow_timms_loss():
    ours, theirs = pair()
    images, labels = pictures(8, 3, 32, 32), torch.arange(8) % 5
    losses = []
    for net in (ours.train(), theirs.train()):
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
        losses.append([])
        for _ in range(10):
            loss = F.cross_entropy(net(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0]
    torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=1e-4)


def test_weights_go_to_timm_and_give_the_same_answer_there():
    theirs, ours = timms().eval(), scattered(ViT(TINY, 5))
    theirs.load_state_dict(exported(ours, VIT, "timm"))
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, 32, 32)), theirs(pictures(1, 3, 32, 32))) < 1e-5


def test_an_encoder_without_a_head_lends_all_it_has():
    """MAE's files: a norm, which is left out where the mean is classified, and no head."""
    theirs = scattered(timms(num_classes=0))
    ours = ViT(replace(TINY, pool="mean"), 5)
    report = put(ours, theirs.state_dict(), VIT, "an encoder")
    assert set(report.kept) == {"head.weight", "head.bias", "pooled_norm.weight", "pooled_norm.bias"}
    assert set(report.unexpected) == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("image_size", [16, 64])
def test_positions_are_fitted_to_another_size_as_timm_would(image_size):
    theirs, ours = scattered(timms()), ViT(replace(TINY, image_size=image_size), 5).eval()
    report = put(ours, theirs.state_dict(), VIT, "a peer")
    assert list(report.resized) == ["positions.table"]
    images = pictures(2, 3, image_size, image_size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5


def test_weights_with_a_class_token_serve_a_model_without():
    theirs = scattered(timms())
    ours = ViT(replace(TINY, pool="mean", class_token=False), 5)
    report = put(ours, theirs.state_dict(), VIT, "a peer")
    assert "class_token" in report.unexpected
    torch.testing.assert_close(ours.positions.table.detach(), theirs.pos_embed.detach()[:, 1:])


def transformers_pair():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
        intermediate_size=96, num_labels=5, layer_norm_eps=1e-6, attn_implementation="eager",
    )  # fmt: skip
    theirs, ours = scattered(transformers.ViTForImageClassification(config)), ViT(TINY, 5).eval()
    put_strictly(ours, theirs, VIT, "transformers in memory")
    return ours, theirs


def test_the_answer_is_transformers():
    ours, theirs = transformers_pair()
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 32, 32)), theirs(pictures(2, 3, 32, 32)).logits) < 1e-5


def test_attention_weights_are_transformers():
    ours, theirs = transformers_pair()
    images = pictures(2, 3, 32, 32)
    with torch.no_grad():
        wanted = theirs(images, output_attentions=True).attentions
        weights = attention(ours, images)
    assert len(weights) == len(wanted) == 3
    for one, other in zip(weights, wanted, strict=True):
        assert apart(one, other) < 1e-5


def test_files_of_transformers_keep_the_older_names_and_are_read(tmp_path):
    ours, theirs = transformers_pair()
    theirs.save_pretrained(tmp_path)
    again = ViT(TINY, 5).eval()
    report = load(again, tmp_path / "model.safetensors", VIT)
    assert report.format == "transformers"
    assert not report.kept
    assert not report.unexpected
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_the_answer_is_torchvisions():
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    theirs = scattered(vision.VisionTransformer(32, 8, 3, 3, 24, 96, num_classes=5))
    ours = ViT(TINY, 5).eval()
    put_strictly(ours, theirs, VIT, "torchvision")
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 32, 32)), theirs(pictures(2, 3, 32, 32))) < 1e-5


@pytest.mark.parametrize(
    ("size", "patch", "millions"),
    [("ti", 16, 5.72), ("s", 16, 22.05), ("s", 32, 22.88), ("b", 16, 86.57), ("b", 32, 88.22),
     ("b", 8, 86.58), ("l", 16, 304.33), ("h", 14, 632.05)],
)  # fmt: skip
def test_every_size_has_as_many_parameters_as_timms(size, patch, millions):
    timm = pytest.importorskip("timm")
    names = {"ti": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge"}
    with torch.device("meta"):
        ours = count(ViT(replace(SIZES[size], patch_size=patch), 1000))
        theirs = count(timm.create_model(f"vit_{names[size]}_patch{patch}_224", num_classes=1000))
    assert ours == theirs
    assert round(ours / 1e6, 2) == millions


def test_watching_changes_no_answer():
    ours, _ = pair()
    images = pictures(1, 3, 32, 32)
    with torch.no_grad():
        alone = ours(images)
        with watched(ours):
            assert apart(ours(images), alone) < 1e-6
