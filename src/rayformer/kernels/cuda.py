"""What kernels for CUDA devices share: whether Triton can compile them here, and with which settings.

    missing     why it cannot, in words; None if it can
    version     which Triton there is
    kept_in     the folder in which compiled kernels wait for the next process
    plainly     whether the plain twin is to be taken on a CUDA device
    SETTINGS    launch settings that all kernels share

Triton comes with torch's CUDA builds. It compiles a kernel on its first call for each kind of argument (about
a second) and keeps it on disk. Where it is missing the twins run on the device instead, which are right but
slow.
"""

import os
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

SETTINGS = {"num_warps": 4, "enable_fp_fusion": True}
"""Four warps a program; products and sums may be fused, as everywhere on these devices."""


def missing() -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed (it comes with torch's CUDA builds)"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler for what starts its kernels, but there is no gcc or clang"
    return None


_MISSING = missing()  # once, where torch.compile need not look through it


def version() -> str | None:
    for name in ("triton", "pytorch-triton", "pytorch-triton-rocm", "triton-windows"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def kept_in() -> Path:
    named = os.environ.get("TRITON_CACHE_DIR")
    return Path(named) if named else Path(os.environ.get("TRITON_HOME", Path.home())) / ".triton" / "cache"


def plainly(sums: bool = False) -> bool:
    """Whether a CUDA tensor takes the twin: without Triton, and where an operation sums in no order (`sums`)
    though `torch.use_deterministic_algorithms` asks for one."""
    return _MISSING is not None or (sums and torch.are_deterministic_algorithms_enabled())
