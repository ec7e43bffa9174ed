"""The claim about the road to radiance fields: equal minutes, and a verdict that follows from the numbers."""

from pathlib import Path

import pytest

from rayformer.claims.claim import Measured
from rayformer.claims.view_synthesis import CLAIM, MINUTES, cells, judge


def measured(**numbers: float) -> dict[str, Measured]:
    usual = {"plenoxels": 27.0, "dvgo": 26.0, "ngp": 28.0, "nerf": 22.0, "deepvoxels": 18.0} | numbers
    by_name = {cell.name: cell for cell in cells(False)}
    return {
        name: Measured(cell, (Path(name),), ({"psnr_db": usual.get(name, 20.0)},))
        for name, cell in by_name.items()
    }


def test_every_system_has_the_same_minutes_its_proxy_included():
    for cell in cells(False):
        config = cell.config
        minutes = (
            config.plan.minutes if cell.name != "lumigraph" else 0.0
        )  # which trains nothing but its proxy
        if cell.recipe == "ibr":
            minutes += config.proxy.minutes
        assert minutes == MINUTES, cell.name


def test_every_system_sees_the_same_photographs_and_is_measured_on_the_same_views():
    for smoke in (False, True):
        configs = [cell.config for cell in cells(smoke)]
        assert len({(config.data.source, config.data.width) for config in configs if smoke}) <= 1
        assert len({(config.data.near, config.data.far) for config in configs if not smoke}) <= 1
        assert len({config.scene.test_views for config in configs if not smoke}) <= 1


def test_it_holds_where_local_memory_beats_one_network_and_that_beats_a_drawn_volume():
    assert judge(measured()).holds
    assert "ngp 28.00" in judge(measured()).reason


@pytest.mark.parametrize("wrong", [{"ngp": 21.0}, {"dvgo": 21.0}, {"plenoxels": 21.9}, {"deepvoxels": 23.0}])
def test_it_does_not_hold_where_one_system_is_out_of_order(wrong):
    assert not judge(measured(**wrong)).holds


@pytest.mark.slow
def test_the_smoke_size_fills_the_table(tmp_path):
    outcome = CLAIM.reproduce(smoke=True, out=tmp_path / "claim")
    assert len(outcome.measured) == len(cells(True)) == 9
    for name, row in outcome.measured.items():
        (result,) = row.results
        assert 0 < result["render_s"] < 60, name
        assert 0 < result["disk_mib"] < 100, name
    assert {path.name for path in (tmp_path / "claim").glob("*.png")} == {
        "view-synthesis-photographs-and-voxels.png",
        "view-synthesis-networks-and-grids.png",
    }
