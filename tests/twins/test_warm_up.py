"""Kernels are ready before they are needed, and it is said whether that meant compiling them."""

import subprocess
import sys

import pytest
import torch

from rayformer.kernels.warm_up import MODULES, Ready, kept, warm_up


def test_what_is_ready_says_whether_it_was_compiled():
    assert str(Ready(21.4, 3)) == "kernels compiled in 21 s, kept for the next run"
    assert str(Ready(0.34, 0)) == "kernels ready in 0.3 s"


def test_after_warming_up_nothing_is_left_to_compile_and_it_is_kept():
    warm_up(torch.device("cpu"), of_places=True)
    again = warm_up(torch.device("cpu"), of_places=True)
    assert again.compiled == 0
    folder, count = kept()
    assert folder.is_dir()
    assert count >= len(MODULES)


@pytest.mark.slow
def test_the_next_process_loads_what_this_one_compiled():
    warm_up(torch.device("cpu"))
    code = "import torch; from rayformer.kernels.warm_up import warm_up; print(warm_up(torch.device('cpu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("kernels ready in")
