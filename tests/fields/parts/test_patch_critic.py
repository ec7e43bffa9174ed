"""The critic and the one who draws: one backward pass, in which neither's loss moves the other."""

import pytest
import torch
import torch.nn.functional as F

from rayformer.fields.parts.patch_critic import PatchCritic, adversarial_losses


def drawn(seed=0):
    torch.manual_seed(seed)
    critic = PatchCritic(4)
    pictures = torch.rand(2, 1, 3, 24, 40, generator=torch.Generator().manual_seed(seed)) - 0.5
    return critic, *pictures


def test_the_loss_of_who_draws_reaches_the_drawing_and_never_the_critic():
    critic, fake, real = drawn()
    fooling, _ = adversarial_losses(critic, fake.requires_grad_(), real, None)
    fooling.backward()
    assert fake.grad.abs().sum() > 0
    assert all(value.grad is None for value in critic.parameters())


def test_the_critics_loss_reaches_the_critic_and_never_the_drawing():
    critic, fake, real = drawn()
    _, telling = adversarial_losses(critic, fake.requires_grad_(), real, None)
    telling.backward()
    assert fake.grad is None
    assert all(value.grad.abs().sum() > 0 for value in critic.parameters())


def test_the_losses_are_those_of_the_logarithms():
    critic, fake, real = drawn()
    fooling, telling = adversarial_losses(critic, fake, real, None)
    of_fake, of_real = torch.sigmoid(critic(fake)), torch.sigmoid(critic(real))
    torch.testing.assert_close(fooling, -of_fake.log().mean())
    torch.testing.assert_close(telling, -of_real.log().mean() - (1 - of_fake).log().mean())


def test_a_critic_learns_to_tell_noise_from_a_plain_picture():
    critic, noise, _ = drawn()
    plain, optimiser = torch.zeros_like(noise), torch.optim.Adam(critic.parameters(), 5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        adversarial_losses(critic, noise, plain, None)[1].backward()
        optimiser.step()
    assert critic(plain).mean() > 1
    assert critic(noise).mean() < -1


def test_without_a_generator_a_critic_says_the_same_twice():
    critic, fake, _ = drawn()
    assert torch.equal(critic(fake), critic(fake))
    one = critic(fake, torch.Generator().manual_seed(0))
    assert not torch.equal(one, critic(fake))
    assert torch.equal(one, critic(fake, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("size", [(8, 8), (17, 30)])
def test_there_is_an_opinion_for_every_patch(size):
    said = PatchCritic(4, layers=2)(torch.rand(1, 3, *size))
    assert said.shape == (1, 1, size[0] // 4, size[1] // 4)
    assert F.softplus(said).isfinite().all()
