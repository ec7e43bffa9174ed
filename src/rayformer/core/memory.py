"""Memory: what there is, and what a program has had once, and keeps.

free_bytes           how much a program may still have, on a processor or an accelerator
keep_large_blocks    asks the C library not to hand large blocks back to the system after every use

glibc fetches every block above 32 MB from the system, which hands it over page by page, emptied, and gives it
back when it is freed. A training step frees and asks for the same blocks again and again: pages were a third
of the time of a ResNet's step on two cores, for a tenth more memory.
"""

import ctypes
import os
import sys
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Of mallopt(3): how much that is free on top of the heap is kept, and how many blocks may live apart."""


def free_bytes(device: str = "cpu") -> int | None:
    """About how much is free for this process on a torch device; of a processor's, what Linux can make
    available, within the bounds of a container. None where nobody tells."""
    if device.startswith("cuda"):
        import torch  # which only this needs

        return torch.cuda.mem_get_info(device)[0]
    if device != "cpu":
        return None
    known = [_of_machine(), _of_container()]
    return min((one for one in known if one is not None), default=None)


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return int(kib) * 1024


def _of_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Of the group of processes that this one is in; none where it has no bound. Pages that only cache files
    count as free."""
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            bound, taken = ((root / name).read_text().strip() for name in (most, used))
            if bound == "max" or int(bound) >= 2**60:
                return None
            stat = (root / most).with_name("memory.stat").read_text().split()
            cached = int(stat[stat.index("inactive_file") + 1])
        except (OSError, ValueError):
            continue
        return int(bound) - int(taken) + cached
    return None


def keep_large_blocks() -> bool:
    """From now on, for this process; whether that was possible. Nothing is changed where the C library is
    another one, or where the environment says how it is to behave (MALLOC_..., GLIBC_TUNABLES)."""
    if sys.platform != "linux" or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(MMAP_MAX, 0) and library.mallopt(TRIM_THRESHOLD, 2**31 - 1))
