"""The drawn sentences: always the same, never in both splits, and true by their own rules."""

import pytest

from rayformer.data.text.glue import TASKS
from rayformer.data.text.small_world import GOOD, ROWS, drawn_rows


@pytest.mark.parametrize("task", TASKS)
def test_no_row_is_in_both_splits_or_twice_in_one(task):
    train, dev = ([row[:2] for row in drawn_rows(task, split)] for split in ("train", "dev"))
    assert len(train) == len(set(train)) == ROWS["train"]
    assert len(dev) == len(set(dev)) == ROWS["dev"]
    assert not set(train) & set(dev)


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_of_a_task_comes_often(task):
    answers = [row[2] for row in drawn_rows(task, "dev")]
    wanted = range(6) if TASKS[task].scored else range(len(TASKS[task].answers))
    assert {float(answer) for answer in wanted} == set(answers)
    assert min(map(answers.count, set(answers))) > ROWS["dev"] / 10


@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_pairs_and_sentences_are_alone(task):
    assert all((second is not None) == TASKS[task].pairs for _, second, _ in drawn_rows(task, "dev"))


def test_what_is_felt_is_told_by_the_last_clause_and_turned_by_not():
    for text, _, felt in drawn_rows("SST-2", "dev"):
        last = text.rpartition(", but ")[2]
        good = any(word in last for word in GOOD)
        turned = " not " in last or " hardly " in last
        assert felt == (good != turned), text


def test_alike_are_as_many_parts_as_the_score_says():
    for first, second, score in drawn_rows("STS-B", "dev"):
        one, other = first.split(), second.split()
        parts = [slice(1, 2), slice(2, 3), slice(3, 4), slice(5, 6), slice(6, 9)]
        assert score == sum(one[part] == other[part] for part in parts), (first, second)


def test_what_follows_says_nothing_that_was_not_said():
    for first, second, answer in drawn_rows("MNLI", "dev"):
        words = set(second.split()) - {"was", "is"}
        if answer == 0:
            assert words <= set(first.split()), (first, second)
        if answer == 2:
            assert words - set(first.split()), (first, second)
