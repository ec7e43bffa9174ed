"""Ragged batches: exactly what padding and masks give, and each sentence as if it were alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ShapeError
from rayformer.nets.parts import ragged as module
from rayformer.nets.parts.attention import causal_mask, key_mask
from rayformer.nets.parts.attention_maps import watched
from rayformer.nets.parts.block import PostNormBlock
from rayformer.nets.parts.ragged import Ragged, RaggedBlock, grouped, place, take

WIDTH, HEADS = 12, 3
LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=7)


def blocks() -> tuple[RaggedBlock, PostNormBlock]:
    torch.manual_seed(0)
    ours, padded = (
        RaggedBlock(WIDTH, HEADS, 20, eps=1e-5),
        PostNormBlock(WIDTH, HEADS, 20, activation="gelu", eps=1e-5),
    )
    padded.load_state_dict(ours.state_dict())
    return ours.double(), padded.double()


@pytest.fixture(params=["padded within groups", "equal lengths only"])
def spare(request, monkeypatch):
    """Both ways to group: many lengths together, and never two."""
    monkeypatch.setitem(module.WORTH, "cpu", 2**20 if request.param.startswith("padded") else 0)


@pytest.mark.parametrize("causal", [False, True])
@settings(max_examples=20, deadline=None)
@given(lengths=LENGTHS)
def test_a_ragged_batch_is_its_padded_twin(causal, lengths):
    for worth in (0, 2**20):
        module.WORTH["cpu"], before = worth, module.WORTH["cpu"]
        try:
            _compare_with_padding(sorted(lengths), causal)
        finally:
            module.WORTH["cpu"] = before


def _compare_with_padding(lengths, causal):
    ours, padded = blocks()
    ragged = Ragged(lengths)
    x = torch.randn(ragged.tokens, WIDTH, dtype=torch.float64, requires_grad=True)
    out = ours(x, ragged.groups(WIDTH), causal)
    filled = torch.nn.utils.rnn.pad_sequence(list(x.split(lengths)), batch_first=True)
    mask = key_mask(torch.arange(ragged.longest)[None] < ragged.lengths[:, None])
    if causal:
        mask = mask & causal_mask(ragged.longest)
    twin = padded(filled, mask)
    twin = torch.cat([row[:length] for row, length in zip(twin, lengths, strict=True)])
    torch.testing.assert_close(out, twin, rtol=1e-9, atol=1e-9)
    slopes = torch.randn_like(out)
    mine = torch.autograd.grad(out, [x, *ours.parameters()], slopes)
    theirs = torch.autograd.grad(twin, [x, *padded.parameters()], slopes)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_no_sentence_sees_another(spare):
    ours, _ = blocks()
    ragged = Ragged([2, 4, 4, 6])
    x = torch.randn(16, WIDTH, dtype=torch.float64)
    before = ours(x, ragged.groups(WIDTH))
    changed = x.clone()
    changed[2:6] = torch.randn(4, WIDTH, dtype=torch.float64)
    after = ours(changed, ragged.groups(WIDTH))
    assert torch.equal(before[:2], after[:2])
    torch.testing.assert_close(before[6:], after[6:], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before[2:6], after[2:6])


@given(lengths=LENGTHS, spare=st.integers(0, 200))
def test_groups_hold_every_sentence_once_and_waste_no_more_than_they_may(lengths, spare):
    groups = grouped(sorted(lengths), spare)
    assert [size for group in groups for size in group] == sorted(lengths)
    for group in groups:
        assert len(group) * group[-1] ** 2 - sum(size**2 for size in group) <= spare * max(1, len(group) - 1)
    if spare == 0:
        assert all(len(set(group)) == 1 for group in groups)
        assert len(groups) == len(set(lengths))


def test_places_starts_and_owners_of_three_sentences():
    ragged = Ragged([2, 1, 3])
    assert ragged.starts.tolist() == [0, 2, 3]
    assert ragged.ends.tolist() == [1, 2, 5]
    assert ragged.places.tolist() == [0, 1, 0, 0, 1, 2]
    assert ragged.owners.tolist() == [0, 0, 1, 2, 2, 2]
    assert ragged.order.tolist() == [2, 0, 1, 3, 4, 5]
    assert ragged.in_order.sizes == (1, 2, 3)
    assert Ragged([1, 2, 2]).order is None


def test_rows_taken_and_placed_are_each_others_gradients():
    x, rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True), torch.tensor([4, 0, 5])
    assert torch.equal(take(x, rows), x[rows])
    assert torch.autograd.gradcheck(lambda x: take(x, rows), x)
    assert torch.autograd.gradgradcheck(lambda x: take(x, rows) ** 2, x)
    some = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(take(place(some, rows, 6), rows), some)
    assert torch.autograd.gradcheck(lambda some: place(some, rows, 6), some)


def test_what_one_sentence_looked_at_can_be_watched():
    ours, _ = blocks()
    ragged = Ragged([5])
    with watched(ours) as weights:
        ours(torch.randn(5, WIDTH, dtype=torch.float64), ragged.groups(WIDTH))
    assert weights["attention"].shape == (1, HEADS, 5, 5)
    torch.testing.assert_close(
        weights["attention"].sum(-1), torch.ones(1, HEADS, 5, dtype=weights["attention"].dtype)
    )


def test_a_sentence_without_tokens_is_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        Ragged([3, 0])
    snapshot("no_tokens", str(refusal.value))
