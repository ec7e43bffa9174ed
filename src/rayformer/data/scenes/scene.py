"""A scene: photographs with cameras, arranged so that a field can be trained on it.

    SceneConfig   what a person may choose about it
    View          one photograph: its camera in scene coordinates, its file, its part in training
    Scene         all of them, with what is known of the space between
    evenly        some of many, evenly spread

Scene coordinates are those of the data after `Scene.normalisation`; `View.original` keeps each camera as the
data have it, so that an export is exact. Poses are camera-to-world in OpenGL axes whatever the format was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from rayformer.core.errors import ConfigError
from rayformer.data.scenes.capture import Split
from rayformer.data.scenes.drawn import is_drawn
from rayformer.data.scenes.perturb import Harm, Perturbation
from rayformer.geometry.cameras import Camera
from rayformer.geometry.ndc import ndc_rays
from rayformer.geometry.rays import Rays
from rayformer.geometry.similarity import Similarity

T = TypeVar("T")

SCALES = {1: "full", 2: "half", 4: "quarter", 8: "eighth"}
"""The sizes in which a photograph may be trained on and measured, by what its sides are divided by."""


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    source: str = "demo"
    """A folder or file of posed photographs, or the name of a scene that the package draws: demo, or town
    (town-8: of eight blocks)."""
    width: int | None = None
    """Scale photographs down to this many pixels across, each the mean of the area it covers; none keeps
    them."""
    holdout_every: int = 8
    """Hold out every n-th view by name, from the first on, for testing; data that bring their own split keep
    it."""
    validation: int = 0
    """Training views to hold back as well, evenly spread, where the data bring no validation split of their
    own."""
    scales: tuple[int, ...] = (1,)
    """Train and measure on every photograph at these sizes: sides divided by 1, 2, 4 and 8, each pixel the
    mean of the area it covers. A step takes as many rays of each size."""
    views: int | None = None
    """Train on only this many of the training views, evenly spread; none takes all."""
    background: Literal["white", "black", "random"] = "white"
    """Colour behind transparent pixels; random draws one per ray in training and keeps white for testing."""
    masks: Literal["use", "cut", "ignore"] = "use"
    """Where photographs have masks: use trains and measures on what they leave white, and knows nothing of
    the rest; cut makes the rest transparent, for masks of one thing that is wanted alone; ignore takes whole
    photographs. Held-out views are measured with and without them, but for cut."""
    perturb: Harm = "none"
    """Harm the training photographs on purpose, all but the first: their colours, occluders before them, or
    both, as NeRF in the wild is tested. Held-out views stay as they are."""
    normalise: bool = True
    """Centre the scene, turn it upright and scale its cameras to about one unit; undone on export."""
    undistort: bool = False
    """Resample photographs to a pinhole; otherwise rays pass through the exact inverse of the lens."""
    near: float | None = None
    """Where rays begin, in scene units from the camera; none takes what the data or their cameras suggest."""
    far: float | None = None
    """Where rays end, in scene units from the camera; none takes what the data or their cameras suggest."""

    @property
    def named(self) -> bool:
        """Whether the source is the name of a drawn scene, and no path."""
        return is_drawn(self.source)

    def __post_init__(self):
        for name, least in [("width", 1), ("holdout_every", 2), ("validation", 0), ("views", 1)]:
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"data.{name} must be at least {least}, but is {value}")
        if self.scales[:1] != (1,) or list(self.scales) != sorted(set(self.scales) & set(SCALES)):
            raise ConfigError(
                f"data.scales must begin with 1 and go on with some of 2, 4, 8, rising, but are {self.scales}"
            )
        if self.near is not None and self.near < 0:
            raise ConfigError(f"data.near must not be negative, but is {self.near:g}")
        if self.far is not None and self.far <= (self.near or 0):
            raise ConfigError(f"data.far must lie beyond data.near={self.near or 0:g}, but is {self.far:g}")


@dataclass(frozen=True, eq=False)
class View:
    name: str
    """The photograph's path relative to the data, with forward slashes."""
    camera: Camera
    """In scene coordinates, at the size and with the lens that training uses."""
    original: Camera
    """In the data's coordinates, at the file's size and with its lens."""
    image: Path
    mask: Path | None
    """A picture of the same shape: white pixels count, black ones are left out, or transparent."""
    split: Split
    near: float | None
    """Where this view's rays begin, in scene units, if the data know it; likewise far."""
    far: float | None
    scale: int = 1
    """By what the sides were divided, of a photograph that is there in several sizes."""
    exposure: float | None = None
    """By what the camera multiplied linear light, in any unit that all views share; None if nobody knows."""
    light: str | None = None
    """The light that it was taken in, by name: views of one drive share one; None if nobody knows."""
    perturbation: Perturbation | None = None
    """What is done to its pixels, on purpose."""
    cut: bool = False
    """Whether what its mask leaves black is transparent."""

    @property
    def left_out(self) -> Path | None:
        """The mask, if it says which pixels are known at all."""
        return None if self.cut else self.mask


@dataclass(frozen=True, eq=False)
class Scene:
    source: str
    format: str
    """The format's name, as `recognise` tells it."""
    views: tuple[View, ...]
    points: Float[np.ndarray, "points 3"] | None
    """Points of a structure-from-motion model, in scene coordinates."""
    point_colours: UInt8[np.ndarray, "points 3"] | None
    normalisation: Similarity
    """From the data's coordinates to the scene's."""
    background: tuple[float, float, float] | None
    """The colour under transparent pixels; None where no photograph has any."""
    near: float
    """Where rays begin, in scene units along unit directions; likewise far."""
    far: float
    forward_facing: bool
    """Whether all cameras look the same way from about one plane, so that NDC fits."""
    remarks: tuple[str, ...]
    """What a person should know before training, one sentence each."""
    fingerprint: str
    """Changes with the photographs, their cameras, exposures, lights, names, and what is done to them."""
    masks: Literal["use", "ignore"] = "use"
    """Whether pixels that masks paint black are left out."""

    def split(self, name: Split) -> tuple[View, ...]:
        """The views of one part, in the order of their names; all of one size before the next, where there
        are several."""
        return tuple(view for view in self.views if view.split == name)

    def to_ndc(self, rays: Rays) -> Rays:
        """Rays of a forward-facing scene in normalised device coordinates, those of its first camera.

        One camera stands for all, so that the rays of any view, photographed or not, meet in one space.
        """
        camera = self.views[0].camera
        return ndc_rays(rays, camera.fx, camera.fy, camera.width, camera.height)


def evenly(items: Sequence[T], count: int | None) -> list[T]:
    """`count` of the items, as evenly spread as whole steps allow; all of them if they are no more, or for
    None."""
    count = len(items) if count is None else min(count, len(items))
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]
