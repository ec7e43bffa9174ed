"""What a person looks at of a network that learns pictures as sequences.

sheet           pictures side by side and below each other
beside          columns of pictures, each under its label
palette_card    the colours of a palette
against_depth   how well a linear probe on every layer recognises
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rayformer.recipes.parts.layer_probes import Probed, best_layer
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import PAPER, Picture, side_by_side

TILE = 96
"""Pixels along a side, up to which small pictures are enlarged."""
GAP = 4
"""Pixels between pictures."""


def sheet(
    pictures: UInt8[np.ndarray, "batch height width 3"], columns: int, caption: str = "", tile: int = TILE
) -> Picture:
    """Row by row, every pixel of small ones a square of pixels, so that they are `tile` pixels high."""
    times = max(1, tile // pictures.shape[1])
    tiles = pictures.repeat(times, axis=1).repeat(times, axis=2)
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), PAPER, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * (height + GAP), column * (width + GAP)
        canvas[top : top + height, left : left + width] = tile
    return Picture(canvas, caption)


def beside(columns: Mapping[str, UInt8[np.ndarray, "_ _ _ 3"]], caption: str) -> Picture:
    """A column of pictures under each label, all equally many; what stands in a row belongs together."""
    return side_by_side([sheet(pictures, 1) for pictures in columns.values()], list(columns), caption, GAP)


def palette_card(colours: UInt8[np.ndarray, "rows 3"]) -> Picture:
    said = f"the {len(colours)} colours of the palette, the darkest first"
    return sheet(colours[:, None, None], columns=min(32, len(colours)), caption=said, tile=20)


def against_depth(probed: Sequence[Probed]) -> Picture:
    best = best_layer(probed)

    def onto(figure: Any) -> None:
        axes = figure.subplots()
        depths = [one.depth for one in probed]
        axes.plot(depths, [100 * one.top1 for one in probed], "o-", color="tab:blue", label="tested")
        if best.held_top1 is not None:
            held = [100 * (one.held_top1 or 0.0) for one in probed]
            axes.plot(depths, held, "--", color="0.6", label="held out, to choose by")
        axes.axvline(best.depth, color="tab:orange", lw=1, label=f"chosen: layer {best.depth}")
        axes.set(xlabel="blocks below the probe", ylabel="top-1 of a linear probe, %", xticks=depths)
        axes.grid(color="0.92")
        axes.legend(fontsize=8)

    caption = (
        f"how well a linear probe on the mean of each layer's tokens recognises; layer {best.depth} "
        f"of {len(probed) - 1}, {best.top1:.1%}"
    )
    return curves(onto, (6.4, 4.0), caption)
