"""Photographs harmed on purpose, so that it is known what a field in the wild has to undo.

    Perturbation   what is done to one photograph; the number of the photograph decides all that is random

The protocol of Martin-Brualla et al. 2021, https://arxiv.org/abs/2008.02268, on NeRF's lego scene, with the
numbers of nerf_pl, which is what is compared with. Training photographs only, and of these not the first,
which shows what the others were.

- *colour*: each channel times a number from 0.8 to 1.2, plus one from -0.2 to 0.2, cut off to [0, 1]. Alpha
  stays, and so does whatever is put behind it afterwards: it is the thing that is lit otherwise, not the
  background.
- *occluders*: a square a quarter of the picture wide, of ten upright stripes of random colours, somewhere in
  the middle half. It is opaque, where the photograph is transparent too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

Harm = Literal["none", "colour", "occluders", "both"]

SCALE, OFFSET = (0.8, 1.2), (-0.2, 0.2)
SIDE, STRIPES = 1 / 4, 10
"""The square's side as a share of the picture's, and its stripes; it lies within the middle half."""
SEED = 7_2021
"""Apart from all seeds of training: the same photograph is harmed alike in every run."""


@dataclass(frozen=True)
class Perturbation:
    kind: Harm
    number: int
    """The photograph's place among the training views."""

    def __call__(
        self, picture: UInt8[np.ndarray, "height width channels"]
    ) -> UInt8[np.ndarray, "height width channels"]:
        """The picture, three channels or four, after what was done to it. The first one stays."""
        if self.number == 0 or self.kind == "none":
            return picture
        # Two streams, so that a photograph's stripes are the same with colours harmed and without.
        if self.kind in ("colour", "both"):
            picture = _recoloured(picture, np.random.default_rng([SEED, self.number, 0]))
        if self.kind in ("occluders", "both"):
            picture = _occluded(picture, np.random.default_rng([SEED, self.number, 1]))
        return picture


def _recoloured(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    scale, offset = draw.uniform(*SCALE, size=3), draw.uniform(*OFFSET, size=3)
    colours = np.clip(scale * (picture[..., :3] / 255) + offset, 0, 1)
    return np.concatenate([(255 * colours).round().astype(np.uint8), picture[..., 3:]], axis=-1)


def _occluded(picture: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top = (draw.uniform(1 / 4, 3 / 4 - SIDE, size=2) * (width, height)).round().astype(int)
    edges = left + (np.linspace(0, SIDE, STRIPES + 1) * width).round().astype(int)
    bottom = top + max(1, round(SIDE * height))
    harmed = picture.copy()
    for begin, end, colour in zip(edges, edges[1:], draw.integers(256, size=(STRIPES, 3)), strict=False):
        harmed[top:bottom, begin:end, :3] = colour
    harmed[top:bottom, left : edges[-1], 3:] = 255
    return harmed
