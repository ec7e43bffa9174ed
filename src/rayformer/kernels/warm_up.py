"""Kernels made ready before they are needed, and what is kept of them.

    warm_up   compile all kernels for a device, or load what an earlier run compiled; how long it took
    kept      where compiled loops for processors wait for the next run, and how many

The first step of a training run would compile them anyway, half a minute in which nothing seems to happen.
Here it has a name, and the clock that says how fast steps are starts after it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from rayformer.kernels.compositing import composite_packed
from rayformer.kernels.cuda import kept_in, plainly
from rayformer.kernels.hash_grid import GridLayout, hash_grid
from rayformer.kernels.marching import Space, march
from rayformer.kernels.table_adam import table_adam_
from rayformer.kernels.voxel_table import voxel_values

MODULES = ("hash_grid_numba", "voxel_table_numba", "marching_numba", "compositing_numba", "table_adam_numba")


@dataclass(frozen=True)
class Ready:
    seconds: float
    compiled: int
    """Kernels that no earlier run had left on disk."""

    def __str__(self) -> str:
        if self.compiled:
            return f"kernels compiled in {self.seconds:.0f} s, kept for the next run"
        return f"kernels ready in {self.seconds:.1f} s"


def warm_up(
    device: torch.device,
    features: Sequence[int] = (4,),
    *,
    voxels: Sequence[int] = (),
    channels: int = 3,
    contracted: bool = False,
    cone: float = 0.0,
    of_places: bool = False,
    twice: bool = False,
) -> Ready:
    """Every kernel called once on next to nothing, in float32, for hash grids with so many features and for
    voxel tables with so many channels.

    `of_places`: gradients of places too (cameras that are learned, normals); `twice`: second derivatives. The
    other numbers matter on CUDA devices, whose kernels are compiled for them.
    """
    start, before = time.perf_counter(), _compiled(device)
    for number in features:
        _look_up(device, number, of_places or twice, twice)
    for number in voxels:
        _look_up_voxels(device, number, of_places)
    rays, ones = torch.rand(2, 3, device=device), torch.ones(2, device=device)
    space, full = (
        Space((0.0, 0.0, 0.0), 2.0, contracted),
        torch.ones(2, 2, 2, dtype=torch.bool, device=device),
    )
    packed = march(rays, rays + 1, 0 * ones, ones, full, space, 0.25, cone, 0 * ones)
    density = torch.ones(len(packed), device=device, requires_grad=True)
    colour = torch.ones(len(packed), channels, device=device, requires_grad=True)
    seen, opacity, *_ = composite_packed(density, colour, packed.begin, packed.end, packed.starts)
    torch.autograd.grad(seen.sum() + opacity.sum(), (density, colour))
    table = torch.ones(16, 4, device=device)
    table_adam_(table, table.clone(), 0 * table, 0 * table, step=1, rate=0.1, betas=(0.9, 0.99), eps=1e-15)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return Ready(time.perf_counter() - start, _compiled(device) - before)


def kept() -> tuple[Path, int]:
    """The folder in which numba keeps our loops (beside the source, or its own where that cannot be written),
    and how many are there: one for each kind of argument."""
    loop = import_module("rayformer.kernels.table_adam_numba")._loop()
    folder = Path(loop.stats.cache_path)
    return folder, sum(len(list(folder.glob(f"{module}.*.nbc"))) for module in MODULES)


def _look_up(device: torch.device, features: int, of_places: bool, twice: bool) -> None:
    layout = GridLayout(resolutions=(2, 16), features=features, log2_rows=9)
    where = torch.rand(8, 3, device=device, requires_grad=of_places)
    table = torch.rand(layout.rows, features, device=device, requires_grad=True)
    found = hash_grid(where, table, layout)
    given = (where, table) if of_places else (table,)
    slopes = torch.autograd.grad(found.square().sum(), given, create_graph=twice)
    if twice:
        slopes[0].sum().backward()


def _look_up_voxels(device: torch.device, channels: int, of_places: bool) -> None:
    links = torch.arange(8, dtype=torch.int32, device=device).view(2, 2, 2)
    where = torch.rand(8, 3, device=device, requires_grad=of_places)
    table = torch.rand(8, channels, device=device, requires_grad=True)
    found = voxel_values(where, links, table)
    torch.autograd.grad(found.sum(), (where, table) if of_places else (table,))


def _compiled(device: torch.device) -> int:
    """How many kernels were compiled so far: in this process, or by any that shares the CUDA cache."""
    if device.type == "cuda" and not plainly():
        return len(list(kept_in().glob("*"))) if kept_in().is_dir() else 0
    if device.type != "cpu":
        return 0
    from rayformer.kernels.compiled import compilations

    return compilations()
