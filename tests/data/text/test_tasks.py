"""Drawn tasks: every answer is right, none is measured that was learned, and more begin with fewer."""

import pytest

from rayformer.core.errors import DataError
from rayformer.data.text.tasks import HELD_OUT, drawn_pairs, is_drawn


def test_every_answer_is_right():
    drawn = drawn_pairs("tasks-200")["train"]
    for (question, answer), task in zip(drawn.pairs, drawn.tasks, strict=True):
        if task == "arithmetic":
            assert int(answer) == eval(question)
        else:
            verb, letters = question.split(" ")
            wanted = letters[::-1] if task == "reversal" else "".join(sorted(letters))
            assert (verb, answer) == ({"reversal": "reverse", "sorting": "sort"}[task], wanted)


def test_no_question_comes_twice_in_whatever_part():
    parts = drawn_pairs("tasks-2000")
    questions = [question for part in parts.values() for question, _ in part.pairs]
    assert len(set(questions)) == len(questions) == 3 * (2000 + 2 * HELD_OUT)


@pytest.mark.parametrize("name", ["tasks", "reversal", "sorting", "arithmetic"])
def test_a_larger_set_begins_with_a_smaller_one_and_measures_the_same(name):
    few, more = drawn_pairs(f"{name}-50"), drawn_pairs(f"{name}-80")
    assert few["test"] == more["test"]
    assert few["val"] == more["val"]
    assert set(few["train"].pairs) < set(more["train"].pairs)
    assert len(few["train"].pairs) == 50 * (3 if name == "tasks" else 1)


def test_names_are_known_with_any_number_behind_them():
    assert is_drawn("tasks")
    assert is_drawn("sorting-12")
    assert not is_drawn("tasks.tsv")
    assert not is_drawn("my_pairs")


@pytest.mark.parametrize("name", ["tasks-0", "sorting-many", "reversal-300000"])
def test_numbers_that_cannot_be_drawn_are_refused(name, snapshot):
    with pytest.raises(DataError) as error:
        drawn_pairs(name)
    snapshot(name, str(error.value))
