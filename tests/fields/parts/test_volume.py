"""Compositing against closed forms, known answers, and finite differences."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayformer.fields.parts.volume import Rendered, composite, interval_lengths


def along(density, lengths=None, colour=None, distances=None, dtype=torch.float64) -> Rendered:
    """One or several rays of the given densities; unit lengths, white matter, distances 0, 1, 2 ... where
    not given.
    """
    density = torch.as_tensor(density, dtype=dtype).reshape(-1, torch.as_tensor(density).shape[-1])
    lengths = torch.ones_like(density) if lengths is None else lengths
    colour = torch.ones(*density.shape, 3, dtype=dtype) if colour is None else colour
    if distances is None:
        distances = torch.arange(density.shape[-1], dtype=dtype).expand_as(density)
    return composite(density, colour, distances, lengths)


def constant(density: float, length: float, samples: int, dtype=torch.float64) -> Rendered:
    """Constant density over [0, length], asked in the middle of equal intervals."""
    step = length / samples
    distances = (torch.arange(samples, dtype=dtype) + 0.5)[None] * step
    return along(
        torch.full((1, samples), density, dtype=dtype), torch.full_like(distances, step), distances=distances
    )


@given(density=st.floats(0, 50), length=st.floats(0.01, 10), samples=st.integers(1, 300))
def test_opacity_of_constant_density_is_exact_at_any_sample_count(density, length, samples):
    assert constant(density, length, samples).opacity.item() == pytest.approx(
        -math.expm1(-density * length), abs=1e-14
    )


def test_depth_of_constant_density_is_right_to_second_order():
    density, length = 2.2, 2.0
    true = (1 - math.exp(-density * length) * (1 + density * length)) / density
    errors = [abs(constant(density, length, samples).depth.item() - true) for samples in (8, 64, 512)]
    assert errors == pytest.approx([1.1e-2, 1.8e-4, 2.8e-6], rel=0.03)
    assert errors[0] / errors[1] == pytest.approx(64, rel=0.03)
    assert errors[1] / errors[2] == pytest.approx(64, rel=0.03)


@pytest.mark.parametrize(
    ("alphas", "weights"), [([0.4], [0.4]), ([0.3, 0.8, 0.8, 0.5], [0.3, 0.56, 0.112, 0.014])]
)
def test_known_weights_of_known_alphas(alphas, weights):
    density = -torch.log1p(-torch.tensor(alphas, dtype=torch.float64))
    torch.testing.assert_close(along(density).weights, torch.tensor([weights], dtype=torch.float64))


@pytest.mark.parametrize(
    ("density", "weights", "gradient"),
    [([0.4], [0.3297], 0.6703), ([0.8, 0.1, 0.8, 0.1], [0.5507, 0.0428, 0.2239, 0.0174], 0.1653)],
)
def test_known_weights_and_gradients_of_known_densities(density, weights, gradient):
    density = torch.tensor([density], dtype=torch.float64, requires_grad=True)
    seen = along(density)
    torch.testing.assert_close(
        seen.weights.detach(), torch.tensor([weights], dtype=torch.float64), atol=5e-5, rtol=0
    )
    seen.weights.sum().backward()
    torch.testing.assert_close(density.grad, torch.full_like(density, gradient), atol=5e-5, rtol=0)


def test_two_slabs_hide_each_other_in_order():
    """A red slab of optical depth 1 before a green one of 2, with a gap between."""
    density = torch.tensor([[1.0, 0.0, 4.0]], dtype=torch.float64)
    lengths = torch.tensor([[1.0, 7.0, 0.5]], dtype=torch.float64)
    colour = torch.eye(3, dtype=torch.float64)[None, [0, 2, 1]]
    seen = composite(density, colour, torch.tensor([[0.0, 1.0, 8.0]], dtype=torch.float64), lengths)
    front, back = 1 - math.exp(-1), math.exp(-1) * (1 - math.exp(-2))
    torch.testing.assert_close(seen.colour, torch.tensor([[front, back, 0]], dtype=torch.float64))
    assert seen.opacity.item() == pytest.approx(1 - math.exp(-3))
    assert seen.depth.item() == pytest.approx(8 * back)


@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e6))
def test_opacity_never_exceeds_one_and_is_the_sum_of_the_weights(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    density, lengths = scale * torch.rand(2, 8, 40, generator=generator)
    seen = along(density, lengths, dtype=torch.float32)
    assert (seen.opacity <= 1).all()
    assert (seen.weights >= 0).all()
    torch.testing.assert_close(seen.weights.sum(-1), seen.opacity, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 2**31))
def test_the_order_of_rays_does_not_matter(seed):
    density = torch.rand(6, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(along(density).weights[turned], along(density[turned]).weights)


@given(seed=st.integers(0, 2**31))
def test_splitting_an_interval_changes_nothing(seed):
    density = torch.rand(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    halves = density.repeat_interleave(2, dim=-1)
    split = along(halves, torch.full_like(halves, 0.5)).weights.unflatten(-1, (5, 2)).sum(-1)
    torch.testing.assert_close(split, along(density).weights)


def test_weights_equal_those_of_the_running_product():
    """The original's cumprod(1 - alpha), in float64 where its 1e-10 does no harm."""
    density = 5 * torch.rand(50, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha = 1 - torch.exp(-density)
    before = torch.cat([torch.ones(50, 1, dtype=torch.float64), (1 - alpha).cumprod(-1)[:, :-1]], dim=-1)
    torch.testing.assert_close(along(density).weights, alpha * before)


def test_gradients_agree_with_finite_differences():
    generator = torch.Generator().manual_seed(0)
    density, lengths = torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)
    colour = torch.rand(3, 5, 3, generator=generator, dtype=torch.float64)
    distances = lengths.cumsum(-1)

    def outputs(density, colour, lengths):
        seen = composite(density, colour, distances, lengths)
        return seen.colour, seen.weights, seen.opacity, seen.depth

    arguments = (density.requires_grad_(), colour.requires_grad_(), lengths.clone().requires_grad_())
    assert torch.autograd.gradcheck(outputs, arguments)


@pytest.mark.parametrize("density", [0.0, 1e-30, 1.0, 1e10, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_the_edges(density, dtype):
    """Empty space, and walls of any density before a last interval of 1e10: no NaN, no infinity."""
    for walls in ([0, 1, 2, 3], [1], [3]):
        values = torch.zeros(1, 4, dtype=dtype)
        values[0, walls] = density
        values.requires_grad_()
        lengths = torch.tensor([[1.0, 1.0, 1.0, 1e10]], dtype=dtype)
        seen = along(values, lengths, dtype=dtype).over(torch.ones(1, 3, dtype=dtype))
        (seen.colour.sum() + seen.depth.sum() + seen.weights.square().sum()).backward()
        for number in (seen.colour, seen.depth, seen.mean_depth, seen.disparity, values.grad):
            assert number.isfinite().all()


def test_empty_space_shows_the_background_and_nothing_else():
    background = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    seen = along(torch.zeros(1, 6)).over(background)
    assert torch.equal(seen.colour, background)
    assert seen.opacity.item() == 0
    assert seen.depth.item() == 0
    assert seen.disparity.item() == pytest.approx(1e10)


def test_a_wall_hides_the_background_and_lies_at_its_distance():
    seen = along([0.0, 0.0, 1e10, 3.0]).over(torch.zeros(1, 3, dtype=torch.float64))
    assert torch.equal(seen.colour, torch.ones(1, 3, dtype=torch.float64))
    assert seen.depth.item() == 2
    assert seen.disparity.item() == 0.5


def test_the_last_interval_is_a_wall_where_there_is_any_density():
    distances, directions = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    lengths = interval_lengths(distances, directions)
    assert lengths.tolist() == [[1.0, 2.0, 1e10]]
    assert along([0.0, 0.0, 1e-3], lengths, dtype=torch.float32).opacity.item() == 1
    short = interval_lengths(distances, directions, last=0.5)
    assert along([0.0, 0.0, 1e-3], short, dtype=torch.float32).opacity.item() == pytest.approx(5e-4, rel=1e-3)


def test_a_longer_direction_makes_longer_intervals():
    distances = torch.tensor([[1.0, 2.0, 4.0]])
    assert interval_lengths(distances, torch.tensor([[0.0, 3.0, 4.0]]), last=1.0).tolist() == [
        [5.0, 10.0, 5.0]
    ]


def test_compositing_is_float32_under_autocast_and_for_bf16_input():
    density, colour = torch.rand(4, 8), torch.rand(4, 8, 3)
    distances = torch.linspace(2, 6, 8).expand(4, 8)
    outside = composite(density, colour, distances, torch.ones(4, 8))
    with torch.autocast("cpu", torch.bfloat16):
        inside = composite(density, colour, distances, torch.ones(4, 8))
    assert torch.equal(inside.colour, outside.colour)
    assert torch.equal(inside.depth, outside.depth)
    assert composite(density.bfloat16(), colour, distances, torch.ones(4, 8)).weights.dtype == torch.float32
