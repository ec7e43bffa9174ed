"""export: which format, with which options, to where; and what it refuses before anything is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from rayformer.core.config import to_plain
from rayformer.core.errors import ConfigError
from rayformer.engine.task import Export
from rayformer.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class ShapeOptions:
    resolution: int = 256
    """Voxels along the longest side."""
    box: tuple[float, float, float] | None = None
    """A corner; none takes the usual."""
    close: bool = False
    """Put a lid on it."""

    def __post_init__(self):
        if self.resolution < 2:
            raise ConfigError(f"resolution must be at least 2, but is {self.resolution}")


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """There is nothing to choose."""


def write_shape(loaded, options: ShapeOptions, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{options.resolution} {options.box} {options.close}")
    return {"faces": 12, "threshold": 7.5}


def write_folder(loaded, options: NoOptions, path: Path):
    path.mkdir(parents=True, exist_ok=True)
    return {}


@pytest.fixture
def exporter(tiny_recipe, tmp_path) -> str:
    """A run whose recipe is exported to a file and to a folder."""
    run = Run.create(tmp_path / "run", "nerf", {"config": to_plain(tiny_recipe.default), "seed": 3})
    tiny_recipe.exports = {
        "shape": Export(
            does="the thing itself", options=ShapeOptions(), write=write_shape,
            name="thing", suffixes=(".ply", ".obj"),
        ),
        "cameras": Export(does="a folder", options=NoOptions(), write=write_folder, name="cameras"),
    }  # fmt: skip
    return str(run.path)


def test_without_out_the_file_is_in_the_run_and_made_anew(rayformer, exporter):
    for _ in range(2):
        said = rayformer("export", exporter, "--to", "shape", "--json")
        assert (said.status, said.err) == (0, "")
        place = Path(exporter) / "export" / "thing.ply"
        assert json.loads(said.out) == {"path": str(place), "faces": 12, "threshold": 7.5}
        assert place.read_text() == "256 None False"
    assert rayformer("export", exporter, "--to", "cameras").status == 0
    assert (Path(exporter) / "export" / "cameras").is_dir()


def test_a_format_has_options_of_its_own(rayformer, exporter, tmp_path):
    words = "--to shape --resolution 9 --box -1 2.5 -3e-1 --close --out new/a.OBJ".split()
    assert rayformer("export", exporter, *words).status == 0
    assert (tmp_path / "new/a.OBJ").read_text() == "9 (-1.0, 2.5, -0.3) True"


def test_help_grows_with_what_is_known(rayformer, exporter):
    general = rayformer("export", "--help")
    assert general.status == 0
    assert "--to FORMAT" in general.out
    formats = rayformer("export", exporter, "--help").out
    assert "the thing itself" in formats
    assert "--resolution" not in formats
    one = rayformer("export", exporter, "--to", "shape", "--help").out
    assert "Voxels along the longest side. (default: 256)" in one
    assert ".ply or .obj" in " ".join(one.split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_format", []),
        ("unknown_format", ["--to", "shapes"]),
        ("unknown_option", ["--to", "shape", "--resolutoin", "64"]),
        ("option_of_another_format", ["--to", "cameras", "--resolution", "64"]),
        ("wrong_type", ["--to", "shape", "--resolution", "fine"]),
        ("impossible", ["--to", "shape", "--resolution", "1"]),
        ("unknown_suffix", ["--to", "shape", "--out", "a.stl"]),
        ("no_suffix", ["--to", "shape", "--out", "a"]),
        ("out_exists", ["--to", "shape", "--out", "mine.ply"]),
        ("out_folder_full", ["--to", "cameras", "--out", "full"]),
        ("out_under_a_file", ["--to", "shape", "--out", "mine.ply/a.ply"]),
    ],
)
def test_what_cannot_be_exported_is_refused(rayformer, exporter, tmp_path, snapshot, name, words):
    (tmp_path / "mine.ply").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    said = rayformer("export", exporter, *words)
    assert (said.status, said.out) == (2, "")
    assert (tmp_path / "mine.ply").read_text() == "mine"
    snapshot(name, said.err)


def test_the_run_comes_first(rayformer, exporter, snapshot):
    said = rayformer("export", "--to", "shape", exporter)
    assert said.status == 2
    snapshot("no_run", said.err)
    said = rayformer("export", "nowhere", "--to", "shape")
    assert said.status == 2
    snapshot("no_such_run", said.err)
