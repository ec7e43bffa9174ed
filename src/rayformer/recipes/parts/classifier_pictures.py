"""What a person would look at of a network that recognises pictures.

Recognising    what a task must have for it
Shown          which pictures to show: the surest mistakes, then the surest
show_classes   the confusion matrix, the reliability diagram, those pictures and where the network looked
"""

import heapq
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from rayformer.data.images.batches import ImageBatches
from rayformer.data.images.normalise import bytes_of
from rayformer.data.images.transforms import EvalTransform
from rayformer.metrics.classification import Reliability, Tally
from rayformer.runs.pictures import Picture, side_by_side

NAMED_CLASSES = 40
"""Classes up to which a confusion matrix has their names beside it."""
COUNTED_CLASSES = 16
"""Those up to which its cells hold numbers."""


@runtime_checkable
class Recognising(Protocol):
    """A task whose model recognises pictures."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def see(self) -> EvalTransform: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def heat(self) -> Callable[[Any, Tensor, Tensor], Mapping[str, Tensor]]:
        """(network, pictures, the class that it names) -> where it looked, by the map's name."""
        ...


class Shown:
    """Places of pictures in their part, by how sure the network was: mistakes apart from what was right."""

    def __init__(self, most: int):
        self.most = most
        self._wrong: list[tuple[float, int, int]] = []
        self._right: list[tuple[float, int, int]] = []

    def add(
        self, places: Sequence[int], logits: Float[Tensor, "batch outputs"], labels: Int[Tensor, "batch"]
    ) -> None:
        sure, named = logits.softmax(dim=1).max(dim=1)
        for place, confidence, answer, label in zip(
            places, sure.tolist(), named.tolist(), labels.tolist(), strict=True
        ):
            kept = self._right if answer == label else self._wrong
            heapq.heappush(kept, (confidence, place, answer))
            if len(kept) > self.most:
                heapq.heappop(kept)

    @property
    def mistakes(self) -> list[tuple[float, int, int]]:
        """Confidence, place and what was named; the surest first. No more than three quarters of all."""
        return sorted(self._wrong, reverse=True)[: self.most * 3 // 4]

    @property
    def hits(self) -> list[tuple[float, int, int]]:
        """As many as are left to show; the least sure of the surest first."""
        return sorted(self._right)[: self.most - len(self.mistakes)]


def show_classes(task: Recognising, batches: ImageBatches, tally: Tally, shown: Shown) -> dict[str, Picture]:
    pictures = {
        "classes/confusion": confusion_matrix(tally.confused, task.classes),
        "classes/reliability": reliability_diagram(tally.reliability),
    }
    for kind, chosen in (("mistakes", shown.mistakes), ("right", shown.hits)):
        for number, (confidence, place, named) in enumerate(chosen):
            pictures[f"{kind}/{number:02d}"] = _one(task, batches, place, named, confidence)
    return pictures


def _one(task: Recognising, batches: ImageBatches, place: int, named: int, confidence: float) -> Picture:
    """A picture as the network saw it, and beside it where it looked."""
    images, labels = batches.in_order(place, place + 1)
    heats = task.heat(task.model, images.to(task.device), torch.tensor([named], device=task.device))
    seen = bytes_of(images[0], task.see.normalisation).permute(1, 2, 0).contiguous().numpy()
    panels = [
        Picture(seen),
        *(Picture(heated(seen, heat[0].float().cpu().numpy())) for heat in heats.values()),
    ]
    truth, answer = task.classes[int(labels[0])], task.classes[named]
    said = f"{answer} ({confidence:.0%})" + ("" if truth == answer else f"; it is {truth}")
    return side_by_side(panels, [answer, *heats], caption=f"{batches.part.name(place)}: taken for {said}")


def heated(
    pixels: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey under colours from blue, where the heat is 0, to red, where it is 1."""
    from matplotlib import colormaps

    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]
    colour = colormaps["turbo"](np.clip(heat, 0, 1), bytes=True)[..., :3].astype(np.float32)
    return np.rint(0.5 * grey + 0.5 * colour).astype(np.uint8)


def confusion_matrix(confused: Int[Tensor, "outputs outputs"], classes: Sequence[str]) -> Picture:
    """Row by row what is true, column by column what it was taken for, as shares of the row."""
    from matplotlib.figure import Figure

    counts = confused.numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(14.0, max(5.0, 0.42 * len(classes) + 2))
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("taken for")
    axes.set_ylabel("true class")
    if len(classes) <= NAMED_CLASSES:
        names = [textwrap.shorten(name.replace("_", " "), 22, placeholder="...") for name in classes]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(classes) <= COUNTED_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=ink, fontsize=8)
    return Picture(_drawn(figure), "how often each class is taken for each other")


def reliability_diagram(reliability: Reliability) -> Picture:
    """Accuracy over confidence: on the diagonal, what is said with 70 % confidence is right 7 times in 10."""
    from matplotlib.figure import Figure

    bins = len(reliability.counts)
    middles = (np.arange(bins) + 0.5) / bins
    figure = Figure(figsize=(5, 4.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    there = reliability.counts.numpy() > 0
    axes.bar(middles[there], reliability.accuracy.numpy()[there], 0.94 / bins, color="#2a6f77", label="right")
    axes.plot([0, 1], [0, 1], color="#6c7178", linewidth=1, linestyle="--")
    share = reliability.counts.numpy() / max(1, int(reliability.counts.sum()))
    axes.plot(middles, share, color="#c2703d", marker="o", markersize=3, label="share of the answers")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.legend(loc="upper left", frameon=False)
    return Picture(
        _drawn(figure), f"how far confidence can be trusted: off by {reliability.error:.3f} on average"
    )


def _drawn(figure) -> UInt8[np.ndarray, "height width 3"]:  # a matplotlib figure, which is slow to import
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    return np.asarray(Image.open(buffer).convert("RGB"))
