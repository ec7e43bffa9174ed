"""A network as an ONNX file, which is run by onnxruntime and held against torch before it is handed over.

ONNXOptions     the version of the operators, the largest difference that is let pass
write_onnx      any number of pictures in, what the network says of each out
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError, MissingExtra
from rayformer.engine.task import Export
from rayformer.recipes.parts.open import Loaded
from rayformer.runs.atomic import replacing

BATCHES = (1, 3, 2)
"""Numbers of examples with which both are run; the first but one is what the file is made with."""


@dataclass(frozen=True, kw_only=True)
class ONNXOptions:
    opset: int = 20
    """Version of ONNX's operators; older programs want older ones."""
    tolerance: float = 1e-4
    """Largest difference between onnxruntime and torch, as a share of the largest output, that is let
    pass."""

    def __post_init__(self):
        if not 18 <= self.opset <= 23:
            raise ConfigError(f"opset must lie between 18 and 23, but is {self.opset}.")
        if not 0 < self.tolerance < 1:
            raise ConfigError(f"tolerance is a share, above 0 and below 1, but is {self.tolerance}.")


def onnx_export(examples: Callable[[Loaded, int], Float[Tensor, "batch channels height width"]]) -> Export:
    """The format, for recipes that can show examples of what their network takes."""

    def write(loaded: Loaded, options: ONNXOptions, path: Path) -> dict[str, Any]:
        return write_onnx(loaded, options, path, lambda count: examples(loaded, count))

    return Export(
        does="the network for onnxruntime, any number of pictures at a time, checked against torch",
        options=ONNXOptions(),
        write=write,
        name="model",
        suffixes=(".onnx",),
    )


def write_onnx(
    loaded: Loaded,
    options: ONNXOptions,
    path: Path,
    examples: Callable[[int], Float[Tensor, "batch channels height width"]],
) -> dict[str, Any]:
    """Write the file, run it, compare. Raises MissingExtra without the packages, and DataError where the two
    differ; then there is no file."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch writes the file with
    except ImportError as error:
        raise MissingExtra("onnx", "writing ONNX files") from error

    model = loaded.model.to("cpu").float().eval()
    with replacing(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        # Traced first, by itself: left to the exporter, a network that fixes the number of pictures would be
        # written with it fixed, and nothing said.
        traced = torch.export.export(
            model, (examples(BATCHES[1]),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch.onnx.export(
            traced,
            (),
            temporary,
            dynamo=True,
            opset_version=options.opset,
            input_names=["images"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        worst = 0.0
        for count in BATCHES:
            images = examples(count)
            said = model(images)
            (heard,) = session.run(None, {"images": images.numpy()})
            differ = (torch.from_numpy(heard) - said).abs().max() / said.abs().max().clamp(min=1e-6)
            worst = max(worst, differ.item())
        if not worst <= options.tolerance:
            raise DataError(
                f"{path}: onnxruntime and torch differ by {worst:.1e} of the largest output, more than "
                f"--tolerance {options.tolerance:g}. Nothing was written."
            )
        size = temporary.stat().st_size / 2**20
    return {"largest_difference": worst, "size_mib": round(size, 3), "opset": options.opset}
