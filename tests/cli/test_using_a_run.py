"""eval, render, report, predict and export: what a run folder is given to, and what comes out."""

import json

import numpy as np
import pytest
from PIL import Image

from rayformer.cli.render import fly
from rayformer.runs.pictures import depth_colours

from .conftest import FlatView


def test_eval_gives_the_numbers(rayformer, trained):
    assert json.loads(rayformer("eval", str(trained), "--json").out) == {"psnr_db": 21.5, "source": "demo"}
    assert "photos" in rayformer("eval", str(trained), "--data", "photos").out


def test_report_says_where_the_page_is(rayformer, trained):
    said = rayformer("report", str(trained))
    assert said.out.strip() == str(trained / "report.html")
    assert (trained / "report.html").read_text().lstrip().startswith("<!doctype html>")


def test_render_writes_colour_and_depth_into_the_run(rayformer, trained):
    said = rayformer("render", str(trained), "--frames", "3", "--size", "32x24", "--json")
    assert said.status == 0
    assert json.loads(said.out) == {
        "video": str(trained / "render.mp4"),
        "depth": str(trained / "render_depth.mp4"),
        "frames": 3,
    }
    assert all((trained / name).stat().st_size for name in ("render.mp4", "render_depth.mp4"))


def test_render_into_a_folder_writes_every_frame_as_png(rayformer, trained, tmp_path):
    assert rayformer("render", str(trained), "--frames", "2", "--size", "8x6", "--out", "flight").status == 0
    assert sorted(path.name for path in (tmp_path / "flight").iterdir()) == ["0000.png", "0001.png"]
    with Image.open(tmp_path / "flight" / "0001.png") as frame:
        assert frame.size == (8, 6)
    assert len(list((tmp_path / "flight_depth").iterdir())) == 2


def test_one_depth_has_one_colour_in_every_frame(tmp_path):
    view = FlatView()
    fly(view.cameras("orbit", 3, None), view.picture, tmp_path / "colour", tmp_path / "depth", fps=30)
    for index in range(3):
        with Image.open(tmp_path / "depth" / f"000{index}.png") as frame:
            np.testing.assert_array_equal(frame, depth_colours(np.full((12, 16), 1.0 + index), 1.0, 3.0))


@pytest.mark.parametrize("ability", ["predict", "export"])
def test_a_run_is_not_asked_for_what_its_recipe_cannot(trained, snapshot, ability):
    from rayformer.cli.abilities import open_able
    from rayformer.core.errors import RunError

    with pytest.raises(RunError) as caught:
        open_able(trained, ability, "cpu")
    snapshot(f"cannot_{ability}", str(caught.value))
