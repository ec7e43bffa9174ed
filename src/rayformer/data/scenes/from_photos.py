"""make_scene: from a folder of photographs, or a video, to a scene with cameras.

    Wishes       what a person may choose
    SceneMade    what came out, and what a person should know of it
    make_scene   gather frames, find their cameras, set the scene upright, write it

    DIR/transforms.json   cameras, camera-to-world in OpenGL axes, z up
    DIR/images/           the frames that have a camera
    DIR/points.ply        the points by which they were found
    DIR/preview.png       both, from above and from the side

DIR appears whole or not at all: everything is written beside it under another name, and renamed at the end.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.scenes.capture import Capture
from rayformer.data.scenes.colmap import read_colmap
from rayformer.data.scenes.frames import FEWEST, Frame, Frames, Report, few, gather_frames
from rayformer.data.scenes.normalise import arrangement, normalisation
from rayformer.data.scenes.preview import save_preview
from rayformer.data.scenes.structure_from_motion import Pairs, Solution, find_cameras, require_pycolmap
from rayformer.data.scenes.write import write_capture

ENOUGH = 0.5
"""The share of the photographs that must find their place; with fewer, it is a scene of something else."""
LISTED = 20
"""Names of photographs without a place that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    longest: int = 1600
    """Longest side of a frame, in pixels; larger photographs are scaled down."""
    frames: int = 100
    """Frames to take from a video."""
    pairs: Pairs = "auto"
    """Photographs to compare: all with all, likely ones, or as their number suggests."""
    own_lens: bool = False
    """Give every photograph a lens of its own, for photographs by many cameras or with a zoom."""
    seed: int = 0
    """Every random number of matching and mapping follows from it."""

    def __post_init__(self):
        if self.longest < 100:
            raise ConfigError(f"--longest must be at least 100 pixels, but is {self.longest}")
        if self.frames < FEWEST:
            raise ConfigError(f"--frames must be at least {FEWEST}, but is {self.frames}")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"--seed must be from 0 to {2**31 - 1}, but is {self.seed}")


@dataclass(frozen=True)
class SceneMade:
    folder: Path
    frames: int
    """Photographs that were given and can be read, or frames taken from a video."""
    registered: int
    """Those of them that have a camera now."""
    unregistered: tuple[str, ...]
    points: int
    pixels_off: float
    """Mean distance in pixels between a point as photographed and as the cameras put it."""
    lenses: int
    seconds: float
    remarks: tuple[str, ...]


def make_scene(source: Path, out: Path, wishes: Wishes, report: Report) -> SceneMade:
    """Make the scene and tell `report` how far it is.

    Raises ConfigError where `out` is taken; DataError for a source that gives fewer than three frames, where
    fewer than half of them find their place, and where the process that looks for them dies; MissingExtra
    without pycolmap.
    """
    started = time.perf_counter()
    refuse_taken(out)
    require_pycolmap()
    work = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.writing")
    try:
        draft, process = work / "scene", work / "process"
        gathered = gather_frames(source, draft / "images", wishes.longest, wishes.frames, report)
        solution = find_cameras(
            gathered, draft / "images", process, report, wishes.pairs, wishes.own_lens, wishes.seed
        )
        refuse_too_few(gathered, solution)
        shutil.move(solution.folder / "sparse", draft / "sparse")
        capture = upright(read_colmap(draft))
        shutil.rmtree(draft / "sparse")
        lost = [frame for frame in gathered.frames if frame.name not in solution.registered]
        for frame in lost:
            (draft / "images" / frame.name).unlink()
        write_capture(capture, draft)
        title = f"{len(capture.photos)} of {len(gathered.frames)} placed"
        assert capture.points is not None, "COLMAP models have points, if only none"
        save_preview(draft / "preview.png", capture, f"{source.name}: {title}, {len(capture.points)} points")
        _put_in_place(draft, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return SceneMade(
        folder=out,
        frames=len(gathered.frames),
        registered=len(capture.photos),
        unregistered=tuple(frame.source for frame in lost),
        points=len(capture.points),
        pixels_off=solution.pixels_off,
        lenses=len({tuple(photo.camera.intrinsics.tolist()) for photo in capture.photos}),
        seconds=time.perf_counter() - started,
        remarks=(*gathered.remarks, *_remarks(gathered, solution, lost)),
    )


def refuse_taken(out: Path) -> None:
    """Raise ConfigError where something is at `out` that would be mixed with the scene, or lost."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        what = "is not empty, and what it holds would mix with the scene" if out.is_dir() else "is a file"
        raise ConfigError(f"--out {out}: {what}.\nRemove it, or give another --out.")


def refuse_too_few(gathered: Frames, solution: Solution) -> None:
    """Raise DataError where too few photographs found their place, with the likeliest reason and a remedy."""
    placed, total = len(solution.registered), len(gathered.frames)
    if placed >= max(FEWEST, ENOUGH * total):
        return
    what = "frames" if gathered.ordered else "photographs"
    if not solution.matched_pairs:
        why = "No two of them show the same things: each should show half of what its neighbour shows."
    elif not placed:
        why = "Some show the same things, but from one place: a camera must move for depth, not only turn."
    elif len(solution.sizes) > 1:
        groups = ", ".join(map(str, solution.sizes))
        why = f"They fall apart into groups of {groups}, with nothing in between that would join them."
    else:
        why = "The others share too little with these, or are blurred: neighbours should show half the same."
    remedies = [
        "more --frames, a slower flight" if gathered.ordered else "more photographs from places in between"
    ]
    remedies += [] if solution.all_pairs else ["--pairs all"]
    remedies += ["a larger --longest"]
    remedies += [] if gathered.ordered else ["--own-lens if many cameras took them"]
    count = f"only {placed}" if placed else "none"
    raise DataError(
        f"{count} of {total} {what} found {'their' if placed else 'its'} place; at least half must, "
        f"and {FEWEST}. No scene is written.\n"
        f"{why}\n"
        f"What to try: {', '.join(remedies)}.\n"
        "Glass, mirrors, bare walls and things that move are hard; print, wood and plants are easy."
    )


def upright(capture: Capture) -> Capture:
    """The capture with z up and its cameras about one unit around the origin: structure from motion leaves
    place, direction and size to chance."""
    poses = torch.stack([photo.camera.pose for photo in capture.photos])
    kind = arrangement(poses)
    move = normalisation(poses, "around" if kind == "around" else "along")
    photos = [
        replace(
            photo,
            camera=photo.camera.at(move.pose(photo.camera.pose)),
            distances=photo.distances and tuple(move.scale * distance for distance in photo.distances),
        )
        for photo in capture.photos
    ]
    points = None if capture.points is None else move.points(torch.from_numpy(capture.points)).numpy()
    return replace(capture, photos=photos, points=points)


def _put_in_place(draft: Path, out: Path) -> None:
    refuse_taken(out)  # it may have come since
    if out.is_dir():
        out.rmdir()
    draft.rename(out)


def _remarks(gathered: Frames, solution: Solution, lost: Sequence[Frame]) -> list[str]:
    said = []
    if len(solution.sizes) > 1:
        sizes = ", ".join(map(str, solution.sizes))
        said.append(f"several reconstructions came about (of {sizes}); the largest is taken")
    if lost:
        names = few([frame.source for frame in lost], LISTED)
        said.append(f"{len(lost)} of {len(gathered.frames)} found no place and are left out: {names}")
    return said
