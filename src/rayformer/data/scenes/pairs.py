"""Which photographs to compare with each other, since all with all grows as a square.

    all_pairs       every one with every other
    likely_pairs    neighbours in the list, near and at doubling distances, and those that look alike
    alike           for each photograph those it shares most with, from its local features

What looks alike is found without a vocabulary made elsewhere: the features of these photographs are grouped
into words, and each photograph is described by how its own features differ from their words (VLAD: Jégou et
al. 2010, with the signed square root of Arandjelović and Zisserman 2013).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

NEIGHBOURS = 10
"""On either side in the list; beyond, one at each doubling of the distance."""
ALIKE = 15
"""Photographs that look most like one, in no order."""
WORDS = 64
ROUNDS = 8
"""Of k-means; words need not be the best ones, only the same for all."""
SAMPLE = 20_000
"""Features that the words are made from, of all photographs together."""

Pair = tuple[int, int]


def all_pairs(count: int) -> list[Pair]:
    return [(first, second) for first in range(count) for second in range(first + 1, count)]


def likely_pairs(features: Sequence[Float[np.ndarray, "_ dims"]], seed: int = 0) -> list[Pair]:
    """Pairs of places in the list, sorted and each once. `features` holds those of each photograph."""
    count = len(features)
    steps = {*range(1, NEIGHBOURS + 1), *(NEIGHBOURS * 2**power for power in range(1, 12))}
    pairs = {(first, first + step) for first in range(count) for step in steps if first + step < count}
    for first, row in enumerate(alike(features, seed)):
        pairs |= {(min(first, second), max(first, second)) for second in row.tolist()}
    return sorted(pairs)


def alike(features: Sequence[Float[np.ndarray, "_ dims"]], seed: int = 0) -> Int[np.ndarray, "views _"]:
    """Of each photograph the `ALIKE` others that look most like it, the most alike first."""
    words = _words(features, seed)
    described = np.stack([_described(own, words) for own in features])
    likeness = described @ described.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argsort(-likeness, axis=1, kind="stable")[:, : min(ALIKE, len(features) - 1)]


def _words(features: Sequence[np.ndarray], seed: int) -> Float[np.ndarray, "_ dims"]:
    """k-means over a sample of everybody's features."""
    draw = np.random.default_rng(seed)
    most = max(1, SAMPLE // len(features))
    sample = np.concatenate([draw.permutation(own)[:most] for own in features])
    if not len(sample):  # bare walls everywhere: one word that nothing is like
        return np.zeros((1, sample.shape[1]), np.float32)
    words = sample[draw.permutation(len(sample))[:WORDS]]
    for _ in range(ROUNDS):
        nearest = _nearest(sample, words)
        for word in range(len(words)):
            if len(own := sample[nearest == word]):
                words[word] = own.mean(axis=0)
    return words


def _nearest(features: np.ndarray, words: np.ndarray) -> Int[np.ndarray, "_"]:
    return ((words**2).sum(axis=1) - 2 * features @ words.T).argmin(axis=1)


def _described(features: np.ndarray, words: np.ndarray) -> Float[np.ndarray, "_"]:
    """One unit vector: for each word the sum of what features differ from it by, roots taken so that a
    pattern that repeats does not drown the rest."""
    sums = np.zeros_like(words)
    if len(features):
        nearest = _nearest(features, words)
        np.add.at(sums, nearest, features - words[nearest])
    rooted = (np.sign(sums) * np.sqrt(np.abs(sums))).ravel()
    return rooted / max(float(np.linalg.norm(rooted)), 1e-12)
