"""Fine-tuned BERT beside transformers' BertForSequenceClassification, and folders that one reads of the
other."""

import json

import pytest
import torch
import torch.nn.functional as F

from rayformer.data.text.small_world import drawn_rows
from rayformer.data.text.wordpiece import WordPiece
from rayformer.engine.checkpoint import write_tensors
from rayformer.nets.bert import BertConfig
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.parts.ragged import Ragged
from rayformer.nets.weights.bert import config_of, described
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.loading import exported, load, put

from .beside import apart, put_strictly, scattered

TINY = BertConfig(vocabulary=60, positions=24, width=24, depth=3, heads=3, dropout=0.0, attention_dropout=0.0)
LENGTHS = [5, 12, 9, 12, 24, 3]


def pair(outputs: int, config: BertConfig = TINY):
    transformers = pytest.importorskip("transformers")
    told = {key: value for key, value in described(config).items() if key != "architectures"}
    kind = "regression" if outputs == 1 else "single_label_classification"
    theirs = transformers.BertForSequenceClassification(
        transformers.BertConfig(**told, num_labels=outputs, problem_type=kind)
    )
    ours = BertClassifier(config, outputs).eval()
    put_strictly(ours, scattered(theirs), BERT_CLASSIFIER, "transformers")
    return ours, theirs


def sentences(seed: int = 1):
    """Ragged, and padded for the peer."""
    draw = torch.Generator().manual_seed(seed)
    ragged = Ragged(LENGTHS)
    words = torch.randint(1, TINY.vocabulary, (ragged.tokens,), generator=draw)
    kinds = (ragged.places >= ragged.lengths[ragged.owners] // 2).long()

    def filled(some):
        return torch.nn.utils.rnn.pad_sequence(list(some.split(LENGTHS)), batch_first=True)

    names = ("input_ids", "token_type_ids", "attention_mask")
    parts = (words, kinds, torch.ones_like(words))
    return words, kinds, ragged, dict(zip(names, map(filled, parts), strict=True))


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_the_answers_are_transformers(outputs):
    ours, theirs = pair(outputs)
    words, kinds, ragged, padded = sentences()
    with torch.no_grad():
        assert apart(ours(words, kinds, ragged), theirs(**padded).logits) < 1e-5


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_and_its_gradient_are_transformers(outputs):
    ours, theirs = pair(outputs)
    words, kinds, ragged, padded = sentences()
    truth = torch.linspace(0, 5, 6) if outputs == 1 else torch.arange(6) % outputs
    other = theirs(**padded, labels=truth).loss
    said = ours(words, kinds, ragged)
    mine = F.mse_loss(said[:, 0], truth) if outputs == 1 else F.cross_entropy(said, truth)
    assert mine.item() == pytest.approx(other.item(), rel=1e-5)
    mine.backward()
    other.backward()
    assert apart(ours.head.weight.grad, theirs.classifier.weight.grad) < 1e-4
    embedding = theirs.bert.embeddings.word_embeddings.weight.grad
    assert apart(ours.bert.words.weight.grad, embedding) < 1e-4


def test_a_written_folder_is_read_by_transformers_words_and_all(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts = [row[:2] for row in drawn_rows("RTE", "dev")[:6]]
    words = WordPiece.train([text for both in texts for text in both], 90)
    config = BertConfig(vocabulary=len(words), positions=64, width=24, depth=2, heads=2)
    torch.manual_seed(0)
    ours = scattered(BertClassifier(config, 2))
    told = {**described(config, words.pad), "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(told))
    words.save(tmp_path)
    tensors = {
        name: part.contiguous() for name, part in exported(ours, BERT_CLASSIFIER, "transformers").items()
    }
    write_tensors(tmp_path / "model.safetensors", tensors, {"format": "pt"})

    theirs = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    reads = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    padded = reads(*map(list, zip(*texts, strict=True)), padding=True, return_tensors="pt")
    encoded = words.encode_all(*map(list, zip(*texts, strict=True)))
    flat, kinds = (
        torch.cat([torch.from_numpy(getattr(one, name)) for one in encoded]) for name in ("words", "kinds")
    )
    assert flat.tolist() == padded["input_ids"][padded["attention_mask"].bool()].tolist()
    with torch.no_grad():
        assert apart(ours(flat, kinds, Ragged([len(one) for one in encoded])), theirs(**padded).logits) < 1e-5

    again = BertClassifier(config_of(tmp_path), 2)
    assert not load(again, tmp_path, BERT_CLASSIFIER).kept
    assert all(torch.equal(part, ours.state_dict()[name]) for name, part in again.state_dict().items())


def test_pre_training_lends_all_but_its_heads():
    transformers = pytest.importorskip("transformers")
    told = {key: value for key, value in described(TINY).items() if key != "architectures"}
    theirs = scattered(transformers.BertForPreTraining(transformers.BertConfig(**told)))
    ours = BertClassifier(TINY, 2)
    report = put(ours, theirs.state_dict(), BERT_CLASSIFIER, "a peer")
    assert report.kept == ("head.bias", "head.weight")
    assert {name.split(".")[0] for name in report.unexpected} == {"transform", "norm", "word_bias", "follows"}
    words, kinds, ragged, padded = sentences()
    with torch.no_grad():
        mine = ours.eval().bert.pooled(ours.bert(words, kinds, ragged), ragged)
        assert apart(mine, theirs.bert(**padded).pooler_output) < 1e-5
