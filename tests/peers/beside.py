"""The same random weights in our network and in somebody else's, and how far apart they are then."""

import torch
from torch import Tensor, nn

from rayformer.nets.weights.family import Family
from rayformer.nets.weights.loading import Report, put


def scattered(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, with every number drawn at random: gains that start at zero would hide
    all that they multiply."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(1 + noise.abs())
            elif tensor.ndim > 1 and tensor[0].numel() > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            else:
                tensor.copy_((0.0 if name.endswith(("bias", "running_mean")) else 0.7) + 0.3 * noise)
    return net.eval()


def put_strictly(ours: nn.Module, theirs: nn.Module, family: Family, form: str) -> Report:
    """All their weights into ours; every one has a place and every place is filled."""
    report = put(ours, theirs.state_dict(), family, "a peer")
    assert report.format == form
    assert not report.kept
    assert not report.unexpected
    return report


def pictures(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def gradients_apart(ours: nn.Module, theirs: nn.Module, images: Tensor, ours_of: dict[str, str]) -> float:
    """The largest difference of a gradient, each as a share of the largest number in it. `ours_of` are our
    names by theirs."""
    for net in (ours, theirs):
        net.zero_grad()
        out = net(images)
        (getattr(out, "logits", out) * torch.linspace(-1, 2, out.shape[-1])).sum().backward()
    own, other = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert len(own) == len(other) == len(ours_of)
    grads = [(own[ours_of[name]].grad, parameter.grad) for name, parameter in other.items()]
    return max(apart(mine.reshape(their.shape), their) for mine, their in grads)


def losses_apart(ours: nn.Module, theirs: nn.Module, images: Tensor, steps: int = 10) -> float:
    """The largest difference of their losses, each as a share of the loss, over some steps of training on the
    same pictures, which must have learned something."""
    classes, losses = torch.arange(len(images)) % 5, []
    for net in (ours, theirs):
        optimiser = torch.optim.SGD(net.train().parameters(), lr=1e-2, momentum=0.9)
        said = []
        for _ in range(steps):
            out = net(images)
            loss = nn.functional.cross_entropy(getattr(out, "logits", out), classes)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            said.append(loss.item())
        losses.append(torch.tensor(said))
    assert losses[1][-1] < 0.9 * losses[1][0], f"nothing was learned: {losses[1]}"
    return ((losses[0] - losses[1]).abs() / losses[1]).max().item()


def ours_by_theirs(theirs: nn.Module, family: Family, form: str) -> dict[str, str]:
    """Our names of their parameters."""
    from rayformer.nets.weights.names import renamed

    found = {}
    for name, _ in theirs.named_parameters():
        ours, unknown = renamed({name: torch.zeros(())}, family.formats[form].rules)
        assert not unknown
        found[name] = next(iter(ours))
    return found


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())
