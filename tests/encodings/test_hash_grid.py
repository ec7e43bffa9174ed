"""The hash grid as a module: its levels, its table, and what its config refuses. The look-up itself is held
to its twin in `tests/twins/test_hash_grid.py`."""

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.encodings.hash_grid import HashGrid, HashGridConfig, spread
from rayformer.kernels.hash_grid import hash_grid, known_features


def grid(seed=0, **changes) -> HashGrid:
    torch.manual_seed(seed)
    config = HashGridConfig(
        **{"levels": 3, "features": 2, "coarsest": 4, "finest": 16, "log2_rows": 8, **changes}
    )
    return HashGrid(config.layout(), initial=1.0)


@pytest.mark.parametrize(
    ("coarsest", "finest", "levels"), [(16, 2048, 16), (16, 512, 8), (4, 4, 3), (7, 1000, 5), (2, 2**20, 20)]
)
def test_levels_begin_at_the_coarsest_end_at_the_finest_and_rise_by_one_factor(coarsest, finest, levels):
    found = spread(coarsest, finest, levels)
    assert len(found) == levels
    assert (found[0], found[-1]) == (coarsest, finest)
    factor = (finest / coarsest) ** (1 / (levels - 1))
    for place, cells in enumerate(found):
        assert cells <= coarsest * factor**place + 1e-6 < cells + 1


def test_one_level_is_the_coarsest():
    assert spread(16, 2048, 1) == (16,)


def test_the_paper_s_sixteen_levels():
    """Table 1 and eq. 3: 16 levels from 16 to 2048 rise by 1.38."""
    assert spread(16, 2048, 16)[:5] == (16, 22, 30, 42, 58)


def test_no_level_has_more_rows_than_corners_or_than_its_share():
    layout = grid(log2_rows=8).layout
    rows = [after - before for before, after in zip(layout.starts, layout.starts[1:], strict=False)]
    assert layout.resolutions == (4, 8, 16)
    assert rows == [5**3, 2**8, 2**8]
    assert grid().table.shape == (sum(rows), 2)


def test_a_place_on_a_corner_has_the_corners_row():
    """On a level with a row for every corner: row x + side (y + side z)."""
    encoding = grid()
    corners = torch.cartesian_prod(*[torch.arange(5)] * 3)
    found = encoding(corners / 4)[:, :2]
    x, y, z = corners.unbind(-1)
    torch.testing.assert_close(found, encoding.table.detach()[x + 5 * (y + 5 * z)])


def test_features_come_level_by_level():
    """A table that is zero but for one level has features in that level's columns alone."""
    encoding, places = grid(), torch.rand(20, 3, generator=torch.Generator().manual_seed(2))
    starts = encoding.layout.starts
    for level in range(3):
        with torch.no_grad():
            encoding.table.zero_()
            encoding.table[starts[level] : starts[level + 1]] = 1
        wanted = torch.zeros(20, 6)
        wanted[:, 2 * level : 2 * level + 2] = 1
        torch.testing.assert_close(encoding(places), wanted)


def test_the_table_starts_even_within_its_bound():
    torch.manual_seed(0)
    table = HashGrid(HashGridConfig(finest=64, levels=4).layout()).table
    assert table.abs().max() <= 1e-4
    assert table.std().item() == pytest.approx(1e-4 / 3**0.5, rel=0.02)


def test_known_features_have_the_gradients_of_the_look_up():
    encoding = grid()
    places = torch.rand(50, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()
    pull = torch.randn(50, 6, generator=torch.Generator().manual_seed(4))
    looked_up = hash_grid(places, encoding.table, encoding.layout)
    wanted = torch.autograd.grad(looked_up, (places, encoding.table), pull)
    with torch.no_grad():
        features = encoding(places)
    known = known_features(features, places, encoding.table, encoding.layout)
    assert torch.equal(known, looked_up)
    assert all(map(torch.equal, torch.autograd.grad(known, (places, encoding.table), pull), wanted))


def test_known_features_of_some_places_leave_the_others_without_a_voice():
    encoding, places = grid(), torch.rand(50, 3, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        features = encoding(places)
    some = slice(10, 20)
    (found,) = torch.autograd.grad(
        known_features(features[some], places[some], encoding.table, encoding.layout).sum(), encoding.table
    )
    (wanted,) = torch.autograd.grad(encoding(places[some]).sum(), encoding.table)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_levels": {"levels": 0},
        "finest_below_coarsest": {"coarsest": 32, "finest": 16},
        "three_features": {"features": 3},
        "three_features_and_no_finest": {"features": 3, "finest": None},
        "too_few_rows": {"log2_rows": 2},
    }.items(),
)
def test_what_cannot_be_a_grid_is_refused(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        HashGridConfig(**changes)
    snapshot(f"config_{name}", str(refusal.value))


def test_an_open_finest_grid_makes_no_layout(snapshot):
    with pytest.raises(ConfigError) as refusal:
        HashGridConfig().layout()
    snapshot("config_open_finest", str(refusal.value))
