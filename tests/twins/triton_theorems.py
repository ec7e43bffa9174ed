"""The Triton kernels against the twins: run by `test_triton.py`, in a process of its own.

With TRITON_INTERPRET=1, which must be set before Triton is imported, programs run one after the other in
numpy and tensors stay on the processor: slow, but it needs no GPU. Without it they run on the CUDA device.
"""

import os

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed (it comes with torch's CUDA builds)")

from rayformer.kernels import (
    compositing_triton,
    hash_grid_triton,
    marching_triton,
    table_adam_triton,
    voxel_table_triton,
)
from rayformer.kernels.compositing import composite_packed_twin
from rayformer.kernels.hash_grid import GridLayout, hash_grid_twin
from rayformer.kernels.marching import Space, march_twin
from rayformer.kernels.table_adam import table_adam_twin_
from rayformer.kernels.voxel_table import voxel_values_twin

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cpu" if INTERPRETED else "cuda")
SEED = int(os.environ.get("RAYFORMER_SEED", "0"))


def source() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def there(*values):
    return [value.to(DEVICE) for value in values]


@pytest.mark.parametrize(
    ("features", "shift", "dtype"),
    [(1, 0.0, torch.float64), (2, -0.5, torch.float64), (4, 0.0, torch.float32), (8, -0.5, torch.float32)],
)
def test_the_hash_grid_and_all_its_derivatives_are_the_twins(features, shift, dtype):
    generator = source()
    grid = GridLayout(resolutions=(2, 5, 33), features=features, log2_rows=9, shift=shift)
    numbers = (grid.resolutions, grid.starts, grid.primes, grid.shift)
    # Numbers with 12 bits, on borders of cells and outside too: no rounding decides in which cell a place
    # lies.
    where = torch.randint(-410, 4507, (130, 3), generator=generator).to(dtype) / 4096
    rows = torch.randn(grid.rows, features, generator=generator, dtype=dtype)
    arriving = torch.randn(130, grid.size, generator=generator, dtype=dtype)
    along = torch.randn(130, 3, generator=generator, dtype=dtype)
    where, rows, arriving, along = (value.requires_grad_() for value in there(where, rows, arriving, along))
    wanted = hash_grid_twin(where, rows, grid)
    slopes = torch.autograd.grad(wanted, (where, rows), arriving, create_graph=True)
    bends = torch.autograd.grad(slopes[0], (arriving, where, rows), along)
    given = [value.detach() for value in (along, arriving, where, rows)]
    close = {"rtol": 1e-4, "atol": 3e-3} if dtype == torch.float32 else {}
    torch.testing.assert_close(hash_grid_triton.encode(*given[2:], *numbers), wanted.detach(), **close)
    ours = hash_grid_triton.backward(*given[1:], *numbers, True, True)
    for one, other in zip(ours, slopes, strict=True):
        torch.testing.assert_close(one, other.detach(), **close)
    for one, other in zip(hash_grid_triton.tangent(*given, *numbers), bends, strict=True):
        torch.testing.assert_close(one, other, **close)


def test_places_that_are_no_numbers_and_no_places_at_all_do_no_harm():
    grid = GridLayout(resolutions=(4, 40), features=2, log2_rows=8)
    numbers = (grid.resolutions, grid.starts, grid.primes, grid.shift)
    where, rows = there(torch.rand(9, 3, generator=source()), torch.randn(grid.rows, 2, generator=source()))
    wanted = hash_grid_triton.encode(where, rows, *numbers)
    where[3, 0], where[4, 1] = float("nan"), float("inf")
    features = hash_grid_triton.encode(where, rows, *numbers)
    assert features[3].isnan().any()
    assert features[4].isfinite().all()
    others = [0, 1, 2, 5, 6, 7, 8]
    assert torch.equal(features[others], wanted[others])
    assert hash_grid_triton.encode(where[:0], rows, *numbers).shape == (0, 4)
    empty = hash_grid_triton.backward(wanted[:0], where[:0], rows, *numbers, True, True)
    assert empty[0].shape == (0, 3)
    assert not empty[1].any()


def test_tables_in_half_precision_are_summed_in_float32():
    grid = GridLayout(resolutions=(4, 40), features=2, log2_rows=8)
    numbers = (grid.resolutions, grid.starts, grid.primes, grid.shift)
    where, rows = there(torch.rand(20, 3, generator=source()), torch.randn(grid.rows, 2, generator=source()))
    ours = hash_grid_triton.encode(where, rows.half(), *numbers)
    torch.testing.assert_close(ours, hash_grid_twin(where, rows.half(), grid), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("ways", "channels", "dtype"), [(1, 27, torch.float64), (5, 3, torch.float64), (1, 1, torch.float32)]
)
def test_voxel_tables_and_their_gradients_are_the_twins(ways, channels, dtype):
    """With voxels missing, places on borders of cells and outside, and more places than a program takes."""
    generator = source()
    kept = torch.rand(9, 9, 9, generator=generator) < 0.7
    links = torch.where(kept, kept.view(-1).cumsum(0).view(9, 9, 9) - 1, -1).int()
    where = torch.randint(-410, 4507, (130, 3), generator=generator).to(dtype) / 4096
    rows = torch.randn(int(kept.sum()) * ways, channels, generator=generator, dtype=dtype)
    way = torch.randint(ways, (130,), generator=generator).int() if ways > 1 else torch.empty(0).int()
    arriving = torch.randn(130, channels, generator=generator, dtype=dtype)
    links, way, where, rows, arriving = there(links, way, where, rows, arriving)
    where, rows = where.requires_grad_(), rows.requires_grad_()
    wanted = voxel_values_twin(where, links, rows, ways, way if ways > 1 else None)
    slopes = torch.autograd.grad(wanted, (where, rows), arriving)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    given = where.detach(), links, rows.detach(), ways, way
    torch.testing.assert_close(voxel_table_triton.gather(*given), wanted.detach(), **close)
    for one, other in zip(voxel_table_triton.backward(arriving, *given, True, True), slopes, strict=True):
        torch.testing.assert_close(one, other, **close)
    assert voxel_table_triton.gather(where.detach()[:0], *given[1:]).shape == (0, channels)


@pytest.mark.parametrize(("channels", "dtype", "stop"), [(3, torch.float32, 1e-4), (0, torch.float64, 0.05)])
def test_compositing_and_its_gradients_are_the_twins(channels, dtype, stop):
    """Rays with no, one, few and many samples, whole blocks of 64 and one more."""
    generator = source()
    starts = torch.nn.functional.pad(torch.tensor([0, 1, 5, 130, 0, 64, 65, 0]).cumsum(0), (1, 0))
    count = int(starts[-1])
    density = 3 * torch.rand(count, generator=generator, dtype=dtype)
    density[::5], density[90] = 0, 1e5
    colour = torch.rand(count, channels, generator=generator, dtype=dtype)
    begin = torch.rand(count, generator=generator, dtype=dtype)
    end = begin + 0.1 * torch.rand(count, generator=generator, dtype=dtype)
    density, colour, begin, end, starts = there(density, colour, begin, end, starts)
    given = density.requires_grad_(), colour.requires_grad_()
    wanted = composite_packed_twin(*given, begin, end, starts, stop)
    arriving = there(*(torch.randn(value.shape, generator=generator, dtype=dtype) for value in wanted))
    slopes = torch.autograd.grad(wanted, given, arriving, allow_unused=True)
    plain = [value.detach() for value in given]
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    ours = compositing_triton.composite(*plain, begin, end, starts, stop)
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other.detach(), **close)
    ours = compositing_triton.backward(*arriving, *plain, begin, end, starts, stop)
    for one, other in zip(ours, slopes, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, **close)


def test_empty_rays_composite_to_nothing():
    starts = torch.zeros(4, dtype=torch.int64)
    nothing = there(torch.empty(0), torch.empty(0, 3), torch.empty(0), torch.empty(0))
    for edges in there(starts, starts[:1]):
        seen, opacity, _, weights = compositing_triton.composite(*nothing, edges, 1e-4)
        assert seen.shape == (len(edges) - 1, 3)
        assert not seen.any()
        assert not opacity.any()
        assert weights.shape == (0,)


@pytest.mark.parametrize(("contracted", "cone"), [(False, 0.0), (True, 0.1)])
def test_marching_finds_the_twins_samples(contracted, cone):
    generator = source()
    origins = 1.5 * torch.randn(40, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator) - origins, dim=-1)
    directions[:3] = torch.eye(3)
    near = 0.2 * torch.rand(40, generator=generator)
    far = near + 4 * torch.rand(40, generator=generator) - 0.2
    jitter = torch.rand(40, generator=generator)
    occupied = torch.rand(4, 4, 4, generator=generator) < 0.3
    given = there(origins, directions, near, far, occupied)
    jitter = jitter.to(DEVICE)
    space = Space((0.1, -0.2, 0.3), 1.2, contracted)
    ours = marching_triton.march(*given, space, 0.2, cone, jitter, 9)
    precise = [value.double() for value in given[:4]]
    wanted = march_twin(*precise, given[4], space, 0.2, cone, jitter.double(), 9)
    # In float32 a sample may fall to the other side of a border: rays on which one does may differ.
    differs = ours.starts.diff() != wanted.starts.diff()
    assert differs.sum() <= 1
    kept = [packed.only(~differs[packed.ray]) for packed in (ours, wanted)]
    assert torch.equal(kept[0].ray, kept[1].ray)
    torch.testing.assert_close(kept[0].begin, kept[1].begin.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kept[0].end, kept[1].end.float(), rtol=1e-4, atol=1e-4)
    assert len(marching_triton.march(*given[:4], torch.zeros_like(given[4]), space, 0.2, cone, None, 9)) == 0


def test_marching_no_rays_finds_nothing():
    nothing = there(torch.empty(0, 3), torch.empty(0, 3), torch.empty(0), torch.empty(0))
    full = torch.ones(4, 4, 4, dtype=torch.bool, device=DEVICE)
    found = marching_triton.march(*nothing, full, Space((0.0, 0.0, 0.0), 1.0), 0.1, 0.0, None, 9)
    assert found.starts.tolist() == [0]


@pytest.mark.parametrize("skip_zeros", [True, False])
def test_adam_for_tables_steps_like_the_twin(skip_zeros):
    generator = source()
    ours = there(torch.randn(400, 4, generator=generator), torch.zeros(400, 4), torch.zeros(400, 4))
    wanted = [value.clone() for value in ours]
    for step in (1, 2, 3):
        gradient = torch.randn(400, 4, generator=generator) * (torch.rand(400, 1, generator=generator) < 0.3)
        (gradient,) = there(gradient)
        numbers = (step, 0.01, 0.9, 0.99, 1e-15, 0.1, skip_zeros)
        table_adam_triton.table_adam(ours[0], gradient, *ours[1:], *numbers)
        table_adam_twin_(wanted[0], gradient, *wanted[1:], *numbers)
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
