"""What a person would look at of layers that learn to denoise.

fields_picture     what some units of a layer look for, as pictures
restored_picture   held-out pictures: as they are, spoiled, restored
colours_of         rows of numbers in [0, 1] as pixels
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from rayformer.nets.denoising_ae import DenoisingConfig, receptive_fields
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

FIELDS = (8, 12)
"""Rows and columns of units that are shown: the first ones, which is by chance."""
GAP = 1
"""Pixels between them."""
ENLARGED = 600
"""Pixels that the picture of them is at least wide."""


def fields_picture(encoders: Sequence[nn.Linear], config: DenoisingConfig) -> Picture:
    """Of units of the last of these layers, each on a scale of its own: white, or a colour, is what speaks
    most for it, black, or the colour's opposite, what speaks against it, mid-grey what it does not heed."""
    fields = receptive_fields(encoders).float().cpu()[: FIELDS[0] * FIELDS[1]]
    fields = fields / fields.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    tiles = colours_of(0.5 + 0.5 * fields, config)
    side, columns = config.image_size, min(FIELDS[1], len(tiles))
    rows = -(-len(tiles) // columns)
    step = side + GAP
    canvas = np.full((rows * step - GAP, columns * step - GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (place * step for place in divmod(number, columns))
        canvas[top : top + side, left : left + side] = tile
    times = -(-ENLARGED // canvas.shape[1])
    which = "through the layers below" if len(encoders) > 1 else "each with a scale of its own"
    return Picture(
        canvas.repeat(times, axis=0).repeat(times, axis=1),
        f"what {len(tiles)} of {encoders[-1].out_features} units look for, {which}",
    )


def restored_picture(
    rows: Mapping[str, Float[Tensor, "batch inputs"]], config: DenoisingConfig, caption: str
) -> Picture:
    """The same pictures once for every name, which stands before its row."""
    tiles = {name: colours_of(values.float().cpu(), config) for name, values in rows.items()}
    count = len(next(iter(tiles.values())))

    def onto(figure: Any) -> None:
        places = figure.subplots(len(tiles), count, squeeze=False)
        for line, (name, pictures) in zip(places, tiles.items(), strict=True):
            line[0].set_ylabel(name, fontsize=10)
            for place, picture in zip(line, pictures, strict=True):
                place.imshow(picture, interpolation="nearest")
                place.set(xticks=[], yticks=[])
                for edge in place.spines.values():
                    edge.set_visible(False)

    return curves(onto, (0.4 + 0.95 * count, len(tiles)), caption)


def colours_of(
    values: Float[Tensor, "batch inputs"], config: DenoisingConfig
) -> UInt8[np.ndarray, "batch height width 3"]:
    """What lies outside [0, 1] becomes black or white."""
    side = config.image_size
    maps = values.unflatten(1, (3 if config.colour else 1, side, side)).expand(-1, 3, -1, -1)
    return (255 * maps).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
