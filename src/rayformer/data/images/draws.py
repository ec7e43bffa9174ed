"""Single numbers drawn from a generator, in the way that torchvision draws them: one seed, one picture.

uniform   a real number between two bounds
whole     a whole number below a bound
happens   whether something does that has a chance
normal    about a mean, with a spread
beta      a share, by a symmetric beta distribution
"""

import random

import torch
from torch import Generator


def uniform(low: float, high: float, generator: Generator) -> float:
    return torch.empty(1).uniform_(low, high, generator=generator).item()


def whole(below: int, generator: Generator) -> int:
    """0 to below - 1."""
    return int(torch.randint(below, (1,), generator=generator).item())


def happens(chance: float, generator: Generator) -> bool:
    return torch.rand(1, generator=generator).item() < chance


def normal(mean: float, spread: float, generator: Generator) -> float:
    return mean + spread * torch.randn(1, generator=generator).item()


def beta(alpha: float, generator: Generator) -> float:
    """From Beta(alpha, alpha), between 0 and 1: near 1/2 for large alpha, near either end for small.

    torch's own beta distribution takes no generator, so one number of ours seeds Python's.
    """
    return random.Random(whole(2**62, generator)).betavariate(alpha, alpha)
