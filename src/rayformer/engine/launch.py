"""One process or many: what torchrun set up, and how a module is spread over the processes.

    Launch      who this process is, and the few things processes say to each other
    launched    a Launch for the environment torchrun made, or for one process alone
    Spread      the task's loss as one module, copied (DDP) or split (FSDP2) over the processes
    like        a stored tensor, on the device of its target and split as the target is

There is no launcher of ours: `torchrun --nproc-per-node 2 -m rayformer train ...` is all.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rayformer.core.errors import ConfigError
from rayformer.core.losses import Losses
from rayformer.core.memory import keep_large_blocks
from rayformer.engine.task import Task


@dataclass(frozen=True)
class Launch:
    device: torch.device
    rank: int = 0
    world: int = 1
    grouped: bool = False
    """Whether a process group is up, so that processes can talk."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the run folder and talks to the person."""
        return self.rank == 0

    def sum(self, numbers: Sequence[float | int]) -> list[float]:
        """Each number summed over the processes."""
        if not self.grouped:
            return [float(number) for number in numbers]
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process: the same answer in all of them."""
        return self.sum([flag])[0] > 0

    def wait(self) -> None:
        """Until every process has come here."""
        if self.grouped:
            dist.barrier()


@contextmanager
def launched(device: str = "auto", group: bool = True) -> Iterator[Launch]:
    """A Launch for what torchrun set in the environment, with a process group (gloo on CPU, nccl on CUDA)
    while inside.

    `group=False` keeps the processes strangers, for jobs of their own that must outlive each other. Raises
    ConfigError for a device that is not there, or that processes cannot share.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    where = pick_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if world == 1 or not group:
        yield Launch(where, rank, world)
        return
    if where.type == "mps":  # neither gloo nor nccl reaches its memory
        raise ConfigError(f"{world} processes cannot train together on mps: give --device cpu, or start one")
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Launch(where, rank, world, grouped=True)
    finally:
        # A split model still waiting to be freed would keep the group's threads into the exit of the process.
        gc.collect()
        dist.destroy_process_group()


def pick_device(wish: str = "auto", local_rank: int = 0) -> torch.device:
    """auto takes CUDA, then MPS, then the CPU, for which the process then keeps its large blocks of memory.
    Raises ConfigError if the device asked for is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wish == "auto":
        wish = "cuda" if cuda else "mps" if mps else "cpu"
    if wish not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"--device must be auto, cpu, cuda or mps, but is {wish!r}")
    if (wish == "cuda" and not cuda) or (wish == "mps" and not mps):
        raise ConfigError(
            f"--device {wish} was asked for, but this torch ({torch.__version__}) sees no such device; "
            "try --device auto"
        )
    if wish == "cuda" and local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"torchrun started process {local_rank + 1} on a machine with {torch.cuda.device_count()} CUDA "
            "devices; give it --nproc-per-node of no more than that"
        )
    if wish == "cpu":
        keep_large_blocks()
    return torch.device(wish, local_rank) if wish == "cuda" else torch.device(wish)


class TaskLoss(nn.Module):
    """A task's loss as a module, so that what DDP and FSDP2 hang on `forward` runs whichever way the task
    calls its model."""

    def __init__(self, task: Task):
        super().__init__()
        self.model = task.model
        self._loss = task.loss

    def forward(self, piece: Any, step: int, generator: Generator) -> Losses:
        losses = self._loss(piece, step, generator)
        # DDP waits for the gradient of every parameter that it can reach from what comes out here; a term
        # that is only noted, and no part of the total, would keep it waiting.
        return Losses(losses.total, {name: term.detach() for name, term in losses.terms.items()})


class Spread:
    """The task's loss over the processes of a launch. Rebuild it when the task replaced parameters."""

    def __init__(self, task: Task, launch: Launch, shard: bool, shards: Sequence[nn.Module] = ()):
        self.module: nn.Module = TaskLoss(task)
        self.sharded = shard and launch.grouped
        if self.sharded:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(launch.device.type, (launch.world,))
            for part in (*shards, self.module):
                fully_shard(part, mesh=mesh)
        elif launch.grouped:
            self.module = DistributedDataParallel(
                self.module,
                device_ids=[launch.device.index] if launch.device.type == "cuda" else None,
                # A switch may leave a head unused in some steps; every rank must still agree on the gradient.
                find_unused_parameters=True,
                # Buffers change in before_step alone, alike on every rank.
                broadcast_buffers=False,
            )

    def loss(self, piece: Any, step: int, generator: Generator, last: bool) -> Losses:
        """The loss of one piece; only the last piece of a step sends its gradient to the other processes."""
        if isinstance(self.module, DistributedDataParallel):
            self.module.require_backward_grad_sync = last
        elif self.sharded:
            self.module.set_requires_gradient_sync(last)  # type: ignore[operator]
        return self.module(piece, step, generator)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Whole parameters on every process, so that the model can be called directly (evaluation,
        pictures)."""
        if not self.sharded:
            yield
            return
        self.module.unshard()  # type: ignore[operator]
        try:
            yield
        finally:
            self.module.reshard()  # type: ignore[operator]


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """`tensor` on the device of `target`, and split as `target` is where that is split over processes."""
    mesh = getattr(target, "device_mesh", None)
    if mesh is None or tensor.shape != target.shape:
        return tensor.to(target.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(target.device), mesh, target.placements)  # type: ignore[attr-defined]
