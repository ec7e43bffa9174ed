"""Layers that learn to denoise, one after the other, and a network of classes upon them.

    LayerTask       one layer, learning to restore what the layers below it make of pictures
    FineTuning      all of them, learning classes
    few_labels      pictures of which fewer may be learned from
    predict         classes of new pictures; what each layer restores of them, spoiled
    begun           fine-tuning that begins from another run
    EXPORTS         what a fine-tuned network is written as

Layers below one that learns stand still, and what they make of pictures is computed anew in every step: that
costs less than the step itself, and pictures may be shifted and mirrored all the same.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, DataError
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.data.images.batches import ImageBatches
from rayformer.data.images.labelled import Labelled, Part, Split
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform
from rayformer.engine.chain import best_weights
from rayformer.engine.task import Export, Prediction, Setting
from rayformer.metrics.image import psnr_db
from rayformer.nets.denoising_ae import (
    DenoisingConfig,
    DenoisingLayer,
    DenoisingNet,
    NoiseConfig,
    denoising_loss,
    numbers_of,
    spoiled,
)
from rayformer.nets.weights.family import Family, Format
from rayformer.nets.weights.loading import load, put
from rayformer.recipes.parts import classify
from rayformer.recipes.parts.classifier import (
    MEASURED_AT_ONCE,
    ClassifierTask,
    ClassifierTraining,
    ImageBatch,
    ImagePiece,
    OpenPictures,
)
from rayformer.recipes.parts.classifier_exports import CLASSIFIER_EXPORTS
from rayformer.recipes.parts.denoising_pictures import colours_of, fields_picture, restored_picture
from rayformer.recipes.parts.open import Loaded
from rayformer.runs.pictures import Picture, save_png, side_by_side
from rayformer.runs.run import Run

FINE_TUNE = "fine-tune"
"""The last stage."""
SHOWN = 10
"""Held-out pictures whose restoration the report shows."""
OWN = Family(formats={"rayformer": Format(rules=())}, head=("head.",))
"""Nobody published weights of such networks; runs and files of ours are all there is."""


class LayerTask:
    def __init__(
        self,
        model: DenoisingLayer,
        below: Sequence[DenoisingLayer],
        data: OpenPictures,
        augment: AugmentConfig,
        network: DenoisingConfig,
        noise: NoiseConfig,
        options: ClassifierTraining,
        setting: Setting,
    ):
        """`below` are the layers that were learned before, the first at the pixels."""
        self.model, self.below, self.data, self.options = model, below, data, options
        self.augment, self.network, self.noise = augment, network, noise
        self.seed, self.device, self.see = setting.seed, setting.device, EvalTransform(augment)
        self._shown: dict[str, Picture] = {}

    @torch.no_grad()
    def inputs(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch inputs"]:
        """What the layer sees of clean pictures, in [0, 1]."""
        values = numbers_of(images, self.network)
        for layer in self.below:
            values = layer.encode(values)
        return values.float()

    @torch.no_grad()
    def painted(self, values: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch pixels"]:
        """Inputs of the layer as pixels, the way back through the layers below it."""
        for layer in reversed(self.below):
            values = layer.decode(values)
        return values

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    @cached_property
    def _training(self) -> ImageBatches:
        part = self.data.split("train")
        assert part is not None, "data always have a training part"
        return ImageBatches(part, TrainTransform(self.augment), self.options.batch, self.seed)

    def batch(self, split: str, step: int, rank: int, world: int) -> ImageBatch:
        assert split == "train", f"a layer learns from training pictures, not from {split!r}"
        pieces = self.options.pieces(world)
        images, _ = self._training(step, rank, world)
        return ImageBatch(ImagePiece(images, torch.empty(len(images), 0)), pieces)

    def loss(self, piece: ImagePiece, step: int, generator: Generator) -> Losses:
        clean = self.inputs(piece.images)
        seen = spoiled(clean, self.noise, generator)
        error = denoising_loss(self.model, clean, seen, self.noise.clean_weight)
        return Losses(total=error, terms={"restoration": error})

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """Mean squared errors over all pictures of a split, of what the layer sees: of spoiled inputs once
        restored; of spoiled inputs left as they are; of clean inputs, there and back. No numbers of "val"
        where no pictures are held back for it."""
        name: Split = "test" if split == "test" else "val"
        part = self.data.split(name)
        if part is None or not len(part):
            return {}
        batches = ImageBatches(part, self.see, MEASURED_AT_ONCE, self.seed, name)
        sums, count = torch.zeros(3, dtype=torch.float64), 0
        for first in range(0, len(part), MEASURED_AT_ONCE):
            images, _ = batches.in_order(first, first + MEASURED_AT_ONCE)
            clean, harmed, restored = self.restored(images, generator)
            again = self.model(clean)
            sums += torch.stack(
                [(values.double() - clean).square().sum().cpu() for values in (restored, harmed, again)]
            )
            count += clean.numel()
        if name == "test":
            self._shown = self._pictures(part, generator)
        named = ("restored_mse", "spoiled_mse", "unspoiled_mse")
        return dict(zip(named, (sums / count).tolist(), strict=True))

    def restored(
        self, images: Float[Tensor, "batch channels height width"], generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the layer: clean, spoiled, and restored from that. The generator is on the processor."""
        clean = self.inputs(images.to(self.device))
        harmed = spoiled(clean.cpu(), self.noise, generator).values.to(self.device)
        return clean, harmed, self.model(harmed)

    def _pictures(self, part: Part, generator: Generator) -> dict[str, Picture]:
        places = np.unique(np.linspace(0, len(part) - 1, SHOWN).round().astype(np.int64))
        images, _ = ImageBatches(part.only(places), self.see, SHOWN, self.seed).in_order(0, SHOWN)
        clean, harmed, restored = map(self.painted, self.restored(images, generator))
        rows = {"as they are": numbers_of(images, self.network)}
        if self.below:
            rows["unspoiled"] = clean
        rows |= {"spoiled": harmed, "restored": restored}
        where = (
            f"the units of layer {len(self.below)}, painted back by the layers below"
            if self.below
            else "pixels"
        )
        caption = f"held-out pictures: {where}, spoiled ({self.said}) and restored"
        return {
            "units": fields_picture([layer.encoder for layer in (*self.below, self.model)], self.network),
            "restored": restored_picture(rows, self.network, caption),
        }

    @property
    def said(self) -> str:
        """The noise in words."""
        if self.noise.kind in ("masking", "salt-and-pepper"):
            return f"{self.noise.kind.replace('-', ' ')} of {self.noise.share:.0%}"
        return f"gaussian of {self.noise.deviation:g}" if self.noise.kind == "gaussian" else "no noise"

    def pictures(self) -> dict[str, Picture]:
        return self._shown


class FineTuning(ClassifierTask):
    """As every network's training for classes; the report shows what its first layer looks for, too."""

    def pictures(self) -> dict[str, Picture]:
        model = self.model
        assert isinstance(model, DenoisingNet), "what is fine-tuned here are layers upon layers"
        layers = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
        return {"units": fields_picture(layers[:1], model.config), **super().pictures()}


def few_labels(data: OpenPictures, most: int | None) -> OpenPictures:
    """The same pictures, `most` of each class to learn from: the first ones. None: all."""
    if most is None:
        return data

    def read() -> Labelled:
        labelled = data.labelled
        train = labelled.parts["train"]
        first = [np.flatnonzero(train.labels == number)[:most] for number in range(len(data.classes))]
        fewer = train.only(np.sort(np.concatenate(first)))
        return replace(labelled, parts={**labelled.parts, "train": fewer})

    return OpenPictures(data.classes, read)


# ---------------------------------------------------------------------- a finished run


@torch.no_grad()
def predict(loaded: Loaded, inputs: Sequence[str], out: Path | None) -> Prediction:
    """Of a run the likeliest classes of every picture, as of all networks; of a single layer
    (RUN/stages/layer-1) how well it restores them. With `out`, `NAME-restored.png` there: the picture as it
    is, spoiled, and restored by every layer. Raises as `classify.predict`."""
    layers = [task for task in loaded.tasks.values() if isinstance(task, LayerTask)]
    whole = isinstance(loaded.task, FineTuning)
    said = classify.predict(loaded, inputs, None) if whole else Prediction(values={}, rows=[])
    if whole and (out is None or not layers):
        return said
    values, rows = dict(said.values), list(said.rows)
    named, same = classify.named_pictures(inputs), Counter[str]()
    for path in named:
        seen, problems = classify.seen_of([path], named, loaded.task.see)
        if problems:
            values[str(path)] = {"problem": problems[path]}
            continue
        with loaded.precision.autocast():
            strip, numbers = _strip(layers, seen[path][None], stream(loaded.seed, "predict", path.name))
        if not whole:
            values[str(path)] = numbers
            spoilt, good = numbers.values()
            rows.append([str(path), f"spoiled {spoilt:.1f} dB", f"restored {good:.1f} dB"])
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            same[path.stem] += 1
            number = f"-{same[path.stem]}" if same[path.stem] > 1 else ""
            save_png(out / f"{path.stem}-restored{number}.png", strip)
    if not rows:
        raise DataError(
            f"None of {len(named)} pictures can be read; {next(iter(values.values()))['problem']}"
        )
    return Prediction(values=values, rows=rows)


def _strip(
    layers: Sequence[LayerTask], images: Float[Tensor, "batch channels height width"], generator: Generator
) -> tuple[Picture, Mapping[str, float]]:
    """One picture as it is, spoiled at the pixels, and then as far up as every layer and back down; how near
    the spoiled one and the last one come to it."""
    first, network = layers[0], layers[0].network
    clean, harmed, _ = first.restored(images, generator)
    panels = {"as it is": clean, "spoiled": harmed}
    codes = harmed
    for number, layer in enumerate(layers, 1):
        codes = layer.model.encode(codes)
        panels[f"restored, layer {number}"] = layer.painted(layer.model.decode(codes))
    pictures = [Picture(colours_of(values.float().cpu(), network)[0]) for values in panels.values()]

    def near(values: Float[Tensor, "batch pixels"]) -> float:
        shown, truth = (rows.view(1, 1, 1, -1) for rows in (values, clean))
        return float(psnr_db(shown, truth))

    numbers = {
        "spoiled_psnr_db": near(panels["spoiled"]),
        "restored_psnr_db": near(panels[f"restored, layer {len(layers)}"]),
    }
    return side_by_side(pictures, list(panels), caption=f"spoiled ({first.said}) and restored"), numbers


def begun(model: nn.Module, source: str) -> Sequence[str]:
    """Fine-tuning from a run, whose fine-tuned network it takes, or from a file; what to say of it. Raises
    ConfigError where layers are to learn anew, DataError for weights of another shape."""
    if isinstance(model, DenoisingLayer):
        raise ConfigError(
            f"--from {source}: layers that learn to denoise begin from nothing, and would forget it.\n"
            "Add --no-pretrain, and classes are learned upon the layers that are there."
        )
    if not (Run(Path(source)).root.path / "run.yaml").exists():
        return load(model, source, OWN).lines()
    run = Run.open(source)
    weights, step = best_weights(dict(run.stages()).get(FINE_TUNE, run))
    return put(model, weights, OWN, f"{source}, step {step}").lines()


EXPORTS: Mapping[str, Export] = {name: CLASSIFIER_EXPORTS[name] for name in ("onnx", "safetensors")}
