"""BERT beside transformers': both answers, the summed loss, gradients, names, the tokenizer."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rayformer.data.text.grammar import draw_documents
from rayformer.data.text.wordpiece import WordPiece
from rayformer.nets.bert import SIZES, Bert, BertConfig, BertPretraining
from rayformer.nets.parts.ragged import Ragged, take
from rayformer.nets.weights.bert import BERT, BERT_BODY, config_of, described
from rayformer.nets.weights.loading import exported, put
from rayformer.nets.weights.names import renamed

from .beside import apart, count, scattered

TINY = BertConfig(
    vocabulary=50, positions=24, width=24, depth=3, heads=3, dropout=0.0, attention_dropout=0.0, eps=1e-12
)
LENGTHS = [5, 12, 9, 12, 24]


def theirs_of(config: BertConfig = TINY, kind: str = "BertForPreTraining"):
    transformers = pytest.importorskip("transformers")
    told = described(config)
    told.pop("architectures")
    return getattr(transformers, kind)(transformers.BertConfig(**told))


def pair(config: BertConfig = TINY):
    theirs, ours = scattered(theirs_of(config)), BertPretraining(config).eval()
    report = put(ours, theirs.state_dict(), BERT, "a peer")
    assert report.format == "transformers"
    assert not report.kept
    assert not report.unexpected
    return ours, theirs


def sentences(seed: int = 1):
    """Ragged, and padded for the peer."""
    draw = torch.Generator().manual_seed(seed)
    ragged = Ragged(LENGTHS)
    words = torch.randint(1, 50, (ragged.tokens,), generator=draw)
    kinds = (ragged.places >= ragged.lengths[ragged.owners] // 2).long()

    def fill(some):
        return torch.nn.utils.rnn.pad_sequence(list(some.split(LENGTHS)), batch_first=True)

    padded = {
        "input_ids": fill(words),
        "token_type_ids": fill(kinds),
        "attention_mask": fill(torch.ones_like(words)),
    }
    return words, kinds, ragged, padded


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "gelu_tanh"}, {"expansion": 2.0, "heads": 2}, {"positions": 40, "kinds": 3}],
    ids=["plain", "gelu-tanh", "narrow", "more-positions"],
)
def test_both_answers_are_transformers(changes):
    ours, theirs = pair(replace(TINY, **changes))
    words, kinds, ragged, padded = sentences()
    with torch.no_grad():
        their = theirs(**padded)
        real = padded["attention_mask"].bool()
        said, follows = ours(words, kinds, ragged, torch.arange(ragged.tokens))
        assert apart(said, their.prediction_logits[real]) < 1e-5
        assert apart(follows, their.seq_relationship_logits) < 1e-5
        assert apart(ours.bert(words, kinds, ragged), theirs.bert(**padded).last_hidden_state[real]) < 1e-5


def losses(ours, theirs):
    words, kinds, ragged, padded = sentences()
    picked = torch.tensor([1, 6, 7, 20, 40, 61])
    truth, follows = torch.tensor([3, 9, 9, 4, 0, 49]), torch.tensor([0, 1, 1, 0, 1])
    labels = torch.full((ragged.tokens,), -100)
    labels[picked] = truth
    padded["labels"] = torch.nn.utils.rnn.pad_sequence(
        list(labels.split(LENGTHS)), batch_first=True, padding_value=-100
    )
    tokens = ours.bert(words, kinds, ragged)
    mine = F.cross_entropy(ours.which_word(take(tokens, picked)), truth)
    mine = mine + F.cross_entropy(ours.does_follow(tokens, ragged), follows)
    return mine, theirs(**padded, next_sentence_label=follows).loss


def test_the_loss_and_its_gradients_are_transformers():
    ours, theirs = pair()
    mine, other = losses(ours, theirs)
    assert mine.item() == pytest.approx(other.item(), rel=1e-6)
    mine.backward()
    other.backward()
    own = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        if ".self." in name:
            continue  # three of theirs are one of ours: below
        found, unknown = renamed({name: parameter.grad}, BERT.formats["transformers"].rules)
        assert not unknown
        assert apart(own[next(iter(found))].grad, parameter.grad) < 1e-4, name
    for layer, block in zip(theirs.bert.encoder.layer, ours.bert.blocks, strict=True):
        kept = layer.attention.self
        packed = torch.cat([kept.query.weight.grad, kept.key.weight.grad, kept.value.weight.grad])
        assert apart(block.attention.to_qkv.weight.grad, packed) < 1e-4


def test_ten_steps_of_training_follow_transformers_loss():
    ours, theirs = pair()
    told = []
    for row in (0, 1):
        net = (ours, theirs)[row]
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-2, momentum=0.9)
        told.append([])
        for _ in range(10):
            loss = losses(ours, theirs)[row]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            told[-1].append(loss.item())
    assert told[0][-1] < 0.9 * told[0][0]
    torch.testing.assert_close(torch.tensor(told[0]), torch.tensor(told[1]), rtol=1e-4, atol=1e-4)


def test_a_classifier_on_our_body_is_transformers_for_sequences():
    theirs = scattered(theirs_of(kind="BertForSequenceClassification"))
    ours = Bert(TINY).eval()
    put(ours, theirs.state_dict(), BERT_BODY, "a peer")
    words, kinds, ragged, padded = sentences()
    with torch.no_grad():
        said = theirs.classifier(ours.pooled(ours(words, kinds, ragged), ragged))
        assert apart(said, theirs(**padded).logits) < 1e-5


def test_weights_go_to_transformers_and_give_the_same_answer_there(tmp_path):
    transformers = pytest.importorskip("transformers")
    from safetensors.torch import save_file

    ours = scattered(BertPretraining(TINY))
    weights = {
        name: tensor.contiguous().clone() for name, tensor in exported(ours, BERT, "transformers").items()
    }
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(described(TINY)))
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    assert config_of(tmp_path) == TINY
    words, kinds, ragged, padded = sentences()
    with torch.no_grad():
        said, follows = ours(words, kinds, ragged, torch.arange(ragged.tokens))
        their = theirs(**padded)
        assert apart(said, their.prediction_logits[padded["attention_mask"].bool()]) < 1e-5
        assert apart(follows, their.seq_relationship_logits) < 1e-5


@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertModel"])
@pytest.mark.parametrize("older", [False, True])
def test_every_format_of_files_loads(kind, older):
    theirs = scattered(theirs_of(kind=kind))
    tensors = dict(theirs.state_dict())
    tensors["bert.embeddings.position_ids" if kind != "BertModel" else "embeddings.position_ids"] = (
        torch.arange(24)
    )
    if older:
        tensors = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in tensors.items()
        }
    ours = Bert(TINY).eval()
    report = put(ours, tensors, BERT_BODY, "a file")
    assert not report.kept
    assert not [name for name in report.unexpected if not name.startswith("cls.")]
    words, kinds, ragged, padded = sentences()
    body = getattr(theirs, "bert", theirs)
    with torch.no_grad():
        tokens = ours(words, kinds, ragged)
        their = body(**padded)
        assert apart(tokens, their.last_hidden_state[padded["attention_mask"].bool()]) < 1e-5
    if kind == "BertModel":
        report = put(BertPretraining(TINY), tensors, BERT, "a body")
        assert {name.partition(".")[0] for name in report.kept} == {
            "transform",
            "norm",
            "word_bias",
            "follows",
        }


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_transformers_number_of_parameters(size):
    with torch.device("meta"):
        assert count(BertPretraining(SIZES[size])) == count(theirs_of(SIZES[size]))


def test_pieces_are_those_of_bert_tokenizer(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts = [line for document in draw_documents(30) for line in document]
    wordpiece = WordPiece.train(texts, 200)
    wordpiece.save(tmp_path)
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)
    odd = [
        "Ünïcode, déjà-vu!",
        "don't stop... 3.5% of $20",
        "日本 text",
        "a [MASK] b",
        "tab\tnew\nline",
        "x" * 90,
    ]
    assert wordpiece.encode("").words.tolist() == theirs("")["input_ids"]
    for a, b in zip(texts[:6] + odd, [*odd, *texts[:6]], strict=True):
        their = theirs(a, b)
        ours = wordpiece.encode(a, b)
        assert ours.words.tolist() == their["input_ids"], (a, b)
        assert ours.kinds.tolist() == their["token_type_ids"]
        assert wordpiece.encode(a).words.tolist() == theirs(a)["input_ids"]


@pytest.mark.real
def test_pieces_of_real_text_are_those_of_bert_tokenizer(real_data):
    transformers = pytest.importorskip("transformers")
    folder = real_data("bert_wordpiece_vocab")
    lines = (real_data("wikitext2_valid_test") / "valid.txt").read_text(encoding="utf-8").splitlines()[:400]
    theirs = transformers.BertTokenizer(vocab=str(folder / "vocab.txt"))
    ours = WordPiece.load(folder).pieces(lines)
    assert ours == theirs(lines, add_special_tokens=False)["input_ids"]
