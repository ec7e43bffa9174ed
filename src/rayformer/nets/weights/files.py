"""Files of weights that others published, from a disk or from the hub.

    read         tensors by name from a file, a folder, or a name on the hub
    found        the file or the folder, or else the name; nothing is read
    beside       the folder where what describes them lies: a config, a vocabulary
    unwrapped    those of a model out of what a training script put round them

Nothing that a file holds is run: `.safetensors` and `.npz` are plain numbers, `.pth` and its like are read by
torch's weights-only reader, which refuses all else.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rayformer.core.errors import DataError, MissingExtra
from rayformer.core.published import published

PICKLES = (".pth", ".pt", ".bin", ".pyth", ".ckpt", ".tar")
FILES = (".safetensors", ".npz", *PICKLES)
WRAPPINGS = ("model_ema", "state_dict_ema", "model", "state_dict", "model_state", "module")
"""Under what training scripts keep the weights of a model; averaged ones first."""
PREFIXES = ("module.", "model.")
"""What wrappers put before every name."""
IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")
SAFE = ("model.safetensors", "model.safetensors.index.json")


def read(source: str | Path) -> dict[str, Tensor]:
    """Tensors by name. `source` is a file, a folder with model.safetensors or pytorch_model.bin, or
    OWNER/NAME on the Hugging Face hub, which may be written hf:OWNER/NAME, with @REVISION behind it if need
    be.

    Raises DataError for what is none of these, or holds anything but numbers; MissingExtra where the hub is
    asked for without its package."""
    place = found(source)
    if isinstance(place, str):
        return _hub(place)
    return _folder(place) if place.is_dir() else _file(place)


def found(source: str | Path) -> Path | str:
    """Where `source` is: a path that exists, or a name on the hub. Raises DataError for what is neither."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source).removeprefix("hf:")
    if path.suffix in FILES or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise DataError(
            f"{source}: no such file, and no name of the form OWNER/NAME on the Hugging Face hub."
        )
    return name


def _file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return unwrapped(load_file(path), str(path))
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: not a whole safetensors file ({error})") from error
    if path.suffix == ".npz":
        return _npz(path)
    if path.suffix not in PICKLES:
        raise DataError(
            f"{path}: weights are read from {', '.join(FILES)}, not from {path.suffix or 'a bare name'}."
        )
    return unwrapped(published(path), str(path))


def _npz(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a file of plain arrays ({error})") from error


def _folder(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    if index.exists():
        try:
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{index}: not the list of a model's files") from error
        tensors: dict[str, Tensor] = {}
        for name in files:
            if Path(name).name != name:
                raise DataError(f"{index}: names {name!r}, but weights lie beside it, in its own folder")
            tensors |= _file(path / name)
        return tensors
    for name in IN_A_FOLDER:
        if (path / name).exists():
            return _file(path / name)
    raise DataError(f"{path}: a folder of weights holds {' or '.join(IN_A_FOLDER)}, but this one does not.")


def beside(source: str | Path, names: Sequence[str]) -> Path:
    """The folder where files of these names lie that describe weights, if there are any: the one that a file
    is in, the folder itself, or what the hub has of them. Raises as `read`."""
    place = found(source)
    if isinstance(place, str):
        return _fetched(place, names)
    return place if place.is_dir() else place.parent


def _hub(name: str) -> dict[str, Tensor]:
    """One format is fetched and no more: safetensors, else the file that came before it."""
    newest, older = [*SAFE, "model-*.safetensors"], ["pytorch_model.bin"]
    for wanted in (newest, older):
        folder = _fetched(name, wanted)
        if any((folder / one).exists() for one in (*SAFE, *older)):
            return _folder(folder)
    raise DataError(
        f"{name}: on the Hugging Face hub, but without {' or '.join(IN_A_FOLDER)}.\n"
        "Fetch the file that it has yourself, and name that."
    )


def _fetched(name: str, wanted: Sequence[str]) -> Path:
    """The folder with those of the wanted files that the hub has under this name."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("hub", f"{name} on the Hugging Face hub") from error
    owner_and_name, _, revision = name.partition("@")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                owner_and_name, revision=revision or None, allow_patterns=list(wanted)
            )
        )
    except (OSError, ValueError) as error:  # of which kinds all are that the client raises
        raise DataError(
            f"{name}: no file of that name here, and the Hugging Face hub does not give it "
            f"({_said(error)}).\n"
            "Is the name right, is it public (else set HF_TOKEN), and can this machine reach the hub?\n"
            "Weights that were fetched elsewhere, such as its model.safetensors, may be named as a file."
        ) from error


def _said(error: Exception) -> str:
    """The first line of an error that has a second one about internet connections."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].removeprefix("Got: ").rstrip(".:")


def unwrapped(found: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """The tensors of a model, without what a training script kept beside them and wrote before their names.
    Raises DataError where there are none."""
    for key in WRAPPINGS:
        if isinstance(found.get(key), Mapping) and found[key]:
            return unwrapped(found[key], where)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise DataError(f"{where}: holds no tensors by name.")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
