"""Image GPT beside transformers': its network, its classifier, its loss, its cache and its palette."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rayformer.data.images.palette import Palette
from rayformer.nets.igpt import IGPT, SIZES, IGPTConfig, nats, sample
from rayformer.nets.weights.igpt import IGPT_WEIGHTS, for_transformers
from rayformer.nets.weights.loading import load, put

from .beside import apart, count, put_strictly, scattered

TINY = IGPTConfig(width=24, depth=3, heads=3, bias=True)
SIDE, COLOURS, CLASSES = 6, 19, 5


def transformers_config(config=TINY, side=SIDE, colours=COLOURS, **changes):
    transformers = pytest.importorskip("transformers")
    return transformers.ImageGPTConfig(
        vocab_size=colours + 1, n_positions=side * side, n_embd=config.width, n_layer=config.depth,
        n_head=config.heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, num_labels=CLASSES, **changes,
    )  # fmt: skip


def pair(classes=0):
    transformers = pytest.importorskip("transformers")
    kind = "ImageGPTForImageClassification" if classes else "ImageGPTForCausalImageModeling"
    theirs = scattered(getattr(transformers, kind)(transformers_config()))
    ours = IGPT(TINY, SIDE, COLOURS, classes).eval()
    if classes:
        report = put(ours, theirs.state_dict(), IGPT_WEIGHTS, "a peer")
        assert report.kept == ("to_colours.weight",)
        assert not report.unexpected
    else:
        put_strictly(ours, theirs, IGPT_WEIGHTS, "transformers")
    return ours, theirs


def some_pixels(count=3, seed=1):
    return torch.randint(COLOURS, (count, SIDE * SIDE), generator=torch.Generator().manual_seed(seed))


def as_asked(pixels):
    """What transformers is given: the start before all pixels but the last."""
    return torch.cat([torch.full((len(pixels), 1), COLOURS), pixels[:, :-1]], dim=1)


def test_the_guesses_and_the_features_are_transformers():
    ours, theirs = pair()
    pixels = some_pixels()
    with torch.no_grad():
        wanted = theirs(as_asked(pixels), output_hidden_states=True, use_cache=False)
        assert apart(ours(pixels), wanted.logits) < 1e-5
        assert apart(ours.features(pixels), wanted.hidden_states[-1]) < 1e-5
        for block, layer, hidden in zip(
            theirs.transformer.h, ours.layers(pixels), wanted.hidden_states, strict=False
        ):
            assert apart(layer, block.ln_1(hidden).mean(dim=1)) < 1e-5


def test_the_loss_is_transformers():
    """Which shifts the labels by itself, and so is given all pixels behind the start; its table of positions
    ends before the last guess, which is ours alone."""
    ours, theirs = pair()
    pixels = some_pixels()
    asked = as_asked(pixels)
    with torch.no_grad():
        theirs_loss = theirs(asked, labels=asked, use_cache=False).loss
        logits = ours(pixels)
        wanted = F.cross_entropy(logits.flatten(0, 1), pixels.flatten())
        torch.testing.assert_close(nats(ours, ours.features(pixels), pixels).mean(), wanted)
        but_the_last = F.cross_entropy(logits[:, :-1].flatten(0, 1), pixels[:, :-1].flatten())
        torch.testing.assert_close(theirs_loss, but_the_last, rtol=1e-5, atol=0)


def test_gradients_are_transformers():
    ours, theirs = pair()
    pixels = some_pixels()
    weights = torch.linspace(-1, 2, COLOURS)
    (ours(pixels) * weights).sum().backward()
    (theirs(as_asked(pixels), use_cache=False).logits * weights).sum().backward()
    grads = {name: value.grad for name, value in theirs.named_parameters()}
    own = {name: value.grad for name, value in ours.named_parameters()}
    transposed = IGPT(TINY, SIDE, COLOURS)
    put(transposed, grads, IGPT_WEIGHTS, "gradients")
    for name, value in transposed.named_parameters():
        assert apart(own[name], value.detach()) < 1e-4, name


def test_the_classes_are_transformers():
    ours, theirs = pair(CLASSES)
    pixels = some_pixels()
    with torch.no_grad():
        wanted = theirs(as_asked(pixels), use_cache=False).logits
        assert apart(ours.classify(ours.features(pixels)), wanted) < 1e-5


def test_the_likeliest_pictures_are_those_that_transformers_generates():
    ours, theirs = pair()
    start = torch.full((4, 1), COLOURS)
    with torch.no_grad():
        wanted = theirs.generate(
            start, attention_mask=torch.ones_like(start), max_length=SIDE * SIDE + 1, do_sample=False,
            use_cache=True, suppress_tokens=None, pad_token_id=COLOURS,
        )  # fmt: skip
    assert torch.equal(sample(ours, 4), wanted[:, 1:])


def test_weights_go_to_transformers_and_give_the_same_answer_there(tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = IGPT(replace(TINY, bias=False), SIDE, COLOURS).eval()
    scattered(ours)
    theirs = transformers.ImageGPTForCausalImageModeling(transformers_config()).eval()
    missing = theirs.load_state_dict(for_transformers(ours), strict=True)
    assert not missing.missing_keys
    with torch.no_grad():
        assert apart(ours(some_pixels()), theirs(as_asked(some_pixels()), use_cache=False).logits) < 1e-5


def test_files_of_transformers_are_read_and_zero_biases_need_no_place(tmp_path):

    transformers = pytest.importorskip("transformers")
    theirs = scattered(transformers.ImageGPTForCausalImageModeling(transformers_config()))
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            if name.endswith("bias"):
                value.zero_()
    theirs.save_pretrained(tmp_path)
    ours = IGPT(replace(TINY, bias=False), SIDE, COLOURS).eval()
    report = load(ours, tmp_path)
    assert report.format == "transformers"
    assert not report.kept + report.unexpected
    with torch.no_grad():
        assert apart(ours(some_pixels()), theirs(as_asked(some_pixels()), use_cache=False).logits) < 1e-5


@pytest.mark.parametrize(("size", "millions"), [("s", 76.68), ("m", 455.49), ("l", 1362.91)])
def test_every_size_has_as_many_parameters_as_transformers(size, millions):
    transformers = pytest.importorskip("transformers")
    config = replace(SIZES[size], bias=True)
    with torch.device("meta"):
        ours = count(IGPT(config, 32, 512))
        theirs = count(transformers.ImageGPTForCausalImageModeling(transformers_config(config, 32, 512)))
    assert ours == theirs
    assert round(ours / 1e6, 2) == millions


def test_the_colours_of_pixels_are_those_of_transformers_processor():
    processing = pytest.importorskip("transformers.models.imagegpt.image_processing_imagegpt")
    draw = np.random.default_rng(0)
    colours = draw.uniform(-1, 1, (64, 3)).astype(np.float32)
    images = draw.integers(0, 256, (3, 3, 40, 40), dtype=np.uint8)
    processor = processing.ImageGPTImageProcessor(
        clusters=colours, size={"height": 40, "width": 40}, do_resize=False
    )
    wanted = processor(list(torch.from_numpy(images)), return_tensors="pt")["input_ids"]
    palette = Palette(torch.from_numpy(colours))
    ours = palette.numbers(torch.from_numpy(images).float() / 127.5 - 1)
    other = ours != wanted
    assert other.double().mean() < 1e-3, "but for pixels half way between two colours"
    pixels = (torch.from_numpy(images).float() / 127.5 - 1).permute(0, 2, 3, 1).reshape(3, -1, 3)
    far = [(pixels[other] - palette.colours[chosen[other]]).square().sum(-1) for chosen in (ours, wanted)]
    torch.testing.assert_close(far[0], far[1], rtol=1e-4, atol=1e-5)
