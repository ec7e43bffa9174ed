"""What needs no torch answers without it, and so within half a second."""

import subprocess
import sys
import time

import pytest


def seconds(*words: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rayformer", *words], check=True, capture_output=True)
    return time.perf_counter() - start


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["list"], ["list", "--json"], ["reproduce"]])
def test_help_version_and_lists_answer_within_half_a_second(words):
    assert min(seconds(*words) for _ in range(3)) < 0.5  # the best of three: the machine may be busy


@pytest.mark.parametrize(
    "words",
    [["--help"], ["list"], ["reproduce"], ["train", "--help"], ["render", "--help"], ["eval", "nowhere"]],
)
def test_no_torch_is_imported_before_it_is_needed(words):
    program = (
        f"import sys; from rayformer.cli.main import main; main({words!r}); assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "AssertionError" not in ended.stderr, ended.stderr
