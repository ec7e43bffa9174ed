"""The hash grid's compiled loops against their readable twin, and both against what must hold for any such
grid."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ConfigError
from rayformer.kernels.hash_grid import NGP_PRIMES, GridLayout, hash_grid, hash_grid_twin, known_features

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=5, deadline=None)

FEATURES = (1, 2, 4, 8)
SHIFTS = (0.0, -0.5)


def layout(features: int = 4, shift: float = 0.0) -> GridLayout:
    """Two levels with a row for every corner, two that share rows."""
    return GridLayout(resolutions=(2, 5, 16, 33), features=features, log2_rows=9, shift=shift)


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def places(generator, count: int = 300, dtype=torch.float32) -> torch.Tensor:
    """Inside, outside and on the box and on borders of cells: numbers with 12 bits, so that place times
    resolution is exact in float32 and no rounding decides in which cell a place lies."""
    return torch.randint(-410, 4507, (count, 3), generator=generator).to(dtype) / 4096


def table(generator, grid: GridLayout, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(grid.rows, grid.features, generator=generator, dtype=dtype)


# ------------------------------------------------------------------------------------------ against the twin


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("features", FEATURES)
@few
@drawn
def test_features_and_gradients_are_those_of_the_twin(features, shift, seed):
    generator, grid = source(seed), layout(features, shift)
    given = places(generator).requires_grad_(), table(generator, grid).requires_grad_()
    ours, wanted = hash_grid(*given, grid), hash_grid_twin(*given, grid)
    torch.testing.assert_close(ours, wanted)
    arriving = torch.randn(ours.shape, generator=generator)
    for one, other in zip(
        torch.autograd.grad(ours, given, arriving), torch.autograd.grad(wanted, given, arriving), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)  # sums of hundreds in another order


@pytest.mark.parametrize("shift", SHIFTS)
@few
@drawn
def test_second_derivatives_are_those_of_the_twin(shift, seed):
    """As a loss on the length of the gradient of a distance field needs them."""
    generator, grid = source(seed), layout(2, shift)
    given = (
        places(generator, 60, torch.float64).requires_grad_(),
        table(generator, grid, torch.float64).requires_grad_(),
    )
    arriving = torch.randn(60, grid.size, generator=generator, dtype=torch.float64).requires_grad_()
    along = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    across = torch.randn(grid.rows, grid.features, generator=generator, dtype=torch.float64)

    def bend(encode):
        slope = torch.autograd.grad(encode(*given, grid), given, arriving, create_graph=True)
        return torch.autograd.grad(slope, (arriving, *given), (along, across))

    for one, other in zip(bend(hash_grid), bend(hash_grid_twin), strict=True):
        torch.testing.assert_close(one, other)


@few
@drawn
def test_gradients_are_those_of_finite_differences(seed):
    generator = source(seed)
    grid = GridLayout(resolutions=(2, 5), features=2, log2_rows=4)
    # Away from borders of cells, where the slope jumps.
    tenth = torch.randint(0, 10, (4, 3), generator=generator) + 0.5
    where = (tenth + 0.2 * torch.randn(4, 3, generator=generator).tanh()).double() / 10
    given = where.requires_grad_(), table(generator, grid, torch.float64).requires_grad_()
    encode = lambda where, rows: hash_grid(where, rows, grid)  # noqa: E731
    assert torch.autograd.gradcheck(encode, given)
    assert torch.autograd.gradgradcheck(encode, given)


# ------------------------------------------------------------------------------------------ what must hold


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
@few
@drawn
def test_a_linear_function_at_the_corners_is_itself_in_between(encode, seed):
    generator = source(seed)
    grid = GridLayout(resolutions=(7,), features=2, log2_rows=12)
    z, y, x = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
    corners = torch.stack([x, y, z], dim=-1).reshape(-1, 3) / 7
    slope, offset = torch.randn(3, 2, generator=generator), torch.randn(2, generator=generator)
    where = torch.rand(100, 3, generator=generator)
    torch.testing.assert_close(encode(where, corners @ slope + offset, grid), where @ slope + offset)


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
@drawn
@few
def test_a_constant_table_is_constant_everywhere(encode, seed):
    grid = layout()
    features = encode(places(source(seed)), torch.ones(grid.rows, 4), grid)
    torch.testing.assert_close(features, torch.ones_like(features))


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
def test_on_a_corner_the_features_are_its_row_and_the_row_is_the_papers_hash(encode):
    grid = GridLayout(resolutions=(64,), features=2, log2_rows=10)
    rows = torch.arange(2048.0).reshape(1024, 2)
    corners = torch.tensor(list(product((0, 1, 17, 64), repeat=3)))
    hashes = [
        (x * NGP_PRIMES[0] ^ y * NGP_PRIMES[1] ^ z * NGP_PRIMES[2]) % 2**32 % 1024
        for x, y, z in corners.tolist()
    ]
    assert torch.equal(encode(corners / 64, rows, grid), rows[hashes])


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
@pytest.mark.parametrize("shift", SHIFTS)
@drawn
@few
def test_outside_the_box_the_features_are_those_of_the_nearest_place_within(encode, shift, seed):
    generator, grid = source(seed), layout(2, shift)
    rows, outside = table(generator, grid), 4 * torch.rand(100, 3, generator=generator) - 1.5
    nearest = outside.clamp(0, 1)
    torch.testing.assert_close(encode(outside, rows, grid), encode(nearest, rows, grid))
    outside.requires_grad_()
    (slope,) = torch.autograd.grad(encode(outside, rows, grid).sum(), outside)
    assert (slope[outside.detach() != nearest] == 0).all()
    assert (slope[(outside.detach() - 0.5).abs() < 0.2] != 0).all()


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
def test_no_places_have_no_features_and_leave_no_gradient(encode):
    grid = layout()
    where, rows = torch.empty(0, 3, requires_grad=True), torch.ones(grid.rows, 4, requires_grad=True)
    features = encode(where, rows, grid)
    assert features.shape == (0, grid.size)
    features.sum().backward()
    assert where.grad.shape == (0, 3)
    assert not rows.grad.any()


@pytest.mark.parametrize("encode", [hash_grid, hash_grid_twin])
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_a_place_that_is_no_number_harms_no_other_and_nan_is_seen(encode, odd):
    grid = layout()
    where, rows = places(source(1)), table(source(2), grid)
    wanted = encode(where, rows, grid)
    where[7, 1] = odd
    where.requires_grad_()
    rows.requires_grad_()
    features = encode(where, rows, grid)
    assert features[7].isnan().any() == (odd != odd)
    others = torch.arange(len(where)) != 7
    assert torch.equal(features[others], wanted[others])
    (slope,) = torch.autograd.grad(features[others].sum(), where)
    assert slope[others].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_features_that_are_known_have_the_gradient_of_looking_them_up(dtype):
    grid = layout(2)
    given = places(source(13)).requires_grad_(), table(source(14), grid).to(dtype).requires_grad_()
    looked_up = hash_grid(*given, grid)
    known = known_features(looked_up.detach(), *given, grid)
    assert torch.equal(known, looked_up)
    arriving = torch.randn(known.shape, generator=source(15)).to(dtype)
    slopes = (torch.autograd.grad(features, given, arriving) for features in (known, looked_up))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_no_place_meets_have_no_gradient():
    grid = GridLayout(resolutions=(8,), features=4, log2_rows=12)
    rows = torch.zeros(grid.rows, 4, requires_grad=True)
    hash_grid(torch.full((5, 3), 0.51), rows, grid).sum().backward()
    assert (rows.grad.any(dim=-1)).sum() == 8
    assert rows.grad.sum().item() == pytest.approx(5 * 4)


@drawn
@few
def test_the_order_in_memory_does_not_matter(seed):
    generator, grid = source(seed), layout(2)
    where, rows = places(generator, 40), table(generator, grid)
    turned = where.T.contiguous().T, rows.T.contiguous().T
    assert torch.equal(hash_grid(*turned, grid), hash_grid(where, rows, grid))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_features_are_as_precise_as_the_table(dtype):
    grid = layout(2)
    where, rows = places(source(3), 50), table(source(4), grid).to(dtype).requires_grad_()
    features = hash_grid(where, rows, grid)
    assert features.dtype == dtype
    wanted = hash_grid(where, rows.detach().float(), grid)
    torch.testing.assert_close(features.float(), wanted, rtol=1e-2, atol=1e-2)
    features.sum().backward()
    assert rows.grad.dtype == dtype


# ------------------------------------------------------------------------------------------ bits


def both_gradients(where, rows, arriving, grid):
    where, rows = where.clone().requires_grad_(), rows.clone().requires_grad_()
    return torch.autograd.grad(hash_grid(where, rows, grid), (where, rows), arriving)


@pytest.mark.parametrize("levels", [1, 4])
def test_the_gradient_has_the_same_bits_each_time_and_on_any_number_of_threads(threads, levels):
    """One level is cut into ranges of rows when there are two threads; of four each is one task."""
    grid = GridLayout(resolutions=(2, 5, 16, 33)[-levels:], features=4, log2_rows=9)
    where, rows = places(source(5), 4000), table(source(6), grid)
    arriving = torch.randn(4000, grid.size, generator=source(7))
    found = []
    for number in (1, 1, 2, 2):
        threads(number)
        found.append(both_gradients(where, rows, arriving, grid))
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


# -------------------------------------------------------------------------------------- torch's own machinery


class Encoding(torch.nn.Module):
    def __init__(self, grid):
        super().__init__()
        self.grid = grid
        self.table = torch.nn.Parameter(table(source(8), grid))

    def forward(self, where):
        return hash_grid(where, self.table, self.grid).sin()


def test_compiling_and_exporting_see_the_operator_whole(unchecked):
    encoding, where = Encoding(layout(2)), places(source(9), 64)
    wanted = encoding(where)
    whole = torch.compile(encoding, fullgraph=True, backend="aot_eager")
    ours = whole(where)
    torch.testing.assert_close(ours, wanted)
    (slope,) = torch.autograd.grad(ours.sum(), encoding.table)
    torch.testing.assert_close(slope, torch.autograd.grad(wanted.sum(), encoding.table)[0])
    points = torch.export.Dim("points", min=2)
    program = torch.export.export(encoding, (where,), dynamic_shapes=({0: points},))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["rayformer.hash_grid.default", "aten.sin.default"]
    torch.testing.assert_close(program.module()(where[:17]), wanted[:17])


def test_the_operators_keep_torchs_rules():
    grid = layout(2)
    numbers = (grid.resolutions, grid.starts, grid.primes, grid.shift)
    numbers = (*map(list, numbers[:3]), numbers[3])
    where, rows = places(source(10), 20, torch.float64), table(source(11), grid, torch.float64)
    arriving = torch.randn(20, grid.size, dtype=torch.float64, generator=source(12))
    leaf = [value.clone().requires_grad_() for value in (arriving, where, rows)]
    operators = torch.ops.rayformer
    torch.library.opcheck(operators.hash_grid.default, (*leaf[1:], *numbers))
    torch.library.opcheck(operators.hash_grid_backward.default, (*leaf, *numbers, True, True))
    torch.library.opcheck(operators.hash_grid_tangent.default, (where, arriving, where, rows, *numbers))


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("resolutions", {"resolutions": (16, 1)}),
        ("no_resolutions", {"resolutions": ()}),
        ("features", {"features": 3}),
        ("log2_rows", {"log2_rows": 30}),
        ("shift", {"shift": 0.25}),
    ],
)
def test_a_grid_that_cannot_be_is_refused(name, wrong, snapshot):
    with pytest.raises(ConfigError) as refusal:
        GridLayout(**{"resolutions": (16, 32), "features": 2, "log2_rows": 14, **wrong})
    snapshot(name, str(refusal.value))
