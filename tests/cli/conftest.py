"""A recipe of two small configs in the place of nerf, and a trainer that only notes what it was asked for.

What the command line says, refuses and prints is then tested in milliseconds, whatever NeRF's defaults are.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

from rayformer.cli.main import main
from rayformer.core.config import to_plain
from rayformer.core.errors import ConfigError
from rayformer.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class TinyData:
    source: str = "demo"
    """A folder of posed photos, or demo."""
    views: int | None = None
    """Use only so many views."""


@dataclass(frozen=True, kw_only=True)
class TinyModel:
    width: int = 64
    """Channels of a hidden layer."""
    density_noise: float = 0.0
    """Standard deviation, in 1 / scene unit; 0 % of the rays get any at 0."""
    view_dependent: bool = True
    """Whether colour may depend on the direction."""
    background: Literal["white", "black"] = "white"
    """Colour behind everything."""
    bounds: tuple[float, float] = (2.0, 6.0)
    """Nearest and farthest, in scene units."""
    octaves: tuple[int, ...] = (10, 4)
    """Of position and direction."""

    def __post_init__(self):
        if self.width < 1:
            raise ConfigError(f"model.width must be at least 1, but is {self.width}")


@dataclass(frozen=True, kw_only=True)
class TinyPlan:
    steps: int = 1000
    """Optimiser steps."""
    minutes: float | None = None
    """Stop by the clock."""


@dataclass(frozen=True, kw_only=True)
class Tiny:
    data: TinyData = TinyData()
    model: TinyModel = TinyModel()
    plan: TinyPlan = TinyPlan()


class FlatView:
    """Frames of one colour, at a depth that grows from frame to frame. A path that ends in .json has three
    frames of 16 x 12 whatever was asked for, and two a second."""

    usual_path = "orbit"

    def fps(self, path: str) -> float | None:
        return 2.0 if path.endswith(".json") else None

    def cameras(self, path: str, frames: int, size: tuple[int, int] | None) -> list[SimpleNamespace]:
        if path.endswith(".json"):
            frames, size = 3, None
        width, height = size or (16, 12)
        return [SimpleNamespace(width=width, height=height, index=index) for index in range(frames)]

    def picture(self, camera: SimpleNamespace) -> SimpleNamespace:
        colour = np.full((camera.height, camera.width, 3), 40 * camera.index % 256, np.uint8)
        return SimpleNamespace(colour=colour, depth=np.full(colour.shape[:2], 1.0 + camera.index, np.float32))


def _train(
    recipe: str, config: Any, *, out: Path | None, resume: Path | None, **asked: Any
) -> SimpleNamespace:
    if resume:
        run = Run.open(resume)
    else:
        run = Run.create(out, recipe, {"config": to_plain(config), "seed": asked["seed"]})
        run.write_result({"psnr_db": 21.5})
    print("step 10 of 10", file=sys.stderr)
    print(f"width {config.model.width}, steps {config.plan.steps}, {asked['device']}", file=sys.stderr)
    return SimpleNamespace(
        run=run,
        result={"psnr_db": 21.5, "ssim": float("nan")},
        interrupted=config.plan.steps == 13,
        window=None,
    )


@pytest.fixture
def tiny_recipe(monkeypatch):
    """`nerf` is the tiny recipe, and `recipes.open_run` only notes what it is asked for."""
    recipe = SimpleNamespace(
        config=Tiny,
        default=Tiny(),
        smoke=Tiny(plan=TinyPlan(steps=10)),
        render=lambda loaded: FlatView(),
        exports={},
        may_change=(),
    )
    opened = ModuleType("rayformer.recipes.open_run")
    opened.train = _train
    opened.evaluate = lambda run, source, device: {"psnr_db": 21.5, "source": source or "demo"}
    opened.open_run = lambda run, device: SimpleNamespace(recipe=recipe, name="nerf")
    nerf = ModuleType("rayformer.recipes.nerf")
    nerf.RECIPE = recipe
    monkeypatch.setitem(sys.modules, opened.__name__, opened)
    monkeypatch.setitem(sys.modules, nerf.__name__, nerf)
    return recipe


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str


@pytest.fixture
def rayformer(capsys, tmp_path, monkeypatch):
    """`rayformer("train", "nerf")`: the command line run in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Said:
        capsys.readouterr()
        status = main(words)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return run


@pytest.fixture
def trained(rayformer, tiny_recipe, tmp_path) -> Path:
    """A run folder that the tiny recipe left behind."""
    assert rayformer("train", "nerf", "--out", str(tmp_path / "run"), "--seed", "3").status == 0
    return tmp_path / "run"
