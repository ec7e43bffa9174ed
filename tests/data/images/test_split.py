"""What is held out: a share of every class, the same every time, whatever the seed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import Files, Found, ImagesConfig
from rayformer.data.images.read import read_images
from rayformer.data.images.split import split_up
from tests.data.images.picture_folders import encoded, pixels, write_folders


def parts_of(counts, **options):
    """Names that never are files, split."""
    names = [f"{label}/{number}.png" for label, count in enumerate(counts) for number in range(count)]
    labels = np.array([int(name.split("/")[0]) for name in names])
    every = np.arange(len(names))
    found = Found(
        format="names", pictures=Files(Path("nowhere"), names), labels=labels,
        classes=tuple(map(str, range(len(counts)))), parts={"train": every},
    )  # fmt: skip
    return split_up(found, found.pictures, every, "names", ImagesConfig(**options))[0]


def named(part):
    return {part.name(place) for place in range(len(part))}


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=5), share=st.floats(0.05, 0.9))
def test_every_picture_has_one_part_and_every_class_is_learned_and_tested(counts, share):
    parts = parts_of(counts, held_out=share)
    sets = [named(part) for part in parts.values()]
    assert sum(map(len, sets)) == len(set.union(*sets)) == sum(counts)
    for label, count in enumerate(counts):
        assert parts["train"].counts(len(counts))[label] >= 1
        tested = parts["test"].counts(len(counts))[label]
        assert 1 <= tested <= max(1, round(share * count))


def test_a_picture_that_is_added_moves_hardly_any_other():
    before, after = parts_of([50, 50], validation=0.0), parts_of([51, 50], validation=0.0)
    moved = named(before["test"]) ^ named(after["test"])
    assert len(moved) <= 2


def test_nothing_held_out_is_measured_at_what_was_learned():
    parts = parts_of([5, 5], held_out=0.0, validation=0.0)
    assert parts["test"] is parts["train"]
    assert len(parts["train"]) == 10


def test_some_of_each_class_are_the_same_some_for_more():
    few, more = parts_of([50, 9], per_class=5), parts_of([50, 9], per_class=10)
    assert few["train"].counts(2).tolist() == [5, 5]
    assert named(few["train"]) < named(more["train"])
    assert named(few["test"]) == named(more["test"])


def test_classes_of_one_picture_leave_nothing_to_test_with(snapshot):
    with pytest.raises(DataError) as refusal:
        parts_of([1, 1, 1])
    snapshot("nothing_to_hold_out", str(refusal.value))


def test_the_fingerprint_changes_with_anything_that_was_read_and_with_nothing_else(tmp_path):
    root = write_folders(tmp_path / "data", {"cat": 6, "dog": 6})
    config = ImagesConfig(source=str(root))
    first = read_images(config).fingerprint
    assert read_images(config).fingerprint == first
    root.rename(tmp_path / "moved")
    moved = ImagesConfig(source=str(tmp_path / "moved"))
    assert read_images(moved).fingerprint == first, "where the data lie is no part of them"
    prints = {first}
    (tmp_path / "moved/cat/000.png").write_bytes(encoded(pixels(99)))
    prints.add(read_images(moved).fingerprint)
    (tmp_path / "moved/cat/000.png").rename(tmp_path / "moved/cat/zero.png")
    prints.add(read_images(moved).fingerprint)
    (tmp_path / "moved/cat").rename(tmp_path / "moved/cow")
    prints.add(read_images(moved).fingerprint)
    prints.add(read_images(ImagesConfig(source=str(tmp_path / "moved"), held_out=0.5)).fingerprint)
    assert len(prints) == 5
