"""The Transformer: nothing looks ahead or at padding, one word at a time is all at once, sizes are the
paper's."""

from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.nets.transformer import (
    SIZES,
    Decoding,
    Transformer,
    TransformerConfig,
    attention,
    translate,
)

TINY = TransformerConfig(width=16, depth=2, heads=2, hidden=24)
WORDS, BEGIN, END = 11, 1, 2


def net(seed: int = 0, **changes) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(replace(TINY, **changes), WORDS).double().eval()
    for parameter in model.parameters():  # norms and biases, too
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1) / 2, std=0.4)
    return model


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, WORDS, shape, generator=torch.Generator().manual_seed(seed))


def test_a_word_changes_nothing_that_was_said_before_it():
    model, source, target = net(), drawn(2, 6), drawn(2, 5, seed=1)
    before = model(source, target)
    target[:, 3] = (target[:, 3] + 1) % WORDS
    after = model(source, target)
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert (after[:, 3] - before[:, 3]).abs().max() > 1e-3


def test_every_word_of_the_source_is_heard_by_every_word_that_is_said():
    model, source, target = net(), drawn(1, 6), drawn(1, 5, seed=1)
    before = model(source, target)
    for place in range(6):
        other = source.clone()
        other[:, place] = (other[:, place] + 1) % WORDS
        assert (model(other, target) - before).abs().amax(dim=2).min() > 1e-6


def test_padding_is_as_good_as_nothing():
    model, source, target = net(), drawn(2, 6), drawn(2, 5, seed=1)
    real = torch.ones(2, 6, dtype=torch.bool)
    real[1, 4:] = False
    padded = model(source.masked_fill(~real, 0), target, real)
    torch.testing.assert_close(padded[0], model(source[:1], target[:1])[0])
    torch.testing.assert_close(padded[1], model(source[1:, :4], target[1:])[0])


def test_order_matters_to_the_encoder_only_by_positions():
    """Without them it would be a set: the same words in another order, each with its old position."""
    model, source = net(), drawn(1, 6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model.encode(source[:, order]), model.encode(source)[:, order])
    embedded = model.embed(source)
    model.embed = lambda words: embedded[:, order] if torch.equal(words, source[:, order]) else embedded
    torch.testing.assert_close(model.encode(source[:, order]), model.encode(source)[:, order])


@pytest.mark.parametrize("rows", [1, 3])
def test_one_word_at_a_time_is_all_at_once(rows):
    model, source = net(), drawn(2, 6)
    real = torch.ones(2, 6, dtype=torch.bool)
    real[1, 4:] = False
    target = drawn(2 * rows, 5, seed=1)
    decoding = Decoding(model, source, real, rows, 5)
    steps = torch.stack([decoding(target[:, place]) for place in range(5)], dim=1)
    whole = model(source.repeat_interleave(rows, 0), target, real.repeat_interleave(rows, 0))
    torch.testing.assert_close(steps, whole)


def test_rows_that_go_on_from_others_and_examples_that_leave_keep_their_own_past():
    model, source = net(), drawn(2, 6)
    past, word = drawn(4, 2, seed=1), drawn(2, seed=2)
    decoding = Decoding(model, source, None, 2, 3)
    decoding(past[:, 0])
    decoding(past[:, 1])
    decoding.pick(torch.tensor([3, 3]), torch.tensor([1]))
    target = torch.cat([past[[3, 3]], word[:, None]], dim=1)
    torch.testing.assert_close(decoding(word), model(source[[1, 1]], target)[:, -1])


@pytest.mark.parametrize("beams", [1, 4])
def test_translating_says_what_the_whole_network_finds_likeliest(beams):
    """Each word of a greedy answer is the likeliest after those before it, and the sum of its logarithms is
    that of a single pass over all of it."""
    model, source = net(3), drawn(3, 5, seed=4)
    for row, answers in enumerate(translate(model, source, begin=BEGIN, end=END, beams=beams, longer=3)):
        assert len(answers) <= beams
        for said in answers:
            words = torch.tensor([BEGIN, *said.words])
            logs = model(source[row : row + 1], words[None])[0].log_softmax(-1).detach()
            told = torch.tensor([*said.words, END] if said.ended else said.words)
            assert said.logarithm == pytest.approx(
                float(logs[: len(told)].gather(1, told[:, None]).sum()), abs=1e-4
            )
            if beams == 1:
                assert logs[: len(told)].argmax(1).tolist() == told.tolist()


def test_no_answer_is_longer_than_it_may_be():
    model, source = net(), drawn(2, 5)
    real = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    with torch.no_grad():
        model.words.weight[END] = 0  # never likely
    found = translate(model, source, real, begin=BEGIN, end=END, beams=2, longer=1)
    assert all(len(said.words) <= 6 for said in found[0])
    assert all(len(said.words) <= 3 for said in found[1])


def test_one_table_of_words_is_read_and_spoken_from():
    """Sec. 3.4: the embedding enters times the root of the width, and leaves as it is."""
    model, source = net(), drawn(1, 1)
    embedded = model.embed(source)[0, 0]
    at_zero = torch.tensor([0.0, 1.0] * 8)
    torch.testing.assert_close(embedded, 4 * model.words.weight[source[0, 0]] + at_zero, check_dtype=False)
    hidden = torch.randn(2, 16, dtype=torch.float64)
    torch.testing.assert_close(model.logits(hidden), hidden @ model.words.weight.T)


def test_logits_begin_plain_and_words_with_variance_one():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=128, depth=1, heads=4, hidden=256), 500)
    entering = model.words.weight.detach() * 128**0.5
    assert entering.std().item() == pytest.approx(1, abs=0.05)
    assert model(drawn(4, 9), drawn(4, 9)).std().item() < 2


@pytest.mark.parametrize(("size", "millions"), [("base", 65), ("big", 213)])
def test_parameters_are_the_papers(size, millions):
    """Table 3, with the 37,000 words of English and German; the paper rounds, and counts the words once."""
    with torch.device("meta"):
        model = Transformer(SIZES[size], 37_000)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(
        millions, rel=0.04
    )


def test_attention_is_told_for_each_side_and_between_them():
    model, source, target = net(), drawn(2, 6), drawn(2, 5, seed=1)
    with torch.no_grad():
        weights = attention(model, source, target)
    assert [tuple(one.shape) for one in weights["encoder"]] == [(2, 2, 6, 6)] * 2
    assert [tuple(one.shape) for one in weights["across"]] == [(2, 2, 5, 6)] * 2
    for kind in weights.values():
        for one in kind:
            torch.testing.assert_close(one.sum(-1), torch.ones(one.shape[:-1], dtype=one.dtype))
    assert (weights["decoder"][1].triu(1) == 0).all(), "nobody looks ahead"


def test_norms_biases_and_words_do_not_decay():
    model = net()
    kept = {name for name, value in model.named_parameters() if not model.undecayed(name, value)}
    assert kept
    assert all(name.endswith(("to_qkv.weight", "to_output.weight", "to_hidden.weight")) for name in kept)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no_width", {"width": 0}),
        ("heads_that_do_not_divide", {"heads": 3}),
        ("dropout_of_everything", {"dropout": 1.0}),
    ],
)
def test_what_cannot_be_built_is_refused(name, changes, snapshot):
    with pytest.raises(ConfigError) as error:
        TransformerConfig(**changes)
    snapshot(name, str(error.value))
