"""Rules that a reader can rely on without looking: axis words, names of files, words with every assert."""

import ast
import re
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from rayformer.core.axes import AXES
from rayformer.geometry.cameras import Camera, project
from rayformer.runs.pictures import Picture, depth_colours

ROOT = Path(__file__).parents[2]
SOURCE = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

DTYPES = {name for name in dir(jaxtyping) if isinstance(getattr(jaxtyping, name), type) and name[0].isupper()}


def nodes(path: Path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def axes_in(path: Path):
    """Every (line, axis word) of the jaxtyping annotations in a file."""
    for node in nodes(path):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in DTYPES:
            shape = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
            if isinstance(shape, ast.Constant) and isinstance(shape.value, str):
                for word in re.findall(r"[A-Za-z]\w*", shape.value.replace("...", "")):
                    yield node.lineno, word


def test_annotations_are_found():
    words = {word for path in SOURCE for _, word in axes_in(path)}
    assert {"rays", "height", "width"} <= words


def test_every_axis_is_a_word_of_the_vocabulary():
    unknown = {place(path, line): word for path in SOURCE for line, word in axes_in(path) if word not in AXES}
    assert not unknown, (
        f"add these to core/axes.py with their meaning, or use a word that is there: {unknown}"
    )


def test_shape_checks_are_alive():
    with pytest.raises(jaxtyping.TypeCheckError):
        depth_colours(np.zeros((2, 3, 4)), 0.0, 1.0)
    with pytest.raises(jaxtyping.TypeCheckError):
        Picture(np.zeros((4, 4), np.uint8))
    camera = Camera(width=4, height=4, fx=1.0, fy=1.0, cx=2.0, cy=2.0, pose=torch.eye(4, dtype=torch.float64))
    with pytest.raises(jaxtyping.TypeCheckError):
        project(camera, torch.zeros(5, 2))


def test_no_file_is_named_for_what_has_no_home():
    homeless = {"utils", "util", "misc", "common", "helpers", "helper"}
    assert not [str(path) for path in SOURCE + TESTS if homeless & {path.stem, *path.parts}]


def test_annotations_are_evaluated_so_that_they_can_be_checked():
    for path in SOURCE:
        for node in nodes(path):
            future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
            assert not future, (
                f"{place(path, node.lineno)}: no __future__ annotations, they defeat the shape checks"
            )


def test_every_assert_has_words():
    wordless = [
        place(path, node.lineno)
        for path in SOURCE
        for node in nodes(path)
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert not wordless, f"say what was expected: {wordless}"


def test_nothing_is_unpickled():
    for path in SOURCE:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) pickle\b", text, re.MULTILINE), path
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call, f"{path}: {call}"


def test_no_file_names_a_folder_of_one_machine():
    folders = ["src", "tests", "docs", "benchmarks", ".ci", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml", "constraints.txt")]
    machine = re.compile("/" + r"(work|root|home/[a-z]\w*|tmp/[a-z]\w*)/")
    for path in files:
        if path.suffix in {".py", ".md", ".txt", ".toml", ".yml", ".yaml", ".json", ".j2", ""}:
            found = machine.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not found, f"{path.relative_to(ROOT)} names {found and found[0]!r}"
