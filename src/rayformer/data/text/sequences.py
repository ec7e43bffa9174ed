"""Many sequences of numbers, and batches of those that are about as long: hardly any time goes into padding.

    Packed          sequences one after the other in one array
    LengthBatches   which of them a step sees

An epoch shuffles everything, sorts it by length with some noise, cuts it into batches of as many numbers as
asked for, and shuffles these. How many batches there are depends on the lengths alone, so the batch of a step
is a pure function of seed and step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from rayformer.core.seeds import stream

NOISE = 0.1
"""How far lengths are off when they are sorted, as a share: batches mix, and padding grows by as much."""


@dataclass(frozen=True, eq=False)
class Packed:
    values: Int[np.ndarray, "tokens"]
    starts: Int[np.ndarray, "edges"]
    """Where each sequence begins; where the last one ends."""

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> "Packed":
        lengths = np.array([len(one) for one in sequences], np.int64)
        values = np.fromiter((number for one in sequences for number in one), np.int32, int(lengths.sum()))
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> list[int]:
        return self.values[self.starts[row] : self.starts[row + 1]].tolist()

    def only(self, rows: Int[np.ndarray, "_"]) -> "Packed":
        return Packed.of([self[row] for row in rows.tolist()])

    @property
    def lengths(self) -> Int[np.ndarray, "batch"]:
        return np.diff(self.starts)

    def padded(
        self,
        rows: Int[np.ndarray, "batch"],
        padding: int,
        before: Sequence[int] = (),
        after: Sequence[int] = (),
    ) -> Int[np.ndarray, "batch tokens"]:
        """Some of the sequences, one a row, each between the numbers `before` and `after` and padded to the
        longest of them."""
        first, lengths = len(before), self.lengths[rows]
        out = np.full((len(rows), first + int(lengths.max(initial=0)) + len(after)), padding, np.int64)
        out[:, :first] = before
        places = np.arange(out.shape[1]) - first
        inside = (places >= 0) & (places < lengths[:, None])
        out[inside] = self.values[(self.starts[rows][:, None] + places)[inside]]
        for place, number in enumerate(after):
            out[np.arange(len(rows)), first + lengths + place] = number
        return out


class LengthBatches:
    """`batches(step)`: the rows of a step, of like lengths, of about `tokens` numbers in all."""

    def __init__(self, lengths: Int[np.ndarray, "batch"], tokens: int, seed: int):
        assert 0 < lengths.max(initial=0) <= tokens, "there are sequences, and every one fits into a batch"
        self.lengths, self.tokens, self.seed = lengths, tokens, seed
        self.epoch = max(1, int(lengths.sum()) // tokens)
        """Batches of an epoch."""
        self._arranged = lru_cache(maxsize=2)(self._arrange)

    def __call__(self, step: int) -> Int[np.ndarray, "_"]:
        epoch, number = divmod(step, self.epoch)
        rows, cuts, order = self._arranged(epoch)
        batch = order[number]
        return rows[cuts[batch] : cuts[batch + 1]]

    def _arrange(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows, sorted; where the batches begin among them; in which order batches come."""
        draw = np.random.default_rng(stream(self.seed, "length batches", epoch))
        noise = 1 + NOISE * draw.uniform(-1, 1, len(self.lengths))
        rows = np.argsort(self.lengths * noise, kind="stable")
        begins = np.cumsum(self.lengths[rows]) - self.lengths[rows]
        # A batch takes what begins within its stretch; no sequence is longer than one, so none goes empty.
        batch = np.minimum(begins // self.tokens, self.epoch - 1)
        cuts = np.searchsorted(batch, np.arange(self.epoch + 1))
        return rows, cuts, draw.permutation(self.epoch)
