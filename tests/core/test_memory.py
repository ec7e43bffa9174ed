import json
import platform
import subprocess
import sys

import pytest

BLOCKS = """
import json, resource, sys
import numpy as np
from rayformer.core.memory import keep_large_blocks

kept = keep_large_blocks() if sys.argv[1] == "kept" else None
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(80 * 2**20, dtype=np.uint8).fill(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps([kept, faults]))
"""


def _run(how: str, **environment: str):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, how],
        env={"PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told anything")


@glibc
def test_a_large_block_is_fetched_from_the_system_once_and_then_kept():
    kept, faults = _run("kept")
    assert kept
    assert max(faults[1:]) < faults[0] / 10
    _, faults = _run("as it is")
    assert min(faults) > 30, "pages are fetched again every time, or nobody would have to ask"


@glibc
def test_who_has_told_the_library_how_to_behave_is_left_alone():
    kept, _ = _run("kept", MALLOC_ARENA_MAX="2")
    assert not kept
