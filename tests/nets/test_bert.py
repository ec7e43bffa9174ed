"""BERT: what looks both ways and what back only, sentences in any order, and published sizes."""

from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.nets.bert import SIZES, Bert, BertConfig, BertPretraining, attention
from rayformer.nets.parts.ragged import Ragged

TINY = BertConfig(vocabulary=40, positions=16, width=16, depth=3, heads=4, dropout=0.0, attention_dropout=0.0)


def made(**changes) -> BertPretraining:
    torch.manual_seed(0)
    net = BertPretraining(replace(TINY, **changes)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.double()


def text(lengths, seed: int = 1):
    draw = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    return (
        torch.randint(40, (count,), generator=draw),
        torch.randint(2, (count,), generator=draw),
        Ragged(lengths),
    )


@pytest.mark.parametrize("objective", ["mlm", "causal"])
def test_every_sentence_is_read_as_if_it_were_alone_whatever_their_order(objective):
    net, (words, kinds, ragged) = made(objective=objective).bert, text([5, 3, 9, 3, 16])
    together = net(words, kinds, ragged)
    for start, length in zip(ragged.starts.tolist(), ragged.sizes, strict=True):
        mine = slice(start, start + length)
        alone = net(words[mine], kinds[mine], Ragged([length]))
        torch.testing.assert_close(together[mine], alone, rtol=1e-10, atol=1e-10)


def test_looking_back_only_nothing_behind_a_token_changes_it():
    words, kinds, ragged = text([9])
    changed = words.clone()
    changed[6:] = (changed[6:] + 1) % 40
    back, both = (made(objective=objective).bert for objective in ("causal", "mlm"))
    torch.testing.assert_close(
        back(words, kinds, ragged)[:6], back(changed, kinds, ragged)[:6], rtol=1e-12, atol=1e-12
    )
    assert (both(words, kinds, ragged)[:6] - both(changed, kinds, ragged)[:6]).abs().min() > 0


def test_a_sentence_is_told_by_its_first_token_and_looking_back_only_by_its_last():
    words, kinds, ragged = text([4, 2, 7])
    for objective, at in (("mlm", ragged.starts), ("causal", ragged.ends)):
        net = made(objective=objective).bert
        tokens = net(words, kinds, ragged)
        assert torch.equal(net.spoken(tokens, ragged), tokens[at])


def test_only_what_is_asked_about_goes_through_the_vocabulary_and_comes_out_the_same():
    net, (words, kinds, ragged) = made(), text([4, 6])
    every = net.which_word(net.bert(words, kinds, ragged))
    picked = torch.tensor([7, 2])
    said, follows = net(words, kinds, ragged, picked)
    torch.testing.assert_close(said, every[picked])
    assert follows.shape == (2, 2)


def test_words_are_read_and_said_by_the_same_vectors():
    net = made()
    assert not [name for name, _ in net.named_parameters() if "decoder" in name]
    said, _ = net(*text([4, 6]), torch.tensor([1, 3]))
    said.square().mean().backward()
    unread = sorted(set(range(40)) - set(text([4, 6])[0].tolist()))
    assert (net.bert.words.weight.grad[unread].abs().sum(dim=1) > 0).all(), "said, though never read"


def test_layers_are_counted_from_the_words_to_the_heads():
    net = made()
    depths = {net.depth_of(name) for name, _ in net.named_parameters()}
    assert depths == {0, 1, 2, 3, 4}
    assert net.depth_of("bert.positions.weight") == net.bert.depth_of("positions.weight") == 0
    assert net.depth_of("bert.blocks.2.mlp.to_hidden.weight") == 3
    assert net.depth_of("word_bias") == net.depth_of("bert.pool.weight") == 4


def test_norms_and_biases_do_not_decay_and_all_else_does():
    undecayed = {name for name, value in made().named_parameters() if Bert.undecayed(name, value)}
    assert undecayed == {name for name, _ in made().named_parameters() if "bias" in name or "norm" in name}


@pytest.mark.parametrize(("size", "millions"), [("base", 110.11), ("large", 336.23)])
def test_published_sizes_have_as_many_parameters_as_published(size, millions):
    with torch.device("meta"):
        net = BertPretraining(SIZES[size])
    assert sum(parameter.numel() for parameter in net.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.005
    )


def test_weights_start_small_and_biases_at_zero():
    torch.manual_seed(0)
    net = BertPretraining(replace(TINY, width=64))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim > 1:
            assert parameter.abs().max() <= 0.04, name
            if parameter.numel() > 1000:  # cut off at two deviations
                assert parameter.std().item() == pytest.approx(0.0176, rel=0.1), name


def test_attention_of_every_block_can_be_seen():
    words, kinds, _ = text([7])
    weights = attention(made().bert, words, kinds)
    assert [layer.shape for layer in weights] == [(1, 4, 7, 7)] * 3
    back = attention(made(objective="causal").bert, words, kinds)
    assert not torch.stack(back).triu(1).any()


def test_a_sentence_longer_than_the_positions_is_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        made().bert(*text([3, 17]))
    snapshot("too_long", str(refusal.value))


@pytest.mark.parametrize(
    "changes",
    [{"depth": 0}, {"heads": 3}, {"expansion": 0.0}, {"initial": 0.0}, {"dropout": 1.0}],
    ids=lambda one: next(iter(one)),
)
def test_networks_that_cannot_be_are_refused_by_name(snapshot, changes):
    with pytest.raises(ConfigError) as refusal:
        replace(TINY, **changes)
    snapshot(f"config_{next(iter(changes))}", str(refusal.value))
