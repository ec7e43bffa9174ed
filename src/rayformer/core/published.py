"""Weights that others published, read without running anything that a file might hold.

published       what a .pth file holds, by name: tensors, or what a training script put round them
put_published   those of some layers into them
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rayformer.core.errors import DataError


def published(path: Path) -> Mapping[str, Any]:
    """What the file holds, by name. Raises DataError for what is no such file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # guesses about old pickles; what cannot be read is an error below
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: the weights cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch raises many kinds for what is not its own
        raise DataError(f"{path}: not a file of weights that torch reads without running code") from error
    if not isinstance(weights, Mapping):
        raise DataError(f"{path}: holds no tensors by name, but a {type(weights).__name__}")
    return weights


def put_published(layers: Mapping[str, nn.Module], path: Path, what: str) -> None:
    """Weight and bias of every layer, found in the file under the layer's name. `what` tells a person which
    file is wanted. Raises DataError for another one, and leaves the layers as they were."""
    weights = published(path)
    there = {
        f"{name}.{part}": getattr(layer, part)
        for name, layer in layers.items()
        for part in ("weight", "bias")
    }
    for name, to in there.items():
        there_is = weights.get(name)
        if not isinstance(there_is, Tensor) or there_is.shape != to.shape:
            found = tuple(there_is.shape) if isinstance(there_is, Tensor) else "none"
            raise DataError(
                f"{path}: {name} must have shape {tuple(to.shape)}, but there is {found}.\nWanted is {what}."
            )
    with torch.no_grad():
        for name, to in there.items():
            to.copy_(weights[name])
