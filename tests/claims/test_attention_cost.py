"""What attention costs: exactly as the equations say where it is counted, and judged by what was measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rayformer.claims.attention_cost import (
    BLOCKS,
    CLAIM,
    PATCH,
    WIDTH,
    WINDOW,
    CostConfig,
    _forward,
    attention_flops,
    cells,
    judge,
    kept_bytes,
    keys_of,
    linear_flops,
    power,
    work,
)
from rayformer.claims.claim import Measured
from rayformer.claims.recognition import flops_of

SIZES = (32, 64, 96)


def measured(**changes: dict[str, float]) -> dict[str, Measured]:
    """Rows as they should come out, but for what is changed, by kind."""
    usual = {
        "global": {"attention_power": 2.0, "flops_power": 1.8, "time_power": 1.7, "memory_power": 1.0},
        "global, openly": {
            "attention_power": 2.0,
            "flops_power": 1.8,
            "time_power": 1.9,
            "memory_power": 1.9,
        },
        "windows": {"attention_power": 1.0, "flops_power": 1.0, "time_power": 1.05, "memory_power": 1.0},
        "vit": {"flops_power": 1.5, "time_power": 1.5},
        "swin": {"flops_power": 1.0, "time_power": 1.05},
    }
    rows = {}
    for cell in cells(False):
        numbers = usual[cell.config.kind] | changes.get(cell.config.kind, {})
        rows[cell.name] = Measured(cell, (Path("0"),), (numbers,))
    return rows


def test_the_slope_of_a_power_is_that_power():
    for exponent in (0.5, 1.0, 2.0):
        assert power([(3 * size**2) ** exponent for size in SIZES], SIZES) == pytest.approx(exponent)


def test_attention_alone_is_quadratic_globally_and_linear_in_windows():
    counts = [(size // PATCH) ** 2 for size in SIZES]
    for kind, exponent in (("global", 2), ("global, openly", 2), ("windows", 1)):
        alone = [attention_flops(count, keys_of(kind, count), WIDTH) for count in counts]
        assert power(alone, SIZES) == pytest.approx(exponent, abs=1e-9)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_counted_is_what_the_equations_say(kind, size):
    tokens = (size // PATCH) ** 2
    by_hand = linear_flops(tokens, WIDTH) + attention_flops(tokens, keys_of(kind, tokens), WIDTH)
    assert flops_of(_forward(CostConfig(kind=kind, sizes=SIZES), size)) == by_hand


def test_swins_operations_are_linear_where_windows_cover_its_maps_evenly():
    config = replace(cells(True)[-1].config, rounds=1)
    found = work(config)
    assert config.kind == "swin"
    assert found["flops_power"] == pytest.approx(1, abs=0.02)


def test_writing_the_weights_down_keeps_them_for_the_gradient():
    """All of them, once at least: heads x tokens^2 numbers more than the fused kernel keeps."""
    fused, openly = (
        kept_bytes(_forward(CostConfig(kind=kind, sizes=SIZES), 64)) for kind in ("global", "global, openly")
    )
    weights = 3 * (64 // PATCH) ** 4 * 4
    assert openly - fused > 0.9 * weights
    assert fused < openly


def test_kept_bytes_are_counted_once_and_parameters_not_at_all():
    layer, x = torch.nn.Linear(8, 8), torch.randn(100, 8)
    assert kept_bytes(lambda: layer(x)) == x.numel() * 4
    assert kept_bytes(lambda: layer(x) + layer(x)) == x.numel() * 4


def test_cells_are_the_blocks_and_two_networks_on_the_same_pictures():
    for smoke in (False, True):
        configs = [cell.config for cell in cells(smoke)]
        assert [config.kind for config in configs] == [*BLOCKS, "vit", "swin"]
        assert len({config.sizes for config in configs}) == 2
        assert all(size % (PATCH * WINDOW) == 0 for size in configs[0].sizes)


def test_it_holds_where_all_is_as_told():
    verdict = judge(measured())
    assert verdict.holds
    assert "attention alone 2.00 global and 1.00 in windows" in verdict.reason
    assert "Swin-T: operations 1.00, time 1.05" in verdict.reason


@pytest.mark.parametrize(
    "wrong",
    [
        {"windows": {"time_power": 1.4}},
        {"swin": {"flops_power": 1.2}},
        {"vit": {"time_power": 1.0}},
        {"global": {"flops_power": 0.9}},
        {"global": {"attention_power": 1.9}},
    ],
)
def test_it_does_not_hold_where_one_number_is_otherwise(wrong):
    assert not judge(measured(**wrong)).holds


@pytest.mark.slow
def test_the_smoke_size_is_measured_once_and_kept(tmp_path):
    first = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    again = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert again.to_plain() == first.to_plain()
    assert "train_s" not in first.table()
    assert (first.folder / "attention-cost-networks.png").exists()
