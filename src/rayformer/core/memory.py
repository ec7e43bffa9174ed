"""Memory that a program has had once, and keeps.

keep_large_blocks    asks the C library not to hand large blocks back to the system after every use

glibc fetches every block above 32 MB from the system, which hands it over page by page, emptied, and gives it
back when it is freed. A training step frees and asks for the same blocks again and again: pages were a third
of the time of a ResNet's step on two cores, for a tenth more memory.
"""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Of mallopt(3): how much that is free on top of the heap is kept, and how many blocks may live apart."""


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
