"""Computing again changes memory and time, and nothing else."""

import pytest
import torch
from torch import nn

from rayformer.nets.convnext import ConvNeXt, ConvNeXtConfig
from rayformer.nets.nfnet import NFNet, NFNetConfig
from rayformer.nets.parts.checkpointing import one_by_one
from rayformer.nets.resnet_rs import ResNet, ResNetConfig

NETS = {
    "convnext": lambda again: ConvNeXt(
        ConvNeXtConfig(
            depths=(1, 2), widths=(8, 16), patch_size=2, layer_scale=0.5, drop_path=0.5, checkpointing=again
        ),
        4,
    ),
    "resnet-rs": lambda again: ResNet(
        ResNetConfig(depths=(1, 2), width=8, stem_halvings=1, drop_path=0.5, checkpointing=again), 4
    ),
    "nfnet": lambda again: NFNet(
        NFNetConfig(
            depths=(1, 2), widths=(16, 32), stem_width=16, group_width=8, last_width=16,
            stem_halvings=1, drop_path=0.5, checkpointing=again,
        ),
        4,
    ),
}  # fmt: skip


def trained(name: str, again: bool) -> tuple[torch.Tensor, nn.Module]:
    """The loss of the second of two steps, and the network after it."""
    torch.manual_seed(0)
    net, images = NETS[name](again).train(), torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        for parameter in net.parameters():  # branches that start at zero would hide what they do
            parameter.add_(0.1 * torch.randn(parameter.shape))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(2):
        optimiser.zero_grad()
        loss = net(images).square().mean()
        loss.backward()
        optimiser.step()
    return loss.detach(), net


@pytest.mark.parametrize("name", NETS)
def test_computing_again_changes_no_loss_no_gradient_and_no_statistic(name):
    (plain, net), (again, other) = trained(name, False), trained(name, True)
    torch.testing.assert_close(plain, again)
    torch.testing.assert_close(net.state_dict(), other.state_dict())
    grads = [{key: value.grad for key, value in one.named_parameters()} for one in (net, other)]
    torch.testing.assert_close(*grads)


def test_batch_norms_count_every_batch_once_and_keep_their_momentum():
    _, net = trained("resnet-rs", True)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {2}
    assert {norm.momentum for norm in norms} == {0.1}


def test_without_a_gradient_nothing_is_computed_twice():
    seen = []
    block = nn.Linear(2, 2)
    block.register_forward_pre_hook(lambda *_: seen.append(1))
    with torch.no_grad():
        one_by_one(nn.Sequential(block), torch.zeros(1, 2), again=True)
    assert len(seen) == 1
    one_by_one(nn.Sequential(block), torch.zeros(1, 2), again=True).sum().backward()
    assert len(seen) == 3


def test_what_a_block_computed_is_not_kept():
    kept: list[int] = []
    blocks = nn.Sequential(
        *(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4), nn.GELU()) for _ in range(3))
    )
    for again in (False, True):
        shapes = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, shapes=shapes: shapes.append(tensor.shape) or tensor, lambda tensor: tensor
        )
        with hooks:
            one_by_one(blocks, torch.zeros(5, 4, requires_grad=True), again)
        kept.append(sum(shape == (5, 4) for shape in shapes))
    assert kept[1] < kept[0] / 2
