"""From a picture to what a network sees."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.core.errors import ConfigError, DataError, ShapeError
from rayformer.data.images.decode import ORIENTATION
from rayformer.data.images.erase import EraseConfig
from rayformer.data.images.normalise import NORMALISATIONS, Normalisation, bytes_of, normalised
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform, load, small_batch
from tests.data.images.photographs import generator, ramps, soft, written

PLAIN = {"policy": PolicyConfig(kind="none"), "erase": EraseConfig(chance=0.0)}
SMALL = AugmentConfig(size=8, crop="shifted", padding=2, colours="none", **PLAIN)


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("named", NORMALISATIONS.values(), ids=NORMALISATIONS)
def test_bytes_come_back_from_their_numbers(named):
    picture = soft(13, 9)
    found = normalised(picture, named)
    mean, deviation = (torch.tensor(part)[:, None, None] for part in (named.mean, named.deviation))
    torch.testing.assert_close(found, (pixels(picture) / 255 - mean) / deviation, rtol=0, atol=2e-6)
    assert torch.equal(bytes_of(found, named), pixels(picture))


def test_numbers_are_written_where_they_are_wanted():
    batch = torch.zeros(2, 3, 9, 13)
    normalised(soft(13, 9), NORMALISATIONS["half"], batch[1])
    assert torch.equal(batch[1], normalised(soft(13, 9), NORMALISATIONS["half"]))
    assert not batch[0].any()


def test_channels_that_do_not_match_are_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        normalised(soft(4, 4).convert("L"), NORMALISATIONS["half"])
    snapshot("channels", str(refusal.value))


# ---------------------------------------------------------------- from files


@pytest.mark.parametrize("crop", ["resized", "shifted", "centre"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
@pytest.mark.parametrize("size", [(1, 1), (90, 40)])
def test_every_kind_of_picture_becomes_three_channels_of_the_size_wanted(crop, mode, size):
    file = written(soft(*size).convert(mode), "TIFF")
    config = AugmentConfig(size=24, crop=crop)
    for draw in (generator(), None):
        found = load(file, TrainTransform(config), draw)
        assert found.shape == (3, 24, 24)
        assert found.isfinite().all()


def test_training_without_a_generator_is_evaluation():
    config = AugmentConfig(size=24)
    file = written(soft(90, 60), "PNG")
    plain = load(file, EvalTransform(config))
    assert torch.equal(load(file, TrainTransform(config)), plain)
    assert torch.equal(load(file, EvalTransform(config), generator()), plain)
    out = torch.zeros(3, 24, 24)
    assert load(file, EvalTransform(config), out=out) is out
    assert torch.equal(out, plain)


def test_one_generator_gives_one_picture_and_another_another():
    transform, file = TrainTransform(AugmentConfig(size=24)), written(soft(90, 60), "PNG")
    found = [load(file, transform, generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_sideways_photograph_is_seen_upright():
    tags = Image.Exif()
    tags[ORIENTATION] = 6
    upright, config = soft(60, 80), AugmentConfig(size=32, colours="none")
    file = written(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=tags)
    assert torch.equal(load(file, EvalTransform(config)), EvalTransform(config)(upright))
    found, wanted = (
        load(one, TrainTransform(config), generator(3)) for one in (file, written(upright, "PNG"))
    )
    assert (found - wanted).abs().max() < 0.2, "policies amplify what rounding left"
    assert (found - wanted).abs().mean() < 0.01


def test_a_torn_file_is_refused_by_the_name_it_is_given():
    file = written(soft(200, 200), quality=95)
    for transform, draw in (
        (TrainTransform(AugmentConfig(size=24)), generator()),
        (EvalTransform(AugmentConfig()), None),
    ):
        with pytest.raises(DataError, match=r"^cats/7\.jpg: the picture is torn"):
            load(file[: len(file) // 2], transform, draw, name="cats/7.jpg")


def test_with_one_mean_pictures_are_grey():
    measured = Normalisation((0.3,), (0.2,))
    found = TrainTransform(AugmentConfig(size=16), measured)(soft(30, 30), generator())
    assert found.shape == (1, 16, 16)
    grey = NORMALISATIONS["half"].grey()
    assert EvalTransform(AugmentConfig(size=16), grey)(soft(30, 30)).shape == (1, 16, 16)


@pytest.mark.parametrize("kind", ["timm", "paper", "trivial"])
def test_transforms_can_be_sent_and_see_the_same_picture(kind):
    config = AugmentConfig(size=16, policy=PolicyConfig(kind=kind), erase=EraseConfig(chance=1.0))
    for transform in (TrainTransform(config, Normalisation((0.3,) * 3, (0.2,) * 3)), EvalTransform(config)):
        sent = pickle.loads(pickle.dumps(transform))
        for seed in range(5):
            first, second = (one(soft(30, 40), generator(seed)) for one in (transform, sent))
            assert torch.equal(first, second)


@pytest.mark.parametrize("squash", [False, True])
def test_evaluation_comes_back_from_its_numbers_whatever_they_came_from(squash):
    config = AugmentConfig(
        size=16, crop="shifted", filter="bilinear", colours="clip", crop_share=0.7, squash=squash
    )
    transform = EvalTransform(config)
    numbers = json.loads(json.dumps(transform.numbers))
    assert torch.equal(EvalTransform.of(numbers)(soft(30, 40)), transform(soft(30, 40)))
    assert EvalTransform.of(numbers).numbers == transform.numbers


# ---------------------------------------------------------------- many small ones


def test_small_pictures_together_are_windows_and_mirrors_of_themselves():
    picture = ramps(8, 8)
    padded = np.pad(np.asarray(picture), ((2, 2), (2, 2), (0, 0)))
    windows = {padded[top : top + 8, left : left + 8].tobytes() for top in range(5) for left in range(5)}
    windows |= {
        padded[top : top + 8, left : left + 8][:, ::-1].tobytes() for top in range(5) for left in range(5)
    }
    many = pixels(picture).expand(600, 3, 8, 8)
    found = small_batch(many, TrainTransform(SMALL), generator())
    met = {
        one.numpy().tobytes()
        for one in bytes_of(found, NORMALISATIONS["none"]).permute(0, 2, 3, 1).contiguous()
    }
    assert met == windows
    assert torch.equal(found, small_batch(many, TrainTransform(SMALL), generator()))


def test_evaluation_of_many_draws_nothing_even_with_a_generator():
    many = torch.stack([pixels(soft(8, 8, seed)) for seed in range(3)])
    singly = torch.stack([EvalTransform(SMALL)(soft(8, 8, seed)) for seed in range(3)])
    torch.testing.assert_close(
        small_batch(many, EvalTransform(SMALL), generator()), singly, rtol=0, atol=1e-6
    )


def test_together_and_one_by_one_are_the_same_where_nothing_is_drawn():
    many = torch.stack([pixels(soft(8, 8, seed)) for seed in range(5)])
    transform = TrainTransform(SMALL)
    singly = torch.stack([transform(soft(8, 8, seed)) for seed in range(5)])
    torch.testing.assert_close(small_batch(many, transform), singly, rtol=0, atol=1e-6)
    still = TrainTransform(
        AugmentConfig(size=8, crop="shifted", padding=0, flip=0.0, colours="none", **PLAIN)
    )
    torch.testing.assert_close(small_batch(many, still, generator()), singly, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["none", "timm"])
def test_greys_and_policies_give_batches_of_the_same_shape(channels, kind):
    many = torch.randint(256, (4, channels, 8, 8), dtype=torch.uint8, generator=generator())
    config = AugmentConfig(
        size=8, crop="shifted", policy=PolicyConfig(kind=kind), erase=EraseConfig(chance=1.0)
    )
    for draw in (generator(), None):
        assert small_batch(many, TrainTransform(config), draw).shape == (4, 3, 8, 8)
        alone = small_batch(many, TrainTransform(config, Normalisation((0.3,), (0.2,))), draw)
        assert alone.shape == (4, 1, 8, 8)


def test_small_batches_leave_what_came_as_it_was():
    many = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=generator())
    kept = many.clone()
    small_batch(many, TrainTransform(SMALL), generator())
    assert torch.equal(many, kept)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"size": 0}, "size"),
        ({"area": (0.5, 0.2)}, "area"),
        ({"aspect": (2.0, 1.0)}, "aspect"),
        ({"padding": -1}, "padding"),
        ({"flip": 1.5}, "flip"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter_hue": 0.7}, "jitter_hue"),
        ({"crop_share": 0.0}, "crop_share"),
        ({"spare": 0.5}, "spare"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_field(options, name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        AugmentConfig(**options)
    snapshot(name, str(refusal.value))
