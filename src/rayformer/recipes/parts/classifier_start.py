"""Training that begins from what others have learned.

begun_from      weights of a run, a file, a folder or the hub into a network of one family
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from rayformer.engine.chain import best_weights
from rayformer.nets.weights.family import Family
from rayformer.nets.weights.loading import load, put
from rayformer.runs.run import Run


def begun_from(family: Family) -> Callable[[nn.Module, str], Sequence[str]]:
    """What `Recipe.begin` wants. Weights for other classes lend all but the head, those for another picture
    size have their positions resized; all of it is said."""

    def begin(model: nn.Module, source: str) -> Sequence[str]:
        if (Path(source) / "run.yaml").exists():
            weights, step = best_weights(Run.open(source))
            return put(model, weights, family, f"{source}, step {step}").lines()
        return load(model, source, family).lines()

    return begin
