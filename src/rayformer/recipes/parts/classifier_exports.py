"""What a network that recognises pictures is written as for other programs.

CLASSIFIER_EXPORTS   the weights, ONNX, and folders for the hub and for timm, by the name of the format
write_hub            a folder that `HubClassifier.from_pretrained` and `--from` take
write_timm           a folder that timm's `create_model` takes
timm_config          its config.json
card                 what both say of themselves: classes, results, how to use them
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer import __version__
from rayformer.core.errors import ConfigError
from rayformer.engine.checkpoint import write_tensors
from rayformer.engine.task import Export
from rayformer.nets.weights.for_timm import ForTimm, for_timm
from rayformer.recipes.parts.onnx_export import onnx_export
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import replacing_folder

NAMED_CLASSES = 200
"""Classes up to which a card names all of them."""


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """None: a network is what it is."""


def write_hub(loaded: Loaded, options: FolderOptions, path: Path) -> dict[str, Any]:
    """Raises MissingExtra without huggingface_hub."""
    from rayformer.nets.hub import HubClassifier  # needs the extra

    task = loaded.task
    network = HubClassifier.around(loaded.model.cpu().float().eval(), task.classes, task.see.numbers)
    with replacing_folder(path) as folder:
        # Written first, it takes the place of the card that the hub's package would make.
        (folder / "README.md").write_text(card(loaded, _FROM_HUB, "rayformer"), encoding="utf-8")
        network.save_pretrained(folder)
    return _counts(network)


def write_timm(loaded: Loaded, options: FolderOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError for a network that timm cannot build, with the field that stands in the way."""
    task, model = loaded.task, loaded.model.cpu().float().eval()
    see = task.see.numbers
    try:
        theirs = for_timm(model, see["size"])
    except ConfigError as error:
        others = ", ".join(name for name in CLASSIFIER_EXPORTS if name != "timm")
        raise ConfigError(f"--to timm: {error}\nThe other formats take any network: {others}.") from None
    config = timm_config(theirs, task.classes, see, loaded.run.path.resolve().name)
    with replacing_folder(path) as folder:
        (folder / "README.md").write_text(card(loaded, _FROM_TIMM, "timm"), encoding="utf-8")
        (folder / "config.json").write_text(
            json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8"
        )
        write_tensors(folder / "model.safetensors", theirs.weights, {"format": "pt"})
    return {"architecture": theirs.architecture, "arguments": len(theirs.arguments), **_counts(model)}


def timm_config(theirs: ForTimm, classes: Sequence[str], see: Mapping[str, Any], tag: str) -> dict[str, Any]:
    """What stands in config.json; `see` holds the numbers of an EvalTransform."""
    return {
        "architecture": theirs.architecture,
        "num_classes": len(classes),
        "num_features": theirs.features,
        "label_names": list(classes),
        **({"model_args": dict(theirs.arguments)} if theirs.arguments else {}),
        "pretrained_cfg": {
            "tag": tag,
            "custom_load": False,
            "input_size": [len(see["mean"]), see["size"], see["size"]],
            "fixed_input_size": not theirs.any_size,
            "interpolation": see["filter"],
            "crop_pct": see["crop_share"],
            "crop_mode": "squash" if see["squash"] else "center",
            "mean": see["mean"],
            "std": see["deviation"],
            "num_classes": len(classes),
            "first_conv": theirs.first,
            "classifier": theirs.head,
        },
    }


# ---------------------------------------------------------------------- the card

_FROM_HUB = """\
import torch

from rayformer.data.images.transforms import EvalTransform, load
from rayformer.nets.hub import HubClassifier

model = HubClassifier.from_pretrained(".").eval()  # this folder, or OWNER/NAME on the hub
see = EvalTransform.of(model.preprocessing)
with torch.no_grad():
    shares = model(load("picture.jpg", see)[None]).softmax(dim=1)[0]
print(model.classes[int(shares.argmax())], float(shares.max()))
"""
_FROM_TIMM = """\
import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()  # this folder, or hf-hub:OWNER/NAME
see = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
with torch.no_grad():
    shares = model(see(Image.open("picture.jpg").convert("RGB"))[None]).softmax(dim=1)[0]
print(model.pretrained_cfg["label_names"][int(shares.argmax())], float(shares.max()))
"""


def card(loaded: Loaded, use: str, library: str) -> str:
    """README.md: what it is, how it is used, its classes, its numbers; the head is for the hub."""
    task, result = loaded.task, loaded.run.result() or {}
    classes = list(task.classes)
    more = len(classes) - NAMED_CLASSES
    named = ", ".join(f"`{name}`" for name in classes[:NAMED_CLASSES]) + (
        f" and {more} more, which config.json names" if more > 0 else ""
    )
    numbers = [
        f"| {name} | {value:.6g} |"
        for name, value in result.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    see = task.see.numbers
    source = str(loaded.config.data.source).rstrip("/").rpartition("/")[2]
    return "\n".join(
        [
            "---",
            f"library_name: {library}",
            "pipeline_tag: image-classification",
            f"tags: [image-classification, rayformer, {loaded.name}]",
            "---",
            "",
            f"# {loaded.name} on {source}",
            "",
            f"A network of the recipe `{loaded.name}` of rayformer {__version__}, after {loaded.step:,} "
            f"steps. It tells {len(classes)} classes apart on pictures of {see['size']} x {see['size']} "
            "pixels.",
            "",
            "```python",
            use.rstrip(),
            "```",
            "",
            "## Classes",
            "",
            named,
            "",
            "## Results",
            "",
            *(["| held out | |", "|---|---|", *numbers] if numbers else ["Not measured."]),
            "",
        ]
    )


def _counts(model: torch.nn.Module) -> dict[str, int]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"tensors": len(model.state_dict()), "parameters": parameters}


# ---------------------------------------------------------------------- the formats


def _examples(loaded: Loaded, count: int) -> Float[Tensor, "batch channels height width"]:
    """Pictures that the run was measured on, as the network sees them."""
    task = loaded.task
    part = task.data.split("test")
    pictures = [part.opened(place % len(part)) for place in range(count)]
    return torch.stack([task.see(picture) for picture in pictures])


CLASSIFIER_EXPORTS: Mapping[str, Export] = {
    "onnx": onnx_export(_examples),
    "safetensors": WEIGHTS,
    "hub": Export(
        does="a folder for the Hugging Face hub: network, classes, preprocessing, a model card",
        options=FolderOptions(),
        write=write_hub,
        name="hub",
    ),
    "timm": Export(
        does="a folder that timm loads: its names, its architecture, preprocessing, classes, a model card",
        options=FolderOptions(),
        write=write_timm,
        name="timm",
    ),
}
