"""Randomness as an argument: one seed, and as many independent streams as there are names for them.

A stream is a pure function of (seed, names), so that a resumed run draws at step 51 what an unbroken one
would have drawn, and so that drawing more in one place changes nothing in another.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`; the same on every machine and in every process."""
    text = "\0".join([str(int(seed)), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator at the start of the stream called `names`: `generator(seed, "batch", step)`, for
    instance."""
    return torch.Generator(device=device).manual_seed(stream(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """torch's global generator at the start of a stream, and as it was afterwards: for modules that draw
    their own weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, *names))
        yield
