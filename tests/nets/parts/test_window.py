"""Windows: inverses, one walk instead of four, and who is whose neighbour in closed form."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.nets.parts.window import Windows, cut, may_look, partition, rearranged, reverse, whole

CPU = torch.device("cpu")
maps = given(
    height=st.integers(1, 13), width=st.integers(1, 13), side=st.integers(1, 6), shifted=st.booleans()
)
few = settings(max_examples=40, deadline=None)


@few
@maps
def test_windows_put_together_are_the_map(height, width, side, shifted):
    windows = cut(height, width, side, shifted)
    places = torch.randn(2, height, width, 3)
    tokens = partition(places, windows)
    assert tokens.shape == (2, windows.count, windows.window[0] * windows.window[1], 3)
    assert torch.equal(reverse(tokens, windows), places)


@few
@maps
def test_one_walk_does_what_filling_rolling_and_folding_do(height, width, side, shifted):
    was, becomes = (cut(height, width, side, turn) for turn in (not shifted, shifted))
    places = torch.randn(2, height, width, 3)
    tokens = partition(places, was).flatten(1, 2)
    wanted = partition(reverse(partition(places, was), was), becomes).flatten(1, 2)
    assert torch.equal(rearranged(tokens, was, becomes), wanted)
    assert torch.equal(rearranged(tokens, was, whole(height, width)), places.flatten(1, 2))


@few
@maps
def test_its_gradient_is_that_of_the_steps(height, width, side, shifted):
    was, becomes = (cut(height, width, side, turn) for turn in (not shifted, shifted))
    tokens = partition(torch.randn(2, height, width, 3), was).requires_grad_()
    walked = rearranged(tokens.flatten(1, 2), was, becomes)
    stepped = partition(reverse(tokens, was), becomes).flatten(1, 2)
    arriving = torch.randn_like(walked)
    one, other = (torch.autograd.grad(out, tokens, arriving)[0] for out in (walked, stepped))
    assert torch.equal(one, other)


@few
@maps
def test_tokens_see_each_other_if_one_shifted_window_holds_both(height, width, side, shifted):
    """Walk over all pairs of places, without rolling anything."""
    windows = cut(height, width, side, shifted)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    down = (rows - windows.shift[0]) // windows.window[0]
    right = (columns - windows.shift[1]) // windows.window[1]
    group = torch.stack([down, right], dim=-1).flatten(0, 1)
    neighbours = (group[:, None] == group[None, :]).all(dim=-1)

    held = partition(torch.arange(1.0, height * width + 1).view(1, height, width, 1), windows)[0, :, :, 0]
    look = may_look(windows, CPU)
    seen = torch.zeros(height * width, height * width, dtype=torch.bool)
    for window, tokens in enumerate(held.long() - 1):
        for slot, place in enumerate(tokens):
            for other_slot, other in enumerate(tokens):
                if place >= 0 and other >= 0:
                    seen[place, other] = look is None or look[window, 0, slot, other_slot]
                elif look is not None and (place >= 0) != (other >= 0):
                    assert not look[window, 0, slot, other_slot]
    assert torch.equal(seen, neighbours)


@few
@maps
def test_every_slot_sees_something(height, width, side, shifted):
    look = may_look(cut(height, width, side, shifted), CPU)
    assert look is None or look.any(dim=-1).all()


def test_a_map_no_larger_than_a_window_along_an_axis_is_one_window_there():
    assert cut(7, 14, 7, shifted=True) == Windows(7, 14, (7, 7), (0, 3))
    assert cut(5, 7, 7, shifted=True) == whole(5, 7)
    assert may_look(whole(5, 7), CPU) is None


def test_even_unshifted_windows_need_no_mask():
    assert may_look(cut(14, 21, 7, shifted=False), CPU) is None
    assert may_look(cut(14, 20, 7, shifted=False), CPU) is not None


def test_what_was_kept_in_inference_serves_in_training():
    windows = cut(11, 9, 4, shifted=True)
    tokens = torch.randn(1, 99, 2)
    with torch.inference_mode():
        rearranged(tokens, whole(11, 9), windows)
    rearranged(tokens.requires_grad_(), whole(11, 9), windows).sum().backward()
    assert torch.equal(tokens.grad, torch.ones_like(tokens))
