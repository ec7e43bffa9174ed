"""A long drive cut into blocks: which photographs each block learns from, and what is known of them.

BlocksConfig   how many blocks, how far apart, which of them
BlockPlan      one block as it was planned: its place, its photographs and what is known of them
StreetPlan     all of them, and the unit of exposures
open_street    the plan, made once in training and read from the run ever after
block_scene    the part of the scene that a block sees
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.scenes.scene import Scene, View
from rayformer.engine.task import Setting
from rayformer.fields.blocknerf import BlockConfig, Photographed
from rayformer.geometry.blocks import Line, Site, line_through, merged, sites_along
from rayformer.geometry.cameras import Camera
from rayformer.runs.atomic import write_text

PHOTOS_PER_BLOCK = 40
"""Training photographs to a block where nobody says how many blocks there are; with half of each neighbour's
it then learns from twice as many."""
NEAREST = 0.02
"""Where nobody knows better, rays begin at this share of a block's radius."""


@dataclass(frozen=True, kw_only=True)
class BlocksConfig:
    count: int | None = None
    """Blocks along the street; none takes one for every 40 training photographs, or what `spacing` asks
    for."""
    spacing: float | None = None
    """Instead of a count, the distance from block to block along the street, in the units of the data."""
    overlap: float = 0.5
    """Share of a block's width that it has in common with the next one. With one half every place of the
    street lies in two blocks."""
    least_views: int = 12
    """A block with fewer training photographs than this is merged with its neighbour."""
    only: tuple[int, ...] = ()
    """Train and show these blocks alone, by their numbers along the street from 0 on; others can be added
    when the run is resumed, and cost the finished ones nothing. none given: all."""

    def __post_init__(self):
        if self.count is not None and self.spacing is not None:
            raise ConfigError(
                "blocks.count and blocks.spacing are two ways to say one thing; leave one of them out."
            )
        if self.count is not None and self.count < 1:
            raise ConfigError(f"blocks.count must be at least 1, but is {self.count}.")
        if self.spacing is not None and not 0 < self.spacing < math.inf:
            raise ConfigError(f"blocks.spacing must be above 0, but is {self.spacing}.")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"blocks.overlap must lie in [0, 1), but is {self.overlap}.")
        if self.least_views < 3:
            raise ConfigError(f"blocks.least_views must be at least 3, but is {self.least_views}.")
        if any(number < 0 for number in self.only):
            raise ConfigError(f"blocks.only must be numbers from 0 on, but is {self.only}.")


@dataclass(frozen=True)
class BlockPlan:
    number: int
    """Along the street, from 0 on."""
    site: Site
    views: tuple[str, ...]
    """Names of its training photographs, in the scene's order."""
    photographed: Photographed

    @property
    def name(self) -> str:
        return f"block-{self.number:02d}"


@dataclass(frozen=True)
class StreetPlan:
    blocks: tuple[BlockPlan, ...]
    """All of the street, whichever are trained."""
    unit: float | None
    """The largest exposure of the training photographs, in which exposures are told; None: none is known."""

    def chosen(self, only: Sequence[int]) -> list[BlockPlan]:
        """The blocks by their numbers, all of them if none is given. Raises ConfigError for one that is not
        there."""
        beyond = [number for number in only if number >= len(self.blocks)]
        if beyond:
            raise ConfigError(
                f"blocks.only names block {beyond[0]}, but the street has {len(self.blocks)} blocks: 0 to "
                f"{len(self.blocks) - 1}."
            )
        return [self.blocks[number] for number in sorted(set(only) or range(len(self.blocks)))]

    def exposure(self, view: View) -> float | None:
        """A photograph's exposure as blocks are told it."""
        return None if self.unit is None or view.exposure is None else view.exposure / self.unit


# ---------------------------------------------------------------------- planning


def open_street(
    scene: Scene, config: BlocksConfig, block: BlockConfig, setting: Setting
) -> tuple[StreetPlan, list[str]]:
    """Where the blocks stand and what each learns from, with remarks on it.

    Raises DataError where all photographs were taken in one place, ConfigError where lights are asked for
    that the data do not name, and RunError where a run does not know its plan any more.
    """
    path = setting.assets / "blocks.json"
    if not setting.training:
        return _kept(path), []
    plan, remarks = plan_street(scene, config, block)
    write_text(path, json.dumps(asdict(plan), indent=1) + "\n")
    return plan, remarks


def plan_street(scene: Scene, config: BlocksConfig, block: BlockConfig) -> tuple[StreetPlan, list[str]]:
    """As `open_street`, in training."""
    views = scene.split("train")
    places = positions(views)
    line = line_through(places)
    if line is None:
        raise DataError(
            f"{scene.source}: all {len(views)} training photographs were taken in one place, and blocks are "
            "laid out along the way from the first to the last.\n"
            "Give photographs taken along a street, or train one field on these with `rayformer train ngp`."
        )
    sites, joined = merged(
        sites_along(line, _count(scene, line, config), config.overlap), line, places, config.least_views
    )
    remarks = [
        f"blocks {left} and {right} are merged: one of them has {held} training photographs, and "
        f"{config.least_views} are needed (blocks.least_views)"
        for left, right, held in joined
    ]
    known = [view.exposure for view in views if view.exposure is not None]
    unit = max(known) if len(known) == len(views) else None
    if known and unit is None:
        remarks.append(
            f"exposures are not used: {len(views) - len(known)} of {len(views)} photographs have none"
        )
    by_light = _by_light(views, block)
    usual = 1.0 if unit is None else median(known) / unit
    plans = []
    for number, site in enumerate(sites):
        held = [view for view, inside in zip(views, site.holds(places), strict=True) if inside]
        names = tuple(view.name for view in held)
        labels = [view.light or "" for view in held] if by_light else list(names)
        codes = [] if block.codes == "off" else sorted(set(labels))
        photographed = Photographed(
            codes=tuple(codes.index(label) for label in labels) if codes else (),
            names=tuple(codes),
            exposures=() if unit is None else tuple((view.exposure or 0.0) / unit for view in held),
            usual=usual,
        )
        plans.append(BlockPlan(number, site, names, photographed))
    counts = ", ".join(str(len(plan.views)) for plan in plans)
    scale = scene.normalisation.scale
    remarks.append(
        f"{len(plans)} block{'s' if len(plans) > 1 else ''} along {line.length / scale:.3g} units of the "
        f"data, of radius {plans[0].site.radius / scale:.3g}; training photographs of each: {counts}"
    )
    what = {"off": "none"}.get(block.codes, "one for each light" if by_light else "one for each photograph")
    remarks.append(f"appearance codes: {what}; exposures: {'unknown' if unit is None else 'told'}")
    return StreetPlan(tuple(plans), unit), remarks


def _count(scene: Scene, line: Line, config: BlocksConfig) -> int:
    if config.count is not None:
        return config.count
    if config.spacing is not None:
        return max(1, round(line.length / (config.spacing * scene.normalisation.scale)))
    return max(1, round(len(scene.split("train")) / PHOTOS_PER_BLOCK))


def _by_light(views: Sequence[View], block: BlockConfig) -> bool:
    nameless = sum(view.light is None for view in views)
    if block.codes == "light" and nameless:
        raise ConfigError(
            f"block.codes is light, but the data name no light of {nameless} of {len(views)} training "
            "photographs.\nName one for each frame ('light' in transforms.json), or set block.codes to photo."
        )
    return block.codes == "light" or (block.codes == "auto" and not nameless)


def _kept(path: Any) -> StreetPlan:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        blocks = []
        for block in kept["blocks"]:
            site, told = block["site"], block["photographed"]
            blocks.append(
                BlockPlan(
                    block["number"],
                    Site(tuple(site["centre"]), site["radius"], site["along"]),
                    tuple(block["views"]),
                    Photographed(
                        tuple(told["codes"]), tuple(told["names"]), tuple(told["exposures"]), told["usual"]
                    ),
                )
            )
        return StreetPlan(tuple(blocks), kept["unit"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}), and without it the run does not know "
            "where its blocks stand.\nTrain again, or bring the file back."
        ) from error


def positions(views: Sequence[View]) -> Float[Tensor, "views 3"]:
    """Where the photographs were taken."""
    return torch.stack([view.camera.position for view in views])


def block_scene(scene: Scene, site: Site) -> Scene:
    """The scene as a block sees it: the photographs taken within its radius, whatever they are for."""
    kept = tuple(
        view for view, inside in zip(scene.views, site.holds(positions(scene.views)), strict=True) if inside
    )
    near = scene.near if any(view.near for view in kept) else min(scene.near, NEAREST * site.radius)
    return replace(scene, views=kept, near=near)


def view_taken_by(scene: Scene, camera: Camera) -> View:
    """The view whose camera this is, and not one like it."""
    return next(view for view in scene.views if view.camera is camera)
