"""Every recipe by name, as a static list: `rayformer list` and `--help` answer without importing torch.

    ENTRIES     what there is: name, system, paper, what it takes, what it gives
    entry       one of them by name, or the nearest one offered
    load        the recipe itself, which imports its module and torch with it

A new recipe is a module with a `RECIPE`, and one entry here.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from rayformer.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from rayformer.engine.task import Recipe


@dataclass(frozen=True, kw_only=True)
class Entry:
    name: str
    module: str
    """Where its `RECIPE` is."""
    system: str
    paper: str
    takes: str
    """What `--data` may be."""
    gives: str
    """What a finished run holds, and the numbers it is judged by."""
    abilities: tuple[str, ...]
    """The commands that a finished run answers to, beside eval and report."""


ENTRIES = (
    Entry(
        name="nerf",
        module="rayformer.recipes.nerf",
        system="NeRF: a scene as one function of place and direction",
        paper="Mildenhall et al. 2020, arXiv:2003.08934",
        takes="posed photos (transforms.json, Blender, COLMAP, LLFF, KITTI)",
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="ngp",
        module="rayformer.recipes.ngp",
        system="Instant-NGP: a radiance field in hash grids, learned in minutes",
        paper="Müller et al. 2022, arXiv:2201.05989",
        takes="posed photos (transforms.json, Blender, COLMAP, LLFF, KITTI)",
        gives="new views with depth; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
    Entry(
        name="zipnerf",
        module="rayformer.recipes.zipnerf",
        system="Zip-NeRF: hash grids that see cones, sharp at every distance",
        paper="Barron et al. 2023, arXiv:2304.06706",
        takes="posed photos (transforms.json, Blender, COLMAP, LLFF, KITTI)",
        gives="new views with depth, without aliasing; psnr_db, ssim",
        abilities=("render", "view", "export"),
    ),
)


def entry(name: str) -> Entry:
    """The entry called `name`. Raises ConfigError with the nearest one."""
    known = {entry.name: entry for entry in ENTRIES}
    if name not in known:
        raise ConfigError(
            f"there is no recipe {name!r}.{did_you_mean(name, known)}\n`rayformer list` shows every recipe."
        )
    return known[name]


def load(name: str) -> "Recipe":
    """The recipe called `name`. Raises ConfigError with the nearest one if there is none."""
    return import_module(entry(name).module).RECIPE
