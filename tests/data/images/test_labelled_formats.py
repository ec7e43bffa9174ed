"""Labelled pictures in every format: the pixels, the classes and the splits that were written come back."""

import builtins
import copy
import gzip
import sys
import tarfile
import threading

import numpy as np
import pytest

from rayformer.core.errors import ConfigError, DataError, MissingExtra
from rayformer.data.images import hub
from rayformer.data.images.labelled import ImagesConfig
from rayformer.data.images.read import read_images, read_other
from rayformer.data.images.recognise import FORMATS
from rayformer.data.images.zipped import Members
from tests.data.images.picture_folders import (
    cifar_records,
    encoded,
    pixels,
    write_array,
    write_folders,
    write_idx,
    write_parquet,
    write_zip,
)


def read(source, **options):
    return read_images(ImagesConfig(source=str(source), **options))


def whole(source, **options):
    """With nothing held out or back, so that the training part is all of it."""
    return read(source, held_out=0.0, validation=0.0, **options)


def refusal_of(source, kind=DataError, **options):
    with pytest.raises(kind) as refusal:
        read(source, **options)
    return str(refusal.value)


def shown(part, place):
    with part.opened(place) as picture:
        return np.asarray(picture.convert("RGB"))


# ---------------------------------------------------------------- class folders


def test_a_class_is_the_folder_a_picture_lies_in(tmp_path):
    found = whole(write_folders(tmp_path, {"dog": 2, "cat": 3, "Ant": 2}))
    assert found.format == "class folders"
    assert found.classes == ("Ant", "cat", "dog"), "capitals first, as torchvision has them"
    part = found.parts["train"]
    assert part.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert part.name(2) == "cat/000.png"
    np.testing.assert_array_equal(shown(part, 2), pixels(2))


def test_splits_are_told_by_the_names_that_people_use(tmp_path):
    counts = {"Training/a": 3, "Training/b": 2, "valid/a": 1, "valid/b": 1, "test/a": 2, "test/b": 2}
    found = read(write_folders(tmp_path, counts))
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 5, "val": 2, "test": 4}
    assert "the split is the data's own" in " ".join(found.remarks)


def test_validation_pictures_are_tested_with_where_there_are_no_others(tmp_path):
    """ImageNet has train and val, and val is what papers measure."""
    found = read(write_folders(tmp_path, {"train/a": 20, "train/b": 20, "val/a": 3, "val/b": 3}))
    assert len(found.parts["test"]) == 6
    assert len(found.parts["val"]) == 4, "a tenth of every class of the training pictures"
    assert "validation pictures are those for testing" in " ".join(found.remarks)


def test_classes_called_test_are_classes_where_nothing_is_called_train(tmp_path):
    found = whole(write_folders(tmp_path, {"test": 2, "control": 2}))
    assert found.classes == ("control", "test")


def test_folders_inside_class_folders_belong_to_the_class(tmp_path):
    found = whole(write_folders(tmp_path, {"cat/day": 2, "cat/night": 1, "dog": 2}))
    assert found.parts["train"].counts(2).tolist() == [3, 2]


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    write_folders(tmp_path, {"cat": 2, "dog": 2, ".cache/x": 1})
    (tmp_path / "cat" / "._000.png").write_bytes(b"what some systems leave")
    (tmp_path / "cat" / "notes.txt").write_text("hello")
    (tmp_path / "stray.png").write_bytes(encoded(pixels(1)))
    found = whole(tmp_path)
    assert len(found.parts["train"]) == 4
    assert "1 pictures lie in no class folder and are left aside" in found.remarks


def test_a_link_that_leads_back_up_is_followed_once(tmp_path):
    write_folders(tmp_path, {"cat": 2, "dog": 2})
    (tmp_path / "cat" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(whole(tmp_path).parts["train"]) == 4


def test_wordnet_numbers_in_names_are_classes(tmp_path):
    names = ["n01440764_tench", "n01440764_7", "n02012849_crane", "n03126707_crane", "n02012849_9"]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.JPEG").write_bytes(encoded(pixels(number), "JPEG"))
    found = whole(tmp_path)
    assert found.classes[1:] == ("crane (n02012849)", "crane (n03126707)")
    assert found.parts["train"].labels.tolist() == [0, 0, 1, 1, 2]


def test_folders_that_cannot_be_learned_from_are_refused_in_words(tmp_path, snapshot):
    (tmp_path / "empty").mkdir()
    snapshot("empty_folder", refusal_of(tmp_path / "empty"))
    snapshot("absent", refusal_of(tmp_path / "absent"))
    snapshot("nearly_a_name", refusal_of("shape"))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "notes.txt").write_text("hello")
    snapshot("no_pictures", refusal_of(tmp_path / "words"))
    snapshot("a_file_of_another_kind", refusal_of(tmp_path / "words" / "notes.txt"))
    write_folders(tmp_path / "flat", {".": 3})
    snapshot("no_class_folders", refusal_of(tmp_path / "flat"))
    write_folders(tmp_path / "hollow", {"cat": 3, "dog": 3, "emu": 0, "fox": 0})
    snapshot("empty_class_folders", refusal_of(tmp_path / "hollow"))
    write_folders(tmp_path / "split", {"train/cat": 3, "train/dog": 0, "test/cat": 3, "test/dog": 0})
    snapshot("empty_class_folder_of_a_split", refusal_of(tmp_path / "split"))


# ---------------------------------------------------------------- zips


@pytest.mark.parametrize("prefix", ["", "flowers/", "home/me/flowers/"])
def test_a_zip_is_the_folder_that_was_packed(tmp_path, prefix):
    folder = write_folders(tmp_path / "folder", {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    one, other = read(folder), read(write_zip(tmp_path / "packed.zip", folder, prefix))
    assert (one.classes, one.counts) == (other.classes, other.counts)
    for name, part in one.parts.items():
        assert part.labels.tolist() == other.parts[name].labels.tolist()
        for place in range(len(part)):
            np.testing.assert_array_equal(shown(part, place), shown(other.parts[name], place))


def test_a_folder_that_holds_a_zip_and_no_pictures_is_the_zip(tmp_path):
    folder = write_folders(tmp_path / "folder", {"a": 3, "b": 3})
    (tmp_path / "shelf").mkdir()
    write_zip(tmp_path / "shelf" / "packed.zip", folder)
    (tmp_path / "shelf" / "README.md").write_text("hello")
    assert read(tmp_path / "shelf").format == "zip of class folders"
    assert not list((tmp_path / "shelf").glob("*/")), "nothing is unpacked"


def test_members_are_read_from_many_threads_and_sent_to_other_processes(tmp_path):
    folder = write_folders(tmp_path / "folder", {"a": 20, "b": 20})
    names = [f"{label}/{number:03}.png" for label in "ab" for number in range(20)]
    members = Members(write_zip(tmp_path / "packed.zip", folder), names)
    wanted = [(folder / name).read_bytes() for name in names]
    got = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(map(bytes, members))) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == wanted for mine in got)
    assert copy.deepcopy(members)[3] == wanted[3]


def test_zips_that_cannot_be_read_are_refused_in_words(tmp_path, snapshot):
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    snapshot("torn_zip", refusal_of(tmp_path / "torn.zip"))
    locked = write_zip(tmp_path / "locked.zip", write_folders(tmp_path / "folder", {"a": 1, "b": 1}))
    data = bytearray(locked.read_bytes())
    place = data.index(b"PK\x01\x02")
    while place >= 0:  # the flag that says "locked" of every member
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 4)
    locked.write_bytes(data)
    snapshot("locked_zip", refusal_of(locked))


# ---------------------------------------------------------------- idx


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_idx_files_come_back_as_they_were_written(tmp_path, suffix):
    learned = write_idx(tmp_path, "train", [3, 1, 3, 1], suffix=suffix)
    tested = write_idx(tmp_path, "t10k", [1, 3], seed=1, suffix=suffix)
    found = read(tmp_path, validation=0.0)
    assert found.classes == ("1", "3")
    assert found.parts["train"].labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(found.parts["train"].pixels[..., 0], learned)
    np.testing.assert_array_equal(found.parts["test"].pixels[..., 0], tested)
    np.testing.assert_array_equal(shown(found.parts["test"], 1), np.repeat(tested[1][..., None], 3, axis=2))


def test_one_of_the_files_names_all_of_them(tmp_path):
    write_idx(tmp_path, "train", [0, 1, 0, 1])
    assert read(tmp_path / "train-images-idx3-ubyte.gz").counts["classes"] == 2


def test_a_test_set_alone_is_split_anew(tmp_path):
    write_idx(tmp_path, "t10k", [0, 1] * 20)
    found = read(tmp_path)
    assert found.counts == {"classes": 2, "train": 28, "test": 8, "val": 4}
    assert "the data bring test pictures only: of every class, 0.2 is held out" in " ".join(found.remarks)


def test_classes_are_named_by_the_folder_or_by_a_file(tmp_path):
    write_idx(tmp_path / "fashion_mnist", "train", [0, 9, 0, 9])
    assert whole(tmp_path / "fashion_mnist").classes[9] == "Ankle boot"
    write_idx(tmp_path / "mine", "train", [0, 1, 0, 1])
    (tmp_path / "mine" / "labels.txt").write_text("left\nright\n")
    assert whole(tmp_path / "mine").classes == ("left", "right")


def test_emnist_is_put_upright_and_its_characters_are_named(tmp_path):
    lying = write_idx(tmp_path, "emnist-letters-train", [1, 2, 1, 2])
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n")
    found = whole(tmp_path)
    assert found.classes == ("A", "B")
    np.testing.assert_array_equal(found.parts["train"].pixels[..., 0], lying.transpose(0, 2, 1))


def test_idx_files_that_do_not_fit_are_refused_in_words(tmp_path, snapshot):
    def torn(name, **changes):
        folder = tmp_path / name
        write_idx(folder, "train", [0, 1, 0, 1])
        for file, data in changes.items():
            (folder / f"train-{file}-ubyte.gz".replace("_", "-")).write_bytes(data)
        return refusal_of(folder)

    write_idx(tmp_path / "good", "train", [0, 1, 0, 1])
    good = (tmp_path / "good" / "train-images-idx3-ubyte.gz").read_bytes()
    snapshot("idx_torn", torn("a", images_idx3=good[:-20]))
    short = write_array(tmp_path / "short", np.zeros((4, 6, 5)))
    snapshot("idx_short", torn("b", images_idx3=gzip.compress(short.read_bytes()[:-7])))
    wide = write_array(tmp_path / "wide", np.zeros((4, 6, 5)), kind=13)
    snapshot("idx_of_floats", torn("c", images_idx3=gzip.compress(wide.read_bytes())))
    few = write_array(tmp_path / "few", np.zeros(3))
    snapshot("idx_labels_missing", torn("d", labels_idx1=gzip.compress(few.read_bytes())))
    snapshot("idx_of_something_else", torn("e", images_idx3=gzip.compress(b"hello there")))
    forged = bytes([0, 0, 8, 3]) + b"\xff" * 12
    snapshot("idx_forged", torn("f", images_idx3=gzip.compress(forged)))
    write_idx(tmp_path / "g", "train", [0, 1, 2, 3])
    (tmp_path / "g" / "labels.txt").write_text("left\nright\n")
    snapshot("idx_too_few_names", refusal_of(tmp_path / "g"))


# ---------------------------------------------------------------- CIFAR


def write_cifar(folder):
    folder.mkdir()
    learned = []
    for number in (1, 2):
        data, values = cifar_records([[0], [1], [1]], seed=number)
        (folder / f"data_batch_{number}.bin").write_bytes(data)
        learned.append(values)
    data, tested = cifar_records([[1], [0]], seed=3)
    (folder / "test_batch.bin").write_bytes(data)
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    return np.concatenate(learned), tested


def test_binary_cifar_comes_back_as_it_was_written(tmp_path):
    learned, tested = write_cifar(tmp_path / "cifar")
    found = read(tmp_path / "cifar", validation=0.0)
    assert found.classes == ("airplane", "automobile")
    assert found.parts["train"].labels.tolist() == [0, 1, 1, 0, 1, 1]
    np.testing.assert_array_equal(found.parts["train"].pixels, learned)
    np.testing.assert_array_equal(found.parts["test"].pixels, tested)


def test_the_archive_is_read_in_place(tmp_path):
    write_cifar(tmp_path / "cifar")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar", "cifar-10-batches-bin")
    one, other = read(tmp_path / "cifar"), read(tmp_path / "cifar-10-binary.tar.gz")
    assert one.fingerprint == other.fingerprint


def test_of_a_hundred_classes_the_fine_label_counts(tmp_path):
    for name, seed in (("train", 0), ("test", 1)):
        data, _ = cifar_records([[9, 0], [8, 2], [9, 1]], seed)
        (tmp_path / f"{name}.bin").write_bytes(data)
    (tmp_path / "fine_label_names.txt").write_text("apple\nbear\ncup\n")
    found = read(tmp_path, validation=0.0)
    assert found.classes == ("apple", "bear", "cup")
    assert found.parts["train"].labels.tolist() == [0, 2, 1]


def test_pickled_cifar_is_refused_and_nothing_runs(tmp_path, snapshot):
    trap = tmp_path / "ran"
    code = f"cbuiltins\nopen\n(V{trap}\nVw\ntR.".encode()
    for folder, files in {"ten": ("data_batch_1", "batches.meta"), "hundred": ("train", "meta")}.items():
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_bytes(code)
    snapshot("pickled_cifar", refusal_of(tmp_path / "ten"))
    assert "pickles" in refusal_of(tmp_path / "hundred")
    assert not trap.exists()


def test_torn_cifar_is_refused_in_words(tmp_path, snapshot):
    write_cifar(tmp_path / "cifar")
    file = tmp_path / "cifar" / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:-5])
    snapshot("torn_cifar", refusal_of(tmp_path / "cifar"))
    (tmp_path / "torn.tar.gz").write_bytes(b"\x1f\x8b and no more")
    snapshot("torn_archive", refusal_of(tmp_path / "torn.tar.gz"))


# ---------------------------------------------------------------- parquet and the hub


def test_parquet_files_of_the_hub_come_back_as_they_were_written(tmp_path):
    pytest.importorskip("pyarrow")
    names = ["cat", "dog"]
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1], names)
    more = write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", [1, 1, 0], names, seed=10)
    tested = write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 0], names, seed=20)
    found = read(tmp_path, validation=0.0)
    assert found.classes == ("cat", "dog")
    assert found.counts == {"classes": 2, "train": 5, "test": 2}
    part = found.parts["train"]
    assert part.name(3) == "train-00001-of-00002.parquet, row 1"
    np.testing.assert_array_equal(shown(part, 3), more[1])
    np.testing.assert_array_equal(shown(found.parts["test"], 1), tested[1])


def test_labels_without_names_are_named_by_themselves(tmp_path):
    pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "train.parquet", ["sun", "moon", "sun", "moon"])
    assert whole(tmp_path).classes == ("moon", "sun")


def test_parquet_without_pictures_or_labels_is_refused_in_words(tmp_path, snapshot):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    for name, columns in {"words": {"text": ["a"], "label": [0]}, "bare": {"image": [b"a"]}}.items():
        (tmp_path / name).mkdir()
        pyarrow.parquet.write_table(arrow.table(columns), tmp_path / name / "train.parquet")
        snapshot(f"parquet_{name}", refusal_of(tmp_path / name))
    write_parquet(tmp_path / "kept_back" / "test.parquet", [-1, -1], ["cat", "dog"])
    snapshot("parquet_kept_back", refusal_of(tmp_path / "kept_back"))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "train.parquet").write_bytes(b"PAR1 and no more")
    assert "torn/train.parquet: cannot be read as labelled pictures" in refusal_of(tmp_path / "torn")


class Hub:
    """The hub's client, with one data set."""

    def __init__(self, folders):
        self.folders, self.asked = folders, []

    def snapshot_download(self, name, repo_type, revision, allow_patterns):
        assert (repo_type, allow_patterns) == ("dataset", ["*.parquet"]), "never a script"
        self.asked.append((name, revision))
        if revision not in self.folders:
            raise OSError("401 Client Error.\nRepository Not Found")
        return str(self.folders[revision])


def test_a_name_on_the_hub_is_its_parquet_files(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    write_parquet(tmp_path / "data" / "train-0.parquet", [0, 1, 0, 1], ["cat", "dog"])
    client = Hub({None: tmp_path, "v1": tmp_path})
    monkeypatch.setattr(hub, "_client", lambda: client)
    assert whole("hf:me/pets").classes == ("cat", "dog")
    assert whole("hf:me/pets@v1").classes == ("cat", "dog")
    assert client.asked == [("me/pets", None), ("me/pets", "v1")]


def test_a_data_set_of_pictures_alone_is_taken_from_the_hubs_own_conversion(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    (tmp_path / "bare").mkdir()
    for config, names in {"default": ["cat", "dog"], "other": ["sun", "moon"]}.items():
        write_parquet(tmp_path / "made" / config / "train" / "0000.parquet", [0, 1, 0, 1], names)
    client = Hub({None: tmp_path / "bare", hub.CONVERTED: tmp_path / "made"})
    monkeypatch.setattr(hub, "_client", lambda: client)
    assert whole("hf:pets").classes == ("cat", "dog")
    client.folders[hub.CONVERTED] = tmp_path / "bare"
    assert "has no parquet files" in refusal_of("hf:pets")


def test_what_the_hub_does_not_give_is_refused_in_words(tmp_path, monkeypatch, snapshot):
    monkeypatch.setattr(hub, "_client", lambda: Hub({}))
    snapshot("hub_refuses", refusal_of("hf:me/pets"))
    snapshot("hub_no_name", refusal_of("hf:me/pets/cats"))
    monkeypatch.undo()
    really = builtins.__import__

    def absent(name, *rest, **more):
        if name in ("huggingface_hub", "pyarrow.parquet"):
            raise ImportError(name)
        return really(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    snapshot("hub_without_its_extra", refusal_of("hf:me/pets", MissingExtra))
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    snapshot("parquet_without_its_extra", refusal_of(tmp_path, MissingExtra))


# ---------------------------------------------------------------- other data, and all formats together


def test_other_pictures_are_numbered_by_the_names_the_run_knows(tmp_path):
    write_folders(tmp_path, {"dog": 2, "ant": 3})
    found = read_other(ImagesConfig(source=str(tmp_path)), ("ant", "cat", "dog"))
    assert found.classes == ("ant", "cat", "dog")
    assert found.parts["test"].labels.tolist() == [0, 0, 0, 2, 2]
    assert "measured at 5 pictures, all that there are" in found.remarks


def test_other_pictures_of_an_unknown_class_are_refused(tmp_path, snapshot):
    write_folders(tmp_path, {"cats": 2, "dog": 3})
    with pytest.raises(DataError) as refusal:
        read_other(ImagesConfig(source=str(tmp_path)), ("cat", "dog"))
    snapshot("unknown_class", str(refusal.value))


def test_every_format_has_a_name_of_its_own():
    assert len({known.name for known in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "held_out": {"held_out": 1.0}, "validation": {"validation": -0.1}, "per_class": {"per_class": 0},
    }.items(),
)  # fmt: skip
def test_options_that_cannot_work_are_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        ImagesConfig(**changes)
    assert f"data.{name}" in str(refusal.value)
    snapshot(f"option_{name}", str(refusal.value))
