"""A family of two layers and a head, which others call otherwise."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.nets import weights
from rayformer.nets.vit import ViT, ViTConfig
from rayformer.nets.weights.family import Family, Format, from_flax
from rayformer.nets.weights.files import read
from rayformer.nets.weights.loading import exported, load, put
from rayformer.nets.weights.names import Rename

TIMM = (
    Rename("fc{i}.{part}", "layers.{i}.{part}"),
    Rename("pos_embed", "positions"),
    Rename("classifier.{part}", "head.{part}"),
)


def fitted(model: nn.Module, name: str, tensor: Tensor) -> Tensor | None:
    wanted = model.state_dict()[name].shape
    if name != "positions":
        return None
    return nn.functional.interpolate(tensor.T[None], wanted[0])[0].T


FAMILY = Family(
    formats={
        "timm": Format(rules=TIMM, computed=("index",)),
        "flax": Format(rules=(Rename("Dense_{i}.kernel", "layers.{i}.weight"),), prepare=from_flax),
    },
    head=("head.",),
    fitted=fitted,
)


class Net(nn.Module):
    def __init__(self, classes: int = 3, places: int = 4, width: int = 2):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, width), nn.Linear(width, 2)])
        self.positions = nn.Parameter(torch.rand(places, 2))
        self.head = nn.Linear(2, classes)


def same(one: nn.Module, other: nn.Module, but: str = "nothing") -> bool:
    theirs = other.state_dict()
    return all(torch.equal(own, theirs[name]) for name, own in one.state_dict().items() if but not in name)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_what_is_exported_loads_and_is_the_same(net: Net, tmp_path: Path):
    save_file(exported(net, FAMILY, "timm"), tmp_path / "net.safetensors")
    other = Net()
    report = load(other, tmp_path / "net.safetensors", FAMILY)
    assert same(net, other)
    assert report.format == "timm"
    assert set(report.loaded) == set(net.state_dict())
    assert report.kept == report.unexpected == ()


def test_our_own_names_need_no_rules(net: Net):
    other = Net()
    assert put(other, net.state_dict(), FAMILY, "here").format == "rayformer"
    assert same(net, other)


@pytest.mark.parametrize("wrapped", ["model", "state_dict", "model_ema"])
def test_what_a_training_script_put_round_the_weights_is_taken_off(net: Net, tmp_path: Path, wrapped: str):
    inside = {f"module.{name}": tensor for name, tensor in exported(net, FAMILY, "timm").items()}
    torch.save({wrapped: inside, "epoch": 3, "optimizer": {}}, tmp_path / "net.pth")
    other = Net()
    load(other, tmp_path / "net.pth", FAMILY)
    assert same(net, other)


def test_averaged_weights_are_preferred(tmp_path: Path):
    torch.save({"model": {"a": torch.zeros(1)}, "model_ema": {"a": torch.ones(1)}}, tmp_path / "both.pth")
    assert read(tmp_path / "both.pth")["a"] == 1


def test_a_file_of_other_classes_lends_all_but_the_head(net: Net):
    other = Net(classes=5)
    before = other.head.weight.clone()
    report = put(other, exported(net, FAMILY, "timm"), FAMILY, "net.pth")
    assert same(other, net, but="head")
    assert torch.equal(other.head.weight, before)
    assert report.kept == ("head.bias", "head.weight")


def test_positions_are_resized_and_that_is_told(net: Net):
    other = Net(places=8)
    report = put(other, exported(net, FAMILY, "timm"), FAMILY, "net.pth")
    assert dict(report.resized) == {"positions": ((4, 2), (8, 2))}
    assert torch.equal(other.positions[::2], net.positions)
    assert "resized: positions from 4x2 to 8x2" in report.lines()


def test_every_tensor_of_the_file_is_loaded_or_told(net: Net):
    given = exported(net, FAMILY, "timm") | {"fc0.index": torch.zeros(1), "extra.weight": torch.zeros(1)}
    report = put(Net(), given, FAMILY, "net.pth")
    assert report.unexpected == ("extra.weight",)
    assert report.computed == ("fc0.index",)
    assert len(report.loaded) + 2 == len(given)


def test_another_architecture_is_refused_with_a_list_and_leaves_the_model_as_it_was(net: Net, snapshot):
    given = exported(net, FAMILY, "timm")
    del given["fc1.bias"]
    given["extra.weight"] = torch.zeros(1)
    other = Net(width=3)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(DataError) as error:
        put(other, given, FAMILY, "net.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
    snapshot("weights-of-another-architecture", str(error.value))


def test_flax_kernels_become_ours():
    dense, conv = torch.rand(2, 5), torch.rand(3, 4, 2, 5)
    assert torch.equal(from_flax("a/kernel", dense)[1], dense.T)
    assert from_flax("a/kernel", conv)[1].shape == (5, 2, 3, 4)
    heads, back = torch.rand(6, 2, 3), torch.rand(2, 3, 6)
    name, query = from_flax("a/query/kernel", heads)
    assert name == "a.query.kernel"
    assert torch.equal(query, heads.reshape(6, 6).T)
    assert torch.equal(from_flax("a/out/kernel", back)[1], back.reshape(6, 6).T)
    assert from_flax("a/query/bias", torch.rand(2, 3))[1].shape == (6,)


def test_npz_folders_and_lists_of_files_are_read(tmp_path: Path):
    np.savez(tmp_path / "net.npz", **{"a/kernel": np.ones((2, 3), np.float32)})
    assert read(tmp_path / "net.npz")["a/kernel"].shape == (2, 3)
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.ones(1)}, folder / "model-1.safetensors")
    save_file({"b": torch.ones(1)}, folder / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read(folder).keys() == {"a", "b"}


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "pytorch_model.bin"])
def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path, name: str):
    sprung = tmp_path / "sprung"
    (tmp_path / name).write_bytes(pickle.dumps({"model": Trap(sprung)}))
    torch.save({"model": Trap(sprung)}, tmp_path / f"zipped-{name}")
    for file in (tmp_path / name, tmp_path / f"zipped-{name}"):
        with pytest.raises(DataError, match="without running code"):
            read(file)
    assert not sprung.exists()
    torch.load(tmp_path / f"zipped-{name}", weights_only=False)  # the trap is one
    assert sprung.exists()


def test_arrays_that_are_pickles_are_refused(tmp_path: Path):
    sprung = tmp_path / "sprung"
    np.savez(tmp_path / "net.npz", a=np.array([Trap(sprung)], dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        read(tmp_path / "net.npz")
    assert not sprung.exists()


def test_a_list_that_names_files_elsewhere_is_refused(tmp_path: Path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../other"}}))
    with pytest.raises(DataError, match="in its own folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere/net.pth", "no such file"),
        ("./nothing", "no such file"),
        ("one-word", "no such file"),
    ],
)
def test_what_is_nowhere_is_told(source: str, says: str):
    with pytest.raises(DataError, match=says):
        read(source)


def test_torn_and_foreign_files_are_told(tmp_path: Path):
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    (tmp_path / "notes.txt").write_text("notes")
    torch.save({"epoch": 3}, tmp_path / "nothing.pth")
    for name, says in (
        ("torn.safetensors", "not a whole safetensors file"),
        ("notes.txt", "weights are read from"),
        ("nothing.pth", "no tensors by name"),
        (".", "a folder of weights holds"),
    ):
        with pytest.raises(DataError, match=says):
            read(tmp_path / name)


class Hub:
    """What `snapshot_download` gives: a folder that fills with the files that are asked for."""

    def __init__(self, folder: Path, files: dict[str, Path]):
        self.folder, self.files, self.asked = folder, files, []

    def __call__(self, name, revision, allow_patterns):
        self.asked.append((name, revision, tuple(allow_patterns)))
        for pattern in allow_patterns:
            if pattern in self.files:
                shutil.copy(self.files[pattern], self.folder / pattern)
        return str(self.folder)


@pytest.mark.parametrize("there", [("model.safetensors", "pytorch_model.bin"), ("pytorch_model.bin",)])
def test_of_a_name_on_the_hub_one_format_is_fetched(there, tmp_path: Path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    files = {name: tmp_path / f"given.{name}" for name in there}
    for name, path in files.items():
        numbers = {"weight": torch.arange(3.0)}
        save_file(numbers, path) if name.endswith("safetensors") else torch.save(numbers, path)
    (tmp_path / "snapshot").mkdir()
    fetch = Hub(tmp_path / "snapshot", files)
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert read("hf:owner/name@v2").keys() == {"weight"}
    assert [path.name for path in fetch.folder.iterdir()] == [there[0]]
    assert {(name, revision) for name, revision, _ in fetch.asked} == {("owner/name", "v2")}


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch, snapshot):
    hub = pytest.importorskip("huggingface_hub")

    def unreachable(*_, **__):
        raise FileNotFoundError("Got: ConnectError: Name or service not known\nPlease check your connection.")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    with pytest.raises(DataError) as caught:
        read("owner/name")
    snapshot("hub_out_of_reach", str(caught.value))


def test_a_name_on_the_hub_without_weights_is_told(tmp_path: Path, monkeypatch, snapshot):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", Hub(tmp_path, {}))
    with pytest.raises(DataError) as caught:
        read("owner/name")
    snapshot("hub_without_weights", str(caught.value))


def test_networks_of_ours_know_their_family(tmp_path):
    torch.manual_seed(0)
    given, taken = (ViT(ViTConfig(width=24, depth=1, heads=2, image_size=32), 3) for _ in range(2))
    save_file(given.state_dict(), tmp_path / "model.safetensors")
    report = weights.load(taken, tmp_path)
    assert same(given, taken)
    assert report.kept == report.unexpected == ()


def test_a_model_of_no_family_is_refused(net, tmp_path, snapshot):
    with pytest.raises(ConfigError) as caught:
        weights.load(net, tmp_path)
    snapshot("no_family", str(caught.value))
