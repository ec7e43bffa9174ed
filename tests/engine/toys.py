"""Toy tasks, one of each kind that the engine must serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from rayformer.core.losses import Losses
from rayformer.core.seeds import generator
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Chain, Stage
from rayformer.runs.pictures import Picture

PLAN = Plan(steps=20, log_every=1, evaluate_every=0, save_every=0, precision="32", optim=Optim(rate=0.05))


@dataclass(frozen=True)
class Points:
    inputs: Tensor
    targets: Tensor

    @property
    def weight(self) -> float:
        return float(len(self.inputs))

    def to(self, device: torch.device) -> "Points":
        return Points(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True)
class PointBatch:
    points: Points
    sizes: tuple[int, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    def split(self) -> Sequence[Points]:
        return [
            Points(inputs, targets)
            for inputs, targets in zip(
                self.points.inputs.split(self.sizes), self.points.targets.split(self.sizes), strict=True
            )
        ]


class Line:
    """Fit targets = inputs @ truth, with noise drawn in the loss so that exactness of randomness is tested
    too."""

    def __init__(
        self, seed: int = 0, sizes: tuple[int, ...] = (8, 8, 8, 8), noise: float = 0.0, width: int = 4
    ):
        torch.manual_seed(seed)
        self.model: nn.Module = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 1))
        self.seed, self.sizes, self.noise = seed, sizes, noise
        self.truth = torch.linspace(-1, 1, width)[:, None]

    def before_step(self, step: int, generator: Generator) -> None: ...

    def batch(self, split: str, step: int, rank: int, world: int) -> PointBatch:
        total = sum(self.sizes)
        inputs = torch.randn(total, len(self.truth), generator=generator(self.seed, "batch", split, step))
        share = slice(rank * total // world, (rank + 1) * total // world)
        sizes = self.sizes[rank * len(self.sizes) // world : (rank + 1) * len(self.sizes) // world]
        points = Points(inputs[share], inputs[share] @ self.truth)
        return PointBatch(points, sizes, {"points": total // world})

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        noise = self.noise * torch.randn(piece.targets.shape, generator=generator)
        error = (self.model(piece.inputs) + noise - piece.targets).square().mean()
        return Losses(error, {"square": error})

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        points = self.batch(split, 0, 0, 1).points
        return {"squared_error": (self.model(points.inputs) - points.targets).square().mean().item()}

    def pictures(self) -> dict[str, Picture]:
        return {"held-out/grey": Picture(np.full((4, 4, 3), 128, np.uint8), "a grey square")}


class Growing(Line):
    """Replaces its parameter by a finer one at step 5, as grids do."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.model = Table(4)

    def before_step(self, step: int, generator: Generator) -> None:
        if step == 5:
            self.model.grow()

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        error = (self.model(piece.inputs[:, 0]) - piece.inputs[:, 0].sin()).square().mean()
        return Losses(error, {"square": error})

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        inputs = torch.linspace(-2, 2, 50)
        return {"squared_error": (self.model(inputs) - inputs.sin()).square().mean().item()}


class Table(nn.Module):
    """Piecewise linear on [-3, 3]."""

    def __init__(self, cells: int):
        super().__init__()
        self.values = nn.Parameter(torch.zeros(cells + 1))
        self.offset = nn.Parameter(torch.zeros(()))

    def grow(self) -> None:
        middles = (self.values[1:] + self.values[:-1]) / 2
        finer = torch.stack([self.values[:-1], middles], dim=-1).reshape(-1)
        self.values = nn.Parameter(torch.cat([finer, self.values[-1:]]).detach())

    def forward(self, x: Tensor) -> Tensor:
        cells = len(self.values) - 1
        place = (x.clamp(-3, 3) + 3) / 6 * cells
        left = place.floor().clamp(max=cells - 1).long()
        share = place - left
        return self.values[left] * (1 - share) + self.values[left + 1] * share + self.offset


class Counting(Line):
    """State that is not learned: a running mean in a buffer, moved in before_step with the given
    randomness."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.model.register_buffer("occupied", torch.zeros(8))

    def before_step(self, step: int, generator: Generator) -> None:
        self.model.occupied.mul_(0.9).add_(torch.rand(8, generator=generator))

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        error = (
            (self.model(piece.inputs) * (1 + 0.01 * self.model.occupied.mean()) - piece.targets)
            .square()
            .mean()
        )
        return Losses(error, {"square": error})


class Reborn(Line):
    """Replaces its first layer by one of the same shape at step 5, as pruned and redrawn ones are."""

    def before_step(self, step: int, generator: Generator) -> None:
        if step == 5:
            self.model[0].weight = nn.Parameter(torch.full_like(self.model[0].weight, 0.25))


class Aside(Line):
    """Notes a term that is no part of its loss, of a head that nothing else reads."""

    def __init__(self):
        super().__init__()
        self.model.add_module("aside", nn.Linear(1, 1))

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        return {}

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        output = self.model[:3](piece.inputs)
        error = (output - piece.targets).square().mean()
        return Losses(error, {"square": error, "aside": self.model[3](output).mean()})


class Diverging(Line):
    """Fine until `step`; then a term, or only the gradient, is not finite."""

    def __init__(self, step: int, where: str):
        super().__init__()
        self.step, self.where = step, where

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        output = self.model(piece.inputs)
        smooth = (output - piece.targets).square().mean()
        if step < self.step:
            return Losses(smooth, {"smooth": smooth, "sharp": 0 * smooth})
        if self.where == "gradient":
            # The value of sqrt at 0 is 0; its slope is infinite.
            total = smooth + (output - output.detach()).abs().sum().sqrt()
            return Losses(total, {"smooth": smooth, "sharp": total - smooth})
        sharp = (output * 0).sum() + float(self.where)
        return Losses(smooth + sharp, {"smooth": smooth, "sharp": sharp})


class Rivals(Line):
    """A generator and a critic in one loss and one backward: the critic on the detached fake, the generator
    through the critic's detached weights."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.model = nn.ModuleDict({"maker": nn.Linear(4, 1), "critic": nn.Linear(1, 1)})

    def loss(self, piece: Points, step: int, generator: Generator) -> Losses:
        critic = self.model["critic"]
        fake = self.model["maker"](piece.inputs)
        frozen = {name: value.detach() for name, value in critic.named_parameters()}
        judged = (
            nn.functional.softplus(critic(fake.detach())).mean()
            + nn.functional.softplus(-critic(piece.targets)).mean()
        )
        fooled = nn.functional.softplus(-functional_call(critic, frozen, (fake,))).mean()
        return Losses(judged + fooled, {"critic": judged, "maker": fooled})

    def evaluate(self, split: str, generator: Generator) -> dict[str, float]:
        return {}


def chain_of(task: object, plan: Plan = PLAN, name: str = "toy") -> Chain:
    return Chain(stages=[Stage(name=name, task=lambda _: task, plan=plan)])
