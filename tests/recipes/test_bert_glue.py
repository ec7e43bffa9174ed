"""BERT fine-tuned: it learns what the drawn sentences ask, from wherever it begins, several seeds are one
result, and what cannot be is refused in words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayformer.cli.train import read_job
from rayformer.core.errors import ConfigError, DataError, RunError
from rayformer.data.text.glue import TASKS, GlueConfig, Sentences
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.checkpoint import read_checkpoint, read_tensors
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.nets.bert import BertConfig
from rayformer.recipes import index
from rayformer.recipes.bert_glue import RECIPE, SMOKE, BertGlueRecipe
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.glue_table import Column, combined
from rayformer.recipes.parts.sentences import Rows, SentenceTraining, agreement, by_epochs
from rayformer.recipes.parts.text_body import text_body_from
from rayformer.runs.run import Run

TINY = BertConfig(vocabulary=200, positions=32, width=32, depth=1, heads=2, dropout=0.1)
PLAN = Plan(steps=24, log_every=8, evaluate_every=0, save_every=8, precision="32", optim=Optim(name="adamw"))


def recipe(task: str = "RTE", plan: Plan = PLAN, source: str = "demo", **training) -> BertGlueRecipe:
    training = {"batch": 8, "epochs": None, "longest": 32, "shown": 2, "warmup": 0.0} | training
    return BertGlueRecipe(
        data=GlueConfig(source=source, task=task), model=TINY, train=SentenceTraining(**training), plan=plan
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A few of the drawn rows of two tasks, as files."""
    from rayformer.data.text.small_world import drawn_rows

    folder = tmp_path_factory.mktemp("glue")
    for name in ("RTE", "STS-B"):
        (folder / name).mkdir()
        for file, split, count in (("train.tsv", "train", 64), ("dev.tsv", "dev", 24)):
            lines = ["index\tsentence1\tsentence2\t" + ("score" if name == "STS-B" else "label")]
            for number, (first, second, answer) in enumerate(drawn_rows(name, split)[:count]):
                said = f"{answer:.3f}" if name == "STS-B" else TASKS[name].answers[int(answer)]
                lines.append(f"{number}\t{first}\t{second}\t{said}")
            (folder / name / file).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(small, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "one"
    return train("bert-glue", recipe(source=str(small)), out=out, seed=3, device="cpu").run


@pytest.fixture(scope="module")
def seeds(small, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "seeds"
    config = recipe(source=str(small), seeds=3, plan=replace(PLAN, steps=4))
    return train("bert-glue", config, out=out, seed=5, device="cpu").run


@pytest.fixture(scope="module")
def table(small, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "table"
    config = recipe(task="all", source=str(small), plan=replace(PLAN, steps=4))
    return train("bert-glue", config, out=out, device="cpu").run


# ---------------------------------------------------------------------- learning


@pytest.mark.slow
def test_the_smoke_size_learns_what_is_felt(tmp_path):
    result = train("bert-glue", SMOKE, out=tmp_path / "run", smoke=True, device="cpu").result
    assert result["commonest_accuracy"] < 0.6
    assert result["accuracy"] > 0.95


def test_a_killed_run_goes_on_bit_for_bit_though_values_are_left_out_at_random(small, tmp_path):
    config = recipe(source=str(small))
    whole = train("bert-glue", config, out=tmp_path / "whole", seed=4, device="cpu").run
    # Nothing in the plan may follow the length of the run, or the two would not be the same training.
    short = replace(config, plan=replace(config.plan, steps=11))
    first = train("bert-glue", short, out=tmp_path / "short", seed=4, device="cpu").run
    on = train("bert-glue", config, resume=first.path, device="cpu").run
    one, other = (read_checkpoint(run)[0].tensors["model"] for run in (whole, on))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_pieces_of_a_step_give_the_gradient_of_the_step(run):
    task = open_run(run.path, device="cpu").task
    found = []
    for at_once in (None, 3, 1):
        task.options = replace(task.options, at_once=at_once)
        task.model.eval()
        task.model.zero_grad()
        pieces = task.batch("train", 2, 0, 1).split()
        for piece in pieces:
            loss = task.loss(piece, 2, torch.Generator()).total
            (loss * piece.weight / sum(one.weight for one in pieces)).backward()
        found.append((len(pieces), task.model.bert.words.weight.grad.clone()))
    assert [count for count, _ in found] == [1, 3, 8]
    for _, grad in found[1:]:
        torch.testing.assert_close(grad, found[0][1], atol=1e-6, rtol=1e-4)


def test_two_processes_share_the_rows_of_a_step(run):
    task = open_run(run.path, device="cpu").task

    def words(rank: int, world: int):
        return sorted(map(tuple, _sentences(task.batch("train", 5, rank, world))))

    assert sorted(words(0, 2) + words(1, 2)) == words(0, 1)


def _sentences(batch):
    for piece in batch.split():
        yield from (part.tolist() for part in piece.words.split(list(piece.ragged.sizes)))


def test_answers_do_not_depend_on_who_else_is_asked(run):
    task = open_run(run.path, device="cpu").task
    rows = task.rows.split("test")
    pairs = list(zip(rows.sentences.first, rows.sentences.second, strict=True))
    together = task.say(pairs)
    alone = torch.cat([task.say([pair]) for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_passes_over_the_rows_make_the_plan():
    plan, training = Plan(steps=1000, schedule=Schedule(kind="linear")), SentenceTraining(batch=32)
    made = by_epochs(plan, training, 2490)
    assert (made.steps, made.schedule.warmup_steps) == (234, 23)
    assert by_epochs(plan, training, 10**6).steps == 1000
    assert by_epochs(plan, replace(training, epochs=None), 64).steps == 1000
    warm = replace(plan, schedule=Schedule(kind="linear", warmup_steps=7))
    assert by_epochs(warm, training, 2490).schedule.warmup_steps == 7


def test_rows_that_are_too_long_are_cut_and_counted(tmp_path):
    words = WordPiece.train(["the fox chased the bear in the wood ."] * 3, 100)
    sentences = Sentences(("the fox", "the fox " * 20), ("a bear", "the bear"), np.zeros(2, np.int64))
    rows = Rows(sentences, words, 12)
    assert rows.cut == 1
    assert rows.lengths.max() == 12
    said = rows.remark("learn from", 12)
    assert said == (
        "1 of 2 rows to learn from are longer than the 12 tokens that train.longest and the network's "
        "positions allow, and are cut"
    )
    assert Rows(sentences, words, 200).remark("learn from", 200) is None


def test_what_is_cut_is_among_the_remarks_of_the_run(small, tmp_path):
    config = recipe(source=str(small), longest=10, plan=replace(PLAN, steps=1))
    run = train("bert-glue", config, out=tmp_path / "run", device="cpu").run
    remarks = Run.open(run.path).manifest["data"]["remarks"]
    said = "RTE: 64 of 64 rows to learn from are longer than the 10 tokens"
    assert any(remark.startswith(said) for remark in remarks)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_judged_by_its_own_metrics(name):
    task = TASKS[name]
    said = torch.randn(20, max(1, len(task.answers)), generator=torch.Generator().manual_seed(0))
    true = torch.rand(20) * 5 if task.scored else torch.arange(20) % len(task.answers)
    numbers = agreement(task, said, true)
    assert tuple(numbers)[: len(task.metrics)] == task.metrics
    expected = {"CoLA": "mcc", "STS-B": "spearman", "MRPC": "f1", "QQP": "f1"}.get(name, "accuracy")
    assert next(iter(numbers)) == expected, "the number of papers' tables comes first"


# ---------------------------------------------------------------------- beginning


def test_a_run_lends_its_body_and_its_words_and_is_needed_no_more(run, small, tmp_path):
    source = tmp_path / "source"
    Path(run.path).rename(source)
    try:
        config = recipe("STS-B", source=str(small), plan=replace(PLAN, steps=0))
        begun = train("bert-glue", config, out=tmp_path / "begun", start=str(source), device="cpu").run
    finally:
        source.rename(run.path)
    given, taken = (read_checkpoint(one)[0].tensors["model"] for one in (run, begun))
    assert all(torch.equal(taken[name], given[name]) for name in given if name.startswith("bert."))
    assert taken["head.weight"].shape == (1, TINY.width)
    words = (json.loads((one.assets / "wordpiece" / "tokenizer.json").read_text()) for one in (run, begun))
    assert next(words) == next(words)
    assert set(evaluate(begun.path, device="cpu")) >= {"spearman", "pearson"}


def test_every_seed_begins_from_the_same_body_and_with_a_head_of_its_own(run, small, tmp_path, capsys):
    config = recipe("STS-B", source=str(small), seeds=2, plan=replace(PLAN, steps=0))
    begun = train("bert-glue", config, out=tmp_path / "begun", start=str(run.path), device="cpu").run
    given = read_checkpoint(run)[0].tensors["model"]
    said = capsys.readouterr().err
    assert said.count("tensors from") == 2, "what is measured together is not begun anew"
    heads = []
    for name in ("STS-B-0", "STS-B-1"):
        taken = read_checkpoint(begun.stage(name))[0].tensors["model"]
        assert all(torch.equal(taken[key], given[key]) for key in given if key.startswith("bert."))
        heads.append(taken["head.weight"])
    assert not torch.equal(*heads)


def test_a_stage_lends_its_body_as_a_run_does_and_a_run_of_several_asks_which(
    table, small, tmp_path, snapshot
):
    stage = table.path / "stages" / "STS-B-0"
    config = recipe(source=str(small), plan=replace(PLAN, steps=0))
    begun = train("bert-glue", config, out=tmp_path / "begun", start=str(stage), device="cpu").run
    given, taken = (read_checkpoint(one)[0].tensors["model"] for one in (Run(stage), begun))
    assert all(torch.equal(taken[name], given[name]) for name in given if name.startswith("bert."))
    with pytest.raises(RunError) as refusal:
        train("bert-glue", config, out=tmp_path / "run", start=str(table.path), device="cpu")
    snapshot("which_stage", str(refusal.value).replace(str(table.path), "RUN"))


def test_a_run_of_pre_training_lends_its_body(small, tmp_path):
    smoke = index.load("bert").smoke
    smoke = replace(smoke, plan=replace(smoke.plan, steps=1, precision="32"))
    source = train("bert", smoke, out=tmp_path / "bert", device="cpu").run
    config = recipe(source=str(small), plan=replace(PLAN, steps=0))
    begun = train("bert-glue", config, out=tmp_path / "begun", start=str(source.path), device="cpu").run
    given, taken = (read_checkpoint(one)[0].tensors["model"] for one in (source, begun))
    body = {name: tensor for name, tensor in given.items() if name.startswith("bert.")}
    assert body
    assert all(torch.equal(taken[name], tensor) for name, tensor in body.items())
    words = WordPiece.load(source.assets / "wordpiece")
    assert (
        len(open_run(begun.path, device="cpu").task.rows.words)
        == len(words)
        == taken["bert.words.weight"].shape[0]
    )


def test_an_exported_folder_is_begun_from_and_says_what_it_is_made_of(run, small, tmp_path):
    loaded = open_run(run.path, device="cpu")
    RECIPE.exports["transformers"].write(loaded, RECIPE.exports["transformers"].options, tmp_path / "folder")
    told = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert told["id2label"] == {"0": "entailment", "1": "not_entailment"}
    config = recipe(source=str(small), plan=replace(PLAN, steps=0))
    config = replace(config, model=BertConfig(vocabulary=50))
    begun = train("bert-glue", config, out=tmp_path / "run", start=str(tmp_path / "folder"), device="cpu").run
    given, taken = (read_checkpoint(one)[0].tensors["model"] for one in (run, begun))
    assert given.keys() == taken.keys()
    assert all(torch.equal(taken[name], given[name]) for name in given), "its head fits the same answers"


def test_weights_by_themselves_need_words_and_a_size(run, tmp_path, snapshot):
    loaded = open_run(run.path, device="cpu")
    file = tmp_path / "alone" / "model.safetensors"
    file.parent.mkdir()
    RECIPE.exports["safetensors"].write(loaded, RECIPE.exports["safetensors"].options, file)
    vocabulary = str(run.assets / "wordpiece" / "vocab.txt")
    asked = {
        "no_words": (None, None), "no_size": (None, vocabulary), "no_such_size": ("medium-sized", vocabulary),
    }  # fmt: skip
    for case, (size, words) in asked.items():
        with pytest.raises(ConfigError) as refusal:
            text_body_from(str(file), TINY, size, words, list)
        snapshot(case, str(refusal.value))
    with pytest.raises(ConfigError) as refusal:
        text_body_from(str(run.path), TINY, "tiny", None, list)
    snapshot("size_of_a_run", str(refusal.value).replace(str(run.path), "RUN"))


def test_words_of_another_network_are_refused(run, tmp_path, snapshot):
    loaded = open_run(run.path, device="cpu")
    RECIPE.exports["transformers"].write(loaded, RECIPE.exports["transformers"].options, tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    (tmp_path / "folder" / "config.json").write_text(json.dumps(config | {"vocab_size": 90}))
    with pytest.raises(DataError) as refusal:
        text_body_from(str(tmp_path / "folder"), TINY, None, None, list)
    entries = len(loaded.task.rows.words)
    snapshot("words_of_another_network", str(refusal.value).replace(f"{entries:,}", "N"))


def test_what_is_no_bert_is_refused_before_anything_is_trained(small, tmp_path, snapshot):
    out = tmp_path / "vit"
    vit = replace(index.load("vit").smoke, plan=replace(PLAN, steps=0))
    Run.create(out, "vit", {"config": {}, "seed": 0})
    with pytest.raises(ConfigError) as refusal:
        train("bert-glue", recipe(source=str(small)), out=tmp_path / "run", start=str(out), device="cpu")
    snapshot("no_bert", str(refusal.value))
    assert not (tmp_path / "run").exists()
    assert vit.plan.steps == 0


# ---------------------------------------------------------------------- several at once


def test_the_result_of_seeds_is_their_median_beside_the_extremes(seeds):
    result = seeds.result()
    each = [seeds.stage(f"RTE-{seed}").result()["accuracy"] for seed in (5, 6, 7)]
    assert result["accuracy"] == pytest.approx(sorted(each)[1])
    assert result["lowest_accuracy"] == pytest.approx(min(each))
    assert result["highest_accuracy"] == pytest.approx(max(each))
    assert set(result["by_seed"]) == {"RTE-5", "RTE-6", "RTE-7"}
    nats = sorted(seeds.stage(f"RTE-{seed}").result()["cross_entropy_nats"] for seed in (5, 6, 7))
    assert nats[0] < nats[1] < nats[2]
    assert result["cross_entropy_nats"] == pytest.approx(nats[1])
    assert {name for name, *_ in seeds.pictures()} >= {"glue/seeds", "answers/confusion", "answers/mistakes"}


def test_seeds_differ_in_their_heads_and_in_the_order_of_rows(seeds):
    tasks = [open_run(seeds.path / "stages" / f"RTE-{seed}", device="cpu").task for seed in (5, 6)]
    orders = [sorted(map(tuple, _sentences(task.batch("train", 0, 0, 1)))) for task in tasks]
    assert orders[0] != orders[1]
    assert not torch.equal(tasks[0].model.head.weight, tasks[1].model.head.weight)


def test_one_of_the_seeds_is_the_run_that_has_this_seed_alone(seeds, small, tmp_path):
    config = recipe(source=str(small), plan=replace(PLAN, steps=4))
    alone = train("bert-glue", config, out=tmp_path / "alone", seed=6, device="cpu").run
    # What is drawn for the batches and the head follows the seed; dropout is a stream of each run.
    one, other = (open_run(path, device="cpu").task for path in (alone.path, seeds.path / "stages" / "RTE-6"))
    assert list(_sentences(one.batch("train", 1, 0, 1))) == list(_sentences(other.batch("train", 1, 0, 1)))


def test_a_seed_that_was_lost_is_trained_anew_and_begins_where_the_others_began(run, small, tmp_path):
    import shutil

    config = recipe(source=str(small), seeds=2, plan=replace(PLAN, steps=3))
    several = train("bert-glue", config, out=tmp_path / "two", start=str(run.path), device="cpu").run
    before = read_checkpoint(several.stage("RTE-1"))[0].tensors["model"]
    shutil.rmtree(several.path / "stages" / "RTE-1")
    again = train("bert-glue", config, resume=several.path, device="cpu").run
    after = read_checkpoint(again.stage("RTE-1"))[0].tensors["model"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_the_table_has_every_task_that_is_there_beside_published_numbers(table):
    result = table.result()
    rows = result["by_task"]
    assert list(rows) == ["STS-B", "RTE"]
    assert rows["RTE"]["BERT-Base"] == 66.4
    assert (rows["RTE"]["learned_from"], rows["RTE"]["measured_on"]) == (64, 24)
    assert result["rte_accuracy"] == pytest.approx(table.stage("RTE-0").result()["accuracy"])
    assert rows["STS-B"]["median_percent"] == pytest.approx(100 * result["stsb_spearman"])
    means = [100 * result["stsb_spearman"], 100 * result["rte_accuracy"]]
    assert result["mean_percent"] == pytest.approx(sum(means) / 2)
    assert {name for name, *_ in table.pictures()} >= {"glue/table", "glue/seeds"}


def test_a_table_is_measured_again_from_its_folder_alone(table, small):
    found = evaluate(table.path, device="cpu")
    assert found["by_task"] == table.result()["by_task"]


def test_what_seeds_say_together_is_the_mean_of_their_shares():
    draw = torch.Generator().manual_seed(0)
    said = [torch.randn(6, 3, generator=draw) for _ in range(4)]
    shares = combined(TASKS["MNLI"], said).softmax(dim=1)
    torch.testing.assert_close(shares, torch.stack([one.softmax(dim=1) for one in said]).mean(dim=0))
    torch.testing.assert_close(combined(TASKS["STS-B"], said), torch.stack(said).mean(dim=0))
    assert Column((0.1, 0.5, 0.9)).numbers("mcc") == {"mcc": 0.5, "lowest_mcc": 0.1, "highest_mcc": 0.9}


# ---------------------------------------------------------------------- asking


def test_sentences_are_answered_from_words_and_from_files_alike(run, tmp_path):
    loaded = open_run(run.path, device="cpu")
    file = tmp_path / "pairs.tsv"
    file.write_text("the fox is red .\tthe fox is old .\n\nthe owl saw it .\tit was seen .\n")
    from_file = RECIPE.predict(loaded, [str(file)], None).values
    texts = ["the fox is red . ||| the fox is old .", "the owl saw it .\tit was seen ."]
    typed = RECIPE.predict(loaded, texts, None).values
    assert [one["top"] for one in from_file.values()] == [one["top"] for one in typed.values()]
    assert all(sum(one["top"].values()) == pytest.approx(1) for one in typed.values())


def test_seeds_answer_together(seeds):
    text = "the fox is red . ||| the fox is old ."
    whole = RECIPE.predict(open_run(seeds.path, device="cpu"), [text], None).values[text]["top"]
    each = [
        RECIPE.predict(open_run(seeds.path / "stages" / f"RTE-{seed}", device="cpu"), [text], None).values[
            text
        ]
        for seed in (5, 6, 7)
    ]
    for name, share in whole.items():
        assert share == pytest.approx(sum(one["top"][name] for one in each) / 3, abs=1e-6)


def test_a_score_is_a_number(table):
    loaded = open_run(table.path / "stages" / "STS-B-0", device="cpu")
    (value,) = RECIPE.predict(loaded, ["the fox is red . ||| the fox is old ."], None).values.values()
    assert isinstance(value["score"], float)


def test_what_cannot_be_asked_is_refused_in_words(run, table, seeds, tmp_path, snapshot):
    loaded = open_run(run.path, device="cpu")
    (tmp_path / "empty.txt").write_text("\n")
    asked = {
        "one_sentence": "the fox is red .",
        "three_sentences": "one ||| two ||| three",
        "half_a_pair": "one |||  ",
        "no_file": str(tmp_path / "nowhere.tsv"),
        "empty_file": str(tmp_path / "empty.txt"),
    }
    for case, text in asked.items():
        with pytest.raises(DataError) as refusal:
            RECIPE.predict(loaded, [text], None)
        snapshot(case, str(refusal.value))
    with pytest.raises(RunError) as refusal:
        RECIPE.predict(open_run(table.path, device="cpu"), ["one ||| two"], None)
    snapshot("several_tasks", str(refusal.value).replace(str(table.path), "RUN"))
    for name, export in RECIPE.exports.items():
        with pytest.raises(ConfigError) as refusal:
            export.write(open_run(seeds.path, device="cpu"), export.options, tmp_path / name)
        snapshot("several_networks", str(refusal.value).replace(str(seeds.path), "RUN"))


@pytest.mark.parametrize(
    "field",
    [{"batch": 0}, {"seeds": 0}, {"epochs": -1.0}, {"warmup": 1.0}, {"longest": 4}, {"layer_decay": 0.0}],
)
def test_fields_that_cannot_work_are_refused_by_name(field, snapshot):
    with pytest.raises(ConfigError) as refusal:
        SentenceTraining(**field)
    snapshot(f"field_{next(iter(field))}", str(refusal.value))


def test_a_task_is_named_as_glue_names_it(snapshot):
    with pytest.raises(ConfigError) as refusal:
        read_job(["bert-glue", "--data.task", "rte"], "usage")
    snapshot("task", str(refusal.value))


def test_exported_weights_are_those_of_the_run(run, tmp_path):
    loaded = open_run(run.path, device="cpu")
    export = RECIPE.exports["safetensors"]
    export.write(loaded, export.options, tmp_path / "model.safetensors")
    written = read_tensors(tmp_path / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in loaded.model.state_dict().items())
