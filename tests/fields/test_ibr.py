"""Free View Synthesis: gates by hand, weights that sum to one, memory from source to source."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.fields.ibr import VGG16, ConvGRU, Features, FreeView, FVSConfig, Merge, vgg16_weights

SMALL = FVSConfig(features=(4, 6, 8), merge=(5, 7), convolutions=1)


def nothing():
    raise AssertionError("no source is asked for")


def shown(views: int = 3, height: int = 13, width: int = 10, seed: int = 0):
    """Features, colours and masks of some sources."""
    draw = torch.Generator().manual_seed(seed)
    masks = (torch.rand(views, 2, height, width, generator=draw) > 0.3).float()
    colours = torch.rand(views, 3, height, width, generator=draw)
    return torch.randn(views, 4, height, width, generator=draw), colours, masks


def learned(config: FVSConfig) -> FreeView:
    """A network that says something: its last layers begin at zero where colours are carried."""
    torch.manual_seed(0)
    made = FreeView(config, 3, nothing).eval()
    for layer in (made.to_colour, made.to_say):
        nn.init.normal_(layer.weight)
    return made


def test_the_memory_follows_the_formula_of_a_gru():
    """On one pixel a 3 x 3 convolution is its middle weight, and the formula can be written out."""
    torch.manual_seed(1)
    cell, x, h = ConvGRU(2, 3), torch.randn(1, 2, 1, 1), torch.randn(1, 3, 1, 1)
    gates, candidate = (layer.weight[:, :, 1, 1] for layer in (cell.gates, cell.candidate))
    both = torch.cat([x, h], dim=1).flatten()
    reset, keep = torch.sigmoid(gates @ both).chunk(2)
    new = torch.relu(candidate @ torch.cat([x.flatten(), reset * h.flatten()]))
    wanted = keep * h.flatten() + (1 - keep) * new
    torch.testing.assert_close(cell(x, h).flatten(), wanted)
    torch.testing.assert_close(cell(x, None), cell(x, torch.zeros_like(h)))
    assert cell.gates.bias is None
    assert cell.candidate.bias is None


@pytest.mark.parametrize("carry", [False, True])
def test_the_weights_of_the_sources_sum_to_one(carry):
    model = learned(FVSConfig(features=(4, 6, 8), merge=(5, 7), convolutions=1, carry_colours=carry))
    colour, weights = model(*shown())
    assert colour.shape == (3, 13, 10)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(13, 10))


def test_sources_come_one_after_the_other_so_their_order_matters_but_not_to_those_before():
    model, (features, colours, masks) = learned(SMALL), shown()
    swapped = [0, 2, 1]
    one, _ = model(features, colours, masks)
    other, _ = model(features[swapped], colours[swapped], masks[swapped])
    assert (one - other).abs().max() > 1e-3
    # What is said of the first source knows nothing of those after it.
    seen = F.pad(torch.cat([features, masks], dim=1), (0, 0, 0, 1), mode="replicate")
    _, memory = model.merge(seen[:1], None)
    second, _ = model.merge(seen[1:2], memory)
    fresh, _ = model.merge(seen[1:2], None)
    assert (second - fresh).abs().max() > 1e-3, "the second is seen with the memory of the first"


def test_untrained_and_carrying_colours_it_is_the_mean_of_the_sources_that_see():
    model = FreeView(SMALL, 3, nothing)
    features, colours, masks = shown()
    masks[:, 1] = 1
    colour, weights = model(features, colours, masks)
    torch.testing.assert_close(colour, colours.mean(dim=0))
    masks[2, 1] = 0
    _, weights = model(features, colours, masks)
    assert weights[2].max() < 0.01
    torch.testing.assert_close(weights[0], weights[1])


def test_a_gradient_reaches_every_parameter():
    model = learned(SMALL)
    pictures = torch.rand(3, 3, 13, 10)
    _, colours, masks = shown()
    colour, _ = model(model.encode(pictures), colours, masks)
    colour.square().mean().backward()
    silent = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert not silent


def test_the_paper_s_widths_are_those_of_vgg16_and_sixty_six_channels_enter_the_merge():
    model = FreeView(FVSConfig(features=VGG16, merge=(64, 128, 256, 512)), 5, nothing)
    first = model.merge.down[0].convolutions[0]
    assert first.in_channels == 66
    shapes = [tuple(layer.weight.shape[:2]) for stage in model.encode.stages for layer in stage]
    assert shapes == [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256)]


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 12)])
def test_features_have_the_size_of_the_photograph_whatever_it_is(size):
    assert Features((3, 4, 5))(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_a_u_net_of_three_stages_remembers_in_five_places():
    merged, memory = Merge(6, (3, 4, 5), 1)(torch.rand(1, 6, 8, 8), None)
    assert merged.shape == (1, 3, 8, 8)
    assert [value.shape[1] for value in memory] == [3, 4, 5, 4, 3]


def test_published_weights_arrive_where_vgg_has_them(tmp_path):
    layers = [
        (0, 3, 64),
        (2, 64, 64),
        (5, 64, 128),
        (7, 128, 128),
        (10, 128, 256),
        (12, 256, 256),
        (14, 256, 256),
    ]
    weights = {}
    for number, inputs, outputs in layers:
        weights[f"features.{number}.weight"] = torch.full((outputs, inputs, 3, 3), 0.01 * number)
        weights[f"features.{number}.bias"] = torch.full((outputs,), float(number))
    torch.save(weights | {"classifier.0.weight": torch.zeros(2, 2)}, tmp_path / "vgg.pth")
    features = Features(VGG16)
    vgg16_weights(features, tmp_path / "vgg.pth")
    found = [layer.bias[0].item() for stage in features.stages for layer in stage]
    assert found == [0, 2, 5, 7, 10, 12, 14]


def test_files_that_are_no_vgg_are_refused(tmp_path, snapshot):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "torn.pth")
    (tmp_path / "text.pth").write_text("nothing")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("torn", "text", "list", "absent"):
        with pytest.raises(DataError) as refusal:
            vgg16_weights(Features(VGG16), tmp_path / f"{name}.pth")
        snapshot(f"vgg_{name}", str(refusal.value))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one_stage", {"merge": (16,)}),
        ("no_width", {"features": (0, 4, 4)}),
        ("vgg_for_other_widths", {"vgg16_weights": Path("vgg16.pth")}),
    ],
)
def test_options_that_cannot_work_are_refused(name, options, snapshot):
    with pytest.raises(ConfigError) as refusal:
        FVSConfig(**options)
    snapshot(name, str(refusal.value))
