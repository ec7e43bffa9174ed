"""Swin beside timm's, torchvision's and transformers'.

All of them agree where windows cover the maps evenly, and both sides or none fit into one. Elsewhere each
does otherwise: transformers (and the authors' code) let tokens look at what was filled in, timm rolls the map
before it is filled up. What ours does there has a closed form, in `tests/nets/test_swin.py`.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rayformer.nets.swin import SIZES, Swin, SwinConfig
from rayformer.nets.weights.loading import exported, load, put
from rayformer.nets.weights.swin import SWIN

from .beside import apart, count, gradients_apart, ours_by_theirs, pictures, put_strictly, scattered

TINY = SwinConfig(width=8, depths=(2, 2, 2), heads=(1, 2, 4), window=4)
SIZE = 64
"""Maps of 16, 8 and 4 places: two shifted stages, and one that is a single window."""


def timms(config: SwinConfig = TINY, size=SIZE, **changes):
    timm = pytest.importorskip("timm")
    sizes = {
        "img_size": size,
        "patch_size": config.patch_size,
        "embed_dim": config.width,
        "depths": config.depths,
        "num_heads": config.heads,
        "window_size": config.window,
        "num_classes": 5,
    }
    return timm.models.swin_transformer.SwinTransformer(**(sizes | changes))


def pair(config: SwinConfig = TINY, **changes):
    theirs, ours = scattered(timms(config, **changes)), Swin(config, 5).eval()
    put_strictly(ours, theirs, SWIN, "timm")
    return ours, theirs


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 192)])
def test_the_answer_is_timms(size):
    ours, theirs = pair(size=size)
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5
        features = theirs.forward_features(images).permute(0, 3, 1, 2)
        assert apart(ours.features(images), features) < 1e-5


def test_all_stages_are_timms():
    ours, theirs = pair()
    images, maps = pictures(2, 3, SIZE, SIZE), []
    with torch.no_grad():
        places = theirs.patch_embed(images)
        for stage in theirs.layers:
            places = stage(places)
            maps.append(places.permute(0, 3, 1, 2))
        for one, other in zip(ours.stage_features(images), maps, strict=True):
            assert apart(one, other) < 1e-5


@pytest.mark.parametrize("size", [32, (32, 64), 48])
def test_a_map_no_larger_than_a_window_is_one_window_as_timm_has_it(size):
    """timm then builds a smaller table, which is the middle of ours."""
    config = replace(TINY, window=6) if size == 48 else TINY
    theirs, ours = scattered(timms(config, size=size)), Swin(config, 5).eval()
    whole = scattered(timms(config, size=4 * config.window * 4)).state_dict()
    side = 2 * config.window - 1
    for i, stage in enumerate(theirs.layers):
        for j, block in enumerate(stage.blocks):
            name = f"layers.{i}.blocks.{j}.attn.relative_position_bias_table"
            down, right = (2 * window - 1 for window in block.attn.window_size)
            table = whole[name].clone().view(side, side, -1)
            top, left = (side - down) // 2, (side - right) // 2
            table[top : top + down, left : left + right] = block.attn.relative_position_bias_table.view(
                down, right, -1
            )
            whole[name] = table.flatten(0, 1)
    weights = theirs.state_dict() | {name: whole[name] for name in whole if "table" in name}
    put(ours, weights, SWIN, "a peer")
    images = pictures(2, 3, *((size, size) if isinstance(size, int) else size))
    with torch.no_grad():
        assert apart(ours(images), theirs(images)) < 1e-5


def test_where_windows_do_not_cover_the_map_ours_is_nobody_elses():
    """If this fails, a peer has changed its ways: look again at what the head of `nets/swin.py` says."""
    ours, theirs = pair(size=40)  # maps of 10 and 5 places
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, 40, 40)), theirs(pictures(2, 3, 40, 40))) > 1e-3


def test_gradients_are_timms():
    ours, theirs = pair()
    names = ours_by_theirs(theirs, SWIN, "timm")
    assert gradients_apart(ours, theirs, pictures(2, 3, SIZE, SIZE), names) < 1e-4


def test_ten_steps_of_training_follow_timms_loss():
    ours, theirs = pair()
    images, labels = pictures(8, 3, SIZE, SIZE), torch.arange(8) % 5
    losses = []
    for net in (ours.train(), theirs.train()):
        if net is theirs:
            for module in net.modules():
                if hasattr(module, "drop_prob"):
                    module.drop_prob = 0.0
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
    theirs, ours = timms().eval(), scattered(Swin(TINY, 5))
    theirs.load_state_dict(exported(ours, SWIN, "timm"))
    with torch.no_grad():
        assert apart(ours(pictures(1, 3, SIZE, SIZE)), theirs(pictures(1, 3, SIZE, SIZE))) < 1e-5


def test_the_authors_files_halve_at_the_end_of_a_stage_and_are_read():
    ours = scattered(Swin(TINY, 5))
    names = exported(ours, SWIN, "official")
    assert "layers.0.downsample.reduction.weight" in names
    names["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    again = Swin(TINY, 5)
    report = put(again, names, SWIN, "the authors")
    assert report.format == "official"
    assert report.computed == ("layers.0.blocks.1.attn_mask",)
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_tables_of_biases_are_fitted_to_other_windows():
    theirs, ours = scattered(timms()), Swin(replace(TINY, window=6), 5)
    report = put(ours, theirs.state_dict(), SWIN, "a peer")
    assert len(report.resized) == 6
    assert all(old[0] == 49 and new[0] == 121 for old, new in report.resized.values())


@pytest.mark.parametrize("size", [(64, 64), (128, 192)])
def test_the_answer_is_transformers_and_their_files_are_read(size, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=SIZE, embed_dim=8, depths=[2, 2, 2], num_heads=[1, 2, 4], window_size=4, num_labels=5,
        drop_path_rate=0.0,
    )  # fmt: skip
    theirs, ours = scattered(transformers.SwinForImageClassification(config)), Swin(TINY, 5).eval()
    put_strictly(ours, theirs, SWIN, "transformers in memory")
    images = pictures(2, 3, *size)
    with torch.no_grad():
        assert apart(ours(images), theirs(images, interpolate_pos_encoding=True).logits) < 1e-5
    theirs.save_pretrained(tmp_path)
    again = Swin(TINY, 5)
    assert load(again, tmp_path / "model.safetensors", SWIN).format == "transformers"
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_the_answer_is_torchvisions():
    vision = pytest.importorskip("torchvision.models.swin_transformer")
    theirs = scattered(vision.SwinTransformer([4, 4], 8, [2, 2, 2], [1, 2, 4], [4, 4], num_classes=5))
    ours = Swin(TINY, 5).eval()
    report = put(ours, theirs.state_dict(), SWIN, "a peer")
    assert report.format == "torchvision"
    assert not report.kept
    assert not report.unexpected
    with torch.no_grad():
        assert apart(ours(pictures(2, 3, SIZE, SIZE)), theirs(pictures(2, 3, SIZE, SIZE))) < 1e-5


@pytest.mark.parametrize(
    ("size", "name", "window", "millions"),
    [("t", "tiny", 7, 28.29), ("s", "small", 7, 49.61), ("b", "base", 7, 87.77), ("b", "base", 12, 87.90),
     ("l", "large", 7, 196.53), ("l", "large", 12, 196.74)],
)  # fmt: skip
def test_every_size_has_as_many_parameters_as_timms(size, name, window, millions):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        ours = count(Swin(replace(SIZES[size], window=window), 1000))
        theirs = count(
            timm.create_model(f"swin_{name}_patch4_window{window}_{'384' if window == 12 else '224'}")
        )
    assert ours == theirs
    assert round(ours / 1e6, 2) == millions
