"""U-Nets of any size in two and three dimensions: what they see, what they keep, what they hold."""

import pytest
import torch

from rayformer.fields.parts.unet import Downscaling, UNet, Upscaling, coordinates, drop


@pytest.mark.parametrize("size", [(16, 16), (13, 22), (5, 1), (9, 6, 7), (8, 8, 8)])
def test_a_net_gives_as_many_places_as_it_takes(size):
    net = UNet(len(size), 3, 5, width=4, downs=2, most=8)
    assert net(torch.randn(2, 3, *size)).shape == (2, 5, *size)


def test_examples_of_a_batch_do_not_know_each_other():
    net = UNet(2, 3, 2, width=4, downs=2, most=8)
    pictures = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(net(pictures)[1:2], net(pictures[1:2]))


def test_a_net_holds_no_state_and_is_the_same_in_training():
    net = UNet(3, 2, 2, width=4, downs=1, most=8)
    volume = torch.randn(1, 2, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    assert not list(net.buffers())
    assert torch.equal(net.train()(volume), net.eval()(volume))


def test_every_parameter_has_a_part_in_what_comes_out():
    net = UNet(2, 3, 1, width=4, downs=2, most=6)
    net(torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in net.parameters())


@pytest.mark.parametrize("times", [0, 1, 3])
def test_scaling_down_and_up_changes_sizes_by_powers_of_two(times):
    small = Downscaling(3, 8, times)(torch.randn(1, 3, 32, 16))
    assert small.shape == (1, 8, 32 // 2**times, 16 // 2**times)
    assert Upscaling(8, 3, times)(small).shape == (1, 3, 32, 16)


def test_coordinates_are_the_middles_of_cells_across_the_lattice():
    x, y = coordinates((4, 2), torch.device("cpu"))[0]
    assert x[:, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert y[0].tolist() == [-0.5, 0.5]
    assert torch.equal(x[:, 0], x[:, 1])


def test_dropping_keeps_the_mean_and_needs_a_generator():
    x = torch.ones(200_000)
    assert drop(x, 0.3, None) is x
    left = drop(x, 0.3, torch.Generator().manual_seed(0))
    assert left.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert left.mean().item() == pytest.approx(1, abs=0.01)
