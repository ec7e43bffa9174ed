"""Batches: a pure function of their number, and the same however they are made."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.data.images.batches import Ahead, ImageBatches, places_of
from rayformer.data.images.erase import EraseConfig
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.randaugment import PolicyConfig
from rayformer.data.images.read import read_images
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform
from tests.data.images.picture_folders import write_folders


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_picture_is_seen_once_in_an_epoch(count, size, seed):
    steps = -(-3 * count // size)
    places, epochs = (
        np.concatenate(some)
        for some in zip(*(places_of(count, seed, "train", step, size) for step in range(steps)), strict=True)
    )
    for epoch in range(3):
        assert sorted(places[epochs == epoch]) == list(range(count))


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 30), size=st.integers(4, 12), step=st.integers(0, 9), world=st.integers(1, 4))
def test_the_shares_of_all_processes_are_the_batch(count, size, step, world):
    whole, _ = places_of(count, 0, "train", step, size)
    shares = [places_of(count, 0, "train", step, size, rank, world)[0] for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(shares), whole)


def test_epochs_seeds_and_splits_have_orders_of_their_own():
    orders = {
        tuple(places_of(50, seed, split, step, 50)[0])
        for seed, split, step in [(0, "train", 0), (0, "train", 1), (1, "train", 0), (0, "val", 0)]
    }
    assert len(orders) == 4


@pytest.fixture
def part(tmp_path):
    folder = write_folders(tmp_path, {"cat": 5, "dog": 6})
    return read_images(ImagesConfig(source=str(folder), held_out=0.0, validation=0.0)).parts["train"]


def some_of_everything(part, **options) -> ImageBatches:
    config = AugmentConfig(size=8, erase=EraseConfig(chance=0.5), policy=PolicyConfig(kind="timm"))
    return ImageBatches(part, TrainTransform(config), size=4, seed=options.get("seed", 0))


def test_a_batch_is_a_pure_function_of_its_number(part):
    one, again = some_of_everything(part), some_of_everything(part)
    later, labels = one(7)
    one(3)
    assert torch.equal(again(7)[0], later)
    assert torch.equal(again(7)[1], labels)
    assert not torch.equal(some_of_everything(part, seed=1)(7)[0], later)


def test_the_number_of_processes_changes_no_pixel(part):
    batches = some_of_everything(part)
    whole = torch.cat([batches(5, rank, 3)[0] for rank in range(3)])
    assert torch.equal(whole, batches(5)[0])


def test_labels_stay_with_their_pictures(part):
    batches = ImageBatches(part, EvalTransform(AugmentConfig(size=10, colours="none")), size=11, seed=0)
    pictures, labels = batches(0)
    in_order, known = batches.in_order(0, 99)
    assert len(in_order) == 11
    for picture, label in zip(pictures, labels, strict=True):
        match = (in_order - picture).abs().flatten(1).max(dim=1).values.argmin()
        assert known[match] == label


def test_measuring_draws_nothing(part):
    batches = some_of_everything(part)
    assert torch.equal(batches.in_order(2, 6)[0], batches.in_order(0, 11)[0][2:6])


def test_small_pictures_in_memory_are_made_together(tmp_path):
    from rayformer.data.images.labelled import Arrays, Part

    values = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
    part = Part(Arrays(values), np.arange(9), np.arange(9) % 3)
    config = AugmentConfig(
        size=8, crop="shifted", padding=0, flip=0.0, policy=PolicyConfig(kind="none"),
        erase=EraseConfig(chance=0.0), colours="none",
    )  # fmt: skip
    batches = ImageBatches(part, TrainTransform(config), size=9, seed=0)
    assert batches._together
    pictures, labels = batches(0)
    places, _ = places_of(9, 0, "train", 0, 9)
    torch.testing.assert_close(pictures[:, 0], torch.from_numpy(values[places, ..., 0]) / 255)
    assert labels.tolist() == (places % 3).tolist()


# ---------------------------------------------------------------- made ahead


def squared(number: int) -> int:
    if number == 13:
        raise ValueError("13 cannot be made")
    return number * number


@pytest.mark.parametrize(("workers", "kind"), [(0, "threads"), (1, "threads"), (3, "threads")])
def test_made_ahead_or_not_it_is_the_same_in_any_order(workers, kind):
    with Ahead(squared, workers, kind) as ahead:
        assert [ahead(number) for number in [0, 1, 2, 3, 9, 10, 2, 4]] == [0, 1, 4, 9, 81, 100, 4, 16]


@pytest.mark.slow
def test_processes_make_the_same_batches(part):
    batches = some_of_everything(part)
    with Ahead(batches, workers=1, kind="processes") as ahead:
        for step in range(3):
            assert torch.equal(ahead(step)[0], batches(step)[0])


def test_a_failure_is_raised_at_the_number_it_belongs_to():
    with Ahead(squared, workers=2) as ahead:
        assert ahead(11) == 121, "though 13 has failed meanwhile"
        assert ahead(12) == 144
        with pytest.raises(ValueError, match="13 cannot be made"):
            ahead(13)
        assert ahead(14) == 196


def test_the_next_ones_are_made_while_one_is_used():
    made = threading.Event()

    def make(number):
        if number == 2:
            made.set()
        return number

    with Ahead(make, workers=1) as ahead:
        ahead(0)
        assert made.wait(5)
