"""Which pictures a step sees, and how they become a batch, made ahead of time where that pays.

    places_of    the pictures of one step: a pure function of seed, step, rank and world
    ImageBatches a part of the data and a transform as batches by number
    Ahead        anything that is made by number, made some numbers ahead in threads or processes

Epoch after epoch, all pictures are shuffled anew and taken one after the other, none twice; batches run on
over the end of an epoch. What is drawn for a picture depends on the seed, the epoch and the picture alone, so
that neither workers nor the number of processes change a pixel; only whole batches of small pictures, which
are shifted and flipped together, draw by step and rank.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rayformer.core.seeds import generator, stream
from rayformer.data.images.labelled import Arrays, Part
from rayformer.data.images.transforms import EvalTransform, TrainTransform, small_batch

T = TypeVar("T")


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, split: str, epoch: int) -> Int[np.ndarray, "batch"]:
    """The pictures of one epoch in their order."""
    return np.random.default_rng(stream(seed, "order", split, epoch)).permutation(count)


def places_of(
    count: int, seed: int, split: str, step: int, size: int, rank: int = 0, world: int = 1
) -> tuple[Int[np.ndarray, "batch"], Int[np.ndarray, "batch"]]:
    """Of step number `step`, this rank's share of `size` pictures out of `count`, and in which epoch each of
    them is."""
    assert 0 < world <= size, f"{size} pictures cannot be shared by {world} processes"
    numbers = np.array_split(np.arange(step * size, (step + 1) * size), world)[rank]
    epochs, within = np.divmod(numbers, count)
    places = np.empty_like(numbers)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        places[here] = shuffled(count, seed, split, int(epoch))[within[here]]
    return places, epochs


@dataclass(frozen=True, eq=False)
class ImageBatches:
    """`batches(step, rank, world)`: what a network sees in one step. Can be sent to other processes."""

    part: Part
    transform: TrainTransform | EvalTransform
    size: int
    """Pictures of a step, over all ranks."""
    seed: int
    split: str = "train"

    def __call__(
        self, step: int, rank: int = 0, world: int = 1
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, "batch"]]:
        """Pictures and labels. Raises DataError for a picture that cannot be decoded."""
        places, epochs = places_of(len(self.part), self.seed, self.split, step, self.size, rank, world)
        labels = torch.from_numpy(self.part.labels[places])
        if self._together:
            chosen = self.part.only(places).pixels
            assert chosen is not None, "pixels in memory stay in memory"
            pictures = torch.from_numpy(chosen).permute(0, 3, 1, 2)
            draw = generator(self.seed, "together", self.split, step, rank, world)
            return small_batch(pictures, self.transform, draw), labels
        side, means = self.transform.config.size, len(self.transform.normalisation.mean)
        out = torch.empty(len(places), means, side, side)
        for place, epoch, picture in zip(places.tolist(), epochs.tolist(), out, strict=True):
            draw = generator(self.seed, "picture", self.split, epoch, int(self.part.rows[place]))
            with self.part.opened(place) as stored:
                self.transform(stored, draw, picture)
        return out, labels

    def in_order(
        self, first: int, last: int
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, "batch"]]:
        """Pictures `first` to `last`, without it, with nothing drawn: for measuring."""
        part = self.part.only(np.arange(first, min(last, len(self.part))))
        labels = torch.from_numpy(part.labels)
        side, means = self.transform.config.size, len(self.transform.normalisation.mean)
        pixels = part.pixels
        if pixels is not None and pixels.shape[1:3] == (side, side):
            return small_batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.transform), labels
        out = torch.empty(len(part), means, side, side)
        for place, picture in enumerate(out):
            with part.opened(place) as stored:
                self.transform(stored, None, picture)
        return out, labels

    @property
    def _together(self) -> bool:
        """Whether all pictures of a batch are made at once: small ones in memory, of the size wanted."""
        pictures = self.part.pictures
        config = self.transform.config
        return (
            isinstance(self.transform, TrainTransform)
            and isinstance(pictures, Arrays)
            and pictures.values.shape[1:3] == (config.size, config.size)
            and config.crop == "shifted"
            and config.policy.kind == "none"
            and config.jitter == config.jitter_hue == 0
        )


class Ahead(Generic[T]):
    """`ahead(number)` is `make(number)`, of which the next ones are being made meanwhile.

    Without workers nothing is made ahead: on a processor that trains, a second thread takes more from the
    step than it gives (docs/log.md). Processes are for transforms that hold Python's lock, beside a GPU; what
    they run, and what it gives, must be possible to send. Numbers asked for in any order give the same; only
    those that follow each other are quick.
    """

    def __init__(
        self,
        make: Callable[[int], T],
        workers: int = 0,
        kind: Literal["threads", "processes"] = "threads",
        depth: int | None = None,
    ):
        """`depth` is how many numbers ahead may be in work; twice the workers unless it is said."""
        self.make, self.depth = make, 2 * workers if depth is None else depth
        self._coming: dict[int, Future[T]] = {}
        self._pool: Any = None
        if workers and kind == "threads":
            self._pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
        elif workers:
            # not a fork: threads of torch and of numba do not survive one
            self._pool = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_receive, initargs=(make,)
            )

    def __call__(self, number: int) -> T:
        """Raises whatever making it raised, at the number that it concerns."""
        if self._pool is None:
            return self.make(number)
        wanted = range(number, number + self.depth + 1)
        for past in [key for key in self._coming if key not in wanted]:
            self._coming.pop(past).cancel()
        for key in wanted:
            if key not in self._coming:
                self._coming[key] = self._submit(key)
        return self._coming.pop(number).result()

    def _submit(self, number: int) -> "Future[T]":
        if isinstance(self._pool, ProcessPoolExecutor):
            return self._pool.submit(_make_received, number)
        return self._pool.submit(self.make, number)

    def close(self) -> None:
        """Nothing more is made; what is in work is waited for."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Ahead[T]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_RECEIVED: list[Callable[[int], Any]] = []
"""In a worker process: what it makes."""


def _receive(make: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)  # there are as many workers as cores are wanted
    _RECEIVED[:] = [make]


def _make_received(number: int) -> Any:
    return _RECEIVED[0](number)
