"""Checkpoints: a folder of safetensors that is complete or not there at all.

    save_checkpoint      write under a temporary name, sync, rename: the last good one always survives
    read_checkpoint      the newest folder that is whole; torn ones are named and passed over
    open_checkpoint      one folder; read_tensors, one file of it; write_tensors, the way there
    put_model            tensors into a model, whose parameters may have grown since it was built
    remove_old           keep the last two and the best

    checkpoints/000500/model.safetensors       parameters and buffers
                       optimizer.safetensors   optimiser state by parameter name
                       ema.safetensors         the running average, where the plan asks for one
                       state.json              step, clock, best value so far, and size and checksum of each
                                               file

A split (FSDP2) state is written by all processes through torch.distributed.checkpoint and consolidated into
the same files, so that one process, or another number of them, can read it. Nothing is ever pickled.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rayformer.core.errors import RunError
from rayformer.engine.launch import Launch, like
from rayformer.runs.atomic import sync_folder, write_text
from rayformer.runs.run import Run


@dataclass(frozen=True)
class State:
    """What is not a tensor. Everything else that a resume needs is a pure function of the step."""

    step: int
    """Steps done."""
    elapsed_s: float
    """Seconds of training so far, over all resumes."""
    seed: int
    best: float | None = None
    """The best headline value so far on the val split."""
    best_step: int | None = None
    headline: str | None = None
    """The name of that value."""


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    state: State
    tensors: Mapping[str, Mapping[str, Tensor]]
    """By file: "model", "optimizer", "ema"."""


def save_checkpoint(
    run: Run, state: State, tensors: Mapping[str, Mapping[str, Tensor]], launch: Launch
) -> Path:
    """Write RUN/checkpoints/STEP. All processes call it; the leading one writes what is whole, all write
    what is split.

    Raises RunError in every process, with the last good checkpoint named, if the disk refuses one of them.
    """
    final = run.checkpoint(state.step)
    draft = final.with_name(f".draft-{final.name}")
    try:
        _leading(launch, lambda: _begin(draft))
        for name, content in tensors.items():
            if any(hasattr(tensor, "full_tensor") for tensor in content.values()):
                _write_split(draft, name, content, launch)
            else:
                _leading(launch, lambda: write_tensors(draft / f"{name}.safetensors", content))  # noqa: B023
        _leading(launch, lambda: _complete(draft, final, state))
    except _Refused as refused:
        if launch.leads:
            shutil.rmtree(draft, ignore_errors=True)
        good = run.checkpoints()
        survivor = (
            f"the last good one, step {good[-1][0]}, survives: free space and use --resume {run.root.path}"
            if good
            else "there is no earlier one"
        )
        raise RunError(
            f"could not save the checkpoint of step {state.step} in {run.path}: {refused}\n{survivor}"
        ) from refused
    return final


class _Refused(Exception):
    """The disk said no, to this process or to another; all of them raise it at the same place."""


def _leading(launch: Launch, work: Callable[[], object]) -> None:
    """`work`, done by the leading process, while the others wait to hear how it went.

    A process that raised alone would leave the others waiting for it until they are killed.
    """
    fault: Exception | None = None
    if launch.leads:
        try:
            work()
        except (OSError, SafetensorError, RunError) as error:
            fault = error
    if launch.any(fault is not None):
        told = (str(fault) or type(fault).__name__) if fault else "the leading process says why"
        raise _Refused(told) from fault


def _begin(draft: Path) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)


def _complete(draft: Path, final: Path, state: State) -> None:
    files = {
        path.name: {"bytes": path.stat().st_size, "crc32": _crc32(path)} for path in sorted(draft.iterdir())
    }
    write_text(draft / "state.json", json.dumps({**asdict(state), "files": files}, indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    os.rename(draft, final)
    sync_folder(final.parent)


def write_tensors(
    path: Path, content: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """One safetensors file that `read_tensors` reads, with texts by name in its head."""
    # Names that share one tensor (tied weights) are stored once; the header says which name stands for which.
    kept: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {}
    tensors, aliases = {}, {}
    for name, tensor in content.items():
        tensor = tensor.detach()
        key = (tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and key in kept:
            aliases[name] = kept[key]
        else:
            kept[key] = name
            tensors[name] = (
                tensor.cpu().contiguous().clone()
                if not tensor.is_contiguous() or _shares(tensor)
                else tensor.cpu()
            )
    head = {**(metadata or {}), "aliases": json.dumps(aliases), "format": "pt"}
    save_file(tensors, path, metadata=head)
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _shares(tensor: Tensor) -> bool:
    """Whether the tensor is a view of a larger storage, which safetensors refuses to write."""
    return tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()


def _write_split(draft: Path, name: str, content: Mapping[str, Tensor], launch: Launch) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    folder = draft / f".{name}"
    writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=True, enable_consolidation=True)
    try:
        dcp.save(dict(content), storage_writer=writer)
    except CheckpointException as error:  # raised in every process, with what each of them met
        met = [f"process {rank}: {fault}" for rank, (fault, _) in error.failures.items()]
        raise _Refused("; ".join(met)) from error

    def unpack() -> None:
        (whole,) = folder.glob("*.safetensors")
        with open(whole, "rb+") as file:
            os.fsync(file.fileno())
        os.rename(whole, draft / f"{name}.safetensors")
        shutil.rmtree(folder)

    _leading(launch, unpack)


def read_checkpoint(run: Run) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a line about each newer one that is not whole."""
    remarks = [f"checkpoint {path.name} is incomplete and was passed over" for path in run.torn_checkpoints()]
    for step, path in reversed(run.checkpoints()):
        try:
            return open_checkpoint(path), remarks
        except RunError as error:
            remarks.append(f"checkpoint of step {step} was passed over: {error}")
    return None, remarks


def open_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder. Raises RunError if any file is missing, short, or not what was written."""
    try:
        record = json.loads((path / "state.json").read_text())
        files = record.pop("files")
        state = State(**record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}/state.json cannot be read: {error}") from error
    tensors = {}
    for name, expected in files.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != expected["bytes"]:
            raise RunError(
                f"{file} is torn: {expected['bytes']} bytes were written, "
                f"{file.stat().st_size if file.is_file() else 0} are there"
            )
        if _crc32(file) != expected["crc32"]:
            raise RunError(f"{file} is damaged: its checksum is not the one written")
        tensors[file.stem] = read_tensors(file)
    return Checkpoint(path, state, tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file of ours, shared names put back."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            aliases = json.loads((file.metadata() or {}).get("aliases", "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return tensors | {alias: tensors[name] for alias, name in aliases.items()}


def put_model(
    model: nn.Module, tensors: Mapping[str, Tensor], source: str = "the checkpoint", resize: bool = True
) -> None:
    """Load every parameter and buffer, exactly these; those that grew or shrank during training are replaced.

    With `resize=False`, for weights from elsewhere, every shape must be the model's own. `source` names the
    weights in errors. Raises RunError if names are missing or left over, or if a shape may not differ.
    """
    current = model.state_dict()
    if current.keys() != tensors.keys():
        missing, extra = sorted(current.keys() - tensors.keys()), sorted(tensors.keys() - current.keys())
        raise RunError(f"{source} is of another model; missing: {missing[:5]}, left over: {extra[:5]}")
    other = [name for name, tensor in tensors.items() if current[name].shape != tensor.shape]
    if other and not resize:
        name = other[0]
        raise RunError(
            f"{source} is of a model of another size: {name} is {_spell(tensors[name])} there and "
            f"{_spell(current[name])} here"
            + (f", and {len(other) - 1} more differ" if other[1:] else "")
            + "\ngive this model the options that one was made with"
        )
    for name, tensor in tensors.items():
        if current[name].shape != tensor.shape:
            owner_name, _, leaf = name.rpartition(".")
            owner = model.get_submodule(owner_name)
            if leaf in owner._parameters:
                old = owner._parameters[leaf]
                assert old is not None, f"{name} stands in the state but holds no parameter"
                owner._parameters[leaf] = nn.Parameter(
                    torch.empty_like(tensor, device=old.device), requires_grad=old.requires_grad
                )
            else:
                owner._buffers[leaf] = torch.empty_like(tensor, device=current[name].device)
    with torch.no_grad():
        for name, target in model.state_dict().items():
            target.copy_(like(tensors[name], target))


def _spell(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def remove_old(run: Run, keep: set[int]) -> None:
    """Remove every checkpoint but those of the steps in `keep`, and drafts that a crash left."""
    for step, path in run.checkpoints():
        if step not in keep:
            shutil.rmtree(path, ignore_errors=True)
    for path in run.torn_checkpoints():
        with contextlib.suppress(OSError):
            shutil.rmtree(path)


def _crc32(path: Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return checksum
