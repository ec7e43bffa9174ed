"""What a window shows, without a word of how: the picture of a camera, photographs, points, where to begin.

Drawn     one picture: colour as bytes, depth along the camera's axis
Photo     a photograph and the camera that took it
Show      all that a window needs to know of a scene
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from rayformer.geometry.cameras import Camera
from rayformer.geometry.similarity import Similarity
from rayformer.viewer.desk import Style


@dataclass(frozen=True, eq=False)
class Drawn:
    colour: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]
    """Along the axis of the camera, in scene units; NaN where there is nothing."""


@dataclass(frozen=True, eq=False)
class Photo:
    name: str
    camera: Camera
    """In scene coordinates."""
    thumbnail: Callable[[], UInt8[np.ndarray, "height width 3"] | None]
    """A small version of it; None where the file is not there any more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Show:
    """Everything is in scene coordinates."""

    title: str
    draw: Callable[[Camera, Style], Drawn]
    """The picture that a camera takes, whole; the same every time. Raises UserError from where none can be
    taken."""
    photos: Sequence[Photo]
    photos_in_all: int
    """How many there are, of which `photos` may be a selection."""
    points: Callable[[], tuple[Float[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"] | None] | None]
    """Points that are known of the scene, with their colours if these are known too; None where there are
    none."""
    start: Camera
    """Where the first look is from, lens and size aside."""
    centre: Float[Tensor, "3"]
    """What the camera turns around at first."""
    up: Float[Tensor, "3"]
    near: float
    """Where rays begin, in scene units; likewise far."""
    far: float
    has_range: bool
    """Whether near and far can be chosen."""
    unit: float
    """How far cameras typically stand from each other: the size of things drawn beside the scene."""
    normalisation: Similarity
    """From the data's coordinates to the scene's: camera paths are kept in the data's."""
    whole: bool = False
    """Whether a picture must be drawn at once, since a part of it would come out as another picture does."""
