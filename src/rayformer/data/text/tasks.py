"""Pairs of sequences that the package draws itself: --data tasks works on a fresh machine.

    reversal     letters, back to front                   reverse zipka     akpiz
    sorting      letters in the order of the alphabet     sort zipka        aikpz
    arithmetic   sums and differences, as decimals        407-85            322

    NAMES        what can be named; a number behind it says how many pairs of each task to learn from
    is_drawn     whether a word means one of them
    drawn_pairs  its pairs

All three need each word of the answer to look at its own place in the question: by where it stands, by what
it is, or both. No question comes twice, so none that is measured was learned.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rayformer.core.errors import DataError
from rayformer.core.seeds import stream

EACH = 20_000
"""Pairs of each task to learn from, where no number says otherwise."""
HELD_OUT = 500
"""Of each task, for testing; the same for every number. And as many to choose the best weights by."""
MOST = 200_000
SHORTEST, LONGEST = 4, 10
"""Letters of a sequence."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = 3
"""Of a number that is added or taken away, at most."""

Draw = Callable[[np.random.Generator], tuple[str, str]]


def _letters(source: np.random.Generator) -> str:
    places = source.integers(0, len(LETTERS), source.integers(SHORTEST, LONGEST + 1))
    return "".join(LETTERS[place] for place in places)


def _reversal(source: np.random.Generator) -> tuple[str, str]:
    letters = _letters(source)
    return f"reverse {letters}", letters[::-1]


def _sorting(source: np.random.Generator) -> tuple[str, str]:
    letters = _letters(source)
    return f"sort {letters}", "".join(sorted(letters))


def _arithmetic(source: np.random.Generator) -> tuple[str, str]:
    one, other = (int(number) for number in source.integers(0, 10**DIGITS, 2))
    added = source.random() < 0.5
    return f"{one}{'+' if added else '-'}{other}", str(one + other if added else one - other)


DRAWN: Mapping[str, Draw] = {"reversal": _reversal, "sorting": _sorting, "arithmetic": _arithmetic}
ALL = "tasks"
NAMES = (ALL, *DRAWN)


@dataclass(frozen=True)
class Drawn:
    """Pairs of question and answer, and of which task each is."""

    pairs: tuple[tuple[str, str], ...]
    tasks: tuple[str, ...]


def is_drawn(name: str) -> bool:
    """Whether `drawn_pairs` knows the name, or knows why not: `tasks-0` are tasks, though there are none."""
    return name.partition("-")[0] in NAMES


def drawn_pairs(name: str) -> dict[str, Drawn]:
    """The parts train, val and test of the drawn pairs `name`: of two of them, the larger one begins with the
    pairs of the smaller one. Raises DataError for an impossible number."""
    kind, _, number = name.partition("-")
    each = EACH if name == kind else int(number) if re.fullmatch("[0-9]{1,9}", number) else 0
    if not 1 <= each <= MOST:
        raise DataError(
            f"data.source: there are no drawn pairs {name!r}. The number is how many pairs of each task to "
            f"learn from,\n1 to {MOST}: {kind}-5000, for instance. Without a number there are {EACH}."
        )
    tasks = tuple(DRAWN) if kind == ALL else (kind,)
    found = {task: _distinct(task, each + 2 * HELD_OUT) for task in tasks}
    cuts = {"test": (0, HELD_OUT), "val": (HELD_OUT, 2 * HELD_OUT), "train": (2 * HELD_OUT, None)}
    return {
        part: Drawn(
            pairs=tuple(pair for task in tasks for pair in found[task][first:last]),
            tasks=tuple(task for task in tasks for _ in found[task][first:last]),
        )
        for part, (first, last) in cuts.items()
    }


def _distinct(task: str, count: int) -> list[tuple[str, str]]:
    source, found = np.random.default_rng(stream(0, "drawn pairs", task)), {}
    while len(found) < count:
        question, answer = DRAWN[task](source)
        found.setdefault(question, answer)
    return list(found.items())
