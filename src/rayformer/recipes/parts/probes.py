"""What the features of a network know of classes: readers that learn on top of it, and it stays as it is.

ProbeTraining   pictures of a step, and which readers are asked beside the linear one
Probe           a frozen network, a batch norm without parameters, a linear layer
ProbeTask       the linear layer trained; all readers measured
probe_chain     all of it wired, for a body

He et al. 2021 (MAE), https://arxiv.org/abs/2111.06377, A.1: the batch norm brings the features of every
network to the same scale, so that one rate of learning does for all of them.

Without augmentation a picture has the same features in every step, so those of all pictures are computed
once; RUN/assets/features keeps those of the training pictures and of those held back from them, which
logistic regression and nearest neighbours ask for again whenever the run is measured.
"""

import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.core.seeds import seeded
from rayformer.data.images.batches import ImageBatches, places_of
from rayformer.data.images.labelled import Split
from rayformer.data.images.transforms import EvalTransform, TrainTransform
from rayformer.engine.checkpoint import read_tensors, write_tensors
from rayformer.engine.plan import Plan
from rayformer.engine.precision import choose_precision
from rayformer.engine.task import Chain, Group, Setting, Stage
from rayformer.losses.classification import cross_entropy
from rayformer.metrics.classification import Tally, top_k
from rayformer.metrics.probes import logistic, nearest_neighbours, tuned_logistic
from rayformer.recipes.parts.body import Body
from rayformer.recipes.parts.classifier import MEASURED_AT_ONCE, OpenPictures
from rayformer.recipes.parts.classifier_pictures import Shown, show_classes
from rayformer.recipes.parts.heat import Heat, attention_heat, channel_heat
from rayformer.runs.atomic import replacing
from rayformer.runs.pictures import Picture

LOG = logging.getLogger(__name__)

ROWS_AT_ONCE = 8192
"""Features that the linear layer is asked about at a time where nothing is learned."""


@dataclass(frozen=True, kw_only=True)
class ProbeTraining:
    batch: int = 512
    """Pictures of a step, over all processes."""
    augment: bool = False
    """Learn from random crops and mirror images, as the papers do: every step then runs the whole network.
    Without it features are computed once, and a step takes a millisecond."""
    logistic: bool = True
    """Measure logistic regression on the features, too, solved to its optimum. It has no rate to choose;
    its penalty is chosen on the pictures that data.validation holds back, and without them is that of
    strength 1."""
    neighbours: int = 20
    """Measure the votes of so many nearest training pictures, too; 0 asks none."""
    temperature: float = 0.07
    """A neighbour's vote weighs exp(cosine / temperature)."""
    shown: int = 24
    """Pictures that the report shows, the surest mistakes first."""

    def __post_init__(self):
        if self.batch < 2:
            raise ConfigError(
                f"probe.batch must be at least 2, as its batch norm compares pictures, but is {self.batch}."
            )
        for name in ("neighbours", "shown"):
            if getattr(self, name) < 0:
                raise ConfigError(f"probe.{name} must not be negative, but is {getattr(self, name)}.")
        if not self.temperature > 0:
            raise ConfigError(f"probe.temperature must be above 0, but is {self.temperature:g}.")


class Probe(nn.Module):
    """Pictures to one number for each class. The body stays in evaluation mode and learns nothing."""

    def __init__(self, body: Body, classes: int):
        super().__init__()
        network, features = body.built()
        self.family = body.net
        self.body = network.requires_grad_(False).eval()
        self.norm = nn.BatchNorm1d(features, eps=1e-6, affine=False)
        self.head = nn.Linear(features, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def judge(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch outputs"]:
        return self.head(self.norm(features))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch outputs"]:
        return self.judge(self.body(images))

    def train(self, mode: bool = True) -> "Probe":
        super().train(mode)
        self.body.eval()
        return self

    # What Grad-CAM asks (`nets.parts.grad_cam.Seeing`)

    def features(self, images: Float[Tensor, "batch channels height width"]) -> Tensor:
        return self.body.features(images)  # type: ignore[operator]  # a network of `nets/`

    def classify(self, features: Tensor) -> Float[Tensor, "batch outputs"]:
        return self.judge(self.body.classify(features))  # type: ignore[operator]


@dataclass(frozen=True, eq=False)
class Rows:
    """Features of pictures and their classes: those of a whole split, or of one step, which is one piece."""

    features: Float[Tensor, "batch features"]
    labels: Int[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def weight(self) -> float:
        return float(len(self))

    @property
    def counts(self) -> Mapping[str, int]:
        return {"images": len(self)}

    def split(self) -> Sequence["Rows"]:
        return [self]

    def to(self, device: torch.device) -> "Rows":
        return Rows(self.features.to(device, non_blocking=True), self.labels.to(device))


class ProbeTask:
    def __init__(
        self,
        model: Probe,
        body: Body,
        data: OpenPictures,
        options: ProbeTraining,
        plan: Plan,
        setting: Setting,
    ):
        self.model, self.data, self.options = model, data, options
        self.seed, self.device = setting.seed, setting.device
        self.see, self._see_by_lot = EvalTransform(body.augment), TrainTransform(body.augment)
        self._precision = choose_precision(setting.device, plan.precision)
        self._kept = setting.assets / "features"
        self._rows: dict[str, Rows] = {}
        self._shown: dict[str, Picture] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    # ------------------------------------------------------------------ training

    def before_step(self, step: int, generator: Generator) -> None:
        pass

    def batch(self, split: str, step: int, rank: int, world: int) -> Rows:
        assert split == "train", f"a probe learns from training pictures, not from {split!r}"
        size = self.options.batch
        if size < 2 * world:
            raise ConfigError(
                f"probe.batch must be at least 2 for each of {world} processes, but is {size} in all."
            )
        if self.options.augment:
            images, labels = self._by_lot(step, rank, world)
            return Rows(self._features(images), labels)
        known = self.rows("train")
        places = torch.from_numpy(places_of(len(known), self.seed, "train", step, size, rank, world)[0])
        return Rows(known.features[places], known.labels[places])

    @cached_property
    def _by_lot(self) -> ImageBatches:
        part = self.data.split("train")
        assert part is not None, "data always have a training part"
        return ImageBatches(part, self._see_by_lot, self.options.batch, self.seed)

    def loss(self, piece: Rows, step: int, generator: Generator) -> Losses:
        with torch.autocast(piece.features.device.type, enabled=False):  # a layer so small gains nothing
            error = cross_entropy(self.model.judge(piece.features), piece.labels)
        return Losses(total=error, terms={"cross_entropy": error})

    # ------------------------------------------------------------------ features

    @torch.no_grad()
    def _features(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features"]:
        """In the run's precision, on the processor."""
        with self._precision.autocast():
            parts = [self.model.body(some.to(self.device)) for some in images.split(MEASURED_AT_ONCE)]
        return torch.cat(parts).float().cpu()

    def rows(self, split: Split) -> Rows:
        """Of all pictures of a split; none where there is no such split. All but those to be tested on are
        kept in the run folder."""
        if split not in self._rows:
            self._rows[split] = self._computed(split) if split == "test" else self._kept_rows(split)
        return self._rows[split]

    def _kept_rows(self, split: Split) -> Rows:
        """Read back where they were computed with the weights that the body has now."""
        file, body = self._kept / f"{split}.safetensors", _checksum(self.model.body)
        if file.exists() and int((kept := read_tensors(file))["body"]) == body:
            return Rows(kept["features"], kept["labels"])
        found = self._computed(split)
        if len(found):
            with replacing(file) as temporary:
                tensors = {"features": found.features, "labels": found.labels, "body": torch.tensor(body)}
                write_tensors(temporary, tensors)
        return found

    def _computed(self, split: Split) -> Rows:
        part = self.data.split(split)
        if part is None or not len(part):
            return Rows(torch.empty(0, self.model.head.in_features), torch.empty(0, dtype=torch.long))
        LOG.info("computing the features of %d pictures (%s), once", len(part), split)
        batches, found = self._in_order(split), []
        for first in range(0, len(part), MEASURED_AT_ONCE):
            images, labels = batches.in_order(first, first + MEASURED_AT_ONCE)
            found.append((self._features(images), labels))
        features, labels = zip(*found, strict=True)
        return Rows(torch.cat(features), torch.cat(labels).long())

    def _in_order(self, split: Split) -> ImageBatches:
        part = self.data.split(split)
        assert part is not None, f"there are pictures of {split}, or nobody would ask for them"
        return ImageBatches(part, self.see, MEASURED_AT_ONCE, self.seed, split)

    # ------------------------------------------------------------------ measuring and showing

    @torch.no_grad()
    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        """The linear layer's numbers; on the test split the other readers' too. No numbers of "val" where no
        pictures are held back for it."""
        name: Split = "test" if split == "test" else "val"
        asked = self.rows(name)
        if not len(asked):
            return {}
        tally, shown = Tally(len(self.classes)), Shown(self.options.shown if name == "test" else 0)
        with torch.autocast(self.device.type, enabled=False):
            for first in range(0, len(asked), ROWS_AT_ONCE):
                some = asked.features[first : first + ROWS_AT_ONCE].to(self.device)
                logits, labels = self.model.judge(some).cpu(), asked.labels[first : first + ROWS_AT_ONCE]
                tally.add(logits, labels)
                shown.add(range(first, first + len(labels)), logits, labels)
            numbers = tally.numbers | (self._other_readers(asked) if name == "test" else {})
        if name == "test":
            self._shown = show_classes(self, self._in_order(name), tally, shown)
        return numbers

    def _other_readers(self, asked: Rows) -> dict[str, float]:
        """None where the run learned from augmented pictures and is measured, before its end, on other data
        than its own: then nobody knows the features of what it learned from."""
        known, classes, numbers = self.rows("train"), len(self.classes), dict[str, float]()
        if not len(known):
            return numbers
        # Float64, which solves the regression, is not had on every accelerator.
        where = self.device if self.device.type == "cuda" else torch.device("cpu")
        known, asked = known.to(where), asked.to(where)
        if self.options.logistic:
            held = self.rows("val").to(where)
            if len(held):
                found, strength = tuned_logistic(
                    known.features, known.labels, held.features, held.labels, classes
                )
            else:
                strength = 1.0
                found = logistic(known.features, known.labels, classes, strength)
            numbers |= {
                "logistic_top1": found.accuracy(asked.features, asked.labels),
                "logistic_strength": strength,
            }
        if self.options.neighbours:
            votes = nearest_neighbours(
                asked.features, known.features, known.labels, classes, self.options.neighbours,
                self.options.temperature,
            )  # fmt: skip
            numbers["knn_top1"] = float(top_k(votes, asked.labels, 1).double().mean())
        return numbers

    def heat(
        self,
        model: Probe,
        images: Float[Tensor, "batch channels height width"],
        classes: Int[Tensor, "batch"],
    ) -> Heat:
        if model.family == "vit":
            return attention_heat(model.body, images, classes)  # type: ignore[arg-type]
        return channel_heat(model, images, classes)

    def pictures(self) -> dict[str, Picture]:
        return self._shown


def _checksum(model: nn.Module) -> int:
    found = 0
    for tensor in model.state_dict().values():
        found = zlib.crc32(tensor.cpu().contiguous().numpy().tobytes(), found)
    return found


def probe_chain(
    body: Body,
    data: OpenPictures,
    found: Mapping[str, object],
    options: ProbeTraining,
    plan: Plan,
    setting: Setting,
) -> Chain:
    """One stage: the linear layer on `body`, whose weights are still to come."""
    if plan.shard:
        raise ConfigError(
            "plan.shard splits what is learned over processes, and a probe learns one layer: leave it out."
        )
    with seeded(setting.seed, "model"):
        model = Probe(body, len(data.classes))
    task = ProbeTask(model, body, data, options, plan, setting)
    return Chain(
        stages=[Stage(name="train", task=lambda _: task, plan=plan, groups=groups)], data=dict(found)
    )


def groups(model: nn.Module) -> list[Group]:
    """The linear layer; its bias does not decay."""
    return [Group("weight", ("head.weight",)), Group("bias", ("head.bias",), decay=0.0)]
