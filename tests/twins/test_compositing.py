"""Packed compositing against its readable twin, against nerfacc's numbers, and against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.kernels.compositing import composite_packed, composite_packed_twin

drawn = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=8, deadline=None)
both = pytest.mark.parametrize("composite", [composite_packed, composite_packed_twin])


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def packed(counts) -> torch.Tensor:
    return torch.nn.functional.pad(torch.as_tensor(counts, dtype=torch.int64).cumsum(0), (1, 0))


def samples(seed: int, channels: int = 3, dtype=torch.float64, counts=(0, 1, 7, 0, 90, 2, 0)):
    """Rays with no, one and many samples; thin, opaque and empty ones among them."""
    generator, starts = source(seed), packed(counts)
    count = int(starts[-1])
    density = 4 * torch.rand(count, generator=generator, dtype=dtype)
    density[torch.rand(count, generator=generator) < 0.2] = 0
    density[torch.rand(count, generator=generator) < 0.03] = 1e5
    colour = torch.rand(count, channels, generator=generator, dtype=dtype)
    begin = 5 * torch.rand(count, generator=generator, dtype=dtype)
    end = begin + 0.2 * torch.rand(count, generator=generator, dtype=dtype)
    return density, colour, begin, end, starts


def unit(density):
    """begin and end of samples of length 1, one after the other."""
    begin = torch.arange(float(len(density)))
    return begin, begin + 1


# ------------------------------------------------------------------------------------------ against the twin


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [0, 1, 3])
@pytest.mark.parametrize("stop", [0.0, 1e-4, 0.05])
@few
@drawn
def test_what_is_seen_and_its_gradients_are_those_of_the_twin(dtype, channels, stop, seed):
    density, colour, *rest = samples(seed, channels, dtype)
    given = density.requires_grad_(), colour.requires_grad_()
    ours, wanted = composite_packed(*given, *rest, stop), composite_packed_twin(*given, *rest, stop)
    close = {} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, **close)
    arriving = [torch.randn(value.shape, generator=source(seed), dtype=dtype) for value in ours]
    slopes = (torch.autograd.grad(values, given, arriving) for values in (ours, wanted))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, **close)


@few
@drawn
def test_gradients_are_those_of_finite_differences(seed):
    density, colour, *rest = samples(seed, counts=(0, 1, 4, 2))
    density = (density.clamp(max=3) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *given: composite_packed(*given, *rest, 0.0), (density, colour.requires_grad_())
    )


# ------------------------------------------------------------------------------------------ known answers


@both
def test_weights_and_their_gradient_are_nerfaccs(composite):
    """Numbers of nerfacc's tests: weights from densities, samples of length 1."""
    density = torch.tensor([0.4, 0.8, 0.1, 0.8, 0.1], requires_grad=True)
    *_, weights = composite(density, torch.empty(5, 0), *unit(density), packed([1, 4]), 0.0)
    wanted = torch.tensor([0.3297, 0.5507, 0.0428, 0.2239, 0.0174])
    torch.testing.assert_close(weights, wanted, atol=5e-5, rtol=0)
    weights.sum().backward()
    torch.testing.assert_close(
        density.grad, torch.tensor([0.6703, 0.1653, 0.1653, 0.1653, 0.1653]), atol=5e-5, rtol=0
    )


@both
def test_weights_of_given_opacities_are_nerfaccs(composite):
    alpha = torch.tensor([0.4, 0.3, 0.8, 0.8, 0.5])
    density = -torch.log1p(-alpha)
    *_, weights = composite(density, torch.empty(5, 0), *unit(density), packed([1, 4]), 0.0)
    torch.testing.assert_close(weights, torch.tensor([0.4, 0.3, 0.56, 0.112, 0.014]))


@both
@given(density=st.floats(0, 50), length=st.floats(1e-3, 4))
@settings(deadline=None, max_examples=20)
def test_the_opacity_of_even_matter_is_exact_however_it_is_cut(composite, density, length):
    edges = length * torch.rand(40, dtype=torch.float64).sort().values
    edges[0], edges[-1] = 0, length
    values = torch.full((39,), density, dtype=torch.float64)
    _, opacity, _, _ = composite(
        values, torch.empty(39, 0).double(), edges[:-1], edges[1:], packed([39]), 0.0
    )
    assert opacity.item() == pytest.approx(-math.expm1(-density * length), abs=1e-12)


@both
def test_the_depth_of_even_matter_comes_out_to_second_order(composite):
    density, length = 1.5, 3.0
    wanted = (1 - math.exp(-density * length) * (1 + density * length)) / density
    errors = []
    for count in (8, 64):
        edges = torch.linspace(0, length, count + 1, dtype=torch.float64)
        values = torch.full((count,), density, dtype=torch.float64)
        _, _, depth, _ = composite(
            values, torch.empty(count, 0).double(), edges[:-1], edges[1:], packed([count]), 0.0
        )
        errors.append(abs(depth.item() - wanted))
    assert errors[1] < errors[0] / 50
    assert errors[0] < 0.03


# ------------------------------------------------------------------------------------------ what must hold


@both
@few
@drawn
def test_weights_add_up_to_the_opacity_which_is_at_most_one(composite, seed):
    *given, starts = samples(seed, dtype=torch.float32)
    _, opacity, _, weights = composite(*given, starts)
    ray = torch.repeat_interleave(torch.arange(len(opacity)), starts.diff())
    torch.testing.assert_close(torch.zeros_like(opacity).index_add(0, ray, weights), opacity)
    assert (weights >= 0).all()
    assert (opacity <= 1 + 1e-6).all()


@both
@few
@drawn
def test_a_ray_is_seen_alike_alone_and_among_others(composite, seed):
    density, colour, begin, end, starts = samples(seed)
    together = composite(density, colour, begin, end, starts)
    for ray, (first, last) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        own = slice(first, last)
        alone = composite(density[own], colour[own], begin[own], end[own], packed([last - first]))
        for one, other in zip(alone[:3], together[:3], strict=True):
            torch.testing.assert_close(one[0], other[ray])


@both
def test_behind_an_opaque_sample_nothing_has_weight_or_gradient_and_before_it_all_is_as_if_alone(composite):
    density = torch.tensor([0.5, 1e9, 3.0, 2.0], requires_grad=True)
    colour = torch.rand(4, 3, requires_grad=True)
    seen, opacity, _, weights = composite(density, colour, *unit(density), packed([4]))
    torch.testing.assert_close(weights, torch.tensor([-math.expm1(-0.5), math.exp(-0.5), 0.0, 0.0]))
    assert opacity.item() == pytest.approx(1)
    slope, tint = torch.autograd.grad((seen * torch.tensor([1.0, 2.0, 3.0])).sum(), (density, colour))
    assert not slope[1:].any()
    assert not tint[2:].any()
    difference = ((colour[0] - colour[1]) * torch.tensor([1.0, 2.0, 3.0])).sum()
    torch.testing.assert_close(slope[0], (math.exp(-0.5) * difference).detach())


@both
def test_where_less_light_than_stop_is_left_samples_are_cut_off(composite):
    density = torch.full((10,), math.log(2.0))  # each sample halves the light
    *_, weights = composite(density, torch.empty(10, 0), *unit(density), packed([10]), 0.2)
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.125, *[0.0] * 7]))


@both
@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
def test_empty_rays_are_black_and_clear(composite, counts):
    density, colour = torch.empty(0, requires_grad=True), torch.empty(0, 3, requires_grad=True)
    seen, opacity, depth, weights = composite(density, colour, *unit(density), packed(counts))
    rays = len(counts)
    assert (seen.shape, opacity.shape, depth.shape, weights.shape) == ((rays, 3), (rays,), (rays,), (0,))
    assert not seen.any()
    assert not opacity.any()
    (seen.sum() + opacity.sum()).backward()
    assert density.grad.shape == (0,)


@both
def test_one_sample_hides_what_its_depth_hides(composite):
    given = torch.tensor([2.0]), torch.tensor([[0.2, 0.4, 0.6]]), torch.tensor([1.0]), torch.tensor([1.5])
    seen, opacity, depth, weights = composite(*given, packed([1]))
    hidden = -math.expm1(-1.0)
    torch.testing.assert_close(seen, hidden * given[1])
    torch.testing.assert_close(
        torch.stack([opacity, depth, weights]), torch.tensor([[1.0], [1.25], [1.0]]) * hidden
    )


@both
def test_a_density_that_is_no_number_is_seen_on_its_ray_and_on_no_other(composite):
    density, colour, begin, end, starts = samples(5, dtype=torch.float32, counts=(3, 4, 3))
    wanted = composite(density, colour, begin, end, starts)[0]
    density[3] = float("nan")
    seen = composite(density, colour, begin, end, starts)[0]
    assert seen[1].isnan().all()
    torch.testing.assert_close(seen[[0, 2]], wanted[[0, 2]])


def test_half_precision_is_summed_in_float32():
    density, colour, begin, end, starts = samples(6, dtype=torch.float32)
    seen, *_ = composite_packed(density.bfloat16(), colour.bfloat16(), begin, end, starts)
    assert seen.dtype == torch.float32


def test_bits_are_the_same_each_time_and_on_any_number_of_threads(threads):
    density, colour, *rest = samples(7, dtype=torch.float32, counts=torch.randint(0, 60, (300,)))
    found = []
    for number in (1, 2, 2):
        threads(number)
        given = density.clone().requires_grad_(), colour.clone().requires_grad_()
        seen = composite_packed(*given, *rest)
        found.append((*seen, *torch.autograd.grad(sum(value.sum() for value in seen), given)))
    for other in found[1:]:
        assert all(torch.equal(one, same) for one, same in zip(found[0], other, strict=True))


# -------------------------------------------------------------------------------------- torch's own machinery


class Seen(torch.nn.Module):
    def forward(self, density, colour, begin, end, starts):
        seen, opacity, _, _ = composite_packed(density, colour, begin, end, starts)
        return seen + (1 - opacity)[:, None]


def test_compiling_and_exporting_see_the_operator_whole(unchecked):
    density, colour, *rest = samples(8, dtype=torch.float32)
    given = density.requires_grad_(), colour.requires_grad_()
    wanted = Seen()(*given, *rest)
    ours = torch.compile(Seen(), fullgraph=True, backend="aot_eager")(*given, *rest)
    torch.testing.assert_close(ours, wanted)
    for one, other in zip(
        torch.autograd.grad(ours.sum(), given), torch.autograd.grad(wanted.sum(), given), strict=True
    ):
        torch.testing.assert_close(one, other)
    program = torch.export.export(Seen(), (density.detach(), colour.detach(), *rest))
    assert "rayformer.composite_packed.default" in [str(node.target) for node in program.graph.nodes]


def test_the_operators_keep_torchs_rules():
    density, colour, *rest = samples(9)
    operators = torch.ops.rayformer
    torch.library.opcheck(
        operators.composite_packed.default, (density.requires_grad_(), colour.requires_grad_(), *rest, 1e-4)
    )
    given = density.detach(), colour.detach()
    arriving = [value.detach() for value in composite_packed(*given, *rest)]
    torch.library.opcheck(operators.composite_packed_backward.default, (*arriving, *given, *rest, 1e-4))
