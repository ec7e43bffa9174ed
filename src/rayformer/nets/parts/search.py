"""The likeliest sentence of a network that says one word after the other.

    Speaker   what such a network is here: words in, what may come next out
    Said      one sentence, and how likely it is
    greedy    always the likeliest word
    beam      several sentences at a time, of which the best goes on             Vaswani et al. 2017, sec. 6.1

A sentence is likely by the sum of the logarithms of its words, each the less the more there are, so that a
short one would always win; the sum is therefore divided by ((5 + words) / 6)^penalty (Wu et al. 2016,
https://arxiv.org/abs/1609.08144, eq. 14), where the end counts as a word.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


@runtime_checkable
class Speaker(Protocol):
    """Many sentences, one in each row; the rows of one example stand together, as many for each."""

    def __call__(self, words: Int[Tensor, "batch"]) -> Float[Tensor, "batch outputs"]:
        """The next word of every row is said: the logits of what may come after it."""
        ...

    def pick(self, rows: Int[Tensor, "_"], examples: Int[Tensor, "_"] | None) -> None:
        """Go on with these of the rows; and, if it is not all of them, with these of the examples."""
        ...


@dataclass(frozen=True)
class Said:
    words: tuple[int, ...]
    """Without beginning and end."""
    logarithm: float
    """Of its probability, in nats."""
    ended: bool
    """Whether it came to its end, and was not cut off."""

    def score(self, penalty: float | int) -> float:
        return self.logarithm / ((5 + len(self.words) + self.ended) / 6) ** penalty


@torch.no_grad()
def greedy(speaker: Speaker, begin: int, end: int, most: Int[Tensor, "batch"]) -> list[Said]:
    """One sentence for each example, of at most so many words, the end included. An example that has ended
    takes no more time."""
    sentences: list[list[int]] = [[] for _ in most]
    logarithms, ended = [0.0] * len(most), [False] * len(most)
    going, words = list(range(len(most))), torch.full_like(most, begin)
    limits = most.tolist()
    while going:
        logarithm, words = speaker(words).float().log_softmax(dim=-1).max(dim=-1)
        stay: list[int] = []
        for row, (example, word, gain) in enumerate(
            zip(going, words.tolist(), logarithm.tolist(), strict=True)
        ):
            logarithms[example] += gain
            ended[example] = word == end
            if not ended[example]:
                sentences[example].append(word)
                if len(sentences[example]) < limits[example]:
                    stay.append(row)
        if len(stay) < len(going) and stay:
            rows = torch.tensor(stay, device=words.device)
            words = words[rows]
            speaker.pick(rows, rows)
        going = [going[row] for row in stay]
    return [
        Said(tuple(words), logarithm, whole)
        for words, logarithm, whole in zip(sentences, logarithms, ended, strict=True)
    ]


@torch.no_grad()
def beam(
    speaker: Speaker,
    begin: int,
    end: int,
    most: Int[Tensor, "batch"],
    beams: int = 4,
    penalty: float | int = 0.6,
) -> list[list[Said]]:
    """For each example its sentences, the best first: as many as `beams`, unless there are fewer.

    `speaker` has `beams` rows for each example. A sentence ends only where its end is among the best `beams`
    ways to go on, and an example is done once `beams` sentences have ended, or at `most` words. One beam is
    greedy search.
    """
    examples, device = len(most), most.device
    limits = most.tolist()
    found: list[list[Said]] = [[] for _ in range(examples)]
    going = list(range(examples))
    words = torch.full((examples * beams,), begin, dtype=torch.long, device=device)
    past = torch.empty(examples, beams, 0, dtype=torch.long, device=device)
    sums = torch.full((examples, beams), float("-inf"), device=device)
    sums[:, 0] = 0  # all rows are the same at first, and one of them is enough
    while going:
        gains = speaker(words).float().log_softmax(dim=-1).unflatten(0, (len(going), beams))
        ways = (sums[..., None] + gains).flatten(1)
        # No more than `beams` of them are ends, so that as many others are left to go on with.
        best, place = ways.topk(min(2 * beams, ways.shape[1]), dim=1)
        origin, word = place // gains.shape[-1], place % gains.shape[-1]
        stops = word == end
        length = past.shape[2] + 1
        _collect(found, going, past, best, origin, stops, beams)

        onward = stops.byte().sort(dim=1, stable=True).indices[:, :beams]
        sums, origin, word, stops = (one.gather(1, onward) for one in (best, origin, word, stops))
        sums = sums.masked_fill(stops, float("-inf"))  # where there were too few other ways
        past = past.gather(1, origin[..., None].expand(-1, -1, length - 1))
        past = torch.cat([past, word[..., None]], dim=2)
        for row, example in enumerate(going):
            if length >= limits[example]:
                _cut_off(found[example], past[row], sums[row])
        alive = sums.isfinite().any(dim=1).tolist()
        stay = [
            row
            for row, example in enumerate(going)
            if len(found[example]) < beams and length < limits[example] and alive[row]
        ]
        if stay:
            kept = torch.tensor(stay, device=device)
            rows = (kept[:, None] * beams + origin[kept]).flatten()
            speaker.pick(rows, kept if len(stay) < len(going) else None)
            past, sums, words = past[kept], sums[kept], word[kept].flatten()
        going = [going[row] for row in stay]
    return [sorted(said, key=lambda one: one.score(penalty), reverse=True)[:beams] for said in found]


def _collect(
    found: list[list[Said]],
    going: list[int],
    past: Tensor,
    best: Tensor,
    origin: Tensor,
    stops: Tensor,
    beams: int,
) -> None:
    """The sentences that end here, among the best `beams` ways of each example."""
    ends = (stops & best.isfinite())[:, :beams].nonzero().tolist()
    for row, column in ends:
        sentence = past[row, origin[row, column]].tolist()
        found[going[row]].append(Said(tuple(sentence), float(best[row, column]), ended=True))


def _cut_off(found: list[Said], past: Tensor, sums: Tensor) -> None:
    """An example may say no more: its sentences count as they are, if none has come to its end."""
    if not found:
        found += [
            Said(tuple(words), logarithm, ended=False)
            for words, logarithm in zip(past.tolist(), sums.tolist(), strict=True)
            if logarithm > float("-inf")
        ]
