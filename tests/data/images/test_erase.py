"""Random erasing: as often, as large and as filled as it says."""

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.data.images.erase import EraseConfig, erase
from tests.data.images.photographs import generator


def lost(picture: torch.Tensor) -> torch.Tensor:
    return picture[0] != 7


@pytest.mark.parametrize("fill", ["pixel", "rand", "const"])
def test_what_is_lost_is_one_rectangle_within_its_bounds_and_the_rest_is_kept(fill):
    draw, config = generator(), EraseConfig(chance=1.0, fill=fill, area=(0.1, 0.3), aspect=(0.5, 2.0))
    for _ in range(50):
        picture = torch.full((3, 40, 50), 7.0)
        assert erase(picture, config, draw) is picture, "in place"
        rows, columns = lost(picture).any(1).nonzero(), lost(picture).any(0).nonzero()
        high, wide = (int(side[-1] - side[0]) + 1 for side in (rows, columns))
        part = picture[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert lost(picture).sum() == high * wide
        assert 0.09 < high * wide / 2000 < 0.32
        assert 0.45 < high / wide < 2.2
        assert part.flatten(1).unique(dim=1).shape[1] == (high * wide if fill == "pixel" else 1)
        assert (part == 0).all() == (fill == "const")


def test_the_chance_is_the_share_of_pictures_that_lose_something():
    draw = generator()
    share = (
        sum(lost(erase(torch.full((1, 30, 30), 7.0), EraseConfig(), draw)).any() for _ in range(2000)) / 2000
    )
    assert share == pytest.approx(0.25, abs=0.04)


def test_without_a_generator_nothing_is_lost():
    assert not lost(erase(torch.full((3, 30, 30), 7.0), EraseConfig(chance=1.0), None)).any()


def test_a_picture_too_small_for_any_rectangle_is_left_alone():
    assert not lost(
        erase(torch.full((3, 1, 1), 7.0), EraseConfig(chance=1.0, area=(1.0, 1.0)), generator())
    ).any()


@pytest.mark.parametrize(
    ("options", "name"),
    [({"chance": -0.1}, "chance"), ({"area": (0.5, 0.1)}, "area"), ({"aspect": (0.0, 1.0)}, "aspect")],
)
def test_bounds_that_cannot_be_are_refused_by_field(options, name, snapshot):
    with pytest.raises(ConfigError) as refusal:
        EraseConfig(**options)
    snapshot(name, str(refusal.value))
