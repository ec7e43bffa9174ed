"""The whole way with the real NeRF, as small as it gets: train, resume, measure, render, report, load."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

TINY = """
    --smoke --model.width 16 --scene.rays 64 --scene.test_views 1 --scene.shown_views 1
    --plan.evaluate_every 0
""".split()


def rayformer(*words, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "rayformer", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return ended


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working directory with a trained run in it."""
    folder = tmp_path_factory.mktemp("work")
    trained = rayformer("train", "nerf", *TINY, "--plan.steps", 5, "--out", "runs/mine", "--json", cwd=folder)
    assert json.loads(trained.stdout)["result"]["psnr_db"] > 0
    return folder


def test_eval_measures_again_what_training_measured(place):
    again = json.loads(rayformer("eval", "runs/mine", "--json", cwd=place).stdout)
    before = json.loads((place / "runs/mine/result.json").read_text())
    assert again["psnr_db"] == pytest.approx(before["psnr_db"], abs=0.01)


def test_render_and_report_leave_their_files(place):
    rayformer("render", "runs/mine", "--frames", 2, "--size", "16x16", cwd=place)
    rayformer("report", "runs/mine", cwd=place)
    for name in ("render.mp4", "render_depth.mp4", "report.html"):
        assert (place / "runs/mine" / name).stat().st_size > 0


def test_an_unknown_path_is_answered_with_the_nearest(place):
    said = rayformer("render", "runs/mine", "--path", "orbitt", cwd=place, status=2).stderr
    assert "Did you mean 'orbit'?" in said


def test_the_python_of_the_readme_runs(place):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=place, check=True)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(place):
    words = [
        "train",
        "nerf",
        *TINY,
        "--plan.steps",
        "100000",
        "--plan.log_every",
        "1",
        "--out",
        "runs/cut",
        "--json",
    ]
    running = subprocess.Popen(
        [sys.executable, "-m", "rayformer", *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = place / "runs/cut/metrics.jsonl"
    deadline = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert json.loads(out)["interrupted"] is True
    assert "--resume runs/cut" in err
    (step,) = [int(path.name) for path in (place / "runs/cut/checkpoints").iterdir()]
    longer = rayformer("train", "--resume", "runs/cut", "--plan.steps", step + 2, "--json", cwd=place)
    assert json.loads(longer.stdout)["result"]["steps"] == step + 2
