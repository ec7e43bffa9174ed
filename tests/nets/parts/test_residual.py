"""A branch joined to what goes past it, in one walk."""

import pytest
import torch

from rayformer.nets.parts.drop_path import DropPath
from rayformer.nets.parts.residual import residual


def maps(batch=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, 4, 3, 5, generator=generator) for _ in range(2))


@pytest.mark.parametrize("shape", [(4, 1, 1), (6, 4, 1, 1), (6, 1, 1, 1)])
def test_it_is_x_plus_gain_times_branch(shape):
    x, branch = maps()
    gain = torch.randn(shape)
    torch.testing.assert_close(residual(x, branch, gain, DropPath(0.0)), x + gain * branch)


def test_without_a_gain_it_is_the_sum():
    x, branch = maps()
    wanted = x + branch
    assert torch.equal(residual(x, branch, None, DropPath(0.5).eval()), wanted)


@pytest.mark.parametrize("gained", [False, True])
def test_in_training_each_example_keeps_its_whole_branch_or_none_of_it(gained):
    torch.manual_seed(0)
    x, branch = maps(batch=200)
    gain = torch.tensor([1.0, -2.0, 0.5, 3.0])[:, None, None] if gained else None
    whole = (branch if gain is None else gain * branch) / (1 - 0.25)
    out = residual(x, branch.clone(), gain, DropPath(0.25).train())
    kept = [torch.allclose(out[n], x[n] + whole[n], atol=1e-6) for n in range(200)]
    passed = [torch.equal(out[n], x[n]) for n in range(200)]
    assert all(one != other for one, other in zip(kept, passed, strict=True))
    assert sum(passed) == pytest.approx(50, abs=20)


def test_under_autocast_the_map_keeps_the_precision_of_the_branch():
    x, branch = (part.bfloat16() for part in maps())
    out = residual(x, branch, torch.randn(4, 1, 1), DropPath(0.0))
    assert out.dtype == torch.bfloat16


def test_a_map_of_higher_precision_than_its_branch_keeps_it():
    x, branch = maps()
    out = residual(x, branch.bfloat16(), torch.ones(4, 1, 1), DropPath(0.0))
    torch.testing.assert_close(out, x + branch.bfloat16().float())
