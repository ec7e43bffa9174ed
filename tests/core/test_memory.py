import json
import os
import platform
import subprocess
import sys

import pytest

from rayformer.core.memory import _of_container, free_bytes

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


def test_what_is_free_is_less_than_there_is():
    free = free_bytes()
    if sys.platform != "linux":
        assert free is None
        return
    assert 2**20 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_nobody_tells_of_other_devices():
    assert free_bytes("meta") is None


@pytest.mark.parametrize(
    ("most", "used"),
    [
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ],
    ids=["second-kind", "first-kind"],
)
def test_a_containers_bound_counts_and_what_only_caches_files_is_free(most, used, tmp_path):
    (tmp_path / most).parent.mkdir(exist_ok=True)
    (tmp_path / most).write_text("1000\n")
    (tmp_path / used).write_text("700\n")
    (tmp_path / most).with_name("memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert _of_container(tmp_path) == 450
    (tmp_path / most).write_text("max\n" if most == "memory.max" else f"{2**63 - 4096}\n")
    assert _of_container(tmp_path) is None
    assert _of_container(tmp_path / "nowhere") is None
