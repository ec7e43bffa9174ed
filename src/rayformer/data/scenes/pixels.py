"""PixelStore: all pixels of one part of a scene, as bytes in memory once, and the rays that belong to them.

    PixelStore      usable pixels by number -> rays, colours, views; whole pictures by view
    filled_store    the same, of which some pixel is usable
    _Selection      the n-th usable pixel without a list of them

Pixels of all views lie one after the other in one array, so that views may differ in size and a batch over a
hundred views is a handful of gathers. Memory is three bytes per pixel (four with alpha); masks add a byte and
an eighth.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from rayformer.core.errors import DataError
from rayformer.data.scenes.capture import Split
from rayformer.data.scenes.images import area_scale, cut_out, read_mask, read_picture, resample
from rayformer.data.scenes.scene import Scene, View
from rayformer.geometry.cameras import Camera
from rayformer.geometry.rays import Rays, cast

COLUMNS = (4, 5, 16, 2)
"""What a batch gathers of each ray's view: intrinsics, lens, pose, near and far."""


class PixelStore:
    """The pixels of `scene.split(split)`. Raises DataError for a photograph that cannot be decoded."""

    def __init__(self, scene: Scene, split: Split):
        views = scene.split(split)
        if scene.masks == "ignore":
            views = tuple(replace(view, mask=None) for view in views)
        self.views: Sequence[View] = views
        self.background = scene.background
        cameras = [view.camera for view in self.views]
        self.widths = torch.tensor([camera.width for camera in cameras], dtype=torch.int64)
        heights = torch.tensor([camera.height for camera in cameras], dtype=torch.int64)
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), (self.widths * heights).cumsum(0)])
        self.table = torch.tensor([_row(view, scene) for view in self.views]).view(-1, sum(COLUMNS))
        self.has_lens = not all(camera.lens.is_pinhole for camera in cameras)
        channels = 4 if self.background is not None else 3
        self.pixels = torch.empty(int(self.starts[-1]), channels, dtype=torch.uint8)
        masked = any(view.left_out or _leaves_gaps(view) for view in self.views)
        usable = torch.ones(len(self.pixels), dtype=torch.bool) if masked else None
        # decoding leaves Python's lock; each thread holds one picture
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(lambda row: self._load(row, usable), range(len(self.views))))
        self.selection = None if usable is None else _Selection(usable)

    def _load(self, row: int, usable: Bool[Tensor, "pixels"] | None) -> None:
        picture, counts = load_view(self.views[row])
        place = slice(self.starts[row], self.starts[row + 1])
        channels = picture.shape[2]
        self.pixels[place, :channels] = torch.from_numpy(picture.reshape(-1, channels))
        self.pixels[place, channels:] = 255  # a photograph without alpha among others that have it
        if usable is not None and counts is not None:
            usable[place] = torch.from_numpy(counts).flatten()

    def __len__(self) -> int:
        """How many pixels are usable."""
        return len(self.pixels) if self.selection is None else self.selection.count

    @property
    def nbytes(self) -> int:
        """Memory of everything that grows with the photographs."""
        return self.pixels.nbytes + (0 if self.selection is None else self.selection.nbytes)

    def rays(
        self, index: Int[Tensor, "rays"], background: Float[Tensor, "#rays 3"] | None = None
    ) -> tuple[Rays, Float[Tensor, "rays 3"], Int[Tensor, "rays"]]:
        """Rays through usable pixels `index`, their colours in [0, 1], and the rows of their views in
        `views`.

        Transparent pixels show `background`, one colour per ray or one for all; without it, the scene's.
        """
        pixel = index if self.selection is None else self.selection(index)
        view = torch.searchsorted(self.starts, pixel, right=True) - 1
        within, width = pixel - self.starts[view], self.widths[view]
        place = torch.stack([within % width, within // width], dim=-1) + 0.5  # pixel centres
        intrinsics, lenses, poses, bounds = self.table[view].split(COLUMNS, dim=1)
        origins, directions, radii = cast(
            place, intrinsics, lenses if self.has_lens else None, poses.view(-1, 4, 4)
        )
        rays = Rays(origins, directions, directions, bounds[:, 0], bounds[:, 1], radii)
        return rays, self._blended(self.pixels[pixel], background), view

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, "rays"]:
        """Numbers of usable pixels, with replacement: all alike, or, where photographs are there in several
        sizes, each size as often as the others, although small pictures have few pixels."""
        if len(self._sizes) < 2:
            return torch.randint(len(self), (count,), generator=generator)
        first, last = self._sizes[torch.randint(len(self._sizes), (count,), generator=generator)].unbind(-1)
        within = torch.rand(count, dtype=torch.float64, generator=generator)
        return first + (within * (last - first)).long()

    @cached_property
    def _sizes(self) -> Int[Tensor, "_ 2"]:
        """The usable pixels of each size, as the first of their numbers and one past the last."""
        scales = [view.scale for view in self.views]
        spans = []
        for scale in sorted(set(scales)):
            first = scales.index(scale)
            spans.append((self.span(first)[0], self.span(first + scales.count(scale) - 1)[1]))
        return torch.tensor([span for span in spans if span[0] < span[1]]).view(-1, 2)

    def view(
        self, row: int
    ) -> tuple[Camera, Float[Tensor, "height width 3"], Bool[Tensor, "height width"] | None]:
        """One view whole: its camera, its picture over the scene's background, and which pixels count (None:
        all)."""
        camera, place = self.views[row].camera, slice(self.starts[row], self.starts[row + 1])
        picture = self._blended(self.pixels[place], None).view(camera.height, camera.width, 3)
        mask = (
            None if self.selection is None else self.selection.usable[place].view(camera.height, camera.width)
        )
        return camera, picture, mask

    @cached_property
    def rows(self) -> Int[Tensor, "views"]:
        """The views of which some pixel is usable, by their places in `views`."""
        spans = [self.span(row) for row in range(len(self.views))]
        return torch.tensor([row for row, (first, last) in enumerate(spans) if last > first])

    def span(self, row: int) -> tuple[int, int]:
        """The usable pixels of one view, as the first of their numbers and one past the last."""
        first, last = self.starts[row : row + 2].tolist()
        if self.selection is None:
            return first, last
        before = self.selection.usable[:first].sum().item()
        return int(before), int(before + self.selection.usable[first:last].sum().item())

    def centre_index(self, share: float) -> Int[Tensor, "pixels"]:
        """Numbers of the usable pixels in the middle of each picture, `share` of its width and height (NeRF's
        precrop)."""
        parts = []
        for row, view in enumerate(self.views):
            width, height = view.camera.width, view.camera.height
            x = ((torch.arange(width) + 0.5) / width - 0.5).abs() < share / 2
            y = ((torch.arange(height) + 0.5) / height - 0.5).abs() < share / 2
            pixels = self.starts[row] + torch.nonzero((y[:, None] & x[None]).flatten()).squeeze(-1)
            parts.append(pixels if self.selection is None else self.selection.numbers(pixels))
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)

    def _blended(
        self, pixels: UInt8[Tensor, "pixels channels"], background: Float[Tensor, "#pixels 3"] | None
    ) -> Float[Tensor, "pixels 3"]:
        values = pixels.float() / 255
        if self.background is None:
            return values
        if background is None:
            background = torch.tensor([self.background])
        return values[:, :3] * values[:, 3:] + (1 - values[:, 3:]) * background


def filled_store(scene: Scene, split: Split) -> PixelStore:
    """The pixels of a part of `scene`. Raises DataError if its masks leave none, or as PixelStore."""
    store = PixelStore(scene, split)
    if store.views and not len(store):
        raise DataError(
            f"{scene.source}: the masks of the {len(store.views)} {split} views leave no pixel; "
            "white pixels of a mask count, black ones are left out.\n"
            "Turn the masks round, or take whole photographs with data.masks ignore."
        )
    return store


def load_view(
    view: View,
) -> tuple[UInt8[np.ndarray, "height width channels"], Bool[np.ndarray, "height width"] | None]:
    """A view's picture at the size and with the lens of its camera, and which pixels count (None: all)."""
    camera, stated = view.camera, (view.original.width, view.original.height)
    picture = read_picture(view.image, stated)
    if picture.shape[:2] != stated[::-1]:
        raise DataError(
            f"{view.image}: the picture has {picture.shape[1]} x {picture.shape[0]} pixels now, "
            f"but had {stated[0]} x {stated[1]} when the scene was read"
        )
    if view.perturbation is not None:
        picture = view.perturbation(picture)
    if view.cut and view.mask is not None:
        picture = cut_out(picture, read_mask(view.mask, *stated))
    picture = area_scale(picture, camera.width, camera.height)
    mask = None if view.left_out is None else read_mask(view.left_out, camera.width, camera.height)
    if not _leaves_gaps(view):
        return picture, mask
    seen_by = view.original.scaled(camera.width, camera.height)
    picture, covered = resample(picture, seen_by, camera)
    if mask is not None:
        seen, _ = resample(mask[..., None].astype(np.uint8) * 255, seen_by, camera)
        covered &= seen[..., 0] >= 128
    return picture, covered


def _leaves_gaps(view: View) -> bool:
    """Whether the view is resampled to a pinhole, which the photograph may not cover everywhere."""
    return view.camera.lens.is_pinhole and not view.original.lens.is_pinhole


def _row(view: View, scene: Scene) -> list[float]:
    """A view's numbers in the order of COLUMNS."""
    camera = view.camera
    numbers = torch.cat([camera.intrinsics, camera.lens.coefficients, camera.pose.flatten()]).tolist()
    near = scene.near if view.near is None else view.near
    far = scene.far if view.far is None else view.far
    return [*numbers, near, far]


class _Selection:
    """The n-th usable pixel, and back, without a list of them, which would weigh more than the pixels.

    Usable pixels are counted in blocks: a block is found by bisection, the place inside it by counting.
    """

    BLOCK = 64

    def __init__(self, usable: Bool[Tensor, "pixels"]):
        padding = -len(usable) % self.BLOCK
        self.usable = torch.nn.functional.pad(usable, (0, padding)) if padding else usable
        self.blocks = self.usable.view(-1, self.BLOCK)
        self.ends = self.blocks.sum(dim=1).cumsum(0)
        self.count = int(self.ends[-1]) if len(self.ends) else 0

    @property
    def nbytes(self) -> int:
        return self.usable.nbytes + self.ends.nbytes

    def __call__(self, index: Int[Tensor, "rays"]) -> Int[Tensor, "rays"]:
        """Number among the usable -> number among all."""
        block = torch.searchsorted(self.ends, index, right=True)
        counts = self.blocks[block].cumsum(dim=1, dtype=torch.uint8)
        rank = index - (self.ends[block] - counts[:, -1])
        before = counts <= rank[:, None]  # the wanted place is the first that is not before it
        return block * self.BLOCK + before.sum(dim=1)

    def numbers(self, pixels: Int[Tensor, "pixels"]) -> Int[Tensor, "_"]:
        """Numbers among all -> numbers among the usable, leaving out those that are not."""
        pixels = pixels[self.usable[pixels]]
        block, place = pixels // self.BLOCK, pixels % self.BLOCK
        counts = self.blocks[block].cumsum(dim=1, dtype=torch.uint8)
        rank = counts.gather(1, place[:, None]).squeeze(1) - 1
        return self.ends[block] - counts[:, -1] + rank
