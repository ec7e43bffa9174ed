"""A run folder opened: its recipe, config, tasks and weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rayformer.engine.precision import Precision
from rayformer.engine.task import Chain, Recipe
from rayformer.runs.run import Run


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    run: Run
    name: str
    """Of the recipe."""
    recipe: Recipe
    config: Any
    seed: int
    chain: Chain
    tasks: dict[str, Any]
    """Every stage's task by name, in order, its model wearing the weights of its newest checkpoint; no more
    than up to the stage that was asked for."""
    step: int
    """The step that the last stage's weights are of."""
    device: torch.device
    precision: Precision
    whole: Any = None
    """What independent stages are together, where that is what was opened; `tasks` is then empty."""

    @property
    def task(self) -> Any:
        """The last stage's task, or the whole of independent ones: what the recipe is about."""
        return self.whole or next(reversed(self.tasks.values()))

    @property
    def view(self) -> Any:
        """The run as cameras in, pictures out (`parts/scene_view.py`), for recipes that can."""
        assert self.recipe.render is not None, f"a scene recipe can render, but {self.name} cannot"
        return self.recipe.render(self)

    @property
    def model(self) -> nn.Module:
        return self.task.model
