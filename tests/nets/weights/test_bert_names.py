"""BERT's weights under others' names: the authors' own, and what a file may lack or have too much of."""

import json
from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.nets.bert import Bert, BertConfig, BertPretraining
from rayformer.nets.weights.bert import BERT, BERT_BODY, config_of, described
from rayformer.nets.weights.loading import exported, put

TINY = BertConfig(vocabulary=20, positions=12, width=8, depth=2, heads=2)


def made(seed: int, **changes) -> BertPretraining:
    torch.manual_seed(seed)
    net = BertPretraining(replace(TINY, **changes))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return net


def authors(net: BertPretraining) -> dict[str, torch.Tensor]:
    """As the authors' checkpoints name them, with what their optimiser left."""
    words = {".LayerNorm.weight": ".LayerNorm.gamma", ".LayerNorm.bias": ".LayerNorm.beta"}
    found = {"global_step": torch.tensor(7)}
    for name, tensor in exported(net, BERT, "transformers").items():
        for theirs, older in words.items():
            name = name.replace(theirs, older)
        name = name.replace("cls.predictions.bias", "cls.predictions.output_bias")
        if name.startswith("cls.seq_relationship."):
            name = name.replace(".weight", ".output_weights").replace(".bias", ".output_bias")
        elif name.endswith("embeddings.weight"):
            name = name.removesuffix(".weight")
        elif name.endswith(".weight"):
            name, tensor = name.removesuffix(".weight") + ".kernel", tensor.T
        name = name.replace("encoder.layer.", "encoder.layer_").replace(".", "/")
        found |= {name: tensor, f"{name}/adam_m": torch.zeros_like(tensor)}
    return found


def test_the_authors_names_and_their_transposes_are_read():
    source, target = made(0), made(1)
    tensors = authors(source)
    assert "bert/encoder/layer_0/attention/self/query/kernel" in tensors
    report = put(target, tensors, BERT, "the authors' file")
    assert report.format == "tf1"
    assert not report.kept
    assert not report.unexpected
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


@pytest.mark.parametrize("form", ["transformers", "transformers, older", "tf1"])
def test_names_go_there_and_back(form):
    source, target = made(0), made(1)
    tensors = exported(source, BERT, form)
    if form == "tf1":
        tensors = {name: tensor.T if name.endswith("kernel") else tensor for name, tensor in tensors.items()}
    assert not put(target, tensors, BERT, form).kept
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def test_the_body_alone_takes_what_is_its_own_and_names_the_rest():
    source, target = made(0), Bert(TINY)
    report = put(target, exported(source, BERT, "transformers"), BERT_BODY, "a file")
    assert not report.kept
    assert all(name.startswith("cls.") for name in report.unexpected)
    assert torch.equal(target.words.weight, source.bert.words.weight)


def test_fewer_positions_take_the_first_ones_and_more_are_refused(snapshot):
    source = exported(made(0), BERT, "transformers")
    fewer = made(1, positions=5)
    report = put(fewer, source, BERT, "a file")
    assert report.resized == {"bert.positions.weight": ((12, 8), (5, 8))}
    assert torch.equal(fewer.bert.positions.weight, source["bert.embeddings.position_embeddings.weight"][:5])
    with pytest.raises(DataError) as refusal:
        put(made(1, positions=30), source, BERT, "a file")
    snapshot("more_positions", str(refusal.value))


def test_another_vocabulary_is_refused(snapshot):
    with pytest.raises(DataError) as refusal:
        put(made(1, vocabulary=21), exported(made(0), BERT, "transformers"), BERT, "a file")
    snapshot("another_vocabulary", str(refusal.value))


@pytest.mark.parametrize("changes", [{}, {"activation": "gelu_tanh", "expansion": 3.0}])
def test_a_description_comes_back_as_the_config(tmp_path, changes):
    config = replace(TINY, **changes)
    (tmp_path / "config.json").write_text(json.dumps(described(config)))
    assert config_of(tmp_path) == config_of(tmp_path / "config.json") == config


def test_descriptions_of_other_networks_are_refused(tmp_path, snapshot):
    for name, told in {
        "absent": None,
        "other_type": {"model_type": "gpt2", "hidden_size": 8},
        "other_activation": {"hidden_size": 8, "hidden_act": "swish"},
        "no_width": {"model_type": "bert"},
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        if told is not None:
            (folder / "config.json").write_text(json.dumps(told))
        with pytest.raises(DataError) as refusal:
            config_of(folder)
        snapshot(f"config_{name}", str(refusal.value))


def test_a_network_that_looks_back_only_has_no_name_there(snapshot):
    with pytest.raises(DataError) as refusal:
        described(replace(TINY, objective="causal"))
    snapshot("causal", str(refusal.value))
