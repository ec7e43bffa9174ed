"""Colours that waver: brightness, contrast, colour and hue, each by a factor of its own, in any order.

Howard 2013, https://arxiv.org/abs/1312.5402, sec. 2.2, as torchvision has it.
"""

import torch
from PIL import Image
from torch import Generator

from rayformer.data.images.draws import uniform
from rayformer.data.images.operations import brightness, colour, contrast, hue


def jittered(picture: Image.Image, strength: float, turn: float, generator: Generator | None) -> Image.Image:
    """Brightness, contrast and colour by factors in 1 +- `strength`, hue by up to `turn` of a turn either
    way; as it is where both are 0, or without a generator."""
    if generator is None or strength == turn == 0:
        return picture
    order = torch.randperm(4, generator=generator).tolist()
    bounds = (max(0.0, 1 - strength), 1 + strength)
    factors = [uniform(*bounds, generator) for _ in range(3)] if strength else [1.0] * 3
    shift = uniform(-turn, turn, generator) if turn else 0.0
    for kind in order:
        if kind < 3 and strength:
            picture = (brightness, contrast, colour)[kind](picture, factors[kind])
        elif kind == 3 and turn:
            picture = hue(picture, shift)
    return picture
