"""The weights of a run as one safetensors file, which any program that reads safetensors can take.

The head of the file says what the tensors are of: recipe, config, step, results. `rayformer train RECIPE
--from FILE.safetensors` begins from it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayformer import __version__
from rayformer.core.config import to_plain
from rayformer.engine.checkpoint import write_tensors
from rayformer.engine.task import Export
from rayformer.recipes.parts.open import Loaded
from rayformer.runs.atomic import replacing


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """None: the weights are what they are."""


def write_weights(loaded: Loaded, options: WeightOptions, path: Path) -> dict[str, Any]:
    """Every parameter and buffer of the last stage's model, as `open_run` dressed it."""
    state = loaded.model.state_dict()
    head = {
        "rayformer": __version__,
        "recipe": loaded.name,
        "step": str(loaded.step),
        "config": json.dumps(to_plain(loaded.config)),
        "result": json.dumps(loaded.run.result() or {}),
    }
    with replacing(path) as temporary:
        write_tensors(temporary, state, head)
    numbers = sum(tensor.numel() for tensor in loaded.model.parameters())
    return {"tensors": len(state), "parameters": numbers, "step": loaded.step}


WEIGHTS = Export(
    does="the weights, with recipe, config and results in the file's head",
    options=WeightOptions(),
    write=write_weights,
    name="model",
    suffixes=(".safetensors",),
)
