"""Photographs that new pictures are made from, with how deep everything lies in them.

    Source      one photograph: camera, picture, depth, which pixels count
    Sources     all of them, and the depth that any other camera would see
    Look        what one camera is shown: its depth, and the sources that see most of it
    Blend       a picture made from sources, with what each of them gave
    made_picture  the same as `render` and the viewer want it

The surface that gives the depths is called proxy geometry (Riegler and Koltun 2020,
https://arxiv.org/abs/2008.05511, section 4): a mesh through reconstructed points, or a trained field. What
makes a picture from sources knows only the depths.

A pixel without depth lies at infinity. Where photographs are transparent, nothing is there instead: then all
sources know such a pixel, and it has the colour `behind`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rayformer.geometry.cameras import Camera
from rayformer.geometry.warp import Warp, distance_of, sampled, warp

COUNTED = 2048
"""Sources are chosen by about so many pixels of a target, evenly spread."""
DepthOf = Callable[[Camera], Float[Tensor, "height width"]]
"""The proxy geometry: how deep each pixel of a camera lies along its axis; infinity where nothing is."""


@dataclass(frozen=True, eq=False)
class Source:
    camera: Camera
    picture: UInt8[Tensor, "3 height width"]
    depth: Float[Tensor, "height width"]
    """Along the axis; infinity where nothing is."""
    counts: Bool[Tensor, "height width"] | None = None
    """Which pixels may be used; None: all."""

    def colours(self) -> Float[Tensor, "3 height width"]:
        """In [0, 1]."""
        return self.picture.float() / 255

    def cropped(self, left: int, top: int, width: int, height: int) -> "Source":
        """A window of it."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        return Source(
            self.camera.cropped(left, top, width, height),
            self.picture[:, rows, columns],
            self.depth[rows, columns],
            None if self.counts is None else self.counts[rows, columns],
        )

    def warp(
        self, target: Camera, depth: Float[Tensor, "height width"], tolerance: float, every: int = 1
    ) -> Warp:
        """Where this source shows the pixels of `target`; those that do not count are not seen."""
        found = warp(target, depth, self.camera, self.depth, tolerance, every)
        if self.counts is None:
            return found
        limit = torch.tensor([self.camera.width, self.camera.height]) - 1
        column, row = found.places.clamp(min=0).long().minimum(limit).unbind(-1)
        counted = self.counts[row, column]
        return replace(found, inside=found.inside & counted, seen=found.seen & counted)


@dataclass(frozen=True, eq=False)
class Look:
    camera: Camera
    depth: Float[Tensor, "height width"]
    rows: tuple[int, ...]
    """The sources, by their places among all; the one that sees most of the target comes first."""
    sources: tuple[Source, ...]
    warps: tuple[Warp, ...]
    tolerance: float
    """As the Sources have it; likewise behind."""
    behind: Float[Tensor, "3"] | None = None

    def warped(self, which: int) -> Float[Tensor, "3 height width"]:
        """A source's colours as the target sees them; black where it does not show them."""
        found = self.warps[which]
        colours = sampled(self.sources[which].colours()[None], found.places[None])[0]
        if self.behind is not None:
            colours = torch.where(self.depth.isinf(), self.behind[:, None, None], colours)
        return torch.where(found.inside, colours, 0.0)


@dataclass(frozen=True, eq=False)
class Sources:
    views: Sequence[Source]
    depth_of: DepthOf
    tolerance: float
    """Two depths are one if they differ by less than this share of the smaller."""
    behind: Float[Tensor, "3"] | None = None
    """The colour of nothing, where photographs are transparent; None where there is always something."""

    def counts(
        self, target: Camera, depth: Float[Tensor, "height width"], but: int | None = None
    ) -> list[int]:
        """How many pixels of the target each source sees, of those that are asked about; -1 for source
        `but`."""
        every = max(1, int((depth.numel() / COUNTED) ** 0.5))
        return [
            -1 if row == but else int(self.warp(view, target, depth, every).seen.sum())
            for row, view in enumerate(self.views)
        ]

    def look(
        self,
        target: Camera,
        count: int,
        depth: Float[Tensor, "height width"] | None = None,
        but: int | None = None,
        rows: Sequence[int] | None = None,
    ) -> Look:
        """The `count` sources that see most of `target`, leaving out source `but`; or those in `rows`.

        Its depth, where it is not given, is asked of the proxy.
        """
        deep = self.depth_of(target) if depth is None else depth
        chosen = tuple(rows) if rows is not None else best(self.counts(target, deep, but), count)
        views = tuple(self.views[row] for row in chosen)
        warps = tuple(self.warp(view, target, deep) for view in views)
        return Look(target, deep, chosen, views, warps, self.tolerance, self.behind)

    def warp(
        self, view: Source, target: Camera, depth: Float[Tensor, "height width"], every: int = 1
    ) -> Warp:
        """Where a source shows the pixels of `target`; with a colour of nothing, nothing is seen by all."""
        found = view.warp(target, depth, self.tolerance, every)
        if self.behind is None:
            return found
        nothing = depth[::every, ::every].isinf().cpu()
        return replace(found, inside=found.inside | nothing, seen=found.seen | nothing)


OpenSources = Callable[[], Sources]
"""Gives the sources, which are read when they are first asked for: photographs take memory, and may be
gone."""


def best(counts: Sequence[int], number: int) -> tuple[int, ...]:
    """The places of the `number` highest counts, highest first, equal ones in their order; never a negative
    one."""
    order = sorted(range(len(counts)), key=lambda row: -counts[row])
    return tuple(row for row in order[:number] if counts[row] >= 0)


@dataclass(frozen=True, eq=False)
class Blend:
    look: Look
    colour: Float[Tensor, "height width 3"]
    weights: Float[Tensor, "views height width"]
    """How much each source gave; their sum is 1, or 0 where none had anything to give."""
    warped: Float[Tensor, "views 3 height width"]
    """What it gave: its colours as the target sees them."""


def made_picture(
    blend: Blend, background: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
    """The picture, over `background` where no source had anything, and the distance along each pixel's ray,
    NaN where there is nothing: what a PictureMaker returns."""
    nothing = (blend.weights.sum(dim=0) == 0)[..., None]
    colour = torch.where(nothing, background.to(blend.colour), blend.colour)
    depth = blend.look.depth
    distance = torch.where(depth.isfinite(), distance_of(blend.look.camera, depth), torch.nan)
    return colour, distance.to(colour.device)
