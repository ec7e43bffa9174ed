import pytest
import torch

from rayformer.nets.weights.names import Pack, Rename, published_names, renamed

RULES = (
    Rename("blocks.{i}.attn.proj.{part}", "layers.{i}.to_output.{part}"),
    Pack(("blocks.{i}.q.{part}", "blocks.{i}.k.{part}"), "layers.{i}.to_both.{part}"),
    Rename("head.{part}", "head.{part}"),
)


def theirs() -> dict[str, torch.Tensor]:
    return {
        "blocks.11.attn.proj.weight": torch.rand(2, 3),
        "blocks.11.k.bias": torch.rand(4),
        "blocks.11.q.bias": torch.rand(4),
        "head.weight": torch.rand(5, 2),
    }


def test_names_go_there_and_back():
    ours, unknown = renamed(theirs(), RULES)
    assert (set(ours), unknown) == (
        {"layers.11.to_output.weight", "layers.11.to_both.bias", "head.weight"},
        [],
    )
    given = theirs()
    ours, _ = renamed(given, RULES)
    back, unknown = published_names(ours, RULES)
    assert unknown == []
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], given[name]) for name in given)


def test_packed_tensors_lie_in_the_order_of_the_rule_and_not_of_the_file():
    given = theirs()
    ours, _ = renamed(given, RULES)
    assert torch.equal(
        ours["layers.11.to_both.bias"], torch.cat([given["blocks.11.q.bias"], given["blocks.11.k.bias"]])
    )


def test_a_name_that_no_rule_knows_and_half_a_pack_are_told():
    given = theirs() | {"blocks.1.attn.proj.weight.more": torch.rand(1)}
    del given["blocks.11.k.bias"]
    assert renamed(given, RULES)[1] == ["blocks.1.attn.proj.weight.more", "layers.11.to_both.bias (in part)"]
    assert published_names({"layers.0.other": torch.rand(1)}, RULES)[1] == ["layers.0.other"]


def test_a_place_stands_for_one_word_and_twice_for_the_same():
    rules = (Rename("a.{i}.b.{i}", "c.{i}"),)
    assert renamed({"a.1.b.1": torch.zeros(1), "a.1.b.2": torch.zeros(1)}, rules)[1] == ["a.1.b.2"]
    assert renamed({"a.1.x.b.1": torch.zeros(1)}, rules)[1] == ["a.1.x.b.1"]


def test_a_rule_whose_places_differ_is_our_mistake():
    with pytest.raises(AssertionError, match="places must agree"):
        Rename("a.{i}", "b.{j}")
