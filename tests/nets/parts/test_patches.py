"""Patches: an inverse, an order, and the convolution that is a linear map."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rayformer.core.errors import ShapeError
from rayformer.nets.parts.patches import PatchEmbedding, filled_up, from_patches, to_patches


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 5), rows=st.integers(1, 4), columns=st.integers(1, 4), channels=st.integers(1, 4))
def test_patches_put_together_are_the_picture(size, rows, columns, channels):
    images = torch.randn(2, channels, rows * size, columns * size)
    patches = to_patches(images, size)
    assert patches.shape == (2, rows * columns, size * size * channels)
    assert torch.equal(from_patches(patches, size, rows * size, columns * size), images)


def test_patches_go_row_by_row_and_so_do_their_numbers_with_channels_last():
    images = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    patches = to_patches(images, 2)
    assert patches[0, 1].tolist() == [2, 26, 3, 27, 8, 32, 9, 33]
    assert patches[0, 3, 0] == images[0, 0, 2, 0]


def test_the_embedding_is_a_linear_map_of_patches():
    embed = PatchEmbedding(3, 16, 4)
    images = torch.randn(2, 3, 8, 12)
    weight = embed.project.weight.permute(0, 2, 3, 1).flatten(1)
    linear = to_patches(images, 4) @ weight.T + embed.project.bias
    torch.testing.assert_close(embed(images).flatten(1, 2), linear)


def test_with_a_norm_every_patch_has_mean_0_and_variance_1():
    places = PatchEmbedding(3, 16, 4, norm=True)(torch.randn(2, 3, 8, 12))
    torch.testing.assert_close(places.mean(dim=-1), torch.zeros(2, 2, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(places.var(dim=-1, unbiased=False), torch.ones(2, 2, 3), atol=1e-2, rtol=0)


def test_a_picture_is_filled_up_on_the_right_and_below():
    images = torch.randn(1, 3, 5, 8)
    filled = filled_up(images, 4)
    assert filled.shape == (1, 3, 8, 8)
    assert torch.equal(filled[..., :5, :], images)
    assert (filled[..., 5:, :] == 0).all()
    assert filled_up(filled, 4) is filled


def test_pictures_that_patches_do_not_cover_are_refused(snapshot):
    with pytest.raises(ShapeError) as refusal:
        PatchEmbedding(3, 16, 16)(torch.zeros(1, 3, 224, 230))
    snapshot("uneven", str(refusal.value))
    with pytest.raises(ShapeError):
        to_patches(torch.zeros(1, 3, 0, 16), 16)
