"""eval, render, report, predict and export: what a run folder is given to, and what comes out."""

import json

import av
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


@pytest.mark.parametrize("ability", ["predict"])
def test_a_run_is_not_asked_for_what_its_recipe_cannot(trained, snapshot, ability):
    from rayformer.cli.abilities import open_able
    from rayformer.core.errors import RunError

    with pytest.raises(RunError) as caught:
        open_able(trained, ability, "cpu")
    snapshot(f"cannot_{ability}", str(caught.value))


@pytest.mark.parametrize("command", [["eval"], ["render"], ["train", "--resume"]])
@pytest.mark.parametrize(
    ("name", "manifest"), [("of_an_unknown_recipe", "recipe: vit-9"), ("without_a_config", "recipe: nerf")]
)
def test_a_run_that_nothing_can_be_done_with_is_refused(
    rayformer, tiny_recipe, tmp_path, snapshot, command, name, manifest
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text(manifest)
    said = rayformer(*command, str(tmp_path / "run"))
    assert (said.status, said.out) == (2, "")
    snapshot(f"run_{name}", said.err)


@pytest.mark.parametrize(
    ("name", "made"),
    [("film.mp4", "film.mp4"), ("film.mp4", "film_depth.mp4"), ("frames", "frames_depth/1.png")],
)
def test_render_never_writes_over_what_out_names(rayformer, trained, tmp_path, snapshot, name, made):
    (tmp_path / made).parent.mkdir(exist_ok=True)
    (tmp_path / made).write_text("mine")
    said = rayformer("render", str(trained), "--out", name)
    assert said.status == 2
    assert (tmp_path / made).read_text() == "mine"
    snapshot(f"render_over_{made.replace('/', '_')}", said.err)


def test_render_makes_its_own_video_anew(rayformer, trained):
    for _ in range(2):
        assert rayformer("render", str(trained), "--frames", "2", "--size", "8x6").status == 0


def test_what_a_camera_path_file_overrules_is_said(rayformer, trained, snapshot):
    said = rayformer("render", str(trained), "--path", "flight.json", "--frames", "9", "--size", "8x6")
    assert said.status == 0
    snapshot(
        "overruled_by_a_camera_path",
        "".join(f"{line}\n" for line in said.err.splitlines() if line[:2] == "- "),
    )
    silent = rayformer("render", str(trained), "--path", "flight.json")
    assert "not used" not in silent.err


def test_render_keeps_the_speed_of_a_camera_path_unless_told(rayformer, trained):
    def rate(*words: str) -> float:
        assert rayformer("render", str(trained), "--path", "flight.json", *words).status == 0
        with av.open(str(trained / "render.mp4")) as video:
            return float(video.streams.video[0].average_rate)

    assert rate() == 2
    assert rate("--fps", "5") == 5
