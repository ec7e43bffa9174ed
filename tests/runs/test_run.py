"""The run folder holds what was asked, measured and made, and survives a process that is killed."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from rayformer.core.errors import RunError
from rayformer.runs.pictures import Picture
from rayformer.runs.run import Run

MANIFEST = {
    "config": {"model": {"width": 128, "rate": 5e-4}, "data": {"source": "demo"}},
    "seed": 7,
    "device": "cpu",
    "precision": {"kind": "bf16", "why": "the processor multiplies bf16 in hardware"},
    "data": {"source": "demo", "fingerprint": "ab12"},
}


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", "nerf", MANIFEST)


def test_a_manifest_is_read_as_it_was_written(run):
    manifest = Run.open(run.path).manifest
    assert manifest["recipe"] == "nerf"
    assert {name: manifest[name] for name in MANIFEST} == MANIFEST
    assert {"started", "command", "versions"} <= manifest.keys()
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_without_a_path_a_run_is_named_by_date_and_recipe_and_never_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {Run.create(None, "nerf", {}).path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.parent.name == "runs" and "-nerf" in path.name for path in paths)


def test_an_empty_folder_may_become_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    assert Run.create(tmp_path / "run", "nerf", {}).manifest["recipe"] == "nerf"


def test_a_taken_out_is_refused(tmp_path, run, snapshot):
    with pytest.raises(RunError) as error:
        Run.create(run.path, "nerf", {})
    snapshot("taken_out", str(error.value))


def test_a_file_as_out_is_refused(tmp_path, snapshot):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError) as error:
        Run.create(tmp_path / "run", "nerf", {})
    snapshot("file_as_out", str(error.value))


def test_a_folder_of_something_else_is_refused_without_talk_of_resuming(tmp_path, snapshot):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError) as error:
        Run.create(tmp_path, "nerf", {})
    snapshot("folder_of_something_else", str(error.value))


def test_the_command_is_noted_without_the_folder_of_the_program(tmp_path, monkeypatch):
    for program, noted in [
        ("/opt/.venv/bin/rayformer", "rayformer"),
        ("/x/rayformer/__main__.py", "python -m rayformer"),
    ]:
        monkeypatch.setattr("sys.argv", [program, "train", "nerf", "--data", "my photos"])
        run = Run.create(tmp_path / noted, "nerf", {})
        assert run.manifest["command"] == f"{noted} train nerf --data 'my photos'"


def test_a_folder_that_is_not_there_is_refused(tmp_path, snapshot):
    with pytest.raises(RunError) as error:
        Run.open(tmp_path / "nothing")
    snapshot("no_such_folder", str(error.value))


def test_a_folder_that_is_no_run_is_refused_with_what_it_holds(tmp_path, snapshot):
    for name in ["transforms.json", "images", "a.txt", "b.txt", "c.txt", "d.txt"]:
        (tmp_path / name).write_text("")
    with pytest.raises(RunError) as error:
        Run.open(tmp_path)
    snapshot("not_a_run", str(error.value))
    with pytest.raises(RunError) as error:
        Run.open(tmp_path / "a.txt")
    snapshot("file_as_run", str(error.value))


def test_a_broken_manifest_is_refused_with_its_line(run, snapshot):
    (run.path / "run.yaml").write_text("recipe: nerf\nconfig: {width: 3\nseed: 4\n")
    with pytest.raises(RunError) as error:
        Run.open(run.path)
    snapshot("broken_manifest", str(error.value))
    (run.path / "run.yaml").write_text("- just\n- a list\n")
    with pytest.raises(RunError, match="must map names"):
        Run.open(run.path)
    (run.path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="is broken"):
        Run.open(run.path)


def test_entries_noted_later_join_the_manifest_or_replace_their_like(run):
    before = run.manifest
    run.note({"device": "cuda", "counts": {"train": 3}})
    assert run.manifest == {**before, "device": "cuda", "counts": {"train": 3}}


def test_only_a_run_that_never_trained_is_removed(tmp_path, run):
    run.log(1, loss=1.0)
    run.remove_if_untrained()
    assert run.metrics()
    refused = Run.create(tmp_path / "refused", "nerf", {})
    refused.remove_if_untrained()
    assert not refused.path.exists()


def test_logged_numbers_come_back_in_order(run):
    run.log(10, loss=0.5, **{"val/psnr_db": np.float32(20)})
    run.log(20, loss=float("nan"), rays=4096)
    first, second = run.metrics()
    assert first == {"step": 10, "loss": 0.5, "val/psnr_db": 20.0}
    assert math.isnan(second["loss"])
    assert second["rays"] == 4096


def test_metrics_are_strict_json(run):
    run.log(1, loss=float("inf"))
    line = (run.path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "loss": None}


def test_a_killed_process_loses_its_last_line_at_most(run):
    script = (
        "import sys, os, signal; from rayformer.runs.run import Run; run = Run.open(sys.argv[1])\n"
        "for step in range(50): run.log(step, loss=1.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(run.path)], check=False).returncode == -9
    assert len(run.metrics()) == 50
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 50, "lo')
    assert len(run.metrics()) == 50
    run.log(50, loss=2.0)
    assert [line["step"] for line in run.metrics()] == list(range(51))


def test_a_broken_line_before_the_last_is_named(run, snapshot):
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"step" 2}\n{"step": 3}\n')
    with pytest.raises(RunError) as error:
        run.metrics()
    snapshot("broken_metrics", str(error.value))


def test_a_resume_drops_what_lies_past_its_step(run):
    for step in range(10, 60, 10):
        run.log(step, loss=1 / step)
    before = run.metrics()
    run.truncate_metrics(after_step=30)
    assert run.metrics() == before[:3]
    run.truncate_metrics(after_step=1000)
    assert run.metrics() == before[:3]


def test_a_resume_is_noted_and_changes_nothing_else(run):
    before = run.manifest
    run.note_resume(30)
    run.note_resume(50)
    after = run.manifest
    assert [note["step"] for note in after.pop("resumed")] == [30, 50]
    assert after == before


def test_results_come_back_and_there_are_none_before(run):
    assert run.result() is None
    rest = {"remarks": ["LPIPS: not measured"], "by_view": {"0": 1.5}}
    run.write_result({"psnr_db": np.float32(24.5), "lpips": math.nan, **rest})
    assert run.result() == {"psnr_db": 24.5, "lpips": None, **rest}


def test_a_broken_result_is_refused(run):
    (run.path / "result.json").write_text("{")
    with pytest.raises(RunError, match="rayformer eval"):
        run.result()


def test_pictures_keep_their_caption_and_their_group(run):
    caption = "view 3: 24 dB, „nah“ & fern"
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    run.save_picture("held-out/0003", Picture(pixels, caption))
    run.save_picture("depth", Picture(pixels))
    assert [(name, text) for name, _, text in run.pictures()] == [("depth", ""), ("held-out/0003", caption)]


def test_a_picture_that_cannot_be_read_is_named(run):
    (run.path / "pictures" / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(RunError, match=r"torn\.png"):
        run.pictures()


def checkpoint(run: Run, step: int, state: str | None) -> None:
    run.checkpoint(step).mkdir(parents=True)
    (run.checkpoint(step) / "model.safetensors").write_bytes(b"...")
    if state is not None:
        (run.checkpoint(step) / "state.json").write_text(state)


def test_a_checkpoint_is_complete_when_its_state_can_be_read(run):
    checkpoint(run, 1_000_000, "{}")
    checkpoint(run, 500, '{"step": 500}')
    checkpoint(run, 600, '{"step": 6')
    checkpoint(run, 700, None)
    (run.path / "checkpoints" / ".draft-000800").mkdir()
    assert [step for step, _ in run.checkpoints()] == [500, 1_000_000]
    assert {path.name for path in run.torn_checkpoints()} == {"000600", "000700", ".draft-000800"}


def test_a_stage_is_a_run_with_its_parents_manifest(run):
    assert run.stages() == []
    stage = run.stage("pretrain")
    stage.log(1, loss=2.0)
    assert [name for name, _ in run.stages()] == ["pretrain"]
    assert Run.open(run.path / "stages" / "pretrain").manifest == run.manifest
    assert stage.metrics() == [{"step": 1, "loss": 2.0}]
    assert run.metrics() == []
    assert stage.root == run.root == run


def test_a_run_of_any_name_is_no_stage(tmp_path):
    run = Run.create(tmp_path / "stages" / "mine", "nerf", {})
    assert run.root == run


def test_no_torch_is_needed_to_read_a_run():
    script = "import sys, rayformer.runs.run, rayformer.runs.video; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "matplotlib", "av"} & set(loaded.split())
