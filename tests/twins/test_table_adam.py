"""Adam for tables against its readable twin, and against torch's own Adam where the two must agree."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.kernels.table_adam import _table_adam, table_adam_, table_adam_twin_

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=8, deadline=None)

SETTINGS = {"rate": 0.01, "betas": (0.9, 0.99), "eps": 1e-15}


def twin_(weight, gradient, first, second, *, step, rate, betas, eps, decay=0.0, skip_zeros=True):
    table_adam_twin_(weight, gradient, first, second, step, rate, *betas, eps, decay, skip_zeros)


both = pytest.mark.parametrize("adam_", [table_adam_, twin_])


def state(seed: int, rows: int = 333, dtype=torch.float32):
    """Weights and moments, and gradients of three steps in which a third of the rows takes part."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, 4, generator=generator, dtype=dtype)
    gradients = [
        torch.randn(rows, 4, generator=generator, dtype=dtype)
        * (torch.rand(rows, 1, generator=generator) < 0.3)
        for _ in range(3)
    ]
    return [weight, torch.zeros_like(weight), torch.zeros_like(weight)], gradients


def stepped(adam_, start, gradients, **settings):
    weight, first, second = (value.clone() for value in start)
    for number, gradient in enumerate(gradients, start=1):
        adam_(weight, gradient, first, second, step=number, **{**SETTINGS, **settings})
    return weight, first, second


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("skip_zeros", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@few
@drawn
def test_steps_are_those_of_the_twin(dtype, skip_zeros, decay, seed):
    start, gradients = state(seed, dtype=dtype)
    ways = [
        stepped(adam_, start, gradients, skip_zeros=skip_zeros, decay=decay) for adam_ in (table_adam_, twin_)
    ]
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other)


@both
@pytest.mark.parametrize("decay", [0.0, 0.1])
@few
@drawn
def test_without_skipping_it_is_torchs_adam(adam_, decay, seed):
    start, gradients = state(seed, dtype=torch.float64)
    ours, *_ = stepped(adam_, start, gradients, skip_zeros=False, decay=decay, eps=1e-8)
    theirs = torch.nn.Parameter(start[0].clone())
    optimiser = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=decay)
    for gradient in gradients:
        theirs.grad = gradient
        optimiser.step()
    torch.testing.assert_close(ours, theirs.data)


@both
@few
@drawn
def test_where_the_gradient_is_zero_nothing_moves_even_with_momentum_and_decay(adam_, seed):
    start, gradients = state(seed)
    moved = stepped(adam_, start, gradients[:2], decay=0.1)
    after = [value.clone() for value in moved]
    adam_(after[0], gradients[2], *after[1:], step=3, **SETTINGS, decay=0.1)
    still = gradients[2] == 0
    for now, before in zip(after, moved, strict=True):
        assert torch.equal(now[still], before[still])
    assert (after[0] != moved[0])[~still].all()


@both
def test_the_first_step_is_the_rate_against_the_gradients_sign(adam_):
    gradient = torch.tensor([[3.0, -1e-4], [0.0, 1e6]])
    weight, *_ = stepped(adam_, [torch.zeros(2, 2)] * 3, [gradient])
    torch.testing.assert_close(weight, -0.01 * gradient.sign())


@both
@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (5,), (3, 7, 2)])
def test_any_shape_is_stepped(adam_, shape):
    weight, *_ = stepped(adam_, [torch.zeros(shape)] * 3, [torch.ones(shape)])
    torch.testing.assert_close(weight, torch.full(shape, -0.01))


@both
def test_a_gradient_that_is_no_number_is_seen_where_it_is(adam_):
    gradient = torch.zeros(40, 4)
    gradient[20, 1] = float("nan")
    weight, *_ = stepped(adam_, [torch.zeros(40, 4)] * 3, [gradient])
    assert weight[20, 1].isnan()
    assert weight.isnan().sum() == 1


def test_a_gradient_in_any_order_of_memory_will_do():
    start, gradients = state(1)
    turned = [gradient.T.contiguous().T for gradient in gradients]
    for one, other in zip(
        stepped(table_adam_, start, turned), stepped(table_adam_, start, gradients), strict=True
    ):
        assert torch.equal(one, other)


def test_bits_are_the_same_each_time_and_on_any_number_of_threads(threads):
    start, gradients = state(2, 5000)
    found = []
    for number in (1, 2, 2):
        threads(number)
        found.append(stepped(table_adam_, start, gradients))
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


def test_compiling_sees_the_operator_whole(unchecked):
    start, gradients = state(3)

    def step(weight, gradient, first, second):
        table_adam_(weight, gradient, first, second, step=1, **SETTINGS)
        return weight.sum()

    whole = torch.compile(step, fullgraph=True, backend="aot_eager")
    ours = [value.clone() for value in start]
    whole(ours[0], gradients[0], *ours[1:])
    for one, other in zip(ours, stepped(table_adam_, start, gradients[:1]), strict=True):
        torch.testing.assert_close(one, other)


def test_the_operator_keeps_torchs_rules():
    start, gradients = state(4)
    torch.library.opcheck(
        _table_adam, (start[0], gradients[0], *start[1:], 1, 0.01, 0.9, 0.99, 1e-15, 0.0, True)
    )
