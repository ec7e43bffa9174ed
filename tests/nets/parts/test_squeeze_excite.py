"""Gates for channels."""

import pytest
import torch

from rayformer.nets.parts.squeeze_excite import SqueezeExcite


def test_a_gate_depends_on_averages_alone():
    torch.manual_seed(0)
    excite, x = SqueezeExcite(16, 0.5), torch.randn(3, 16, 4, 6)
    shuffled = x.flatten(2)[:, :, torch.randperm(24)].unflatten(2, (4, 6))
    gate = excite(x)
    assert gate.shape == (3, 16, 1, 1)
    torch.testing.assert_close(excite(shuffled), gate)
    torch.testing.assert_close(excite(x.mean(dim=(2, 3), keepdim=True)), gate)


def test_gates_lie_between_0_and_1_and_differ_between_pictures():
    torch.manual_seed(0)
    gate = SqueezeExcite(16, 0.5)(10 * torch.randn(3, 16, 4, 6))
    assert ((gate > 0) & (gate < 1)).all()
    assert not torch.allclose(gate[0], gate[1])


@pytest.mark.parametrize(
    ("channels", "share", "width"), [(256, 0.25, 64), (256, 1 / 16, 16), (8, 0.25, 8), (88, 0.25, 24)]
)
def test_the_bottleneck_is_a_share_of_the_channels_in_eights(channels, share, width):
    assert SqueezeExcite(channels, share).squeeze.out_channels == width
