"""One page, from whatever a run folder holds, that needs nothing beside it."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from rayformer.core.errors import RunError
from rayformer.report import page
from rayformer.report.page import flattened, series_of, write_report
from rayformer.runs.pictures import Picture
from rayformer.runs.run import Run

MANIFEST = {
    "config": {
        "data": {"source": "pictures/nerf_fox", "width": 100},
        "model": {"width": 128, "betas": [0.9, 0.99]},
    },
    "defaults": {"data": {"source": "demo", "width": 100}, "model": {"width": 256, "betas": [0.9, 0.99]}},
    "data": {
        "source": "pictures/nerf_fox",
        "format": "transforms.json",
        "remarks": ["17 pictures are absent"],
    },
    "seed": 7,
    "device": "cpu",
    "precision": {"kind": "bf16", "why": "the processor multiplies bf16 in hardware"},
}
VOID = {"meta", "img", "link", "br", "input", "hr"}


class Structure(HTMLParser):
    """Whether every tag is closed, and every address the page mentions."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}" if not self.open or self.open[-1] != "style" else ""


def read(path) -> Structure:
    structure = Structure()
    structure.feed(path.read_text(encoding="utf-8"))
    assert structure.open == []
    structure.text = " ".join(structure.text.split())
    return structure


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", "nerf", MANIFEST)


def fill(run: Run) -> None:
    for step in range(10, 500, 10):
        numbers = {
            "train/loss": 1 / step,
            "train/fine": 0.5 / step,
            "samples_per_s": 5e5,
            "elapsed_s": step / 10,
        }
        run.log(step, **numbers, peak_memory_gib=1.25)
    run.log(490, **{"val/psnr_db": 24.04})
    run.write_result(
        {
            "psnr_db": 24.13,
            "lpips": None,
            "steps": 490,
            "train_s": 200,
            "remarks": ["LPIPS not measured: no weights"],
        }
    )
    picture = Picture(np.random.default_rng(0).integers(0, 256, (20, 80, 3), dtype=np.uint8), "PSNR 24 dB")
    run.save_picture("held-out/0003", picture)
    run.save_picture("held-out/0007", picture)
    for step in (400, 490):
        run.checkpoint(step).mkdir()
        (run.checkpoint(step) / "state.json").write_text('{"best_step": 400}')


def test_a_finished_run_says_all_it_knows(run):
    fill(run)
    text = read(write_report(run.path)).text
    for said in [
        "nerf on nerf_fox", "finished", "PSNR 24.1 dB", "LPIPS not measured", "no weights",
        "Held-out", "0003 PSNR 24 dB", "Training loss", "Held out: PSNR [dB]", "Samples per second",
        "training time 3 min 20 s", "500,000 (median)", "peak memory 1.25 GiB", "bf16: the processor",
        "17 pictures are absent", "model.width 128 default 256", "2 of 4 fields differ",
        "step 400 the best so far", "step 490 complete", "seed 7", "device cpu",
    ]:  # fmt: skip
        assert said in text, said


def test_a_table_of_numbers_is_shown_with_the_least_first(run):
    rows = {
        "cat": {"accuracy": 0.8, "precision": 0.75, "pictures": 10},
        "dog": {"accuracy": None, "precision": None, "pictures": 0},
        "<emu>": {"accuracy": 0.5, "precision": 1.0, "pictures": 4},
    }
    run.write_result({"top1": 0.7, "by_class": rows})
    text = read(write_report(run.path)).text
    assert "By class Accuracy Precision Pictures <emu> 0.5 1 4 cat 0.8 0.75 10 dog 0" in text


def test_the_page_needs_nothing_beside_it(run):
    fill(run)
    found = read(write_report(run.path))
    assert len(found.addresses) == 2
    assert all(address.startswith("data:image/") for address in found.addresses)
    page_text = (run.path / "report.html").read_text()
    assert not re.search(r"https?://|@import|<script|url\(", page_text)


def test_a_drawn_scene_has_its_own_name_in_the_title_and_smoke_its_own_defaults(tmp_path):
    kept_at = {"source": "/opt/.cache/rayformer/demo-a3e4"}
    config = {"data": {"source": "demo", "width": 32}}
    manifest = MANIFEST | {"config": config, "data": kept_at, "smoke": True}
    structure = read(write_report(Run.create(tmp_path / "run", "nerf", manifest).path))
    assert "nerf on demo" in " ".join(structure.text.split())
    assert "differ from the recipe's smoke size" in structure.text


def test_a_run_with_nothing_yet_says_so(tmp_path):
    run = Run.create(tmp_path / "run", "nerf", {})
    text = read(write_report(run.path)).text
    for said in ["nothing logged yet", "No result yet", "No pictures yet", "no curves", "None kept yet"]:
        assert said in text


def test_a_run_that_is_still_going_says_how_far(run):
    run.log(10, loss=1.0)
    assert "not finished: the last number logged is of step 10" in read(write_report(run.path)).text


def test_harmed_files_cost_their_part_of_the_page_only(run):
    fill(run)
    (run.path / "pictures" / "torn.png").write_bytes(b"\x89PNG")
    (run.path / "metrics.jsonl").write_text("{\n{}\n")
    text = read(write_report(run.path)).text
    assert "torn.png is not a picture" in text
    assert "line 1 is not a JSON object" in text
    assert "PSNR 24.1 dB" in text


def test_a_torn_checkpoint_is_said(run):
    run.checkpoint(500).mkdir()
    assert "torn: passed over" in read(write_report(run.path)).text


def test_whatever_a_text_holds_stays_text(tmp_path):
    evil = '<script>alert("x")</script>'
    run = Run.create(
        tmp_path / "run",
        evil,
        {"config": {evil: evil}, "data": {"source": evil, "remarks": [evil]}, "device": evil},
    )
    run.log(1, **{evil: 1.0, f"train/{evil}": 2.0})
    run.save_picture("view", Picture(np.zeros((2, 2, 3), np.uint8), evil))
    run.write_result({evil: 1.0, "remarks": [evil]})
    assert "<script" not in write_report(run.path).read_text()


def test_every_stage_has_its_section(run):
    for name in ("pretrain", "finetune"):
        run.stage(name).log(5, loss=1.0)
    fill(run.stage("pretrain"))
    text = read(write_report(run.path)).text
    assert "1 of 2 stages begun are finished" in text
    assert "Stage pretrain finished" in text
    assert "Stage finetune not finished" in text


def test_the_numbers_of_a_stage_stand_in_its_section_alone(run):
    run.stage("block-00").write_result({"psnr_db": 21.75})
    run.write_result({"psnr_db": 22.5, "block-00/psnr_db": 21.75})
    text = read(write_report(run.path)).text
    assert text.count("22.5") == text.count("21.8") == 1


def test_a_small_video_lies_in_the_page_and_a_large_one_beside_it(run, monkeypatch):
    (run.path / "my flight.mp4").write_bytes(b"12345678")
    assert read(write_report(run.path)).addresses == ["data:video/mp4;base64,MTIzNDU2Nzg="]
    monkeypatch.setattr(page, "INLINED_VIDEO", 5)
    assert read(write_report(run.path)).addresses == ["my%20flight.mp4"]


def test_pictures_are_exact_while_they_are_small_and_jpeg_when_they_are_large(run):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    run.save_picture("a", Picture(small))
    run.save_picture("b", Picture(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)))
    first, second = read(write_report(run.path)).addresses
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2])))), small
    )
    assert second.startswith("data:image/jpeg")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        write_report(tmp_path)


def test_series_leave_out_what_is_not_finite():
    series = series_of(
        [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan"), "lr": 0.1}, {"step": 3, "loss": 1}]
    )
    assert series["loss"].steps.tolist() == [1, 3]
    assert series["loss"].values.tolist() == [2, 1]
    assert series["lr"].steps.tolist() == [2]


def test_flattening_keeps_every_leaf():
    assert flattened({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": True, "f": {}}) == {
        "a.b.c": "1",
        "a.d": "1, 2",
        "e": "yes",
        "f": "none",
    }


def test_no_torch_is_needed_to_report(run):
    fill(run)
    script = (
        "import sys; from rayformer.report.page import write_report\n"
        "write_report(sys.argv[1]); print(*sys.modules)"
    )
    command = [sys.executable, "-c", script, str(run.path)]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert not {"torch", "matplotlib"} & set(loaded.split())
