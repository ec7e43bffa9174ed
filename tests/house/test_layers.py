"""Arrows point down: the layers of the house, and what must start without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    words = [sys.executable, "-c", program, "--config", str(config), "--no-cache"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_no_import_points_up_or_sideways():
    ended = lint_imports(ROOT / "pyproject.toml")
    assert ended.returncode == 0, ended.stdout


def test_the_check_of_the_layers_is_alive(tmp_path):
    config = tmp_path / "upside_down.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "rayformer"\n'
        '[[tool.importlinter.contracts]]\nname = "upside down"\ntype = "layers"\n'
        'layers = ["rayformer.core", "rayformer.runs"]\n'
    )
    ended = lint_imports(config)
    assert ended.returncode == 1
    assert "upside down BROKEN" in ended.stdout


@pytest.mark.parametrize(
    "module",
    [
        "rayformer",
        "rayformer.core.config",
        "rayformer.runs.run",
        "rayformer.runs.pictures",
        "rayformer.report.page",
        "rayformer.recipes.index",
        "rayformer.claims.index",
        "rayformer.cli.main",
    ],
)
def test_what_answers_at_once_imports_no_torch(module):
    program = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
