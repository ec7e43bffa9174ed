"""The Transformer from pairs to a report: it learns to copy, resumes to the same bits, answers, and says what
is too long."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.pairs import PairsConfig
from rayformer.data.text.vocabulary import BEGIN, END, PADDING
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan, Schedule
from rayformer.engine.task import Setting
from rayformer.nets.transformer import Transformer, TransformerConfig
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.translating import (
    TranslatingTask,
    TranslatingTraining,
    open_pairs,
    translating_groups,
)
from rayformer.recipes.transformer import DEFAULT, SMOKE, build
from rayformer.report.page import write_report
from rayformer.runs.run import Run

WORDS = ["red", "blue", "green", "grey", "pink", "brown"]
FRENCH = dict(zip(WORDS, ["rouge", "bleu", "vert", "gris", "rose", "brun"], strict=True))
PLAN = Plan(
    steps=120,
    optim=Optim(name="adam", rate=6e-3, betas=(0.9, 0.98)),
    schedule=Schedule(kind="inverse-root", warmup_steps=20),
    log_every=10,
    evaluate_every=60,
    save_every=60,
    precision="32",
)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    """Every pair of colours, word by word in another language."""
    path = tmp_path_factory.mktemp("pairs") / "colours.tsv"
    pairs = [(f"{one} {other}", f"{FRENCH[one]} {FRENCH[other]}") for one in WORDS for other in WORDS]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return path


def tiny(source, **changes):
    return replace(
        SMOKE,
        data=PairsConfig(source=str(source), pieces=300),
        model=TransformerConfig(width=32, depth=1, heads=4, hidden=48, dropout=0.0),
        train=TranslatingTraining(tokens=300, measured=5, shown=1, beams=2),
        plan=PLAN,
        **changes,
    )


@pytest.fixture(scope="module")
def run(sentences, tmp_path_factory) -> Run:
    return train(
        "transformer", tiny(sentences), out=tmp_path_factory.mktemp("runs") / "run", device="cpu"
    ).run


def test_it_learns_words_that_it_has_seen_in_other_company(run):
    result = run.result()
    assert next(iter(result)) == "bleu_percent", "the first number picks the best checkpoint"
    assert result["token_accuracy"] > 0.7
    assert result["cross_entropy_nats"] < 1.5


def test_a_resumed_training_gives_the_same_bits(run, sentences, tmp_path):
    half = tiny(sentences)
    begun = train(
        "transformer", replace(half, plan=replace(PLAN, steps=60)), out=tmp_path / "run", device="cpu"
    ).run
    train("transformer", half, resume=begun.path, device="cpu")
    first, second = (read_checkpoint(one)[0].tensors["model"] for one in (run, begun))
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def test_texts_and_files_are_answered_and_the_answers_kept(run, tmp_path):
    loaded = open_run(run.path, device="cpu")
    (tmp_path / "lines.txt").write_text("red blue\n\npink grey\tignored\n")
    said = loaded.recipe.predict(loaded, ["green pink", str(tmp_path / "lines.txt")], tmp_path / "out")
    assert list(said.values) == ["green pink", "red blue", "pink grey"]
    answers = [value["answer"] for value in said.values.values()]
    assert any(FRENCH[word] in " ".join(answers) for word in WORDS)
    assert (tmp_path / "out" / "answers.txt").read_text().split("\n")[:-1] == answers
    for value in said.values.values():
        assert value["log_probability"] <= 0
        assert len(value["others"]) <= 1
    assert json.dumps(said.values)


def test_answers_do_not_depend_on_what_is_asked_beside_them(run):
    loaded = open_run(run.path, device="cpu")
    alone = loaded.recipe.predict(loaded, ["red"], None).values["red"]
    beside = loaded.recipe.predict(loaded, ["red", "green pink brown grey red"], None).values["red"]
    assert alone["answer"] == beside["answer"]
    assert alone["log_probability"] == pytest.approx(beside["log_probability"], abs=1e-3)


def test_what_is_longer_than_anything_learned_is_answered_and_said(run):
    loaded = open_run(run.path, device="cpu")
    loaded.task.data.longest = 4
    (value,) = loaded.recipe.predict(loaded, ["red blue green pink"], None).values.values()
    assert "longer than anything learned from (4)" in value["remarks"][0]


@pytest.mark.parametrize(("name", "given"), [("empty_text", "  "), ("empty_lines", "FILE")])
def test_nothing_has_no_answer(run, name, given, tmp_path, snapshot):
    (tmp_path / "a.txt").write_text("\n\n")
    loaded = open_run(run.path, device="cpu")
    with pytest.raises(DataError) as error:
        loaded.recipe.predict(loaded, [str(tmp_path / "a.txt") if given == "FILE" else given], None)
    snapshot(name, str(error.value))


def test_a_finished_run_answers_when_its_pairs_are_gone_and_is_measured_on_others(run, tmp_path, sentences):
    text = sentences.read_text()
    moved = sentences.rename(sentences.parent / "elsewhere.tsv")
    try:
        loaded = open_run(run.path, device="cpu")
        assert loaded.recipe.predict(loaded, ["red blue"], None).values
        with pytest.raises(DataError, match="no such file"):
            evaluate(run.path, device="cpu")
        assert "bleu_percent" in evaluate(run.path, str(moved), device="cpu")
    finally:
        sentences.write_text(text)


def test_the_report_shows_answers_and_attention(run):
    shown = {name: caption for name, _, caption in run.pictures()}
    assert "answers are right" in shown["answers/list"]
    assert "who looked at whom" in shown["attention/00"]
    page = write_report(run.path).read_text(encoding="utf-8")
    assert "BLEU" in page


def test_training_on_other_pairs_begins_with_the_words_of_the_run_it_begins_from(run, tmp_path):
    other = tmp_path / "other.tsv"
    other.write_text("".join(f"{number} apples\t{number} pommes\n" for number in range(20)))
    config = replace(tiny(other), plan=replace(PLAN, steps=0))
    begun = train("transformer", config, out=tmp_path / "run", device="cpu", start=str(run.path)).run
    first, second = (open_run(path, device="cpu") for path in (run.path, begun.path))
    texts = ["red blue", "3 apples"]
    assert first.task.vocabulary.encode(texts) == second.task.vocabulary.encode(texts)
    said = [loaded.recipe.predict(loaded, ["red blue"], None).values for loaded in (first, second)]
    assert said[0] == said[1]


# ---------------------------------------------------------------------- batches and losses


def task(tmp_path, source="sorting-60", **changes) -> TranslatingTask:
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    config = replace(SMOKE, data=PairsConfig(source=source), train=TranslatingTraining(**changes))
    return build(config, setting).stages[0].task({})


def test_a_piece_says_before_each_word_what_came_before_it(tmp_path):
    (piece,) = task(tmp_path, tokens=400).batch("train", 0, 0, 1).split()
    assert (piece.target[:, 0] == BEGIN).all()
    for target, truth in zip(piece.target.tolist(), piece.truth.tolist(), strict=True):
        words = truth[: truth.index(END)]
        assert target[1 : len(words) + 1] == words
        assert set(truth[len(words) + 1 :]) <= {PADDING}
    assert piece.weight == (piece.truth != PADDING).sum()


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_a_batch(tmp_path, world):
    whole = task(tmp_path, tokens=400).batch("train", 5, 0, 1).counts["pairs"]
    parts = [task(tmp_path, tokens=400).batch("train", 5, rank, world) for rank in range(world)]
    assert sum(part.counts["pairs"] for part in parts) == whole
    assert len({len(part.split()) for part in parts}) == 1


def test_pieces_give_the_gradient_of_the_whole_batch(tmp_path):
    one, other = task(tmp_path, tokens=400), task(tmp_path, tokens=400, at_once=100)
    for each in (one, other):
        each.model.eval()
        pieces = each.batch("train", 3, 0, 1).split()
        total = sum(piece.weight for piece in pieces)
        for piece in pieces:
            (each.loss(piece, 3, torch.Generator()).total * piece.weight / total).backward()
    assert len(other.batch("train", 3, 0, 1).split()) == 4
    for name, parameter in one.model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, other.model.get_parameter(name).grad, atol=1e-5, rtol=1e-4, msg=name
        )


def test_padding_changes_no_loss(tmp_path):
    each = task(tmp_path, tokens=400)
    each.model.eval()
    (piece,) = each.batch("train", 0, 0, 1).split()

    def wider(table: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(table, (0, 3), value=PADDING)

    source = wider(piece.source)
    padded = replace(
        piece, source=source, real=source != PADDING, target=wider(piece.target), truth=wider(piece.truth)
    )
    losses = [each.loss(one, 0, torch.Generator()).total for one in (piece, padded)]
    torch.testing.assert_close(*losses)


def test_pairs_that_are_too_long_are_counted_and_said(sentences, tmp_path):
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    data, found = open_pairs(PairsConfig(source=str(sentences), pieces=0, longest=10), setting)
    said = " ".join(found["remarks"])
    assert "are longer than data.longest=10: left out" in said
    part = data.split("train")
    assert part is not None
    assert 0 < len(part.texts) < len(data.pairs.parts["train"])
    assert max(map(len, part.texts.targets)) == 9


def test_the_vocabulary_is_learned_from_training_pairs_alone(sentences, tmp_path):
    other = sentences.parent / "split"
    other.mkdir()
    (other / "train.tsv").write_text("".join(f"a{number}\tb\n" for number in range(9)))
    (other / "test.tsv").write_text("xyz\tb\n")
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    data, found = open_pairs(PairsConfig(source=str(other), pieces=0, validation=0.0), setting)
    assert "x" not in data.vocabulary.words
    assert "3 characters of test sources were never learned" in " ".join(found["remarks"])


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("all_too_long", lambda path, tmp: open_pairs(PairsConfig(source=str(path), longest=2), tmp)),
        ("unknown_size", lambda path, tmp: build(replace(tiny(path), size="bas"), tmp)),
        (
            "less_than_a_pair",
            lambda path, tmp: (
                build(replace(tiny(path), train=TranslatingTraining(tokens=5)), tmp)
                .stages[0]
                .task({})
                .batch("train", 0, 0, 1)
            ),
        ),
        (
            "more_processes_than_pairs",
            lambda path, tmp: (
                build(replace(tiny(path), train=TranslatingTraining(tokens=40)), tmp)
                .stages[0]
                .task({})
                .batch("train", 0, 0, 64)
            ),
        ),
        ("no_beams", lambda path, tmp: TranslatingTraining(beams=0)),
        ("all_smooth", lambda path, tmp: TranslatingTraining(smoothing=1.0)),
        ("negative_penalty", lambda path, tmp: TranslatingTraining(penalty=-1.0)),
    ],
)
def test_what_cannot_work_is_refused(name, make, sentences, tmp_path, snapshot):
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)
    with pytest.raises((ConfigError, DataError)) as error:
        make(sentences, setting)
    snapshot(name, str(error.value).replace(str(sentences), "PAIRS"))


def test_every_parameter_learns_in_one_group_and_words_do_not_decay():
    model = Transformer(TransformerConfig(width=8, depth=1, heads=2, hidden=8), 9)
    plain, undecayed = translating_groups(model)
    assert set(plain.parameters) | set(undecayed.parameters) == {name for name, _ in model.named_parameters()}
    assert undecayed.decay == 0
    assert "words.weight" in undecayed.parameters


def test_the_default_follows_the_papers_optimiser():
    """Sec. 5.3: Adam with 0.9 and 0.98, the inverse root after a warm-up, smoothing by a tenth."""
    assert DEFAULT.plan.optim.betas == (0.9, 0.98)
    assert DEFAULT.plan.optim.eps == 1e-9
    assert DEFAULT.plan.schedule.kind == "inverse-root"
    assert DEFAULT.train.smoothing == 0.1
    assert (DEFAULT.train.beams, DEFAULT.train.penalty) == (4, 0.6)


@pytest.mark.slow
def test_the_smoke_size_learns_to_sort(tmp_path):
    begun = train("transformer", SMOKE, out=tmp_path / "run", device="cpu")
    assert begun.result["sequence_accuracy"] > 0.5
    loaded = open_run(tmp_path / "run", device="cpu")
    said = loaded.recipe.predict(loaded, ["sort hcda"], None).values["sort hcda"]
    assert said["answer"] == "acdh"
