import pytest
import torch
import torch.nn.functional as F

from rayformer.kernels import linear as kernel
from rayformer.kernels.linear import Linear, linear


@pytest.fixture(autouse=True)
def _from_two_rows_on(monkeypatch):
    monkeypatch.setattr(kernel, "ROWS", {torch.float32: 2, torch.bfloat16: 2})


def _drawn(shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def _with_gradients(function, *inputs):
    inputs = [None if one is None else one.clone().requires_grad_() for one in inputs]
    out = function(*inputs)
    wanted = [one for one in inputs if one is not None]
    return out, *torch.autograd.grad(out, wanted, _drawn(tuple(out.shape), out.dtype))


@pytest.mark.parametrize("shape", [(5, 24), (2, 3, 24), (2, 1, 3, 24)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_a_convolution_over_single_places_is_the_product_and_so_is_its_gradient(shape, biased, dtype, error):
    inputs, weight = _drawn(shape, dtype), _drawn((7, 24), dtype)
    bias = _drawn((7,), dtype) if biased else None
    ours = _with_gradients(linear, inputs, weight, bias)
    truth = _with_gradients(
        F.linear, inputs.double(), weight.double(), None if bias is None else bias.double()
    )
    for found, true in zip(ours, truth, strict=True):
        assert found.dtype == dtype
        assert found.shape == true.shape
        assert (found.double() - true).abs().max() <= error * true.abs().max()


def test_inputs_that_do_not_lie_in_order_are_the_same_product():
    inputs, weight = _drawn((24, 5, 3)).permute(2, 1, 0), _drawn((7, 24))
    torch.testing.assert_close(linear(inputs, weight), F.linear(inputs, weight))


def test_the_convolution_is_what_runs_from_so_many_rows_on(monkeypatch):
    asked = []
    monkeypatch.setattr(F, "conv2d", lambda *all: asked.append(all) or torch.zeros(1, 7, 2, 1))
    linear(_drawn((1, 24)), _drawn((7, 24)))
    assert not asked
    linear(_drawn((2, 24)), _drawn((7, 24)))
    assert len(asked) == 1
    linear(_drawn((2, 24)).double(), _drawn((7, 24)).double())
    assert len(asked) == 1, "double is left to torch"


def test_under_autocast_the_product_is_that_of_its_precision():
    layer = Linear(24, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(_drawn((5, 24))).dtype == torch.bfloat16


def test_a_tracer_sees_a_plain_product():
    traced = torch.export.export(Linear(24, 7), (_drawn((5, 24)),))
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_function"}
    assert called == {"aten.linear.default"}


def test_nothing_comes_of_nothing():
    assert linear(torch.zeros(0, 24), _drawn((7, 24))).shape == (0, 7)
