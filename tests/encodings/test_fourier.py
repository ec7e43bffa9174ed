"""Fourier features against their closed form, and against what rounding would do to them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayformer.core.errors import ConfigError
from rayformer.encodings.fourier import FourierEncoding


def test_one_coordinate_becomes_itself_its_sines_and_its_cosines():
    features = FourierEncoding(1, 3)(torch.tensor([[0.3]]))[0]
    phases = [0.3, 0.6, 1.2]
    wanted = [0.3, *map(math.sin, phases), *map(math.cos, phases)]
    torch.testing.assert_close(features, torch.tensor(wanted))


def test_the_paper_has_pi_and_leaves_out_the_input():
    features = FourierEncoding(1, 2, include_input=False, pi=True)(torch.tensor([[0.25]]))[0]
    half = math.sqrt(0.5)
    torch.testing.assert_close(features, torch.tensor([half, 1.0, half, 0.0]), atol=1e-6, rtol=0)


def test_with_pi_the_two_ends_of_the_box_cannot_be_told_apart_and_without_they_can():
    ends = torch.tensor([[-1.0], [1.0]])
    paper = FourierEncoding(1, 6, include_input=False, pi=True)(ends)
    code = FourierEncoding(1, 6, include_input=False)(ends)
    assert (paper[0] - paper[1]).abs().max() < 1e-4
    assert (code[0] - code[1]).abs().max() > 1


@given(dims=st.integers(1, 4), octaves=st.integers(0, 12), include_input=st.booleans(), pi=st.booleans())
def test_size_is_the_number_of_features(dims, octaves, include_input, pi):
    if octaves == 0:
        include_input = True
    encoding = FourierEncoding(dims, octaves, include_input=include_input, pi=pi)
    assert encoding(torch.zeros(2, 5, dims)).shape == (2, 5, encoding.size)


def test_nerf_has_63_and_27_features():
    assert FourierEncoding(3, 10).size == 63
    assert FourierEncoding(3, 4).size == 27


def test_without_octaves_the_encoding_is_the_identity():
    points = torch.randn(7, 3)
    assert torch.equal(FourierEncoding(3, 0)(points), points)


@given(seed=st.integers(0, 2**31))
def test_sines_and_cosines_lie_on_the_unit_circle(seed):
    points = 4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(seed))
    sines, cosines = FourierEncoding(3, 10, include_input=False)(points).chunk(2, dim=-1)
    torch.testing.assert_close(sines.square() + cosines.square(), torch.ones(50, 30))


def test_float32_waves_are_exact_up_to_the_highest_octave():
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0)) * 8 - 4
    encoding = FourierEncoding(3, 10)
    torch.testing.assert_close(encoding(points), encoding(points.double()).float(), atol=3e-7, rtol=0)


def test_waves_stay_float32_under_bf16_autocast():
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    encoding = FourierEncoding(3, 10)
    with torch.autocast("cpu", torch.bfloat16):
        inside = encoding(points)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, encoding(points))


def test_phases_in_bf16_would_be_noise():
    points = torch.rand(1000, 1, generator=torch.Generator().manual_seed(0))
    encoding = FourierEncoding(1, 10, include_input=False)
    rounded = encoding(points.bfloat16().float())
    assert (rounded - encoding(points)).abs().max() > 0.5


def test_an_encoding_of_nothing_is_refused(snapshot):
    with pytest.raises(ConfigError) as refusal:
        FourierEncoding(3, 0, include_input=False)
    snapshot("nothing", str(refusal.value))
    with pytest.raises(ConfigError) as refusal:
        FourierEncoding(3, -1)
    snapshot("negative", str(refusal.value))
