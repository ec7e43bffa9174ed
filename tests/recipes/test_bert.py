"""The bert recipe, from a folder of text to answers: it learns, resumes to the same bits, begins from other
weights, fills in blanks, goes to transformers' format and back, and refuses what it cannot read."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.text.corpus import CorpusConfig
from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.instances import InstanceConfig
from rayformer.engine.checkpoint import read_checkpoint
from rayformer.engine.plan import Optim, Plan
from rayformer.engine.task import Setting
from rayformer.nets.bert import BertConfig
from rayformer.recipes.bert import SMOKE, BertRecipe, build, sized
from rayformer.recipes.open_run import evaluate, open_run, train
from rayformer.recipes.parts.pretraining import TextTraining
from rayformer.report.page import write_report
from rayformer.runs.run import Run

PLAN = Plan(
    steps=24,
    optim=Optim(name="bert-adam", rate=2e-3, eps=1e-6, decay=0.01),
    log_every=4,
    evaluate_every=0,
    save_every=12,
    precision="32",
)
MODEL = BertConfig(width=24, depth=2, heads=2, positions=40, dropout=0.1, attention_dropout=0.1)


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    """A file for each of thirty documents."""
    folder = tmp_path_factory.mktemp("texts")
    for number, document in enumerate(draw_documents(30)):
        (folder / f"{number:02d}.txt").write_text("\n".join(document) + "\n")
    return folder


def tiny(texts: Path, **changes) -> BertRecipe:
    base = BertRecipe(
        data=CorpusConfig(source=str(texts), vocabulary_size=300),
        model=MODEL,
        train=TextTraining(batch=8, text=InstanceConfig(most=32), measured=24, shown=3),
        plan=PLAN,
    )
    return replace(base, **changes)


@pytest.fixture(scope="module")
def run(texts, tmp_path_factory) -> Run:
    return train("bert", tiny(texts), out=tmp_path_factory.mktemp("runs") / "bert", device="cpu").run


def weights(run: Run) -> dict[str, torch.Tensor]:
    found, _ = read_checkpoint(run)
    assert found is not None
    return found.tensors["model"]


def test_a_run_knows_its_vocabulary_its_text_and_its_numbers(run):
    assert {path.name for path in (run.assets / "wordpiece").iterdir()} == {"vocab.txt", "tokenizer.json"}
    data = run.manifest["data"]
    assert data["documents"] == 30
    assert data["held_out_documents"] == 3
    result = run.result()
    assert next(iter(result)) == "words_nats", "the first number picks the best checkpoint"
    assert result["perplexity"] == pytest.approx(np.exp(result["words_nats"]))
    losses = [row["train/words"] for row in run.metrics() if "train/words" in row]
    assert losses[-1] < losses[0]


def test_a_run_resumes_to_the_same_bits(run, texts, tmp_path):
    half = tiny(texts, plan=replace(PLAN, steps=12))
    train("bert", half, out=tmp_path / "half", device="cpu")
    train("bert", tiny(texts), resume=tmp_path / "half", device="cpu")
    resumed = weights(Run.open(tmp_path / "half"))
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, resumed[name]), name


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_pieces_give_the_gradient_of_the_whole_batch(texts, tmp_path, objective):
    still = replace(MODEL, dropout=0.0, attention_dropout=0.0, objective=objective)
    gradients = []
    for at_once in (None, 3):
        config = tiny(texts, model=still, train=replace(tiny(texts).train, at_once=at_once))
        setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path / "assets")
        task = build(config, setting).stages[0].task({})
        pieces = task.batch("train", 0, 0, 1).split()
        assert len(pieces) == (1 if at_once is None else 3)
        whole = sum(piece.weight for piece in pieces)
        for piece in pieces:
            (task.loss(piece, 0, torch.Generator()).total * (piece.weight / whole)).backward()
        gradients.append({name: value.grad for name, value in task.model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_the_shares_of_two_processes_give_the_gradient_of_one(texts, tmp_path):
    config = tiny(texts, model=replace(MODEL, dropout=0.0, attention_dropout=0.0))
    task = build(config, Setting(seed=0, device=torch.device("cpu"), assets=tmp_path)).stages[0].task({})
    totals = []
    for world in (1, 2):
        pieces = [piece for rank in range(world) for piece in task.batch("train", 3, rank, world).split()]
        whole = sum(piece.weight for piece in pieces)
        losses = [task.loss(piece, 3, torch.Generator()).total * (piece.weight / whole) for piece in pieces]
        totals.append(torch.stack(losses).sum().item())
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


def test_words_alone_train_no_pair_weights(texts, tmp_path):
    text = InstanceConfig(most=32, next_sentence=False)
    config = tiny(texts, train=replace(tiny(texts).train, text=text), plan=replace(PLAN, steps=3))
    out = train("bert", config, out=tmp_path / "alone", device="cpu")
    assert "next_accuracy" not in out.result
    first = open_run(out.run.path).model
    assert not first.follows.weight.requires_grad


def test_blanks_are_filled_and_pairs_are_told(run, tmp_path):
    loaded = open_run(run.path, "cpu")
    text = "Anna was [MASK] the [MASK]."
    pair = "Anna was in the harbour. ||| She rowed the [MASK]."
    (tmp_path / "lines.txt").write_text("The [MASK] sat.\n\nThe boat was wet. ||| It sank.\n")
    said = loaded.recipe.predict(loaded, [text, pair, str(tmp_path / "lines.txt")], None)
    assert list(said.values) == [text, pair, "The [MASK] sat.", "The boat was wet. ||| It sank."]
    assert len(said.values[text]["blanks"]) == 2
    assert "follows" not in said.values[text]
    for blank in said.values[text]["blanks"]:
        shares = list(blank.values())
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
    assert "[MASK]" not in said.values[text]["filled"]
    assert 0 <= said.values[pair]["follows"] <= 1
    json.dumps(said.values)


def test_what_is_said_of_a_text_does_not_depend_on_the_others(run):
    loaded = open_run(run.path, "cpu")
    texts = ["Anna was [MASK].", "The [MASK] belonged to the sailor and it was very old.", "[MASK]"]
    together = loaded.recipe.predict(loaded, texts, None).values
    for text in texts:
        alone = loaded.recipe.predict(loaded, [text], None).values[text]
        assert together[text]["filled"] == alone["filled"]
        np.testing.assert_allclose(
            list(together[text]["blanks"][0].values()), list(alone["blanks"][0].values()), rtol=1e-4
        )


def test_a_text_longer_than_the_positions_is_cut_and_that_is_said(run):
    loaded = open_run(run.path, "cpu")
    text = "the [MASK] " + "boat " * 60
    said = loaded.recipe.predict(loaded, [text, "boat " * 60 + "[MASK]"], None)
    cut = len(loaded.task.wordpiece.pieces([text])[0]) - (40 - 2)
    assert said.values[text]["cut"] == cut > 0
    assert f"{cut} pieces were cut off" in said.rows[2][1]
    assert said.values["boat " * 60 + "[MASK]"]["blanks"] == []


def test_looking_back_only_a_blank_is_filled_from_what_comes_before(texts, tmp_path):
    config = tiny(texts, model=replace(MODEL, objective="causal"), plan=replace(PLAN, steps=3))
    loaded = open_run(train("bert", config, out=tmp_path / "back", device="cpu").run.path, "cpu")
    one, other = "Anna was [MASK] the boat.", "Anna was [MASK] a cake, she said."
    said = loaded.recipe.predict(loaded, [one, other], None).values
    assert said[one]["blanks"][0].keys() == said[other]["blanks"][0].keys()


def test_other_text_is_measured_whole(run, tmp_path):
    for number, document in enumerate(draw_documents(8, seed=9)):
        (tmp_path / f"{number}.txt").write_text("\n".join(document))
    numbers = evaluate(run.path, str(tmp_path), "cpu")
    assert numbers["words_nats"] > 0
    assert numbers != evaluate(run.path, device="cpu")


def test_the_report_shows_blanks_attention_pairs_and_words(run):
    write_report(run.path)
    assert {path.stem for path in run.path.joinpath("pictures").iterdir()} == {
        "blanks",
        "attention",
        "next",
        "words",
    }
    assert "next" in run.path.joinpath("report.html").read_text(encoding="utf-8")


def test_training_begins_from_a_run_with_its_vocabulary(run, texts, tmp_path):
    config = tiny(
        texts, plan=replace(PLAN, steps=0), data=CorpusConfig(source=str(texts), vocabulary_size=999)
    )
    begun = train("bert", config, out=tmp_path / "begun", start=str(run.path), device="cpu").run
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(begun)[name]), name
    kept = [(one.assets / "wordpiece" / "vocab.txt").read_bytes() for one in (run, begun)]
    assert kept[0] == kept[1]


def test_what_is_exported_is_read_again(run, texts, tmp_path):
    loaded = open_run(run.path, "cpu")
    export = loaded.recipe.exports["transformers"]
    export.write(loaded, export.options, tmp_path / "theirs")
    config = tiny(texts, plan=replace(PLAN, steps=0))
    begun = train("bert", config, out=tmp_path / "begun", start=str(tmp_path / "theirs"), device="cpu").run
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(begun)[name]), name


# ---------------------------------------------------------------------- what is refused


def refusal(texts: Path, tmp_path: Path, **changes) -> str:
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path / "assets")
    with pytest.raises((ConfigError, DataError)) as refused:
        build(tiny(texts, **changes), setting)
    return str(refused.value)


def test_one_document_has_no_next_sentence_and_that_is_said(tmp_path, snapshot):
    path = tmp_path / "one.txt"
    path.write_text("\n".join(draw_documents(1)[0] * 3))
    snapshot("one_document", refusal(path, tmp_path))
    alone = replace(tiny(path).train, text=InstanceConfig(most=32, next_sentence=False))
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path / "assets")
    task = build(tiny(path, train=alone), setting).stages[0].task({})
    assert len(task.batch("train", 0, 0, 1).whole.lengths) == 8


def test_longer_segments_than_positions_are_refused(texts, tmp_path, snapshot):
    longer = replace(tiny(texts).train, text=InstanceConfig(most=64))
    snapshot("longer_than_positions", refusal(texts, tmp_path, train=longer))


def test_sentences_longer_than_a_segment_are_counted(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n\n".join(f"{'word ' * length}\nshort" for length in (5, 80, 90)))
    setting = Setting(seed=0, device=torch.device("cpu"), assets=tmp_path / "assets")
    remarks = build(tiny(path), setting).data["remarks"]
    assert [line for line in remarks if line.startswith("2 of ")], remarks


def test_a_vocabulary_without_mask_is_refused(texts, tmp_path, snapshot):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n")
    data = CorpusConfig(source=str(texts), vocabulary=str(tmp_path / "vocab.txt"))
    snapshot("vocabulary_without_mask", refusal(texts, tmp_path, data=data))


def test_text_that_asks_nothing_is_refused(run, snapshot):
    loaded = open_run(run.path, "cpu")
    with pytest.raises(DataError) as refused:
        loaded.recipe.predict(loaded, ["The boat sank."], None)
    snapshot("asks_nothing", str(refused.value))


def test_a_size_that_nobody_published_is_refused_with_the_nearest(snapshot):
    with pytest.raises(ConfigError) as refused:
        sized(MODEL, "bas")
    snapshot("size", str(refused.value))
    assert sized(MODEL, "mini").width == 256
    assert sized(replace(MODEL, objective="causal"), "mini").objective == "causal"


@pytest.mark.slow
def test_the_smoke_size_learns_words(tmp_path):
    """Which sentence is next takes longer to learn than a smoke test may last."""
    result = train("bert", SMOKE, out=tmp_path / "smoke", device="cpu", smoke=True).result
    assert result["words_accuracy"] > 0.45, "the most frequent word is right for a quarter of them"
