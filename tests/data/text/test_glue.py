"""GLUE's files: the same rows whatever form they have, and every bad row named."""

import numpy as np
import pytest

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.glue import IN_TABLE, TASKS, GlueConfig, read_glue, there

ROWS = {
    "CoLA": [("gj04", "1", "", "It is \"so"), ("gj04", "0", "*", "Is so it")],
    "SST-2": [("a fine film", "1"), ("a dull one", "0")],
    "MRPC": [("1", "12", "13", "It is so.", "So it is."), ("0", "14", "15", "It is.", "It was.")],
    "STS-B": [
        ("0", "news", "f", "2012", "1", "none", "none", "It is so.", "So it is.", "4.250"),
        ("1", "news", "f", "2012", "2", "none", "none", "It is.", "They were.", "0.400"),
    ],
    "QQP": [("1", "2", "3", "Is it so?", "Is it?", "1"), ("4", "5", "6", "Is it?", "Who?", "0")],
    "MNLI": [("0", "It is so.", "It is.", "neutral"), ("1", "It is.", "It is not.", "contradiction")],
    "QNLI": [("0", "Is it?", "It is.", "entailment"), ("1", "Who?", "It is.", "not_entailment")],
    "RTE": [("0", "It is so.", "It is.", "entailment"), ("1", "It is.", "It was.", "not_entailment")],
    "WNLI": [("0", "It is so.", "It is.", "1"), ("1", "It is.", "It was.", "0")],
}  # fmt: skip
HEADERS = {
    "SST-2": "sentence\tlabel",
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
}


def written(folder, name, rows=None, header=True, files=("train.tsv", "dev.tsv")):
    """The task's folder with these rows in every file."""
    task = TASKS[name]
    (folder / name).mkdir(parents=True, exist_ok=True)
    head = [HEADERS.get(name, "\t".join(task.columns))] if header else []
    lines = [*head, *("\t".join(row) for row in (ROWS[name] if rows is None else rows))]
    for file in files:
        (folder / name / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def found(folder, name, **options):
    return read_glue(GlueConfig(source=str(folder), task=name, **options), name)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("header", [True, False])
def test_rows_are_the_same_with_and_without_a_header(tmp_path, name, header):
    one = found(written(tmp_path, name, header=header), name).parts["train"]
    task, rows = TASKS[name], ROWS[name]
    first = next(
        place for place, column in enumerate(task.columns) if column.startswith(("sentence", "quest"))
    )
    assert list(one.first) == [row[first] for row in rows]
    answers = [row[1] if name == "CoLA" else row[0] if name == "MRPC" else row[-1] for row in rows]
    numbers = [float(answer) if task.scored else task.written[answer] for answer in answers]
    np.testing.assert_array_equal(one.answers, np.array(numbers, one.answers.dtype))
    assert (one.second is not None) == task.pairs


def test_columns_are_found_by_their_names_wherever_they_stand(tmp_path):
    (tmp_path / "sst_2").mkdir()
    for file in ("train.tsv", "dev.tsv"):
        (tmp_path / "sst_2" / file).write_text("label\tcontent\n1\ta fine film\n", encoding="utf-8")
    part = found(tmp_path, "SST-2").parts["train"]
    assert part.first == ("a fine film",)
    assert part.answers.tolist() == [1]


def test_a_quotation_mark_is_a_quotation_mark(tmp_path):
    assert found(written(tmp_path, "CoLA"), "CoLA").parts["train"].first[0] == 'It is "so'


def test_the_folder_of_the_task_itself_will_do(tmp_path):
    written(tmp_path, "RTE")
    inside = found(tmp_path / "RTE", "RTE")
    assert inside.fingerprint == found(tmp_path, "RTE").fingerprint
    with pytest.raises(DataError):
        found(tmp_path, "CoLA")


def test_rows_held_back_in_a_file_are_learned_from_unless_they_are_asked_for(tmp_path):
    written(tmp_path, "RTE")
    written(
        tmp_path, "RTE", header=False, rows=[("9", "It rains.", "It pours.", "entailment")], files=["val.tsv"]
    )
    every, held = found(tmp_path, "RTE"), found(tmp_path, "RTE", validation=True)
    assert every.counts == {"train": 3, "test": 2}
    assert held.counts == {"train": 2, "val": 1, "test": 2}
    assert every.fingerprint != held.fingerprint
    assert "val.tsv is learned from as well" in " ".join(every.remarks)


def test_a_tenth_is_held_back_where_no_file_has_it_and_no_row_is_lost(tmp_path):
    rows = [(str(number), f"It is {number}.", "It is.", "entailment") for number in range(50)]
    written(tmp_path, "RTE", rows=rows)
    parts = found(tmp_path, "RTE", validation=True).parts
    assert len(parts["val"]) == 5
    assert sorted(parts["train"].first + parts["val"].first) == sorted(row[1] for row in rows)


def test_fewer_rows_are_the_same_ones_every_time(tmp_path):
    rows = [(str(number), f"It is {number}.", "It is.", "entailment") for number in range(50)]
    written(tmp_path, "RTE", rows=rows)
    few, again, more = (found(tmp_path, "RTE", most=most).parts["train"].first for most in (8, 8, 20))
    assert few == again
    assert set(few) < set(more)
    assert len(few) == 8


def test_the_fingerprint_changes_with_every_word_and_answer(tmp_path):
    prints = {found(written(tmp_path / "a", "RTE"), "RTE").fingerprint}
    prints.add(found(written(tmp_path / "b", "RTE", [ROWS["RTE"][0]] * 2), "RTE").fingerprint)
    changed = [(*row[:3], "entailment") for row in ROWS["RTE"]]
    prints.add(found(written(tmp_path / "c", "RTE", changed), "RTE").fingerprint)
    assert len(prints) == 3


def test_mnli_is_measured_on_both_of_its_dev_files(tmp_path):
    written(tmp_path, "MNLI", files=["train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"])
    assert found(tmp_path, "MNLI").counts == {"train": 2, "test": 2, "mismatched": 2}


def test_results_may_be_asked_of_a_test_file_that_has_answers(tmp_path):
    written(tmp_path, "RTE", files=["train.tsv"])
    written(tmp_path, "RTE", rows=ROWS["RTE"][:1], files=["test.tsv"])
    assert found(tmp_path, "RTE", measured="test").counts == {"train": 2, "test": 1}


def test_all_are_those_that_are_there_but_wnli(tmp_path):
    for name in ("WNLI", "CoLA", "RTE"):
        written(tmp_path, name)
    assert there(GlueConfig(source=str(tmp_path), task="all")) == ["CoLA", "RTE"]
    assert there(GlueConfig(task="all")) == list(IN_TABLE)


def test_drawn_rows_come_in_the_form_of_every_task():
    for name in TASKS:
        assert found("demo", name).counts == {"train": 4000, "test": 500}


# ---------------------------------------------------------------------- bad input

BAD = {
    "no_folder": lambda folder: found(folder / "nowhere", "RTE"),
    "no_task": lambda folder: found(written(folder, "CoLA"), "RTE"),
    "no_task_at_all": lambda folder: found(folder, "RTE"),
    "no_dev": lambda folder: found(written(folder, "RTE", files=["train.tsv"]), "RTE"),
    "empty_file": lambda folder: found(written(folder, "CoLA", rows=[], header=False), "CoLA"),
    "no_rows": lambda folder: found(written(folder, "RTE", rows=[]), "RTE"),
    "few_columns_without_a_header": lambda folder: found(
        written(folder, "CoLA", [("gj04", "1", "It is so")], header=False), "CoLA"
    ),
    "too_few_to_hold_back": lambda folder: found(written(folder, "RTE"), "RTE", validation=True),
    "no_tasks_in_the_folder": lambda folder: there(GlueConfig(source=str(folder), task="all")),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_task_of_glue_is_refused_in_words(tmp_path, snapshot, case):
    with pytest.raises(DataError) as refusal:
        BAD[case](tmp_path)
    snapshot(case, str(refusal.value))


def test_a_column_that_is_missing_is_named_with_those_that_are_there(tmp_path, snapshot):
    (tmp_path / "RTE").mkdir()
    for file in ("train.tsv", "dev.tsv"):
        (tmp_path / "RTE" / file).write_text("index\tsentence1\tlabel\n0\tIt is.\tentailment\n")
    with pytest.raises(DataError) as refusal:
        found(tmp_path, "RTE")
    snapshot("missing_column", str(refusal.value))


def test_a_test_file_without_answers_is_told_from_a_torn_one(tmp_path, snapshot):
    written(tmp_path, "CoLA", header=False)
    (tmp_path / "CoLA" / "test.tsv").write_text("index\tsentence\n0\tIt is so.\n")
    with pytest.raises(DataError) as refusal:
        found(tmp_path, "CoLA", measured="test")
    snapshot("no_answers", str(refusal.value))


BROKEN = {
    "row_with_too_few_columns": ("RTE", ("7", "It is.", "entailment")),
    "answer_outside_the_set": ("RTE", ("7", "It is.", "It was.", "maybe")),
    "score_outside_the_range": ("STS-B", (*ROWS["STS-B"][0][:-1], "5.5")),
    "score_that_is_no_number": ("STS-B", (*ROWS["STS-B"][0][:-1], "high")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_row_is_named_by_its_line_or_left_out_and_counted(tmp_path, snapshot, case):
    name, row = BROKEN[case]
    written(tmp_path, name, rows=[*ROWS[name], row])
    with pytest.raises(DataError) as refusal:
        found(tmp_path, name)
    snapshot(case, str(refusal.value))
    left = found(tmp_path, name, broken="skip")
    assert left.counts == {"train": 2, "test": 2}
    assert "train.tsv: 1 broken row is left out" in left.remarks


def test_at_least_one_row_is_learned_from(snapshot):
    with pytest.raises(ConfigError) as refusal:
        GlueConfig(most=0)
    snapshot("most", str(refusal.value))


# ---------------------------------------------------------------------- real files

REAL = {
    "CoLA": (8551, 1043), "SST-2": (67349, 872), "MRPC": (2576, 1500), "STS-B": (4249, 1500),
    "QQP": (8999, 1000), "MNLI": (8999, 1000), "QNLI": (8999, 5463), "RTE": (2490, 277), "WNLI": (635, 71),
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_to_the_last_row(real_data, name):
    counts = found(real_data("glue"), name).counts
    assert (counts["train"], counts["test"]) == REAL[name]
    own = REAL[name] == TASKS[name].rows
    assert any("GLUE's own splits" in remark for remark in found(real_data("glue"), name).remarks) == own


@pytest.mark.real
@pytest.mark.parametrize(("name", "rows"), [("MRPC", 1725), ("STS-B", 1500), ("SST-2", 1821)])
def test_real_test_files_with_answers_can_be_measured_on(real_data, name, rows):
    assert len(found(real_data("glue"), name, measured="test").parts["test"]) == rows
