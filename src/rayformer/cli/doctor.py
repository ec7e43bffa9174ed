"""`rayformer doctor`: what this machine offers, what is installed, how fast it is.

examine         everything, as plain values
kernels         what compiles our hot loops, and how many an earlier run left compiled
extras          optional packages: there, or the command that installs them
mlp_speed       one second of the matrix work that training spends its time in
"""

import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import metadata
from typing import Any

from rayformer.cli.options import Options, add_device, add_json
from rayformer.cli.output import give

WIDTH, DEPTH, ROWS = 256, 8, 8192
"""NeRF's multilayer perceptron on a micro-batch of samples."""

SHOWN = ("rayformer", "torch", "numpy", "pillow", "av", "safetensors", "tyro")


def run(words: Sequence[str], usage: str) -> int:
    options = Options(
        usage, "Device, precision, threads, memory, extras, versions, and a one-second speed check."
    )
    add_device(options)
    add_json(options)
    values = options.read(words)
    findings = examine(values.device)
    give(findings, values.json, _as_text(findings))
    return 0


def examine(wish: str = "auto") -> dict[str, Any]:
    """What there is, by topic. Raises ConfigError if the device asked for is not there."""
    import torch

    from rayformer.engine.launch import pick_device
    from rayformer.engine.precision import choose_precision

    device = pick_device(wish)
    precision = choose_precision(device)
    speed = {"float32_gflops": mlp_speed(device, bf16=False)}
    if device.type != "mps":
        speed["bf16_gflops"] = mlp_speed(device, bf16=True)
    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine(),
        "precision": precision.name,
        "precision_reason": precision.reason,
        "threads": torch.get_num_threads(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "kernels": kernels(),
        "extras": extras(),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in SHOWN}},
        "system": platform.platform(),
        "speed": speed,
    }


def kernels() -> dict[str, Any]:
    """Compilers of the hot loops: numba for processors, Triton for CUDA devices."""
    from rayformer.kernels.cuda import missing, version
    from rayformer.kernels.warm_up import kept

    folder, count = kept()
    return {
        "numba": metadata.version("numba"),
        "kept": count,
        "folder": str(folder),
        "triton": version(),
        "triton_missing": missing(),
    }


def extras() -> dict[str, dict[str, Any]]:
    """Every optional extra of the package: what it needs, what of that is missing, and how to install it."""
    needs: dict[str, list[str]] = {}
    for line in metadata.requires("rayformer") or []:
        found = re.match(r"([\w.-]+)(?!.*\[).*; extra == ['\"]([\w-]+)['\"]", line)
        if found and found[1] != "rayformer" and found[2] not in ("all", "dev"):
            needs.setdefault(found[2], []).append(found[1])
    return {
        extra: {
            "present": all(map(_installed, packages)),
            "packages": packages,
            "install": f"pip install 'rayformer[{extra}]'",
        }
        for extra, packages in needs.items()
    }


def mlp_speed(device: Any, bf16: bool, seconds: float = 0.5) -> float:
    """GFLOP/s through an 8 x 256 MLP: for each layer one matrix product forward and two backward."""
    import torch

    layers = [layer for _ in range(DEPTH) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers).to(device)
    inputs = torch.rand(
        ROWS, WIDTH, device=device, generator=torch.Generator(device).manual_seed(0)
    ).requires_grad_()

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
            loss = model(inputs).float().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()  # what is made once, on first use, is not what is measured
    start, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        step()
        steps += 1
    return round(6 * ROWS * WIDTH**2 * DEPTH * steps / spent / 1e9, 1)


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float | None:
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _as_text(found: dict[str, Any]) -> str:
    memory = "unknown" if found["memory_gib"] is None else f"{found['memory_gib']} GiB"
    lines = [
        f"device     {found['device']} ({found['device_name']})",
        f"precision  {found['precision']}: {found['precision_reason']}",
        f"threads    {found['threads']} of {found['cores']} cores, {memory} of memory",
        "speed      8 x 256 MLP, forward and backward: "
        + ", ".join(
            f"{name.removesuffix('_gflops')} {number:.0f} GFLOP/s" for name, number in found["speed"].items()
        ),
    ]
    kernels = found["kernels"]
    kept = f"{kernels['kept']} loops kept compiled" if kernels["kept"] else "nothing compiled yet; kept"
    lines.append(f"kernels    processor: numba {kernels['numba']}, {kept} in {kernels['folder']}")
    lines.append(
        f"           CUDA: {kernels['triton_missing'] or 'Triton ' + kernels['triton']}"
        + ("; plain torch instead" if kernels["triton_missing"] else "")
    )
    for name, extra in found["extras"].items():
        lines.append(
            f"extra      {name}: " + ("present" if extra["present"] else f"absent; {extra['install']}")
        )
    lines.append(
        "versions   " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    )
    lines.append(f"system     {found['system']}")
    return "\n".join(lines)
