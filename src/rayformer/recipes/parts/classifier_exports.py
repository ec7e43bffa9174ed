"""What a network that recognises pictures is written as for other programs.

CLASSIFIER_EXPORTS   the weights, and ONNX, by the name of the format
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.recipes.parts.onnx_export import onnx_export
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.weights_export import WEIGHTS


def _examples(loaded: Loaded, count: int) -> Float[Tensor, "batch channels height width"]:
    """Pictures that the run was measured on, as the network sees them."""
    task = loaded.task
    part = task.data.split("test")
    pictures = [part.opened(place % len(part)) for place in range(count)]
    return torch.stack([task.see(picture) for picture in pictures])


CLASSIFIER_EXPORTS = {"onnx": onnx_export(_examples), "safetensors": WEIGHTS}
