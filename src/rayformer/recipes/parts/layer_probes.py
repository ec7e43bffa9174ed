"""What every layer of a network knows of classes: a linear probe on each.

Layers          features of pictures at every depth, and their classes
Probed          what a probe on one of them says
probe_layers    all of them
best_layer      the one that held-out pictures choose
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.metrics.classification import top_k, voted
from rayformer.metrics.probes import logistic, tuned_logistic

STRENGTHS = (1e-3, 1e-2, 0.1)
"""Of logistic regression, among which held-out pictures choose; without any, the middle one."""


@dataclass(frozen=True, eq=False)
class Layers:
    features: Sequence[Float[Tensor, "batch width"]]
    """Of each depth, the first first."""
    labels: Int[Tensor, "batch"]


@dataclass(frozen=True)
class Probed:
    depth: int
    top1: float
    """With the votes of all masks, where there are several."""
    one_mask_top1: float
    """The mean over the masks, each by itself."""
    held_top1: float | None
    """Of the pictures that chose the strength; none where none are held out."""


def probe_layers(known: Layers, held: Layers | None, asked: Sequence[Layers], classes: int) -> list[Probed]:
    """Logistic regression on each depth of `known`, its strength chosen by `held`, measured at `asked`: the
    same pictures once for every mask."""
    found = []
    for depth, features in enumerate(known.features):
        held_top1 = None
        if held is None:
            reader = logistic(features, known.labels, classes, STRENGTHS[1])
        else:
            reader, _ = tuned_logistic(
                features, known.labels, held.features[depth], held.labels, classes, STRENGTHS
            )
            held_top1 = reader.accuracy(held.features[depth], held.labels)
        answers = torch.stack([reader(one.features[depth]) for one in asked])
        labels = asked[0].labels
        found.append(
            Probed(
                depth=depth,
                top1=_share(voted(answers), labels),
                one_mask_top1=mean(_share(answer, labels) for answer in answers),
                held_top1=held_top1,
            )
        )
    return found


def _share(logits: Float[Tensor, "batch outputs"], labels: Int[Tensor, "batch"]) -> float:
    return float(top_k(logits, labels, 1).double().mean())


def best_layer(probed: Sequence[Probed]) -> Probed:
    """That with the most held-out pictures right, of equals the first; without any held out, the one in the
    middle. Never by the pictures that it is measured at."""
    if probed[0].held_top1 is None:
        return probed[len(probed) // 2]
    return max(probed, key=lambda one: (one.held_top1, -one.depth))
