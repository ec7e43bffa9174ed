"""Real labelled pictures, as they are published."""

import numpy as np
import pytest

from rayformer.core.errors import DataError
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.read import read_images

pytestmark = pytest.mark.real


def read(source, **options):
    return read_images(ImagesConfig(source=str(source), **options))


def test_fashion_mnist_is_whole_and_its_classes_are_named(real_data):
    found = read(real_data("fashion_mnist"))
    assert found.counts == {"classes": 10, "train": 58_000, "val": 2_000, "test": 10_000}
    assert found.classes[0] == "T-shirt/top"
    pixels = found.parts["test"].pixels
    assert pixels.shape == (10_000, 28, 28, 1)
    # the mean that everybody normalises by is that of the training pictures
    learned = np.concatenate([found.parts[name].pixels for name in ("train", "val")])
    assert learned.mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_a_test_set_of_digits_alone_is_split(real_data):
    found = read(real_data("mnist_t10k"))
    assert found.classes == tuple("0123456789")
    assert sum(len(part) for part in found.parts.values()) == 10_000
    assert found.counts["test"] == 2000


def test_a_zip_of_cifar_is_read_in_place(real_data):
    found = read(real_data("cifar10"))
    assert found.format == "zip of class folders"
    assert found.counts == {"classes": 10, "train": 9_000, "val": 1_000, "test": 2_000}
    assert found.parts["train"].pixels.shape[1:] == (32, 32, 3)
    assert "10 classes with 900 training pictures each" in found.remarks


def test_one_photograph_of_each_class_can_only_be_learned_by_heart(real_data):
    with pytest.raises(DataError, match="no class has two pictures"):
        read(real_data("imagenet_sample"), verify="heads")
    found = read(real_data("imagenet_sample"), held_out=0.0, verify="heads")
    assert len(found.classes) == 1000
    assert found.classes[0] == "tench"
    assert "crane (n02012849)" in found.classes
