"""Recipes that train in a moment, in the place of the real ones.

line       one stage: the toy line
two-step   a chain: coarse, then fine, which goes on with the model of coarse
blocks     three independent stages
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayformer.core.errors import DataError
from rayformer.engine.plan import Plan
from rayformer.engine.task import Chain, Recipe, Setting, Stage
from tests.engine.toys import PLAN, Line

SHORT = replace(PLAN, steps=12, save_every=4)


@dataclass(frozen=True, kw_only=True)
class ToyData:
    source: str = "numbers"
    """numbers, doubled, or none."""


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    data: ToyData = ToyData()
    width: int = 4
    """Numbers in."""
    noise: float = 0.1
    """On the targets."""
    plan: Plan = SHORT


def line(config: ToyConfig, setting: Setting) -> Line:
    task = Line(setting.seed, noise=config.noise, width=config.width)
    if config.data.source == "doubled":
        task.truth = 2 * task.truth
    return task


class Fine(Line):
    """Goes on with the model of another task."""

    def __init__(self, first: Line):
        super().__init__(first.seed, noise=first.noise, width=len(first.truth))
        self.model, self.truth = first.model, first.truth


def data(config: ToyConfig) -> Mapping[str, Any]:
    if config.data.source == "none":
        raise DataError("data.source: there is nothing")
    return {"source": config.data.source, "fingerprint": config.data.source, "remarks": ["numbers are drawn"]}


def build_line(config: ToyConfig, setting: Setting) -> Chain:
    stage = Stage(name="line", task=lambda done: line(config, setting), plan=config.plan)
    return Chain(stages=[stage], data=data(config))


def build_two(config: ToyConfig, setting: Setting) -> Chain:
    def fine(done: Mapping[str, Any]) -> Fine:
        return Fine(done["coarse"])

    coarse = Stage(name="coarse", task=lambda done: line(config, setting), plan=config.plan)
    return Chain(stages=[coarse, Stage(name="fine", task=fine, plan=config.plan)], data=data(config))


def build_blocks(config: ToyConfig, setting: Setting) -> Chain:
    stages = [Stage(name=name, task=lambda done: line(config, setting), plan=config.plan) for name in "abc"]
    return Chain(stages=stages, data=data(config), independent=True)


RECIPES = {
    name: Recipe(default=ToyConfig(), smoke=ToyConfig(plan=replace(SHORT, steps=4)), build=build)
    for name, build in {"line": build_line, "two-step": build_two, "blocks": build_blocks}.items()
}
