"""Our transforms beside torchvision's and timm's: with the same draws, the same picture."""

import io
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from rayformer.data.images import crop, mix
from rayformer.data.images.crop import Box, centred, random_box, resized
from rayformer.data.images.decode import opened
from rayformer.data.images.erase import EraseConfig, erase
from rayformer.data.images.jitter import jittered
from rayformer.data.images.mix import MixConfig
from rayformer.data.images.normalise import NORMALISATIONS, normalised
from rayformer.data.images.operations import Canvas
from rayformer.data.images.randaugment import (
    PolicyConfig,
    applied,
    augmented,
    paper_strengths,
    strengths,
    timm_strengths,
    trivial_strengths,
)
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform

FILL = (124, 116, 104)


def photo(width: int = 61, height: int = 47, seed: int = 0) -> Image.Image:
    """Soft shapes with fine noise, so that every operation changes something."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (6, 8, 3), np.uint8))
    soft = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((soft + draw.integers(-20, 21, soft.shape)).clip(0, 255).astype(np.uint8))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(ours: Image.Image, theirs: Image.Image, what: object = "") -> None:
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=str(what))


@pytest.fixture(scope="module")
def v2():
    pytest.importorskip("torchvision")
    from torchvision.transforms import v2

    return v2


@pytest.fixture(scope="module")
def timm_data():
    pytest.importorskip("timm")
    import timm.data

    return timm.data


# ------------------------------------------------------------------------------------------ crops


@pytest.mark.parametrize("size", [(61, 47), (20, 200), (333, 21), (1, 1), (2, 3)])
def test_the_same_seed_gives_torchvisions_box(v2, size):
    theirs = v2.RandomResizedCrop(32)
    picture = photo(*size)
    for seed in range(60):
        torch.manual_seed(seed)
        found = theirs.make_params([picture])
        wanted = Box(found["left"], found["top"], found["width"], found["height"])
        assert random_box(*size, (0.08, 1.0), (3 / 4, 4 / 3), generator(seed)) == wanted


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_a_part_is_scaled_as_torchvision_scales_it(v2, kind):
    picture = photo(200, 150)
    for box in (Box(3, 5, 160, 130), Box(0, 0, 200, 150), Box(50, 60, 9, 11)):
        theirs = v2.functional.resized_crop(
            picture, box.top, box.left, box.height, box.width, [48, 48], v2.InterpolationMode(kind)
        )
        same(resized(picture, box, 48, kind), theirs, box)


@pytest.mark.parametrize("size", [(61, 47), (47, 61), (300, 301), (224, 224), (700, 64)])
@pytest.mark.parametrize("share", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("mode", ["center", "squash"])
def test_evaluation_sees_what_timms_does(timm_data, size, share, mode):
    theirs = timm_data.create_transform(
        64, crop_pct=share, crop_mode=mode, interpolation="bicubic", normalize=False
    )(photo(*size))
    ours = centred(photo(*size), 64, share, "bicubic", squash=mode == "squash")
    np.testing.assert_array_equal(np.asarray(ours), theirs.permute(1, 2, 0))


def test_evaluation_gives_timms_numbers(timm_data):
    for colours in ("imagenet", "half", "clip"):
        named = NORMALISATIONS[colours]
        theirs = timm_data.create_transform(
            64, crop_pct=0.9, interpolation="bicubic", mean=named.mean, std=named.deviation
        )(photo())
        ours = EvalTransform(AugmentConfig(size=64, crop_share=0.9, colours=colours))(photo())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_small_pictures_are_shifted_as_torchvision_shifts_them(v2):
    theirs = v2.RandomCrop(32, padding=4)
    for seed in range(30):
        torch.manual_seed(seed)
        same(crop.shifted(photo(32, 32), 4, generator(seed)), theirs(photo(32, 32)))


# ------------------------------------------------------------------------------------------ policies

TIMM = {
    "AutoContrast": "autocontrast",
    "Equalize": "equalise",
    "Invert": "invert",
    "Rotate": "rotate",
    "Posterize": "posterise",
    "Solarize": "solarise",
    "SolarizeAdd": "solarise-add",
    "Color": "colour",
    "Contrast": "contrast",
    "Brightness": "brightness",
    "Sharpness": "sharpness",
    "ShearX": "shear-x",
    "ShearY": "shear-y",
    "TranslateXRel": "translate-x",
    "TranslateYRel": "translate-y",
}


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_every_operation_at_every_magnitude_gives_timms_picture(timm_data, monkeypatch, increasing, kind):
    from timm.data import auto_augment

    theirs = auto_augment.rand_augment_choices("", increasing=increasing)
    ours = timm_strengths(increasing)
    assert [TIMM[name.removesuffix("Increasing")] for name in theirs] == [one.operation for one in ours]
    picture, canvas = photo(), Canvas(crop.FILTERS[kind], FILL)
    hparams = {"img_mean": FILL, "interpolation": crop.FILTERS[kind], "magnitude_max": 15}
    posterise = ImageOps.posterize  # from Pillow 13 on it refuses to keep no bits, at which timm stumbles
    monkeypatch.setattr(
        auto_augment.ImageOps,
        "posterize",
        lambda picture, bits: posterise(picture, bits) if bits > 0 else Image.new("RGB", picture.size),
    )
    for name, strength in zip(theirs, ours, strict=True):
        for magnitude in np.arange(0, 15.5, 0.5):
            for sign in (1, -1) if strength.signed else (1,):
                monkeypatch.setattr(random, "random", lambda sign=sign: 0.25 if sign > 0 else 0.75)
                operation = auto_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=hparams)
                found = applied(picture, strength, sign * float(magnitude), canvas)
                same(found, operation(picture), (name, magnitude, sign))


def test_the_default_policy_is_timms_string(timm_data):
    from timm.data.auto_augment import rand_augment_transform

    theirs, ours = rand_augment_transform("rand-m9-mstd0.5-inc1", {"img_mean": FILL}), PolicyConfig()
    assert theirs.num_layers == ours.layers
    for operation, strength in zip(theirs.ops, strengths(ours), strict=True):
        assert operation.magnitude == ours.magnitude
        assert operation.magnitude_std == ours.spread
        assert operation.prob == ours.chance
        assert TIMM[operation.name.removesuffix("Increasing")] == strength.operation


@pytest.mark.parametrize("wide", [False, True])
def test_every_step_of_the_published_policies_gives_torchvisions_picture(v2, wide):
    theirs = (v2.TrivialAugmentWide if wide else v2.RandAugment)(
        fill=list(FILL), interpolation=v2.InterpolationMode.BILINEAR
    )
    ours = trivial_strengths() if wide else paper_strengths()
    space, picture, canvas = theirs._AUGMENTATION_SPACE, photo(), Canvas(Image.Resampling.BILINEAR, FILL)
    assert len(space) == len(ours)
    for (name, (steps, signed)), strength in zip(space.items(), ours, strict=True):
        amounts = steps(31, picture.height, picture.width)
        assert (amounts is not None, signed) == (strength.amount is not None, strength.signed), name
        for step in range(31 if amounts is not None else 1):
            for sign in (1, -1) if signed and step else (1,):
                amount = sign * float(amounts[step]) if amounts is not None else 0.0
                wanted = theirs._apply_image_or_video_transform(
                    picture, name, amount, theirs.interpolation, theirs._fill
                )
                same(applied(picture, strength, float(sign * step), canvas), wanted, (name, step, sign))


@pytest.mark.parametrize("wide", [False, True])
def test_one_seed_gives_torchvisions_policy(v2, wide):
    options = {"fill": list(FILL), "interpolation": v2.InterpolationMode.BICUBIC}
    theirs = v2.TrivialAugmentWide(**options) if wide else v2.RandAugment(3, 17, **options)
    config = PolicyConfig(kind="trivial") if wide else PolicyConfig(kind="paper", layers=3, magnitude=17.0)
    choice = strengths(config)
    for seed in range(60):
        torch.manual_seed(seed)
        wanted = theirs(photo())
        canvas = Canvas(Image.Resampling.BICUBIC, FILL)
        same(augmented(photo(), config, choice, lambda: canvas, generator(seed)), wanted, seed)  # noqa: B023


@pytest.mark.parametrize(("strength", "turn"), [(0.4, 0.0), (0.4, 0.1), (0.0, 0.5), (1.5, 0.0)])
def test_one_seed_gives_torchvisions_jitter(v2, strength, turn):
    theirs = v2.ColorJitter(strength, strength, strength, turn)
    for seed in range(20):
        torch.manual_seed(seed)
        same(jittered(photo(), strength, turn, generator(seed)), theirs(photo()), seed)


# ------------------------------------------------------------------------------------------ erasing


def test_one_seed_loses_torchvisions_rectangle(v2):
    theirs = v2.RandomErasing(p=0.6, scale=(0.02, 1 / 3), ratio=(0.3, 1 / 0.3), value="random")
    lost = 0
    for seed in range(60):
        picture = torch.zeros(3, 30, 41)
        torch.manual_seed(seed)
        wanted = theirs(picture.clone())
        found = erase(picture, EraseConfig(chance=0.6), generator(seed))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
        lost += int((found != 0).any())
    assert 20 < lost < 52


@pytest.mark.parametrize("fill", ["pixel", "rand", "const"])
def test_what_is_lost_is_as_large_as_timm_has_it_and_filled_alike(timm_data, fill):
    from timm.data.random_erasing import RandomErasing

    theirs = RandomErasing(0.5, mode=fill, device="cpu")
    random.seed(0)
    torch.manual_seed(0)
    drawing, areas, spreads = generator(0), ([], []), ([], [])
    for _ in range(1500):
        for row, one in enumerate(
            (
                erase(torch.full((3, 24, 36), 9.0), EraseConfig(chance=0.5, fill=fill), drawing),
                theirs(torch.full((3, 24, 36), 9.0)),
            )
        ):
            gone = one[0] != 9
            areas[row].append(float(gone.float().mean()))
            if gone.any():
                spreads[row].append(float(one[0][gone].std(correction=0)))
    stats = pytest.importorskip("scipy.stats")
    assert stats.ks_2samp(*areas).pvalue > 1e-3
    assert np.mean(areas[0]) == pytest.approx(np.mean(areas[1]), rel=0.15)
    assert np.mean(spreads[0]) == pytest.approx(np.mean(spreads[1]), abs=0.02)


# ------------------------------------------------------------------------------------------ mixing


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_the_same_share_and_box_give_timms_batch_and_targets(timm_data, monkeypatch, mixup, cutmix):
    from timm.data import mixup as theirs

    config = MixConfig(mixup=mixup, cutmix=cutmix)
    mixer = theirs.Mixup(mixup, cutmix, label_smoothing=0.1, num_classes=7)
    for seed in range(25):
        draw = np.random.default_rng(seed)
        share, cutting = float(draw.random()), bool(draw.random() < 0.5) if mixup and cutmix else cutmix > 0
        place = tuple(int(draw.integers(0, side)) for side in (20, 28))
        images = torch.rand(6, 3, 20, 28, generator=generator(seed))
        labels = torch.randint(7, (6,), generator=generator(seed))
        monkeypatch.setattr(mixer, "_params_per_batch", lambda share=share, cutting=cutting: (share, cutting))
        draws = iter(place)
        monkeypatch.setattr(np.random, "randint", lambda *_, size, draws=draws: next(draws))
        wanted, targets = mixer(images.clone(), labels)

        answers, ours = iter([True, cutting] if mixup and cutmix else [True]), iter(place)
        monkeypatch.setattr(mix, "happens", lambda *_, answers=answers: next(answers))
        monkeypatch.setattr(mix, "beta", lambda *_, share=share: share)
        monkeypatch.setattr(mix, "whole", lambda *_, ours=ours: next(ours))
        kept = images.clone()
        found, shares = mix.mix(images, labels, 7, config, generator(0))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        torch.testing.assert_close(shares, targets.float(), rtol=0, atol=1e-6)
        assert torch.equal(images, kept), "the batch that came is left as it was"


# ------------------------------------------------------------------------------------------ all together


@pytest.mark.parametrize("policy", ["none", "paper", "trivial"])
def test_one_seed_gives_torchvisions_whole_pipeline(v2, policy):
    named = NORMALISATIONS["imagenet"]
    options = {
        "fill": [round(255 * mean) for mean in named.mean],
        "interpolation": v2.InterpolationMode.BICUBIC,
    }
    policies = {
        "none": [],
        "paper": [v2.RandAugment(2, 9, **options)],
        "trivial": [v2.TrivialAugmentWide(**options)],
    }
    theirs = v2.Compose([
        v2.RandomResizedCrop(48, interpolation=v2.InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(),
        *policies[policy],
        v2.ColorJitter(0.3, 0.3, 0.3),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(named.mean, named.deviation),
        v2.RandomErasing(0.25, (0.02, 1 / 3), (0.3, 1 / 0.3), value="random"),
    ])  # fmt: skip
    ours = TrainTransform(AugmentConfig(size=48, policy=PolicyConfig(kind=policy), jitter=0.3))
    for seed in range(30):
        torch.manual_seed(seed)
        wanted = theirs(photo(120, 90, seed))
        torch.testing.assert_close(ours(photo(120, 90, seed), generator(seed)), wanted, rtol=0, atol=2e-6)


def test_numbers_are_torchvisions(v2):
    for colours, named in NORMALISATIONS.items():
        theirs = v2.functional.normalize(
            v2.functional.pil_to_tensor(photo()) / 255, named.mean, named.deviation
        )
        torch.testing.assert_close(normalised(photo(), named), theirs, rtol=0, atol=2e-6, msg=colours)


def test_a_large_photograph_decoded_small_is_nearly_the_same(v2):
    file = io.BytesIO()
    photo(1600, 1200).save(file, "JPEG", quality=90)
    box = Box(100, 60, 1300, 1000)
    with Image.open(file) as whole:
        wanted = v2.functional.resized_crop(
            whole.convert("RGB"),
            box.top,
            box.left,
            box.height,
            box.width,
            [224, 224],
            v2.InterpolationMode.BICUBIC,
        )
    with opened(file.getvalue()) as picture:
        found = resized(picture, box, 224, "bicubic", spare=2.0)
        assert picture.size == (800, 600), "decoded at a half"
    error = np.abs(np.asarray(found).astype(int) - np.asarray(wanted))
    assert error.mean() < 1
    assert math.sqrt((error**2).mean()) < 1.5
