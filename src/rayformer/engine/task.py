"""The contract between a system and the one training loop.

    Piece, Batch    what a step is made of: a batch splits into pieces, no graph outlives its piece
    Task            all that the engine knows of a system
    Onlooker        who watches a model while it trains
    Group           parameters that share a rate and a decay, declared beside the model
    Stage, Chain    a recipe is a chain of stages; each trains one task by one plan
    Setting         what a recipe is told when it builds its chain
    Prediction      what a finished run says of new input
    Export          a format that a finished run is written in
    Recipe          a config, its smoke size, and what a finished run can be used for

The gradient of a step is the gradient of the mean over the whole batch, however it is cut: piece losses are
means over their own `weight`, and the engine weighs them by `piece.weight / (sum over pieces and ranks)`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, nn

from rayformer.core.losses import Losses
from rayformer.engine.plan import Plan
from rayformer.runs.pictures import Picture


@runtime_checkable
class Piece(Protocol):
    """A micro-batch: small enough that its activations stay in the cache, or in the memory of the device."""

    @property
    def weight(self) -> float:
        """How much of the batch this is: rays, boxes, masked tokens. The loss of the piece is a mean over
        it."""
        ...

    def to(self, device: torch.device) -> "Piece": ...


@runtime_checkable
class Batch(Protocol):
    @property
    def counts(self) -> Mapping[str, int]:
        """What the batch holds, for the rates in the log: {"rays": 1024, "samples": 262144}."""
        ...

    def split(self) -> Sequence[Piece]:
        """At least one piece, and every rank equally many, in the order of the whole batch."""
        ...


@runtime_checkable
class Task(Protocol):
    """All that the engine knows of a system."""

    @property
    def model(self) -> nn.Module: ...

    def before_step(self, step: int, generator: Generator) -> None:
        """The only place where state that is not learned changes (occupancy, grid growth, pruning, a GRU
        volume).

        It lives in the model's buffers, so that checkpoints hold it, and it changes alike on every rank:
        `generator` is the same everywhere. It may replace parameters; the engine then rebuilds their
        optimiser state, and averages of new ones start anew.
        """
        ...

    def batch(self, split: str, step: int, rank: int, world: int) -> Batch:
        """Rank's contiguous share of batch number `step`: a pure function of its arguments and the task's
        seed."""
        ...

    def loss(self, piece: Any, step: int, generator: Generator) -> Losses:
        """Total and named terms of one piece; it and `generator` are on the device that trains."""
        ...

    def evaluate(self, split: str, generator: Generator) -> dict[str, Any]:
        """Numbers by name, unit in the name, the one that picks the best checkpoint first. Of "test" tables
        too: rows by name, each numbers by name. May fit copies, never the model. Like that of `before_step`,
        `generator` is on the processor."""
        ...

    def pictures(self) -> dict[str, Picture]:
        """What a person would rather look at, by file name without suffix; a folder in the name groups
        them."""
        ...


@runtime_checkable
class Onlooker(Protocol):
    """Who watches a model while it trains. Only the leading process has one.

    Both methods are called after a step, in the thread that trains, so that nothing else touches the model
    meanwhile. An onlooker leaves the model as it is and draws from no generator: a run that is watched is, to
    the last bit, the run that is not.
    """

    def wants(self, task: Task, step: int) -> bool:
        """Whether it wants to look now, after `step` steps; asked after every one of them, so a quick
        answer."""
        ...

    def look(self, task: Task, step: int) -> None:
        """Look: the model wears its averaged weights where there are any and stands in evaluation mode,
        without gradients, in the run's precision. How long that takes is the onlooker's affair."""
        ...


@dataclass(frozen=True)
class Group:
    """Parameters that share a rate and a decay. Names are those of `model.named_parameters()`."""

    name: str
    parameters: tuple[str, ...]
    rate: float = 1.0
    """Multiplies the plan's learning rate."""
    decay: float | None = None
    """Weight decay of this group; None takes the plan's."""
    sparse: bool = False
    """Tables of which a step touches few rows: numbers whose gradient is exactly zero stay as they are,
    moments included. Only with adam."""
    clip_units: bool = True
    """Whether `plan.clip_units` bounds their gradients, where the plan has it."""


def one_group(model: nn.Module) -> list[Group]:
    return [Group("all", tuple(name for name, value in model.named_parameters() if value.requires_grad))]


def whole_model(model: nn.Module) -> list[nn.Module]:
    return []


@dataclass(frozen=True, kw_only=True)
class Stage:
    name: str
    task: Callable[[Mapping[str, Task]], Task]
    """Builds the task when the stage is reached, from the finished tasks of earlier stages by name."""
    plan: Plan
    groups: Callable[[nn.Module], Sequence[Group]] = one_group
    shards: Callable[[nn.Module], Sequence[nn.Module]] = whole_model
    """The parts that FSDP2 gathers one at a time, for models too large to be gathered whole."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Stages in order, each able to use the ones before; or, if `independent`, jobs of their own in any
    order."""

    stages: Sequence[Stage]
    data: Mapping[str, Any] = field(default_factory=dict)
    """What was read: source, format, fingerprint, counts, remarks. Kept in run.yaml; a resume refuses
    another fingerprint."""
    independent: bool = False
    """Under torchrun independent stages are dealt out to the processes, without a process group."""
    whole: Callable[[Mapping[str, Task]], Task] | None = None
    """Of independent stages: what they are together, from their finished tasks by name. It is never trained;
    whoever finishes the last stage measures it and shows its pictures."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a recipe is told when it builds its chain."""

    seed: int
    device: torch.device
    assets: Path
    """RUN/assets: what is fitted before step 0 is written here once and read from here ever after."""
    training: bool = True
    """False where a finished run is opened: tasks may then leave their training data unread."""
    other_data: bool = False
    """Whether a finished run is opened with other data in its config than it was trained on, to be measured
    on them."""
    start: str | None = None
    """The run, file, folder or name that `--from` named, for a recipe that builds what it finds there."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    values: Mapping[str, Any]
    """By the name of each input: what one JSON document can hold."""
    rows: Sequence[Sequence[str]]
    """The same for people: a row of texts for each input."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A format that a finished run is written in, for other programs."""

    does: str
    """One line of help: what is written."""
    options: Any
    """An instance of a config class, whose fields are the options of the format and their defaults."""
    write: Callable[[Any, Any, Path], Mapping[str, Any]]
    """(loaded run, options, path) -> numbers by name that a person should know of what was written. The path
    does not exist, or may be made anew."""
    name: str
    """What the file is called, without suffix, where nobody says."""
    suffixes: tuple[str, ...] = ()
    """Of the file, in lower case, the usual one first; none: a folder."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One system, wired. `default` and `smoke` are instances of the recipe's config class."""

    default: Any
    smoke: Any
    build: Callable[[Any, Setting], Chain]
    predict: Callable[[Any, Sequence[str], Path | None], Prediction] | None = None
    """(loaded run, inputs, folder for what does not fit on a line) -> what the model says of each input."""
    render: Callable[..., Any] | None = None
    exports: Mapping[str, Export] = field(default_factory=dict)
    """By the name of the format."""
    begin: Callable[[nn.Module, str], Sequence[str]] | None = None
    """(model, source) -> what to say: weights that others published into the model, and weights of a run that
    is not quite the same, where a file, a folder or a name may hold them. Without it training begins from
    runs and files of the very same model."""
    may_change: tuple[str, ...] = ()
    """Fields, by their dotted names, that a resumed run may be told anew beside how long it trains: they
    choose which independent stages there are or how the whole is shown, and nothing of what is trained."""

    @property
    def config(self) -> type:
        return type(self.default)
