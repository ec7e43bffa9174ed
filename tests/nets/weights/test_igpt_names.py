"""Image GPT's weights under the names of others: the authors' heads made whole, zeros that are no biases."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rayformer.core.errors import DataError
from rayformer.nets.igpt import IGPT, IGPTConfig
from rayformer.nets.weights.igpt import IGPT_WEIGHTS, for_transformers, without_zeros
from rayformer.nets.weights.loading import load, put

TINY = IGPTConfig(width=12, depth=2, heads=3)


def igpt(classes=0, side=4, seed=0, **changes) -> IGPT:
    torch.manual_seed(seed)
    net = IGPT(replace(TINY, **changes), side, 7, classes).eval()
    for weight in net.parameters():
        torch.nn.init.normal_(weight)
    return net


def as_the_authors(net: IGPT) -> dict[str, np.ndarray]:
    """Written down from their shapes: q, k and v as (heads, features, inputs), what joins them as (heads,
    features, outputs), the MLP's with inputs first behind an axis of one."""
    state, heads = net.state_dict(), TINY.heads
    found = {
        "model/wte": state["embed.weight"][:-1],
        "model/sos": state["embed.weight"][-1],
        "model/wpe": state["positions.table"][0],
        "model/ln_f/g": state["norm.weight"],
        "model/wtet": state["to_colours.weight"],
    }
    for row in range(TINY.depth):
        ours, theirs = f"blocks.{row}.", f"model/h{row}/"
        q, k, v = state[ours + "attention.to_qkv.weight"].chunk(3)
        for word, part in (("q", q), ("k", k), ("v", v)):
            found[theirs + f"attn/{word}_proj"] = part.unflatten(0, (heads, -1))
        found[theirs + "attn/c_proj"] = state[ours + "attention.to_output.weight"].T.unflatten(0, (heads, -1))
        found[theirs + "mlp/c_fc/w"] = state[ours + "mlp.to_hidden.weight"].T[None]
        found[theirs + "mlp/c_proj/w"] = state[ours + "mlp.to_output.weight"].T[None]
        found[theirs + "ln_1/g"] = state[ours + "norm_attention.weight"]
        found[theirs + "ln_2/g"] = state[ours + "norm_mlp.weight"]
    return {name: tensor.numpy() for name, tensor in found.items()} | {"model/wte/Adam": np.zeros(3)}


def test_the_authors_variables_are_read_from_an_npz_by_their_names(tmp_path):
    net, again = igpt(), igpt(seed=1)
    np.savez(tmp_path / "model.npz", **as_the_authors(net))
    report = load(again, tmp_path / "model.npz", IGPT_WEIGHTS)
    assert report.format == "the authors"
    assert not report.kept
    assert not report.unexpected
    assert report.computed == ("model/wte/Adam",)
    torch.testing.assert_close(again.state_dict(), net.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("classes", [0, 5])
def test_what_is_written_for_transformers_comes_back(bias, classes):
    net, again = igpt(classes, bias=bias), igpt(classes, bias=bias, seed=1)
    theirs = for_transformers(net)
    assert theirs["transformer.wte.weight"].shape == (8, 12)
    assert theirs["transformer.h.0.attn.c_attn.weight"].shape == (12, 36)
    assert theirs["transformer.h.0.attn.c_attn.bias"].shape == (36,)
    assert theirs["lm_head.weight"].shape == (7, 12)
    report = put(again, theirs, IGPT_WEIGHTS, "a file")
    assert report.format == "transformers"
    assert not report.kept + report.unexpected
    torch.testing.assert_close(again.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_learned_biases_are_not_lost_in_silence(snapshot):
    theirs = for_transformers(igpt(bias=True))
    with pytest.raises(DataError) as refusal:
        without_zeros(theirs, igpt(), "weights.safetensors")
    snapshot("learned_biases", str(refusal.value))
    assert without_zeros(theirs, igpt(bias=True), "weights.safetensors") == theirs


def test_a_classifier_takes_all_but_its_head_and_another_size_its_positions_fitted():
    net, other = igpt(), igpt(classes=3, side=6, seed=1)
    report = put(other, for_transformers(net), IGPT_WEIGHTS, "a file")
    assert report.kept == ("head.weight",)
    assert report.resized == {"positions.table": ((1, 16, 12), (1, 36, 12))}
    assert torch.equal(other.embed.weight, net.embed.weight)


def test_another_palette_is_another_architecture():
    with pytest.raises(DataError, match=r"embed.weight is 8x12 there and 10x12 here"):
        put(IGPT(TINY, 4, 9), igpt().state_dict(), IGPT_WEIGHTS, "a file")
