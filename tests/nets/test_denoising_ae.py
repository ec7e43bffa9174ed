"""Denoising autoencoders: laws of the noise, the tied way back, gradients by hand, layers upon layers."""

import math

import pytest
import torch

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.nets.denoising_ae import (
    DenoisingConfig,
    DenoisingLayer,
    DenoisingNet,
    NoiseConfig,
    Spoiled,
    denoising_loss,
    layer_of,
    numbers_of,
    receptive_fields,
    spoiled,
)


def seeded(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Numbers strictly between 0 and 1."""
    return 0.05 + 0.9 * torch.rand(*shape, generator=seeded(seed))


def any_layer(inputs: int, outputs: int, **kinds: bool) -> DenoisingLayer:
    torch.manual_seed(0)
    layer = DenoisingLayer(inputs, outputs, **kinds)
    for bias in (layer.encoder.bias, layer.back_bias):
        torch.nn.init.normal_(bias, std=0.5)
    return layer


# ---------------------------------------------------------------------- noise


@pytest.mark.parametrize("kind", ["masking", "salt-and-pepper", "gaussian", "none"])
def test_without_a_generator_nothing_is_spoiled(kind):
    clean = drawn(3, 10)
    seen = spoiled(clean, NoiseConfig(kind=kind), None)
    assert torch.equal(seen.values, clean)
    assert not seen.reached.any()


@pytest.mark.parametrize("kind", ["masking", "salt-and-pepper"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.999])
def test_noise_reaches_as_many_inputs_in_every_picture_and_no_other_changes(kind, share):
    clean = drawn(50, 37)
    seen = spoiled(clean, NoiseConfig(kind=kind, share=share), seeded(1))
    assert seen.reached.sum(dim=1).tolist() == [round(share * 37)] * 50
    assert torch.equal(seen.values != clean, seen.reached)  # no clean number is 0 or 1
    ends = {0.0} if kind == "masking" else {0.0, 1.0}
    assert set(seen.values[seen.reached].tolist()) <= ends


def test_every_place_is_reached_as_often_and_no_two_of_them_together():
    count, places, share = 20_000, 12, 0.25
    noise = NoiseConfig(share=share)
    reached = spoiled(drawn(count, places), noise, seeded(2)).reached.double()
    doubt = 5 * math.sqrt(share * (1 - share) / count)
    assert (reached.mean(dim=0) - share).abs().max() < doubt
    # Of 3 in 12 without return, two given ones are both reached with 3 * 2 / (12 * 11).
    both = (reached.T @ reached / count)[~torch.eye(places, dtype=torch.bool)]
    assert (both - 3 * 2 / (12 * 11)).abs().max() < 5 * math.sqrt(1 / 22 / count)


def test_salt_is_as_frequent_as_pepper():
    seen = spoiled(drawn(200, 500), NoiseConfig(kind="salt-and-pepper", share=0.5), seeded(3))
    salt = seen.values[seen.reached].mean()
    assert abs(salt - 0.5) < 5 * 0.5 / math.sqrt(200 * 250)


def test_gaussian_noise_has_its_deviation_and_depends_on_nothing():
    clean = drawn(200, 500)
    added = spoiled(clean, NoiseConfig(kind="gaussian", deviation=0.3), seeded(4)).values - clean
    count = added.numel()
    assert abs(added.mean()) < 5 * 0.3 / math.sqrt(count)
    assert abs(added.std() - 0.3) < 5 * 0.3 / math.sqrt(2 * count)
    together = ((clean - clean.mean()) * added).mean()
    assert abs(together) < 5 * 0.3 * clean.std() / math.sqrt(count)


def test_the_same_stream_spoils_alike_and_another_one_otherwise():
    clean, noise = drawn(4, 30), NoiseConfig()
    one, same, other = (spoiled(clean, noise, seeded(number)).values for number in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# ---------------------------------------------------------------------- one layer


@pytest.mark.parametrize("affine", [False, True])
def test_a_tied_layer_is_an_untied_one_with_the_transposed_weights(affine):
    tied = any_layer(7, 5, affine=affine)
    untied = any_layer(7, 5, tied=False, affine=affine)
    untied.load_state_dict({**tied.state_dict(), "back": tied.encoder.weight.detach().t()})
    clean = drawn(6, 7)
    seen = spoiled(clean, NoiseConfig(), seeded(1))
    losses = [denoising_loss(layer, clean, seen) for layer in (tied, untied)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(tied(clean), untied(clean))
    for loss in losses:
        loss.backward()
    # One matrix in two places gets the gradient of both.
    both = untied.encoder.weight.grad + untied.back.grad.t()
    torch.testing.assert_close(tied.encoder.weight.grad, both)
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == 35


@pytest.mark.parametrize("clean_weight", [1.0, 0.5])
def test_gradients_are_those_by_hand(clean_weight):
    layer, clean = any_layer(7, 5).double(), drawn(6, 7).double()
    seen = spoiled(clean, NoiseConfig(share=0.4), seeded(1))
    guess = layer.guess(layer.encode(seen.values))
    each = torch.nn.functional.binary_cross_entropy_with_logits(guess, clean, reduction="none")
    counts = torch.where(seen.reached, 1.0, clean_weight)
    (each * counts).sum(dim=1).mean().backward()

    with torch.no_grad():
        weight, codes = layer.encoder.weight, layer.encode(seen.values)
        wrong = counts * (torch.sigmoid(codes @ weight + layer.back_bias) - clean) / len(clean)
        below = wrong @ weight.t() * codes * (1 - codes)
        by_hand = {
            "encoder.weight": codes.t() @ wrong + below.t() @ seen.values,
            "encoder.bias": below.sum(dim=0),
            "back_bias": wrong.sum(dim=0),
        }
    found = {name: parameter.grad for name, parameter in layer.named_parameters()}
    assert found.keys() == by_hand.keys()
    for name, gradient in by_hand.items():
        torch.testing.assert_close(found[name], gradient, msg=name)
    # The loss itself computes in float32.
    layer.zero_grad()
    denoising_loss(layer, clean, seen, clean_weight).backward()
    for name, gradient in by_hand.items():
        torch.testing.assert_close(dict(layer.named_parameters())[name].grad, gradient, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_formula_of_the_paper_and_never_below_the_entropy_of_the_picture():
    layer, clean = any_layer(7, 5), drawn(6, 7)
    seen = spoiled(clean, NoiseConfig(kind="salt-and-pepper"), seeded(1))
    z = layer(seen.values).double()
    x = clean.double()
    formula = -(x * z.log() + (1 - x) * (1 - z).log()).sum(dim=1).mean()
    found = denoising_loss(layer, clean, seen)
    torch.testing.assert_close(found.double(), formula, rtol=1e-5, atol=1e-5)
    entropy = -(x * x.log() + (1 - x) * (1 - x).log()).sum(dim=1).mean()
    assert found > entropy


def test_an_affine_layer_is_judged_by_half_the_squared_error():
    layer, clean = any_layer(7, 5, affine=True), drawn(6, 7)
    seen = spoiled(clean, NoiseConfig(), seeded(1))
    wrong = layer.encode(seen.values) @ layer.encoder.weight + layer.back_bias - clean
    torch.testing.assert_close(denoising_loss(layer, clean, seen), wrong.square().sum(dim=1).mean() / 2)


@pytest.mark.parametrize("affine", [False, True])
def test_where_only_what_is_missing_counts_the_rest_may_be_anything(affine):
    layer, clean = any_layer(9, 5, affine=affine), drawn(6, 9)
    seen = spoiled(clean, NoiseConfig(share=0.4), seeded(1))
    elsewhere = torch.where(seen.reached, clean, drawn(6, 9, seed=1))
    missing = torch.where(seen.reached, drawn(6, 9, seed=1), clean)
    loss = denoising_loss(layer, clean, seen, 0.0)
    assert torch.equal(denoising_loss(layer, elsewhere, seen, 0.0), loss)
    assert denoising_loss(layer, missing, seen, 0.0) != loss
    # and both shares make the whole
    rest = denoising_loss(layer, clean, Spoiled(seen.values, ~seen.reached), 0.0)
    torch.testing.assert_close(loss + rest, denoising_loss(layer, clean, seen))


def test_a_layer_learns_what_pictures_have_in_common_and_restores_by_it():
    """Pictures are one of two patterns: whatever is masked, the rest says which."""
    torch.manual_seed(0)
    patterns = (torch.rand(2, 16) < 0.5).float()
    layer, noise, lots = DenoisingLayer(16, 8), NoiseConfig(share=0.5), seeded(7)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(200):
        clean = patterns[torch.randint(2, (32,), generator=lots)]
        loss = denoising_loss(layer, clean, spoiled(clean, noise, lots))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    clean = patterns.repeat(50, 1)
    seen = spoiled(clean, noise, lots)
    mistaken = (layer(seen.values) - clean).abs() > 0.5
    assert mistaken.float().mean() < 0.02
    assert ((seen.values - clean).abs() > 0.5).float().mean() > 0.1


# ---------------------------------------------------------------------- layers upon layers


SMALL = DenoisingConfig(image_size=4, widths=(6, 5))


def test_the_network_makes_of_a_picture_what_the_layers_make_one_after_the_other():
    torch.manual_seed(0)
    layers = [layer_of(SMALL, number) for number in range(2)]
    net = DenoisingNet(SMALL, 3)
    net.take(layers)
    images = torch.rand(2, 3, 4, 4)
    codes = layers[1].encode(layers[0].encode(numbers_of(images, SMALL)))
    torch.testing.assert_close(net.features(images), codes)
    assert torch.equal(net(images), torch.zeros(2, 3)), "a fresh head knows no class from another"
    with torch.no_grad():
        net.layers[0].weight.zero_()
    assert layers[0].encoder.weight.any(), "the layers are copied"


def test_grey_is_pillows_and_colour_is_all_there_is():
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    grey = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L")).copy()).flatten()
    torch.testing.assert_close(255 * numbers_of(images, SMALL)[0], grey.float(), atol=0.51, rtol=0)
    coloured = DenoisingConfig(image_size=4, colour=True, widths=(6,))
    assert coloured.inputs == 48
    assert torch.equal(numbers_of(images, coloured).view(1, 3, 4, 4), images)


def test_only_the_first_layer_is_affine():
    config = DenoisingConfig(image_size=4, widths=(6, 5), affine=True)
    assert [layer_of(config, number).affine for number in range(2)] == [True, False]


def test_depths_rise_from_the_pixels_to_the_head_and_biases_do_not_decay():
    net = DenoisingNet(SMALL, 3)
    depths = {name: net.depth_of(name) for name, _ in net.named_parameters()}
    assert depths == {
        "layers.0.weight": 0, "layers.0.bias": 0, "layers.1.weight": 1, "layers.1.bias": 1, "head.weight": 2,
        "head.bias": 2,
    }  # fmt: skip
    undecayed = [name for name, parameter in net.named_parameters() if net.undecayed(name, parameter)]
    assert undecayed == ["layers.0.bias", "layers.1.bias", "head.bias"]


def test_what_a_unit_looks_for_is_what_excites_it_most_while_layers_are_straight():
    torch.manual_seed(0)
    layers = [layer_of(SMALL, number).encoder for number in range(2)]
    assert torch.equal(receptive_fields(layers[:1]), layers[0].weight)
    place = torch.zeros(16, requires_grad=True)
    straight = layers[1].weight @ (layers[0].weight @ place)
    for unit, field in enumerate(receptive_fields(layers)):
        (slope,) = torch.autograd.grad(straight[unit], place, retain_graph=True)
        torch.testing.assert_close(field, slope)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("share", {"share": 1.0}),
        ("deviation", {"deviation": -0.1}),
        ("clean_weight", {"clean_weight": 1.5}),
        ("clean_weight_gaussian", {"kind": "gaussian", "clean_weight": 0.0}),
        ("clean_weight_none", {"kind": "none", "clean_weight": 0.5}),
    ],
)
def test_noise_is_refused_by_name(name, wrong, snapshot):
    with pytest.raises(ConfigError) as error:
        NoiseConfig(**wrong)
    snapshot(name, str(error.value))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("image_size", {"image_size": 0}), ("no_layers", {"widths": ()}), ("no_units", {"widths": (10, 0)})],
)
def test_networks_are_refused_by_name(name, wrong, snapshot):
    with pytest.raises(ConfigError) as error:
        DenoisingConfig(**wrong)
    snapshot(name, str(error.value))


def test_pictures_of_another_size_are_refused(snapshot):
    with pytest.raises(ShapeError) as error:
        DenoisingNet(SMALL, 2)(torch.zeros(1, 3, 5, 4))
    snapshot("other_size", str(error.value))
