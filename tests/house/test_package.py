"""What is sent to a stranger is whole: a wheel and a source archive, built and looked into."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from rayformer import __version__

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(words, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_every_module_template_and_licence(built):
    with zipfile.ZipFile(built / f"rayformer-{__version__}-py3-none-any.whl") as wheel:
        inside = set(wheel.namelist())
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "rayformer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= inside
    assert "rayformer/py.typed" in wanted
    assert any(name.endswith(".j2") for name in wanted)
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_source_archive_can_set_itself_up_and_test_itself(built):
    with tarfile.open(built / f"rayformer-{__version__}.tar.gz") as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "pyproject.toml", "README.md", "LICENSE", "docs/tour.md"} <= inside
    assert {
        "src/rayformer/py.typed",
        "tests/conftest.py",
        "tests/snapshots/test_commands/unknown_command.txt",
    } <= inside
    assert not [name for name in inside if name.startswith(("runs/", ".venv/"))]


def test_help_works_from_an_empty_environment(built, tmp_path):
    venv.create(tmp_path / "empty", with_pip=True)
    folder = tmp_path / "empty" / ("Scripts" if os.name == "nt" else "bin")
    wheel = next(built.glob("*.whl"))
    subprocess.run(
        [folder / "python", "-m", "pip", "install", "--no-deps", wheel], check=True, capture_output=True
    )
    said = subprocess.run(
        [folder / "rayformer", "--help"], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert said.stdout.startswith(f"rayformer {__version__}")
