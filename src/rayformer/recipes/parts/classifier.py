"""Pictures into classes: what every network that recognises pictures is trained and measured by.

    ClassifierTraining   pictures of a step, mixing, rates by layer
    Net                  what a network must have for it
    OpenPictures         labelled pictures, read when they are needed
    ClassifierTask       a network on them
    classifier_chain     all of it wired, for the recipe of any network
    open_pictures        those of a run, and what of them the run folder keeps
    sized                a published size laid over a config
    classifier_groups    what decays, and rates that fall from the head down

A batch is a pure function of seed, step and rank: which pictures, how each is cropped and coloured, which are
mixed with which. Micro-batches cut it into `train.at_once` pictures; batch norms then see no more than that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError, DataError, did_you_mean
from rayformer.core.losses import Losses
from rayformer.core.seeds import generator as stream
from rayformer.core.seeds import seeded
from rayformer.data.images.batches import ImageBatches
from rayformer.data.images.labelled import ImagesConfig, Labelled, Part, Split
from rayformer.data.images.mix import MixConfig, mix
from rayformer.data.images.read import read_images, read_other
from rayformer.data.images.transforms import AugmentConfig, EvalTransform, TrainTransform
from rayformer.engine.task import Chain, Group, Setting, Stage
from rayformer.losses.classification import cross_entropy
from rayformer.metrics.classification import Tally, class_table
from rayformer.recipes.parts.classifier_pictures import Shown, show_classes
from rayformer.runs.atomic import write_text
from rayformer.runs.pictures import Picture

KEPT = {
    "image_size", "dropout", "attention_dropout", "drop_path", "checkpointing", "pool", "class_token",
    "activation", "qkv_bias", "layer_scale", "eps", "objective", "bias",
}  # fmt: skip
"""Fields of a network that a published size leaves alone: how it is trained, and in what published networks
of one size differ."""
MEASURED_AT_ONCE = 64
"""Pictures that a network is asked about at a time where nothing is learned."""

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining:
    batch: int = 128
    """Pictures of a step, over all processes."""
    at_once: int | None = None
    """Pictures that go through the network together; none: all of a step. Fewer need less memory; batch
    norms see no more than these."""
    mix: MixConfig = MixConfig()
    tune: Literal["all", "head"] = "all"
    """What learns: all of the network, or its head alone, on what the weights of --from make of pictures;
    batch norms, dropout and drop path then stand still."""
    layer_decay: float = 1.0
    """Every layer learns at this share of the rate of the layer above it; 0.65 to 0.9 keep what published
    weights know."""
    shown: int = 24
    """Pictures that the report shows, the surest mistakes first."""

    def __post_init__(self):
        for name in ("batch", "at_once"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, but is {getattr(self, name)}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(
                f"train.layer_decay must be above 0 and at most 1, but is {self.layer_decay:g}."
            )
        if self.shown < 0:
            raise ConfigError(f"train.shown must not be negative, but is {self.shown}.")

    def pieces(self, world: int) -> int:
        """Into how many micro-batches each of so many processes cuts its share of a step: all into equally
        many, though one may have a picture less. Raises ConfigError where there are fewer pictures than
        processes."""
        if self.batch < world:
            raise ConfigError(
                f"train.batch must be at least the number of processes, {world}, but is {self.batch}."
            )
        at_once = self.at_once or self.batch
        return min(-(-self.batch // (world * at_once)), self.batch // world)


@runtime_checkable
class Net(Protocol):
    """A network of `nets/`."""

    def __call__(self, images: Float[Tensor, "batch channels height width"]) -> Tensor: ...

    def depth_of(self, name: str) -> int: ...

    def undecayed(self, name: str, parameter: Tensor) -> bool: ...


HeatMaps = Callable[
    [Any, Float[Tensor, "batch channels height width"], Int[Tensor, "batch"]],
    Mapping[str, Float[Tensor, "batch height width"]],
]
"""(network, pictures, the class that it names) -> heat from 0 to 1 by the map's name: where it looked."""


@dataclass(frozen=True, eq=False)
class ImagePiece:
    images: Float[Tensor, "batch channels height width"]
    targets: Float[Tensor, "batch outputs"]

    @property
    def weight(self) -> float:
        return float(len(self.images))

    def to(self, device: torch.device) -> "ImagePiece":
        return ImagePiece(self.images.to(device, non_blocking=True), self.targets.to(device))


@dataclass(frozen=True, eq=False)
class ImageBatch:
    whole: ImagePiece
    pieces: int

    @property
    def counts(self) -> Mapping[str, int]:
        return {"images": len(self.whole.images)}

    def split(self) -> Sequence[ImagePiece]:
        parts = (part.tensor_split(self.pieces) for part in (self.whole.images, self.whole.targets))
        return [ImagePiece(*piece) for piece in zip(*parts, strict=True)]


class OpenPictures:
    """Labelled pictures, read when the first of them is asked for; their classes are known before."""

    def __init__(self, classes: tuple[str, ...], read: Callable[[], Labelled]):
        self.classes, self._read = classes, read

    @cached_property
    def labelled(self) -> Labelled:
        """Raises DataError, in words, where they cannot be read."""
        return self._read()

    def split(self, name: Split) -> Part | None:
        return self.labelled.split(name)


class ClassifierTask:
    def __init__(
        self,
        model: nn.Module,
        data: OpenPictures,
        augment: AugmentConfig,
        options: ClassifierTraining,
        setting: Setting,
        heat: HeatMaps,
    ):
        self.model, self.data, self.options, self.heat = model, data, options, heat
        self.augment, self.seed, self.device = augment, setting.seed, setting.device
        self.see = EvalTransform(augment)
        self._shown: dict[str, Picture] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        if self.options.tune == "head":
            self.model.eval()  # the engine trains it all, and again after every look at it

    @cached_property
    def _training(self) -> ImageBatches:
        part = self.data.split("train")
        assert part is not None, "data always have a training part"
        return ImageBatches(part, TrainTransform(self.augment), self.options.batch, self.seed)

    def batch(self, split: str, step: int, rank: int, world: int) -> ImageBatch:
        assert split == "train", f"a network learns from training pictures, not from {split!r}"
        pieces = self.options.pieces(world)
        images, labels = self._training(step, rank, world)
        draw = stream(self.seed, "mix", step, rank)
        images, targets = mix(images, labels, len(self.classes), self.options.mix, draw)
        return ImageBatch(ImagePiece(images, targets), pieces)

    def loss(self, piece: ImagePiece, step: int, generator: Generator) -> Losses:
        error = cross_entropy(self.model(piece.images), piece.targets)
        return Losses(total=error, terms={"cross_entropy": error})

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Over all pictures of a split, of "test" for every class by itself too; no numbers of "val" where no
        pictures are held back for it."""
        name: Split = "test" if split == "test" else "val"
        part = self.data.split(name)
        if part is None or not len(part):
            return {}
        batches = ImageBatches(part, self.see, MEASURED_AT_ONCE, self.seed, name)
        tally = Tally(len(self.classes))
        shown = Shown(self.options.shown if name == "test" else 0)
        for first in range(0, len(part), MEASURED_AT_ONCE):
            images, labels = batches.in_order(first, first + MEASURED_AT_ONCE)
            logits = self.model(images.to(self.device)).float().cpu()
            tally.add(logits, labels)
            shown.add(range(first, first + len(labels)), logits, labels)
        if name == "val":
            return tally.numbers
        self._shown = show_classes(self, batches, tally, shown)
        return {**tally.numbers, "by_class": class_table(tally.confused, self.classes)}

    def pictures(self) -> dict[str, Picture]:
        return self._shown


# ---------------------------------------------------------------------- wiring


def classifier_chain(config: Any, setting: Setting, net: Callable[[int], nn.Module], heat: HeatMaps) -> Chain:
    """One stage. `config` has data, augment, train and plan; `net` makes the network for so many classes."""
    data, found = open_pictures(config.data, setting)
    with seeded(setting.seed, "model"):
        model = net(len(data.classes))
    if config.train.tune == "head":
        model.requires_grad_(False).get_submodule("head").requires_grad_(True)
    task = ClassifierTask(model, data, config.augment, config.train, setting, heat)
    stage = Stage(
        name="train",
        task=lambda _: task,
        plan=config.plan,
        groups=lambda model: classifier_groups(model, config.train.layer_decay),
    )
    return Chain(stages=[stage], data=found)


def open_pictures(config: ImagesConfig, setting: Setting) -> tuple[OpenPictures, dict[str, Any]]:
    """The pictures of a run, and what run.yaml says of them. In training they are read; a finished run knows
    its classes from RUN/assets/classes.txt, so that it recognises new pictures without those that it learned
    from. Other pictures, that it is measured on, are numbered by those classes."""
    path = setting.assets / "classes.txt"
    if not setting.training and path.is_file():
        classes = tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        read = read_other if setting.other_data else _read_again
        return OpenPictures(classes, lambda: read(config, classes)), {}
    data = read_images(config)
    if setting.training:
        write_text(path, "\n".join(data.classes) + "\n")
    found = {
        "source": data.source,
        "format": data.format,
        "fingerprint": data.fingerprint,
        **data.counts,
        "remarks": list(data.remarks),
    }
    return OpenPictures(data.classes, lambda: data), found


def _read_again(config: ImagesConfig, classes: tuple[str, ...]) -> Labelled:
    """The pictures that a run was begun with. Raises DataError where their classes have changed since."""
    data = read_images(config)
    if data.classes != classes:
        changed = sorted(set(data.classes) ^ set(classes)) or ["their order"]
        some = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
        raise DataError(
            f"{config.source}: the classes are no longer those that the run learned; what differs: {some}.\n"
            "Bring the old pictures back, or name others to be measured on with --data."
        )
    return data


def sized(model: C, sizes: Mapping[str, C], size: str | None) -> C:
    """The config of a published size, with those of its fields left as the model has them that `KEPT` names.
    Raises ConfigError for a size that nobody published."""
    if size is None:
        return model
    if size not in sizes:
        raise ConfigError(
            f"size must be one of {', '.join(sizes)}, but is {size!r}.{did_you_mean(size, sizes)}"
        )
    names = [field.name for field in fields(model)]  # type: ignore[arg-type]  # configs are dataclasses
    kept = {name: getattr(model, name) for name in names if name in KEPT}
    return replace(sizes[size], **kept)  # type: ignore[type-var]


def classifier_groups(model: nn.Module, layer_decay: float) -> list[Group]:
    """Parameters by how deep they lie, whether they decay, and whether `plan.clip_units` is for them. The
    head learns at the full rate, and unclipped as in NFNets; so do single numbers, which begin at 0 and would
    be kept there by a bound in shares of themselves."""
    assert isinstance(model, Net), "networks say how deep a parameter lies, and which do not decay"
    found: dict[tuple[int, bool, bool], list[str]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            depth = model.depth_of(name) if layer_decay < 1 else 0
            clipped = parameter.ndim > 0 and not name.startswith("head.")
            found.setdefault((depth, model.undecayed(name, parameter), clipped), []).append(name)
    deepest = max(depth for depth, *_ in found)
    return [
        Group(
            f"{depth}{' undecayed' if undecayed else ''}{'' if clipped else ' unclipped'}",
            tuple(names),
            rate=layer_decay ** (deepest - depth),
            decay=0.0 if undecayed else None,
            clip_units=clipped,
        )
        for (depth, undecayed, clipped), names in sorted(found.items())
    ]
