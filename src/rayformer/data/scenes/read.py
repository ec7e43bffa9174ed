"""read_scene: from a folder or name to a scene that a field can be trained on.

    find the data        a path, or a name of a drawn scene
    recognise its format, read it as it is
    check                poses are rigid, pictures can be read and have the size that their cameras state
    split                train, val, test
    normalise            centre, up, scale; kept, so that an export can undo it
    near and far         from the config, the data, or the cameras

Each step that decides something says so in `Scene.remarks`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import DataError, did_you_mean
from rayformer.data.scenes import drawn
from rayformer.data.scenes.capture import Capture, Photo, Split
from rayformer.data.scenes.images import has_alpha, picture_size
from rayformer.data.scenes.normalise import ROOM, Arrangement, arrangement, bounds, normalisation
from rayformer.data.scenes.perturb import Perturbation
from rayformer.data.scenes.recognise import recognise
from rayformer.data.scenes.scene import Scene, SceneConfig, View, evenly
from rayformer.geometry.lens import Lens, folds
from rayformer.geometry.poses import rigid_fault
from rayformer.geometry.similarity import Similarity

FEWEST_VIEWS = 3


def read_scene(
    config: SceneConfig,
    frame: Similarity | None = None,
    distances: tuple[float, float] | None = None,
) -> Scene:
    """The scene at `config.source`.

    `frame` puts it where another scene was put, instead of where its own cameras suggest, and `distances` are
    then that scene's near and far: for measuring a field on data that it was not trained on.

    Raises DataError for a place that is absent or of no known format, for broken files, poses that are no
    rigid motions, pictures that cannot be read or do not fit their cameras, and fewer than three views;
    MissingExtra for HEIC photographs without their reader.
    """
    path = _find(config.source)
    known, found = recognise(path)
    capture = known.read(found)
    remarks = [f"{path} is read as {known.name}", *capture.remarks]
    photos = _checked(capture, path, remarks)
    parts = _split(photos, config, remarks)
    poses = torch.stack([photo.camera.pose for photo in photos])
    kind = arrangement(poses)
    move = frame or _normalisation(capture, photos, poses, kind, config, remarks)
    views = tuple(_view(photo, part, move, config) for photo, part in zip(photos, parts, strict=True) if part)
    views = _perturbed(views, config, remarks)
    near, far = distances or _near_and_far(capture, views, kind, config, remarks)
    remarks += _about_masks(views, config)
    points = capture.points
    if points is not None:
        points = move.points(torch.from_numpy(points)).numpy()
    transparent = any((view.cut and view.mask) or has_alpha(view.image) for view in views)
    colour = (0.0, 0.0, 0.0) if config.background == "black" else (1.0, 1.0, 1.0)
    if len(config.scales) > 1:
        sizes = ", ".join(f"1/{scale}" for scale in config.scales[1:])
        remarks.append(f"every photograph is there at {sizes} of its size, too")
    return Scene(
        source=str(path),
        format=known.name,
        views=tuple(_shrunk(view, scale) for scale in config.scales for view in views),
        points=points,
        point_colours=capture.point_colours,
        normalisation=move,
        background=colour if transparent else None,
        near=near,
        far=far,
        forward_facing=kind == "forward-facing",
        remarks=tuple(remarks),
        fingerprint=_fingerprint(views),
        masks="ignore" if config.masks == "ignore" else "use",
    )


def _find(source: str) -> Path:
    if drawn.is_drawn(source):
        return drawn.drawn_scene(source)
    path = Path(source).expanduser()
    if path.exists():
        return path
    raise DataError(
        f"data.source: there is no folder or file {source!r}, and no drawn scene of that name."
        f"{did_you_mean(source, drawn.NAMES)}\n"
        f"Give --data a folder of posed photographs, or a scene that is drawn here: {', '.join(drawn.NAMES)}."
    )


# ------------------------------------------------------------------------------------------ check


def _checked(capture: Capture, path: Path, remarks: list[str]) -> list[Photo]:
    """The photographs, sorted by name, with cameras of the size that the files have."""
    if not capture.photos:
        said = [remark if remark.endswith(".") else f"{remark}." for remark in capture.remarks[:3]]
        raise DataError(
            f"{path}: no photographs. {' '.join(said) or 'None is listed.'}\n"
            f"At least {FEWEST_VIEWS} must be listed, and lie where the {capture.format} file says."
        )
    if len(capture.photos) < FEWEST_VIEWS:
        raise DataError(
            f"{path}: only {len(capture.photos)} views; at least {FEWEST_VIEWS} are needed\n"
            "to learn a scene and to test it."
        )
    photos = sorted(capture.photos, key=lambda photo: photo.name)
    for photo in photos:
        fault = rigid_fault(photo.camera.pose)
        if fault:
            raise DataError(
                f"{path}: the pose of {photo.name} {fault}.\n"
                "A camera-to-world pose must be a rotation and a translation.\n"
                "Mend it, or leave that view out."
            )
    fitted = [_fitted(photo) for photo in photos]
    changed = [(old, new) for old, new in zip(photos, fitted, strict=True) if new is not old]
    if changed:
        old, new = changed[0]
        remarks.append(
            f"{len(changed)} photographs are {new.camera.width / old.camera.width:.4g} times as large as "
            "their cameras state; intrinsics are scaled to match"
        )
    _refuse_folds(fitted)
    return fitted


def _fitted(photo: Photo) -> Photo:
    """The photo with its camera scaled to its picture, where one is an exact rescaling of the other."""
    stated = (photo.camera.width, photo.camera.height)
    width, height = picture_size(photo.image, stated)
    if (width, height) == stated:
        return photo
    off = abs(width * stated[1] - height * stated[0])  # zero if scaled alike, up to rounding of one side
    if width == stated[0] or height == stated[1] or off > max(stated):
        raise DataError(
            f"{photo.image}: the picture has {width} x {height} pixels,\n"
            f"but its camera is for {stated[0]} x {stated[1]}. Only pictures scaled as a whole can be used:\n"
            "take the pictures that the cameras were made for, or mend the size in the cameras."
        )
    return replace(photo, camera=photo.camera.scaled(width, height))


def _refuse_folds(photos: Sequence[Photo]) -> None:
    seen = set()
    for photo in photos:
        camera = photo.camera
        key = (camera.width, camera.height, *camera.intrinsics.tolist(), camera.lens)
        if camera.lens.is_pinhole or key in seen:
            continue
        seen.add(key)
        across = torch.linspace(0, 1, 33, dtype=torch.float64)
        ends = [torch.zeros_like(across), torch.ones_like(across)]
        sides = [torch.stack(side, dim=-1) for end in ends for side in [(across, end), (end, across)]]
        border = torch.cat(sides) * torch.tensor([camera.width, camera.height])
        plane = (border - camera.intrinsics[2:]) / camera.intrinsics[:2]
        if folds(plane, camera.lens.coefficients[None]).any():
            raise DataError(
                f"{photo.image}: its lens {camera.lens} folds the border of the picture inwards, so that\n"
                "no ray belongs to some pixels. Check the coefficients, or undistort the photographs first."
            )


# ------------------------------------------------------------------------------------------ split


def _split(photos: Sequence[Photo], config: SceneConfig, remarks: list[str]) -> list[Split | None]:
    """The part of each photograph; None for training views beyond `config.views`."""
    parts: list[Split | None] = [photo.split for photo in photos]
    whose = "as the data have it"
    if not any(parts):
        whose = f"every {config.holdout_every}th photograph by name is for testing, from the first on"
        parts = ["train" if row % config.holdout_every else "test" for row in range(len(photos))]
    parts = ["train" if part is None else part for part in parts]
    rows = [row for row, part in enumerate(parts) if part == "train"]
    if config.validation and "val" not in parts:
        for row in evenly(rows, config.validation):
            parts[row] = "val"
        rows = [row for row in rows if parts[row] == "train"]
        whose += f", {config.validation} training views are held back for validation"
    if config.views is not None and config.views < len(rows):
        kept = set(evenly(rows, config.views))
        parts = [None if part == "train" and row not in kept else part for row, part in enumerate(parts)]
        whose += f", {config.views} of {len(rows)} training views are used"
    counts = ", ".join(f"{parts.count(name)} {name}" for name in ("train", "val", "test"))
    remarks.append(f"split: {counts}; {whose}")
    if "train" not in parts:
        raise DataError(
            "the split leaves no view to train on: give more photographs or a larger data.holdout_every"
        )
    return parts


# ------------------------------------------------------------------------------------------ place


def _normalisation(
    capture: Capture,
    photos: Sequence[Photo],
    poses: Float[Tensor, "views 4 4"],
    kind: Arrangement,
    config: SceneConfig,
    remarks: list[str],
) -> Similarity:
    if not config.normalise:
        remarks.append(f"cameras: {kind}; coordinates are those of the data")
        return Similarity.identity()
    if capture.published_bounds:
        remarks.append(f"cameras: {kind}; coordinates are those of the data, for the published near and far")
        return Similarity.identity()
    nearest = min((photo.distances[0] for photo in photos if photo.distances), default=None)
    move = normalisation(poses, kind, nearest)
    remarks.append(f"cameras: {kind}; scaled by {move.scale:.4g}, centred and turned upright")
    return move


def _view(photo: Photo, part: Split, move: Similarity, config: SceneConfig) -> View:
    camera = photo.camera.at(move.pose(photo.camera.pose)).at_most(config.width)
    if config.undistort:
        camera = replace(camera, lens=Lens())
    near = far = None
    if photo.distances and config.near is None and config.far is None:
        near, far = (room * move.scale * way for room, way in zip(ROOM, photo.distances, strict=True))
    return View(
        photo.name, camera, photo.camera, photo.image, photo.mask, part, near, far,
        exposure=photo.exposure, light=photo.light, cut=config.masks == "cut",
    )  # fmt: skip


def _perturbed(views: tuple[View, ...], config: SceneConfig, remarks: list[str]) -> tuple[View, ...]:
    """The views, of which those for training are harmed on purpose where that was asked for."""
    if config.perturb == "none":
        return views
    harmed = "colours and occluders" if config.perturb == "both" else config.perturb
    train = [view for view in views if view.split == "train"]
    remarks.append(
        f"training photographs are harmed on purpose ({harmed}), all of {len(train)} but {train[0].name}"
    )
    numbers = {view.name: number for number, view in enumerate(train)}
    return tuple(
        replace(view, perturbation=Perturbation(config.perturb, numbers[view.name]))
        if view.split == "train"
        else view
        for view in views
    )


def _about_masks(views: Sequence[View], config: SceneConfig) -> list[str]:
    masked = sum(view.mask is not None for view in views)
    if not masked:
        return []
    have = f"masks: {masked} of {len(views)} photographs have one"
    if config.masks == "ignore":
        return [f"{have}, which are ignored, as asked for; numbers named masked_... are those within them"]
    if config.masks == "cut":
        return [f"{have}; what they leave black is transparent, as asked for"]
    return [
        f"{have}; what they leave black is not trained on and not measured, except in numbers named "
        "whole_... (data.masks cut makes it transparent, ignore takes whole photographs)"
    ]


def _shrunk(view: View, scale: int) -> View:
    camera = view.camera
    if scale == 1:
        return view
    size = (max(1, round(side / scale)) for side in (camera.width, camera.height))
    return replace(view, camera=camera.scaled(*size), scale=scale)


def _near_and_far(
    capture: Capture, views: Sequence[View], kind: Arrangement, config: SceneConfig, remarks: list[str]
) -> tuple[float, float]:
    """Scene-wide bounds: what the config says, else what is published, or the data know, or else a rule."""
    known = [(view.near, view.far) for view in views if view.near is not None and view.far is not None]
    if capture.published_bounds:
        (near, far), why = capture.published_bounds, "as published for such data"
    elif known:
        near, far = min(near for near, _ in known), max(far for _, far in known)
        why = "from the distances in the data, with a tenth to spare"
    else:
        near, far = bounds(torch.stack([view.camera.pose for view in views]), kind)
        why = f"a rule for cameras that stand {kind}, since the data know no distances"
    if config.near is not None or config.far is not None:
        near = near if config.near is None else config.near
        far = far if config.far is None else config.far
        why = "as asked for"
    if near >= far:
        raise DataError(
            f"rays would begin at {near:.4g} and end at {far:.4g} ({why}): set data.near and data.far"
        )
    remarks.append(f"rays run from {near:.4g} to {far:.4g} scene units: {why}")
    return near, far


def _fingerprint(views: Sequence[View]) -> str:
    """A hash of names, cameras, exposures, lights, what is done to pixels, and of each photograph's length,
    first and last kilobyte. Reads little of large files."""
    digest = hashlib.blake2b(digest_size=16)
    for view in views:
        camera = view.original
        digest.update(f"{view.name}\0{view.split}\0{camera.lens}".encode())
        digest.update(np.array([*camera.intrinsics, camera.width, camera.height]).tobytes())
        digest.update(camera.pose.numpy().tobytes())
        if view.exposure is not None or view.light is not None:
            digest.update(f"{view.exposure!r}\0{view.light}".encode())
        if view.cut:
            digest.update(b"cut out")
        if view.perturbation is not None:
            digest.update(f"{view.perturbation}".encode())
        for file in filter(None, (view.image, view.mask)):
            length = file.stat().st_size
            with file.open("rb") as data:
                digest.update(length.to_bytes(8, "little") + data.read(1024))
                data.seek(max(0, length - 1024))
                digest.update(data.read(1024))
    return digest.hexdigest()
