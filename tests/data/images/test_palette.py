"""Pictures in few colours: the nearest one, there and back, and k-means no worse than its rivals."""

import json

import numpy as np
import pytest
import torch

from rayformer.core.errors import ConfigError, DataError
from rayformer.data.images.palette import Palette, PaletteConfig, fitted_palette, read_palette


def colours(count, seed=0):
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1


def pictures(palette, *shape, seed=1):
    numbers = torch.randint(len(palette), shape, generator=torch.Generator().manual_seed(seed))
    return numbers, palette.colours[numbers].permute(0, 3, 1, 2)


def away(pixels, palette):
    return torch.cdist(pixels, palette.colours).min(dim=1).values.square().mean().item()


def test_the_number_of_a_palettes_own_colour_is_its_own():
    palette = Palette(colours(40))
    numbers, images = pictures(palette, 3, 4, 5)
    assert torch.equal(palette.numbers(images), numbers.flatten(1))


def test_pixels_get_the_nearest_colour_row_by_row():
    palette, images = Palette(colours(40)), 2 * torch.rand(2, 3, 150, 70) - 1
    far = torch.cdist(images.permute(0, 2, 3, 1).reshape(-1, 3), palette.colours)
    chosen = far.gather(1, palette.numbers(images).view(-1, 1))
    torch.testing.assert_close(chosen[:, 0], far.min(dim=1).values)


def test_of_equally_near_colours_the_first_is_taken():
    palette = Palette(torch.tensor([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0], [0.5, 0.0, 0.0]]))
    assert palette.numbers(torch.zeros(1, 3, 1, 1)).item() == 0
    assert palette.numbers(torch.tensor([0.5, 0.0, 0.0]).view(1, 3, 1, 1)).item() == 0


def test_bytes_survive_where_the_palette_holds_them():
    grey = torch.arange(256).repeat(3, 1).T
    palette = Palette(grey / 127.5 - 1)
    numbers = torch.tensor([[0, 255], [17, 128]])
    assert torch.equal(palette.bytes_of(numbers), grey[numbers].byte())


def test_half_precision_around_it_changes_no_colour():
    palette, images = Palette(colours(200)), 2 * torch.rand(1, 3, 40, 40) - 1
    alone = palette.numbers(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(palette.numbers(images), alone)


def test_as_few_colours_as_there_are_come_back_unchanged_by_brightness():
    few = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0], [0.0, 0.5, 0.0]])
    palette = fitted_palette(few.repeat(50, 1), colours=8, seed=0)
    assert torch.equal(palette.colours, few[[1, 2, 0]])


def test_the_middles_of_heaps_are_found():
    middles = torch.tensor([[-0.8, -0.8, -0.8], [-0.5, 0.6, 0.0], [0.7, 0.7, 0.2]])
    draw = torch.Generator().manual_seed(0)
    pixels = middles.repeat(200, 1) + 0.03 * torch.randn(600, 3, generator=draw)
    palette = fitted_palette(pixels, colours=3, seed=1)
    torch.testing.assert_close(palette.colours, middles, atol=0.02, rtol=0)


def test_fitted_colours_are_nearer_than_as_many_pixels_taken_at_random_or_an_even_grid():
    draw = torch.Generator().manual_seed(0)
    pixels = (0.3 * torch.randn(4000, 3, generator=draw)).clamp(-1, 1)
    fitted = fitted_palette(pixels, colours=27, seed=0)
    even = torch.tensor([-2 / 3, 0.0, 2 / 3])
    assert away(pixels, fitted) < 0.8 * away(pixels, Palette(pixels[:27]))
    assert away(pixels, fitted) < 0.8 * away(pixels, Palette(torch.cartesian_prod(even, even, even)))
    assert torch.equal(fitted.colours, fitted_palette(pixels, colours=27, seed=0).colours)


def test_a_palette_comes_back_from_its_file_and_from_the_hubs(tmp_path):
    palette = Palette(colours(12))
    palette.write(tmp_path / "palette.npy")
    assert torch.equal(read_palette(tmp_path / "palette.npy").colours, palette.colours)
    theirs = tmp_path / "preprocessor_config.json"
    theirs.write_text(json.dumps({"clusters": palette.colours.tolist()}))
    assert torch.equal(read_palette(theirs).colours, palette.colours)


@pytest.mark.parametrize("name", ["absent", "text", "bytes", "shape", "objects", "no_clusters"])
def test_what_is_no_palette_is_refused(name, tmp_path, snapshot):
    path = tmp_path / ("config.json" if name == "no_clusters" else "palette.npy")
    match name:
        case "text":
            path.write_text("red, green, blue")
        case "bytes":
            np.save(path, np.full((4, 3), 255.0, np.float32))
        case "shape":
            np.save(path, np.zeros((4, 4), np.float32))
        case "objects":
            np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case "no_clusters":
            path.write_text("{}")
    with pytest.raises(DataError) as refusal:
        read_palette(path)
    snapshot(name, str(refusal.value))


@pytest.mark.parametrize("name", ["one", "few"])
def test_impossible_numbers_are_refused(name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        PaletteConfig(colours=1) if name == "one" else PaletteConfig(pixels=100)
    snapshot(name, str(refusal.value))
