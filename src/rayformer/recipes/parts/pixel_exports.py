"""What a network of pixels is written as, and what it says of new pictures.

predict         nats per pixel of each picture, its class where classes were learned, a picture of its ends
PIXEL_EXPORTS   drawn pictures, ends of begun ones, weights, a folder for transformers
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.seeds import generator
from rayformer.data.images.labelled import SUFFIXES
from rayformer.data.images.transforms import load
from rayformer.engine.checkpoint import write_tensors
from rayformer.engine.task import Export, Prediction
from rayformer.metrics.classification import voted
from rayformer.nets.igpt import EXPANSION, nats
from rayformer.nets.weights.igpt import for_transformers
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.pixel_pictures import sheet
from rayformer.recipes.parts.pixel_task import Drawing, PixelTask
from rayformer.recipes.parts.weights_export import WEIGHTS
from rayformer.runs.atomic import replacing_folder
from rayformer.runs.pictures import save_png

LIKELIEST = 5
"""Classes that are named of each picture."""


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of every picture how likely its pixels are, in nats each (the less the likelier), and the likeliest
    classes where the run learned any. With `out`, a PNG of each goes there: ends drawn below its upper half,
    or, by BERT's objective, hidden pixels filled in. Raises DataError for what is absent, no picture, or a
    folder without pictures."""
    task: PixelTask = loaded.task
    values, rows = {}, []
    for number, path in enumerate(_files(inputs)):
        pixels = task.numbers(load(path, task.see)[None]).to(loaded.device)
        said: dict[str, Any] = {}
        with loaded.precision.autocast():
            if task.tuned:
                answer = voted(task.answers(pixels, task.masks, "predict", 0))[0].softmax(dim=0).cpu()
                likely = answer.topk(min(LIKELIEST, len(answer)))
                names = [task.classes[row] for row in likely.indices.tolist()]
                top = dict(zip(names, likely.values.tolist(), strict=True))
                said |= {"class": names[0], "probability": top[names[0]], "top": top}
            hidden = task.hidden_again(pixels, "predict", 0, 0)
            features = task.model.features(pixels, hidden)
            said["nats_per_pixel"] = float(nats(task.model, features, pixels, hidden))
            if out is not None:
                said["picture"] = str(_shown(task, pixels, out / f"{path.stem}.png", loaded.seed, number))
        values[str(path)] = said
        rows.append([str(path), *_as_text(said)])
    return Prediction(values=values, rows=rows)


def _as_text(said: Mapping[str, Any]) -> list[str]:
    classes = [f"{name} {share:.1%}" for name, share in said.get("top", {}).items()]
    return [
        *classes,
        f"{said['nats_per_pixel']:.3f} nats per pixel",
        *([said["picture"]] if "picture" in said else []),
    ]


def _shown(task: PixelTask, pixels: Int[Tensor, "batch tokens"], path: Path, seed: int, number: int) -> Path:
    if task.model.looks_ahead:
        picture = task.filled(pixels)
    else:
        picture = task.ended(pixels, task.drawing, generator(seed, "predict", number, device=task.device))
    save_png(path, picture)
    return path


def _files(inputs: Sequence[str]) -> list[Path]:
    """All files that were named, and all pictures in the folders that were."""
    found: list[Path] = []
    for path in map(Path, inputs):
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if path.is_dir() and not inside:
            raise DataError(f"{path}: a folder without pictures ({', '.join(SUFFIXES[:6])} and others).")
        if not path.exists():
            raise DataError(f"{path}: no such file or folder.")
        found += inside if path.is_dir() else [path]
    return found


# ---------------------------------------------------------------------- exports


@dataclass(frozen=True, kw_only=True)
class Sheet:
    count: int = 32
    """How many pictures."""
    columns: int = 8
    """Side by side."""
    seed: int = 0
    """Another number, other pictures."""
    draw: Drawing = Drawing()

    def __post_init__(self):
        for name in ("count", "columns"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, but is {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class Ends:
    pictures: str = ""
    """A picture, or a folder of them, whose upper halves are kept; without it, held-out ones of the run's
    data."""
    count: int = 8
    """Pictures at most."""
    seed: int = 0
    """Another number, other ends."""
    draw: Drawing = Drawing()

    def __post_init__(self):
        if self.count < 1:
            raise ConfigError(f"count must be at least 1, but is {self.count}.")


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """None: a network is what it is."""


@torch.no_grad()
def write_drawn(loaded: Loaded, options: Sheet, path: Path) -> dict[str, Any]:
    """Raises ConfigError for a network that was trained by BERT's objective."""
    task: PixelTask = loaded.task
    with loaded.precision.autocast():
        seed = generator(options.seed, "drawn", device=loaded.device)
        drawn = task.draw(options.count, options.draw, seed)
    said = f"temperature {options.draw.temperature:g}, top {options.draw.top_k or 'all'} colours"
    save_png(path, sheet(task.seen(drawn), options.columns, said))
    return {"pictures": options.count, "pixels_drawn": drawn.numel()}


@torch.no_grad()
def write_ends(loaded: Loaded, options: Ends, path: Path) -> dict[str, Any]:
    """Raises ConfigError as `write_drawn`, DataError for pictures that are not there."""
    task: PixelTask = loaded.task
    if options.pictures:
        files = _files([options.pictures])[: options.count]
        images = torch.stack([load(file, task.see) for file in files])
    else:
        part = task.data.split("test")
        assert part is not None, "data always have a test part"
        images = torch.stack([task.see(part.opened(place)) for place in range(min(options.count, len(part)))])
    pixels = task.numbers(images).to(loaded.device)
    with loaded.precision.autocast():
        seed = generator(options.seed, "ends", device=loaded.device)
        save_png(path, task.ended(pixels, options.draw, seed))
    return {"pictures": len(pixels)}


def write_transformers(loaded: Loaded, options: FolderOptions, path: Path) -> dict[str, Any]:
    """Raises ConfigError for BERT's objective, which transformers has not."""
    task: PixelTask = loaded.task
    model = task.model.cpu().float()
    if model.looks_ahead:
        raise ConfigError(
            "model.objective=bert: transformers' Image GPT is autoregressive only, and would read these "
            "weights wrongly.\n--to safetensors takes any network."
        )
    tensors = for_transformers(model)
    config = {
        "model_type": "imagegpt",
        "architectures": [
            "ImageGPTForImageClassification" if task.tuned else "ImageGPTForCausalImageModeling"
        ],
        "vocab_size": model.colours + 1,
        "n_positions": model.tokens,
        "n_embd": model.config.width,
        "n_layer": model.config.depth,
        "n_head": model.config.heads,
        "n_inner": EXPANSION * model.config.width,
        "activation_function": "quick_gelu",
        "layer_norm_epsilon": model.config.eps,
        "resid_pdrop": model.config.dropout,
        "embd_pdrop": model.config.dropout,
        "attn_pdrop": model.config.dropout,
        "tie_word_embeddings": False,
        **({"id2label": dict(enumerate(task.classes))} if task.tuned else {}),
        **({"label2id": {name: row for row, name in enumerate(task.classes)}} if task.tuned else {}),
    }
    see = {
        "image_processor_type": "ImageGPTImageProcessor",
        "clusters": task.palette.colours.tolist(),
        "do_color_quantize": True,
        "do_normalize": True,
        "do_resize": True,
        "size": {"height": model.side, "width": model.side},
    }
    with replacing_folder(path) as folder:
        (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        (folder / "preprocessor_config.json").write_text(json.dumps(see, indent=2), encoding="utf-8")
        write_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    return {"tensors": len(tensors), "parameters": sum(tensor.numel() for tensor in tensors.values())}


PIXEL_EXPORTS: Mapping[str, Export] = {
    "drawn": Export(
        does="new pictures, drawn pixel by pixel, on one sheet",
        options=Sheet(),
        write=write_drawn,
        name="drawn",
        suffixes=(".png",),
    ),
    "ends": Export(
        does="the upper halves of pictures, with lower halves that are drawn",
        options=Ends(),
        write=write_ends,
        name="ends",
        suffixes=(".png",),
    ),
    "safetensors": WEIGHTS,
    "transformers": Export(
        does="a folder that transformers' ImageGPT classes load: weights, config, palette",
        options=FolderOptions(),
        write=write_transformers,
        name="transformers",
    ),
}
