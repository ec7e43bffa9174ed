"""Image GPT: who may see whom, both objectives by hand, drawing with a cache and without, memory foretold."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.nets.igpt import (
    IGPT,
    SIZES,
    IGPTConfig,
    _drawn,
    for_sampling,
    hidden_pixels,
    nats,
    sample,
    training_bytes,
)

TINY = IGPTConfig(width=12, depth=3, heads=3)
SIDE, COLOURS, CLASSES = 4, 7, 5


def igpt(seed=0, classes=0, **changes) -> IGPT:
    """In evaluation, with outputs that are not the zeros they start from."""
    torch.manual_seed(seed)
    net = IGPT(replace(TINY, **changes), SIDE, COLOURS, classes)
    for output in (net.to_colours, net.head):
        if output is not None:
            torch.nn.init.normal_(output.weight)
    torch.nn.init.normal_(net.positions.table, std=0.3)
    torch.nn.init.normal_(net.embed.weight)
    return net.eval()


def some_pixels(count=3, seed=1):
    return torch.randint(COLOURS, (count, SIDE * SIDE), generator=torch.Generator().manual_seed(seed))


def some_hidden(count=3, seed=2):
    return hidden_pixels(count, SIDE * SIDE, 0.3, torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- who sees whom


def test_every_colour_and_every_class_is_as_likely_at_first():
    net = IGPT(TINY, SIDE, COLOURS, CLASSES)
    pixels = some_pixels()
    assert (net(pixels) == 0).all()
    assert (net.classify(net.features(pixels)) == 0).all()
    torch.testing.assert_close(nats(net, net.features(pixels), pixels), torch.full((3,), math.log(COLOURS)))


@pytest.mark.parametrize("place", [0, 5, 15])
def test_a_pixel_is_guessed_from_those_before_it_alone(place):
    net, pixels = igpt(), some_pixels()
    changed = pixels.clone()
    changed[:, place] = (changed[:, place] + 1) % COLOURS
    before, after = net(pixels), net(changed)
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    if place < SIDE * SIDE - 1:
        assert not torch.isclose(before[:, place + 1], after[:, place + 1]).all()


def test_the_first_pixel_is_guessed_from_the_learned_start():
    net, pixels = igpt(), some_pixels()
    first = net(pixels)[:, 0]
    torch.testing.assert_close(first[:1], first[1:2])
    with torch.no_grad():
        net.embed.weight[-1] += 1
    assert not torch.isclose(net(pixels)[:, 0], first).all()


@pytest.mark.parametrize("place", [0, 9])
def test_by_berts_objective_a_hidden_pixel_cannot_be_seen_and_others_can(place):
    net, pixels = igpt(objective="bert"), some_pixels()
    hidden = torch.zeros(pixels.shape, dtype=torch.bool)
    hidden[:, place] = True
    changed = pixels.clone()
    changed[:, place] = (changed[:, place] + 1) % COLOURS
    assert torch.equal(net(pixels, hidden), net(changed, hidden))
    changed = pixels.clone()
    changed[:, -1] = (changed[:, -1] + 1) % COLOURS
    assert not torch.isclose(net(pixels, hidden)[:, 0], net(changed, hidden)[:, 0]).all(), "all look ahead"


def test_a_hidden_pixel_still_has_its_place():
    net, pixels = igpt(objective="bert"), some_pixels()
    hidden = torch.ones(pixels.shape, dtype=torch.bool)
    torch.testing.assert_close(net.read(pixels, hidden), net.positions.table.expand(3, -1, -1))
    assert not torch.isclose(net(pixels, hidden)[:, 0], net(pixels, hidden)[:, 7]).all()


@pytest.mark.parametrize("objective", ["autoregressive", "bert"])
def test_pictures_do_not_see_each_other(objective):
    net, pixels = igpt(objective=objective), some_pixels()
    torch.testing.assert_close(net(pixels)[1:2], net(pixels[1:2]))


# ---------------------------------------------------------------------- parts


def test_the_norm_takes_out_no_mean_and_follows_its_equation():
    net, x = igpt(), 3 + torch.randn(2, 16, 12)
    torch.nn.init.normal_(net.norm.weight)
    wanted = x * (x.square().mean(dim=-1, keepdim=True) + 1e-5).rsqrt() * net.norm.weight
    torch.testing.assert_close(net.norm(x), wanted)


def test_without_biases_there_are_none_and_with_them_everywhere_but_at_the_outputs():
    assert not [name for name, _ in igpt(classes=CLASSES).named_parameters() if name.endswith("bias")]
    biased = [
        name for name, _ in igpt(classes=CLASSES, bias=True).named_parameters() if name.endswith("bias")
    ]
    assert len(biased) == 4 * TINY.depth
    assert all(name.startswith("blocks.") for name in biased)


def test_layers_are_what_the_blocks_are_given_and_the_last_what_the_outputs_are():
    net, pixels = igpt(), some_pixels()
    layers = net.layers(pixels)
    assert len(layers) == TINY.depth + 1
    torch.testing.assert_close(layers[0], net.blocks[0].norm_attention(net.read(pixels)).mean(dim=1))
    torch.testing.assert_close(layers[-1], net.features(pixels).mean(dim=1))
    shallow = igpt(depth=1)
    shallow.load_state_dict(net.state_dict(), strict=False)
    first = shallow.blocks[0](shallow.read(pixels), shallow.mask(pixels.device))
    torch.testing.assert_close(layers[1], net.blocks[1].norm_attention(first).mean(dim=1))


@pytest.mark.parametrize("objective", ["autoregressive", "bert"])
def test_all_parameters_have_a_gradient_by_both_losses(objective):
    net, pixels = igpt(objective=objective, classes=CLASSES, bias=True).train(), some_pixels()
    hidden = some_hidden() if objective == "bert" else None
    features = net.features(pixels, hidden)
    labels = torch.arange(3)
    (nats(net, features, pixels, hidden).mean() + F.cross_entropy(net.classify(features), labels)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("objective", ["autoregressive", "bert"])
def test_checkpointing_changes_no_gradient_not_even_with_dropout(objective):
    pixels, grads = some_pixels(), []
    for checkpointing in (False, True):
        net = igpt(objective=objective, checkpointing=checkpointing, dropout=0.2).train()
        torch.manual_seed(1)
        net(pixels).square().sum().backward()
        grads.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(*grads)


def test_depths_rise_from_the_colours_to_the_outputs_and_only_matrices_decay():
    net = igpt(classes=CLASSES)
    depths = [net.depth_of(name) for name, _ in net.named_parameters()]
    assert depths == sorted(depths)
    assert set(depths) == set(range(TINY.depth + 2))
    decayed = {name for name, value in net.named_parameters() if not net.undecayed(name, value)}
    assert len(decayed) == 4 * TINY.depth + 2
    assert {"to_colours.weight", "head.weight"} < decayed


# ---------------------------------------------------------------------- what is learned


def test_autoregressive_nats_are_those_of_each_pixel_by_hand():
    net, pixels = igpt(), some_pixels()
    logs = net(pixels).log_softmax(dim=-1)
    by_hand = [
        -sum(logs[row, place, pixels[row, place]].item() for place in range(16)) / 16 for row in range(3)
    ]
    torch.testing.assert_close(nats(net, net.features(pixels), pixels), torch.tensor(by_hand))


def test_berts_nats_are_the_mean_over_hidden_pixels_of_each_picture_by_itself():
    net, pixels, hidden = igpt(objective="bert"), some_pixels(), some_hidden()
    hidden[1] = False
    logs = net(pixels, hidden).log_softmax(dim=-1)
    by_hand = []
    for row in range(3):
        places = hidden[row].nonzero()[:, 0].tolist()
        told = [-logs[row, place, pixels[row, place]].item() for place in places]
        by_hand.append(sum(told) / len(told) if told else 0.0)
    found = nats(net, net.features(pixels, hidden), pixels, hidden)
    torch.testing.assert_close(found, torch.tensor(by_hand))
    assert found[1] == 0, "a picture of which nothing is hidden asks nothing"


def test_pixels_are_hidden_as_often_as_asked_and_the_same_again():
    draw = torch.Generator().manual_seed(0)
    hidden = hidden_pixels(200, 100, 0.15, draw)
    assert abs(hidden.double().mean().item() - 0.15) < 4 * math.sqrt(0.15 * 0.85 / 20_000)
    assert torch.equal(hidden, hidden_pixels(200, 100, 0.15, torch.Generator().manual_seed(0)))
    counts = hidden.sum(dim=1).double()
    assert counts.var() > 0.6 * 100 * 0.15 * 0.85, "each pixel by a throw of its own, not so many of each"


# ---------------------------------------------------------------------- drawn


def slowly(net, pixels, known):
    """The likeliest colours one after the other, every one by a whole pass."""
    pixels = pixels.clone()
    for place in range(known, SIDE * SIDE):
        pixels[:, place] = net(pixels)[:, place].argmax(dim=-1)
    return pixels


@pytest.mark.parametrize("known", [0, 1, 6, 15, 16])
def test_drawing_with_a_cache_gives_what_whole_passes_give(known):
    net, pixels = igpt(), some_pixels()
    found = sample(net, 3, given=pixels[:, :known])
    assert torch.equal(found[:, :known], pixels[:, :known])
    assert torch.equal(found, slowly(net, pixels, known))


def test_colours_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0]).expand(20_000, 4)
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 2)):
        drawn = _drawn(logits, torch.Generator().manual_seed(0), temperature, top_k)
        wanted = logits[0] / temperature
        if top_k:
            wanted = wanted.masked_fill(wanted < wanted.topk(top_k).values[-1], -math.inf)
        shares = torch.bincount(drawn, minlength=4) / len(drawn)
        torch.testing.assert_close(shares, wanted.softmax(dim=0), atol=0.015, rtol=0)


def test_the_coldest_and_the_narrowest_drawing_is_the_likeliest():
    net, draw = igpt(), torch.Generator().manual_seed(0)
    likeliest = sample(net, 3, given=some_pixels()[:, :4])
    for changed in ({"temperature": 1e-4}, {"top_k": 1}):
        assert torch.equal(sample(net, 3, draw, given=some_pixels()[:, :4], **changed), likeliest)


def test_the_same_seed_draws_the_same_and_another_another():
    net = igpt()
    first, again, other = (sample(net, 4, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() < COLOURS, "the start is no colour"


def test_a_network_that_sees_ahead_cannot_draw():
    with pytest.raises(AssertionError, match="no order"):
        sample(igpt(objective="bert"), 1)


def test_for_sampling_rounds_matrices_alone_and_leaves_the_network_as_it_was():
    net = igpt()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quick = for_sampling(net, torch.bfloat16)
    for name, value in quick.state_dict().items():
        matrix = name.startswith(("blocks", "to_colours")) and "norm" not in name
        assert value.dtype == (torch.bfloat16 if matrix else torch.float32), name
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.autocast("cpu", torch.bfloat16):
        found = sample(quick, 3, given=some_pixels()[:, :8])
        wanted = net(found)
    assert torch.equal(found[:, 8:], wanted[:, 8:].argmax(dim=-1)), "as it would be under autocast"


# ---------------------------------------------------------------------- memory


def kept_bytes(net, pixels, hidden, dtype):
    """What a pass forward keeps for the gradient, and the gradients of its guesses."""
    kept = {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        loss = nats(net, net.features(pixels, hidden), pixels, hidden).mean()
    assert loss > 0
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("objective", ["autoregressive", "bert"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_memory_is_foretold_within_a_third(objective, dtype, checkpointing):
    config = IGPTConfig(objective=objective, width=96, depth=6, heads=4, checkpointing=checkpointing)
    side, colours, count = 16, 64, 8
    net = IGPT(config, side, colours).train()
    pixels = torch.randint(colours, (count, side * side))
    hidden = None
    if objective == "bert":
        hidden = hidden_pixels(count, side * side, 0.15, torch.Generator().manual_seed(0))
    numbers = sum(parameter.numel() for parameter in net.parameters())
    foretold = training_bytes(config, side, colours, count, dtype) - 16 * numbers
    kept = kept_bytes(net, pixels, hidden, dtype)
    if checkpointing:
        assert kept < foretold < 8 * kept, "a block is computed again beside what is kept"
        assert foretold < 0.5 * (
            training_bytes(replace(config, checkpointing=False), side, colours, count, dtype) - 16 * numbers
        )
    else:
        assert 0.75 * foretold < kept < 1.33 * foretold


def test_memory_grows_with_the_square_of_a_long_sequence_and_with_the_pictures():
    def need(side, count):
        return training_bytes(SIZES["s"], side, 512, count, torch.float32)

    assert need(224, 1) > 2.0 * need(112, 1)
    assert need(32, 9) - need(32, 8) == pytest.approx(need(32, 2) - need(32, 1), rel=1e-6)


def test_sizes_have_the_authors_parameters():
    for name, millions in {"s": 76.68, "m": 455.49, "l": 1362.91}.items():
        with torch.device("meta"):
            net = IGPT(replace(SIZES[name], bias=True), 32, 512)
        assert round(sum(value.numel() for value in net.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "changes"), [("depth", {"depth": 0}), ("width", {"width": 100}), ("dropout", {"dropout": 1.0})]
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        IGPTConfig(**changes)
    snapshot(name, str(refusal.value))
