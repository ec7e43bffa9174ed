"""What a family of networks says of its published weights.

Format      one way in which others wrote them down
Family      all of them, and what may differ between a file and a model
passed      a Format's `prepare` that changes nothing
from_flax   of files written by Flax: other axes, slashes in the names
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from rayformer.nets.weights.names import Rules

Prepare = Callable[[str, Tensor], tuple[str, Tensor]]


def passed(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    return name, tensor


@dataclass(frozen=True, kw_only=True)
class Format:
    rules: Rules
    prepare: Prepare = passed
    """What is done to every tensor of the file before its name is looked up."""
    computed: tuple[str, ...] = ()
    """Last words of names whose tensors a model works out by itself: buffers of indices, masks."""


@dataclass(frozen=True, kw_only=True)
class Family:
    formats: Mapping[str, Format]
    """By name, the one that is written on export first."""
    head: tuple[str, ...]
    """How names of parameters begin that depend on the classes: a file with other classes lends none."""
    fitted: Callable[[nn.Module, str, Tensor], Tensor | None] = lambda model, name, tensor: None
    """A tensor of another shape made to fit the model's of that name (positions for another picture size),
    or None."""
    trimmed: Callable[[Mapping[str, Tensor], nn.Module, str], Mapping[str, Tensor]] = (
        lambda tensors, model, source: tensors
    )
    """The tensors of a file, called by its source, without what a model has no place for and would not
    miss."""


def from_flax(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Kernels with outputs last become ours with outputs first; those of attention, cut up by heads, whole
    again."""
    name = name.replace("/", ".")
    if not name.endswith(".kernel"):
        return name, tensor.flatten() if name.endswith(".bias") else tensor
    if tensor.ndim == 4:  # of a convolution: height, width, inputs, outputs
        return name, tensor.permute(3, 2, 0, 1)
    if tensor.ndim == 3:  # inputs, heads, outputs each; or the way back from the heads
        tensor = tensor.flatten(0, 1) if ".out." in name else tensor.flatten(1)
    return name, tensor.T
