"""Signals as functions of coordinates: every mapping learns, the frequency a mapping reaches is the one it is
given, and impossible configs are refused."""

import math

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.image_field import ImageField, ImageFieldConfig

MAPPINGS = ["none", "basic", "positional", "gaussian", "siren", "hash-grid"]


def field(mapping: str, dims: int = 2, channels: int = 3, values: str = "unit", **changes) -> ImageField:
    given = {
        "sigma": 3.0, "octaves": 3.0, "omega": 30.0, "width": 32, "waves": 32,
        "grid": HashGridConfig(levels=2, coarsest=4, finest=8, log2_rows=8),
    }  # fmt: skip
    torch.manual_seed(0)
    return ImageField(ImageFieldConfig(mapping=mapping, **(given | changes)), dims, channels, values)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_mapping_takes_one_to_three_coordinates_and_gives_finite_gradients(mapping, dims):
    model = field(mapping, dims, channels=2)
    places = torch.rand(50, dims)
    places[0], places[1] = 0.0, 1.0
    model.loss(places, torch.rand(50, 2)).total.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all()


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_mapping_learns_a_smooth_picture(mapping):
    model = field(mapping)
    axis = torch.arange(8) / 8
    places = torch.cartesian_prod(axis, axis)
    truth = 0.5 + 0.4 * torch.stack(
        [(3 * places.sum(1)).sin(), (4 * places[:, 0]).cos(), places[:, 1] - 0.5], 1
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-4 if mapping == "siren" else 5e-3)
    first = model.loss(places, truth).total.item()
    for _ in range(100):
        optimiser.zero_grad()
        loss = model.loss(places, truth).total
        loss.backward()
        optimiser.step()
    assert loss.item() < first / 10


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_values_keep_to_their_range(mapping):
    places = torch.rand(200, 2)
    with torch.no_grad():
        if mapping != "siren":
            unit = field(mapping, values="unit")(places)
            assert unit.min() >= 0
            assert unit.max() <= 1
        assert field(mapping, values="positive")(places).min() >= 0


def test_sirens_range_is_centred_on_grey():
    with torch.no_grad():
        model = field("siren", values="unit")
        model.siren.to_values.weight.zero_()
        model.siren.to_values.bias.zero_()
        assert (model(torch.rand(5, 2)) == 0.5).all()


@pytest.mark.parametrize("mapping", ["none", "siren"])
def test_bare_coordinates_are_not_rounded_to_bf16(mapping):
    """Neighbouring pixels of a large picture differ by less than bf16 can tell."""
    model = field(mapping)
    near = torch.tensor([[0.8, 0.5], [0.8 + 1 / 2048, 0.5]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one, other = model(near)
    assert not torch.equal(one, other)


def test_slow_waves_cannot_follow_fast_ones_and_fast_ones_can():
    """The last layer alone, fitted exactly: 12 periods are within reach of sigma 8 and beyond that of sigma
    1."""
    places = torch.arange(256)[:, None] / 256
    truth = torch.sin(2 * math.pi * 12 * places)

    def left_over(sigma: float) -> float:
        features = field("gaussian", 1, 1, "signed", sigma=sigma, waves=64).mapping(places).double()
        fit = torch.linalg.lstsq(
            features.T @ features + 1e-4 * torch.eye(128), features.T @ truth.double()
        ).solution
        return (features @ fit - truth).square().mean().item()

    assert left_over(8.0) < 1e-3
    assert left_over(1.0) > 0.3


def test_the_same_seed_gives_the_same_waves_and_another_gives_others():
    one, same = field("gaussian"), field("gaussian")
    assert torch.equal(one.mapping.waves, same.mapping.waves)
    torch.manual_seed(1)
    other = ImageField(one.config, 2, 3, "unit")
    assert not torch.equal(one.mapping.waves, other.mapping.waves)


def test_a_two_dimensional_hash_grid_is_the_floor_of_a_three_dimensional_one():
    model, places = field("hash-grid"), torch.rand(20, 2)
    with torch.no_grad():
        wanted = model.mapping(torch.cat([places, torch.zeros(20, 1)], dim=1))
        hidden = model.trunk(wanted)
        torch.testing.assert_close(model(places), torch.sigmoid(model.to_values(hidden)))


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "sigma_zero": {"sigma": 0.0}, "sigma_negative": {"sigma": -1.0}, "octaves": {"octaves": 0.0},
        "omega": {"omega": math.inf}, "no_waves": {"waves": 0},
        "no_width": {"width": 0}, "no_depth": {"depth": 0},
    }.items(),
)  # fmt: skip
def test_a_config_that_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ImageFieldConfig(**changes)
    snapshot(name, str(refusal.value))


def test_numbers_that_no_signal_suggests_must_be_given(snapshot):
    for mapping, name in (("gaussian", "sigma"), ("positional", "octaves"), ("siren", "omega")):
        with pytest.raises(ConfigError) as refusal:
            field(mapping, **{name: None})
        snapshot(f"open_{name}", str(refusal.value))
    with pytest.raises(ConfigError) as refusal:
        field("hash-grid", dims=4)
    snapshot("four_coordinates", str(refusal.value))
