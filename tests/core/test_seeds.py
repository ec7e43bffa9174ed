"""One seed, many streams: each the same everywhere and always, and none like another."""

import subprocess
import sys

import torch
from hypothesis import given
from hypothesis import strategies as draw

from rayformer.core.seeds import generator, seeded, stream

NAMES = draw.lists(draw.sampled_from(["batch", "jitter", "model"]) | draw.integers(0, 1000), max_size=3)


def test_streams_are_pinned():
    """A run begun today resumes alike tomorrow only while these numbers stay."""
    assert stream(0) == 4246866556266386882
    assert stream(0, "batch", 7) == 8622171367945384041
    assert generator(0, "batch", 7).initial_seed() == stream(0, "batch", 7)


def test_a_stream_is_the_same_in_every_process():
    program = "from rayformer.core.seeds import stream; print(stream(5, 'jitter', 3))"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert int(said) == stream(5, "jitter", 3)


@given(draw.integers(-100, 100), NAMES, draw.integers(-100, 100), NAMES)
def test_streams_differ_where_seed_or_names_do(seed, names, other_seed, other_names):
    same = [seed, *map(str, names)] == [other_seed, *map(str, other_names)]
    assert (stream(seed, *names) == stream(other_seed, *other_names)) == same


def test_a_slash_in_a_name_does_not_make_two_names_of_it():
    assert stream(0, "a/b") != stream(0, "a", "b")


@given(draw.integers(), NAMES)
def test_a_stream_is_a_seed_that_torch_takes(seed, names):
    assert 0 <= stream(seed, *names) < 2**63
    generator(seed, *names)


def test_neighbouring_steps_are_not_correlated():
    draws = torch.stack([torch.rand(4000, generator=generator(0, "batch", step)) for step in range(8)])
    off_diagonal = torch.corrcoef(draws) - torch.eye(8)
    assert off_diagonal.abs().max() < 5 / 4000**0.5  # five standard errors


def test_drawing_from_one_stream_changes_no_other():
    before = torch.rand(3, generator=generator(1, "a"))
    torch.rand(100, generator=generator(1, "b"))
    torch.testing.assert_close(torch.rand(3, generator=generator(1, "a")), before, rtol=0, atol=0)


def test_a_seeded_block_leaves_the_global_generator_as_it_was():
    torch.manual_seed(11)
    unbroken = torch.rand(4)
    torch.manual_seed(11)
    with seeded(0, "model"):
        inside = torch.rand(4)
    torch.testing.assert_close(torch.rand(4), unbroken, rtol=0, atol=0)
    with seeded(0, "model"):
        torch.testing.assert_close(torch.rand(4), inside, rtol=0, atol=0)
