"""Search: one beam is greedy, enough beams are exhaustive, and nothing depends on the company."""

import itertools

import pytest
import torch

from rayformer.nets.parts.search import Said, beam, greedy

BEGIN, END, WORDS = 0, 1, 4


class Table:
    """A network that remembers what it has said: the next word's logits are drawn anew for every past."""

    def __init__(self, examples: list[int], rows: int):
        self.past = [(example,) for example in examples for _ in range(rows)]
        self.rows, self.asked = rows, 0

    def __call__(self, words: torch.Tensor) -> torch.Tensor:
        self.asked += len(words)
        self.past = [(*past, word) for past, word in zip(self.past, words.tolist(), strict=True)]
        return torch.stack([logits(past) for past in self.past])

    def pick(self, rows: torch.Tensor, examples: torch.Tensor | None) -> None:
        assert examples is not None or len(rows) == len(self.past)
        self.past = [self.past[row] for row in rows.tolist()]


def logits(past: tuple[int, ...]) -> torch.Tensor:
    return 2 * torch.randn(WORDS, generator=torch.Generator().manual_seed(hash(past) % 2**31))


def every_sentence(example: int, most: int) -> list[Said]:
    """All that end within `most` words, by brute force."""
    found = []
    for length in range(most):
        for words in itertools.product([word for word in range(WORDS) if word != END], repeat=length):
            past, total = (example, BEGIN), 0.0
            for word in (*words, END):
                total += float(logits(past).log_softmax(0)[word])
                past = (*past, word)
            found.append(Said(words, total, ended=True))
    return found


def most(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_with_beams_enough_the_best_of_all_sentences_is_found(penalty):
    for example in range(5):
        wanted = max(every_sentence(example, 4), key=lambda said: said.score(penalty))
        found = beam(Table([example], 200), BEGIN, END, most(4), beams=200, penalty=penalty)[0]
        assert found[0].words == wanted.words
        assert found[0].logarithm == pytest.approx(wanted.logarithm, abs=1e-4)
        scores = [said.score(penalty) for said in found]
        assert scores == sorted(scores, reverse=True)


def test_one_beam_is_greedy_search():
    examples = list(range(12))
    limits = most(*[6] * 12)
    one = beam(Table(examples, 1), BEGIN, END, limits, beams=1)
    other = greedy(Table(examples, 1), BEGIN, END, limits)
    assert [said[0].words for said in one] == [said.words for said in other]
    assert [said[0].ended for said in one] == [said.ended for said in other]
    assert {said.ended for said in other} == {True, False}, "some end, and some are cut off"


def test_greedy_takes_the_likeliest_word_each_time():
    (said,) = greedy(Table([3], 1), BEGIN, END, most(6))
    past = (3, BEGIN)
    for word in said.words:
        assert word == int(logits(past).argmax())
        past = (*past, word)
    assert len(said.words) == 6 or int(logits(past).argmax()) == END


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_said_of_an_example_does_not_depend_on_the_others(beams):
    limits = {0: 3, 1: 7, 2: 5, 3: 7}
    together = beam(Table(list(limits), beams), BEGIN, END, most(*limits.values()), beams=beams)
    for example, limit in limits.items():
        alone = beam(Table([example], beams), BEGIN, END, most(limit), beams=beams)[0]
        assert [said.words for said in alone] == [said.words for said in together[example]]


def test_examples_that_have_ended_are_asked_no_more():
    table = Table([0, 1], 1)
    greedy(table, BEGIN, END, most(1, 4))
    assert table.asked <= 5


def test_a_penalty_forgives_length():
    short, long = Said((2,), -2.0, True), Said((2,) * 9, -2.4, True)
    assert short.score(0.0) > long.score(0.0)
    assert short.score(1.0) < long.score(1.0)
    assert long.score(0.6) == pytest.approx(-2.4 / (15 / 6) ** 0.6)
