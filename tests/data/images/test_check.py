"""Labelled pictures looked over: what cannot be learned from is found before training, in words."""

import numpy as np
import pytest
from PIL import Image

from rayformer.core.errors import DataError
from rayformer.data.images import check
from rayformer.data.images.labelled import Arrays, Decoded, Files, ImagesConfig
from rayformer.data.images.read import read_images
from tests.data.images.picture_folders import encoded, pixels, write_folders


def read(source, **options):
    return read_images(ImagesConfig(source=str(source), **options))


def refusal_of(source, **options):
    with pytest.raises(DataError) as refusal:
        read(source, **options)
    return str(refusal.value)


@pytest.fixture
def harmed(tmp_path):
    """Two classes of eight pictures, of which three cannot be decoded."""
    write_folders(tmp_path, {"cat": 8, "dog": 8})
    large = encoded(pixels(0, 200, 150), "JPEG")
    (tmp_path / "cat" / "002.png").write_bytes(large[: len(large) // 2])
    (tmp_path / "dog" / "001.png").write_bytes(b"")
    (tmp_path / "dog" / "005.png").write_bytes(b"no picture at all")
    return tmp_path


def test_corrupt_pictures_are_refused_before_training(harmed, snapshot):
    snapshot("corrupt_refused", refusal_of(harmed))


def test_corrupt_pictures_are_skipped_when_that_is_asked_for(harmed):
    found = read(harmed, corrupt="skip")
    names = {part.name(place) for part in found.parts.values() for place in range(len(part))}
    assert len(names) == 13
    assert not names & {"cat/002.png", "dog/001.png", "dog/005.png"}
    assert "3 of 16 pictures cannot be decoded and are left out" in found.remarks
    for part in found.parts.values():
        for place in range(len(part)):
            with part.opened(place) as picture:
                assert picture.size == (12, 10)


def test_corrupt_pictures_are_listed_one_by_one_when_that_is_asked_for(harmed, snapshot):
    found = read(harmed, corrupt="list")
    snapshot("corrupt_listed", "\n".join(remark for remark in found.remarks if "left out" in remark))


def test_heads_alone_do_not_show_a_tear_further_down(harmed):
    found = read(harmed, corrupt="list", verify="heads")
    left_out = [remark for remark in found.remarks if remark.startswith("left out")]
    assert [remark.split()[2] for remark in left_out] == ["dog/001.png", "dog/005.png"]


def test_where_nothing_can_be_decoded_even_skipping_is_refused(tmp_path, snapshot):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_bytes(b"no picture")
    snapshot("nothing_decoded", refusal_of(tmp_path, corrupt="skip"))


def test_one_class_alone_is_refused(tmp_path, snapshot):
    snapshot("one_class", refusal_of(write_folders(tmp_path, {"cat": 5})))


def test_a_class_that_is_only_tested_is_refused(tmp_path, snapshot):
    write_folders(tmp_path, {"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/emu": 2})
    snapshot("unseen_class", refusal_of(tmp_path))


def test_a_class_of_which_skipping_leaves_nothing_to_learn_from_is_refused(tmp_path):
    write_folders(tmp_path, {"train/cat": 3, "train/dog": 3, "test/cat": 2, "test/dog": 2})
    write_folders(tmp_path, {"train/emu": 0, "test/emu": 1}, first=50)
    (tmp_path / "train" / "emu" / "a.png").write_bytes(b"")
    assert "a class that training never sees: emu" in refusal_of(tmp_path, corrupt="skip")


def test_uneven_classes_are_told_in_words(tmp_path, snapshot):
    write_folders(tmp_path, {"train/cat": 12, "train/dog": 3, "train/emu": 5, "test/cat": 1, "test/dog": 1})
    found = read(tmp_path, validation=0.0)
    snapshot("uneven", next(remark for remark in found.remarks if remark.startswith("3 classes")))


def test_pictures_too_small_to_show_anything_are_told(tmp_path):
    write_folders(tmp_path, {"cat": 3, "dog": 3})
    Image.new("RGB", (1, 1)).save(tmp_path / "cat" / "dot.png")
    remarks = read(tmp_path).remarks
    assert "pictures are 1 x 1 to 12 x 10 pixels" in remarks
    assert any("the smallest is cat/dot.png with 1 x 1" in remark for remark in remarks)


@pytest.mark.parametrize("verify", ["pixels", "heads"])
def test_pictures_that_move_are_told(tmp_path, verify):
    write_folders(tmp_path, {"cat": 3, "dog": 3})
    frames = [Image.fromarray(pixels(seed, 12, 10)) for seed in range(3)]
    frames[0].save(tmp_path / "cat" / "film.gif", save_all=True, append_images=frames[1:])
    remarks = read(tmp_path, verify=verify).remarks
    assert "1 picture is animated or of several pages, such as cat/film.gif: the first counts" in remarks
    frames[0].save(tmp_path / "cat" / "film.gif")
    assert not any("animated" in remark for remark in read(tmp_path, verify=verify).remarks)


def test_pictures_both_learned_and_tested_are_told(tmp_path):
    write_folders(tmp_path, {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    (tmp_path / "test" / "dog" / "000.png").write_bytes((tmp_path / "train" / "cat" / "003.png").read_bytes())
    remarks = read(tmp_path, validation=0.0).remarks
    assert any(remark.startswith("1 of 4 test pictures are among the training") for remark in remarks)


def test_what_fits_into_memory_stays_there_and_is_the_same(tmp_path, monkeypatch):
    write_folders(tmp_path, {"cat": 3, "dog": 3})
    held = read(tmp_path)
    assert isinstance(held.parts["train"].pictures, Arrays)
    (tmp_path / "cat" / "wide.png").write_bytes(encoded(pixels(9, 30, 10)))
    assert isinstance(read(tmp_path).parts["train"].pictures, Decoded)
    monkeypatch.setattr(check, "HELD", 1000)
    found = read(tmp_path)
    assert isinstance(found.parts["train"].pictures, Files)
    monkeypatch.undo()
    assert found.fingerprint == read(tmp_path).fingerprint, "where they are kept is no part of what they are"
    one, other = found.parts["train"], read(tmp_path).parts["train"]
    for place in range(len(one)):
        with one.opened(place) as first, other.opened(place) as second:
            np.testing.assert_array_equal(np.asarray(first.convert("RGB")), np.asarray(second))
