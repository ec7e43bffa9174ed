"""A picture in few colours, each pixel a number: 9 bits where bytes take 24 (Chen et al. 2020, sec. 3.1).

    PaletteConfig     how many colours, and from what they are found
    Palette           the colours; pixels to their numbers and back
    fitted_palette    the colours that pixels are nearest to, by k-means
    read_palette      those of a file: ours, the authors', the Hugging Face hub's

Colours are red, green and blue in [-1, 1], as the authors keep theirs: a byte is 127.5 (c + 1), rounded.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError
from rayformer.runs.atomic import replacing

AT_ONCE = 2**14
"""Pixels whose distances to all colours are computed together."""
TURNS = 100
"""Of k-means, at most."""


@dataclass(frozen=True, kw_only=True)
class PaletteConfig:
    colours: int = 512
    """Colours of the palette; fewer where the pictures hold fewer."""
    pixels: int = 50_000
    """Pixels that they are fitted to, from as many training pictures as there are."""
    file: str | None = None
    """A palette to take instead of fitting one: an .npy of colours in [-1, 1], as published with Image GPT,
    or the preprocessor_config.json of such a network on the Hugging Face hub."""

    def __post_init__(self):
        if self.colours < 2:
            raise ConfigError(f"palette.colours must be at least 2, but is {self.colours}.")
        if self.pixels < self.colours:
            raise ConfigError(
                f"palette.pixels must be at least palette.colours={self.colours}, but is {self.pixels}."
            )


@dataclass(frozen=True, eq=False)
class Palette:
    colours: Float[Tensor, "rows 3"]
    """In [-1, 1]."""

    def __len__(self) -> int:
        return len(self.colours)

    def numbers(self, images: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, "batch tokens"]:
        """For every pixel, row by row, the number of the nearest colour; of equally near ones the first.
        Pictures in [-1, 1], on the palette's device."""
        # |p - c|^2 without |p|^2, which is the same for all colours.
        lengths = self.colours.square().sum(dim=1)
        pixels = images.permute(0, 2, 3, 1).reshape(-1, 3)
        with torch.autocast(images.device.type, enabled=False):
            found = [
                torch.addmm(lengths, some, self.colours.T, alpha=-2).argmin(dim=1)
                for some in pixels.float().split(AT_ONCE)
            ]
        return torch.cat(found).view(len(images), -1)

    def bytes_of(self, numbers: Int[Tensor, "*shape"]) -> UInt8[Tensor, "*shape 3"]:
        """The colours as a person sees them."""
        table = (127.5 * (self.colours + 1)).round().clamp(0, 255).byte()
        return table[numbers]

    def to(self, device: torch.device) -> "Palette":
        return Palette(self.colours.to(device))

    def write(self, path: Path) -> None:
        """As the authors' `kmeans_centers.npy`, whole or not at all. Raises RunError where the disk
        refuses."""
        with replacing(path) as temporary:
            np.save(temporary, self.colours.cpu().numpy())


def fitted_palette(pixels: Float[Tensor, "points 3"], colours: int, seed: int) -> Palette:
    """At most `colours` colours from which pixels in [-1, 1] are the least away, squared: k-means by
    scikit-learn, from a good beginning (k-means++). Pixels of no more colours than that keep theirs. The
    order is by brightness, so that neighbours are alike."""
    from sklearn.cluster import KMeans  # a second of importing, which only this needs
    from sklearn.exceptions import ConvergenceWarning

    values = pixels.numpy()
    distinct = np.unique(values, axis=0)
    if len(distinct) > colours:
        means = KMeans(colours, n_init="auto", max_iter=TURNS, random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # where it stands after its turns is good
            distinct = means.fit(values).cluster_centers_
    brightness = distinct @ np.array([0.299, 0.587, 0.114])
    return Palette(torch.from_numpy(distinct[brightness.argsort(kind="stable")]).float())


def read_palette(path: Path | str) -> Palette:
    """Raises DataError for what is absent or holds anything but colours in [-1, 1]."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"palette.file: there is no file {path}.")
    try:
        if path.suffix == ".json":
            found = np.array(json.loads(path.read_text(encoding="utf-8"))["clusters"], dtype=np.float32)
        else:
            found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(
            f"{path}: no palette. It is read from an .npy of colours, or from a preprocessor_config.json "
            "with clusters."
        ) from error
    good = (
        found.ndim == 2
        and found.shape[1] == 3
        and len(found) >= 2
        and np.issubdtype(found.dtype, np.floating)
    )
    if not good or not np.isfinite(found).all() or np.abs(found).max() > 1 + 1e-6:
        raise DataError(
            f"{path}: a palette is two colours or more, three numbers in [-1, 1] each, but this holds "
            f"{found.dtype} of shape {'x'.join(map(str, found.shape))}"
            + (f" up to {np.abs(found).max():g}." if good else ".")
        )
    return Palette(torch.from_numpy(found.astype(np.float32)))
