"""The Triton kernels: interpreted on the processor, compiled for devices that are not here, run on one that
is here."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rayformer.kernels.compositing import composite_packed, composite_packed_twin
from rayformer.kernels.hash_grid import GridLayout, hash_grid, hash_grid_twin
from rayformer.kernels.marching import Space, march
from rayformer.kernels.table_adam import table_adam_

HERE = Path(__file__).parent
ABSENT = "Triton is not installed (it comes with torch's CUDA builds)"
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def run(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def theorems(**environment: str) -> str:
    words = (
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "timeout=0",
        str(HERE / "triton_theorems.py"),
    )
    seed = str(random.SystemRandom().randrange(2**31))
    return run(*words, RAYFORMER_SEED=seed, **environment)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_interpreted_on_the_processor_the_kernels_are_their_twins():
    pytest.importorskip("triton", reason=ABSENT)
    assert "passed" in theorems(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kernel_compiles_for_devices_that_are_not_here(tmp_path):
    pytest.importorskip("triton", reason=ABSENT)
    names = run(str(HERE / "triton_compiles.py"), "80", TRITON_CACHE_DIR=str(tmp_path))
    wanted = {"_gather", "_scatter", "_locate", "_walk", "_forward", "_backward", "_step"}
    assert set(names.split()) == wanted


# ------------------------------------------------------------------------------------------ with a device


@on_a_gpu
def test_on_the_device_the_kernels_are_their_twins():
    pytest.importorskip("triton", reason=ABSENT)
    assert "passed" in theorems()


@on_a_gpu
def test_on_the_device_the_hash_grid_differentiates_twice():
    grid = GridLayout(resolutions=(2, 5), features=2, log2_rows=4)
    where = (torch.randint(0, 10, (4, 3)) + 0.3 + 0.4 * torch.rand(4, 3)).double().div(10)
    given = where.cuda().requires_grad_(), torch.randn(grid.rows, 2).double().cuda().requires_grad_()
    encode = lambda where, rows: hash_grid(where, rows, grid)  # noqa: E731
    assert torch.autograd.gradcheck(encode, given, nondet_tol=1e-9)
    assert torch.autograd.gradgradcheck(encode, given, nondet_tol=1e-9)


@on_a_gpu
def test_on_the_device_deterministic_sums_have_the_same_bits():
    grid = GridLayout(resolutions=(16, 128), features=4, log2_rows=9)
    where, rows = torch.rand(20000, 3).cuda(), torch.randn(grid.rows, 4).cuda().requires_grad_()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        slopes = [torch.autograd.grad(hash_grid(where, rows, grid).sin().sum(), rows)[0] for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(slopes[0], other) for other in slopes[1:])


@on_a_gpu
def test_a_step_on_the_device_is_a_step_on_the_processor():
    """Rays through a grid, features, density, compositing, gradient, Adam: one after the other."""
    grid, space = GridLayout(resolutions=(4, 32), features=4, log2_rows=10), Space((0.0, 0.0, 0.0), 1.0)
    origins, rows = torch.randn(64, 3), 0.1 * torch.randn(grid.rows, 4)
    directions = torch.nn.functional.normalize(0.2 * torch.randn(64, 3) - origins, dim=-1)
    occupied = torch.rand(8, 8, 8) < 0.5
    packed = march(origins, directions, torch.zeros(64), torch.full((64,), 4.0), occupied, space, 0.05)

    def step(device, encode, composite):
        middle = (packed.begin + packed.end) / 2
        where = ((origins[packed.ray] + middle[:, None] * directions[packed.ray] + 1) / 2).to(device)
        table = rows.clone().to(device).requires_grad_()
        features = encode(where, table, grid)
        ends = packed.begin.to(device), packed.end.to(device), packed.starts.to(device)
        seen, *_ = composite(features[:, 0].exp(), features[:, 1:4].sigmoid(), *ends)
        (slope,) = torch.autograd.grad(seen.square().sum(), table)
        moments = torch.zeros_like(slope), torch.zeros_like(slope)
        with torch.no_grad():
            table_adam_(table, slope, *moments, step=1, rate=0.01, betas=(0.9, 0.99), eps=1e-8)
        return seen.cpu(), slope.cpu(), table.detach().cpu()

    ours = step("cuda", hash_grid, composite_packed)
    wanted = step("cpu", hash_grid_twin, composite_packed_twin)
    for one, other in zip(ours[:2], wanted[:2], strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-3, atol=1e-4)
