"""The doctor names what there is, and never guesses."""

import json

import pytest

from rayformer.cli.doctor import extras


def test_doctor_tells_device_precision_threads_and_speed(rayformer):
    found = json.loads(rayformer("doctor", "--device", "cpu", "--json").out)
    assert found["device"] == "cpu"
    assert found["precision"] in ("bf16", "float32")
    assert found["precision_reason"]
    assert min(found["threads"], found["cores"]) >= 1
    assert found["speed"]["float32_gflops"] > 0
    assert {"python", "rayformer", "torch"} <= set(found["versions"])


def test_doctor_tells_what_compiles_the_kernels_and_where_they_are_kept(rayformer):
    found = json.loads(rayformer("doctor", "--device", "cpu", "--json").out)["kernels"]
    assert found["numba"]
    assert found["kept"] >= 0
    assert (found["triton_missing"] is None) <= (found["triton"] is not None)


@pytest.mark.parametrize(
    ("kept", "missing", "said"),
    [
        (
            0,
            "Triton is not installed",
            ["nothing compiled yet", "CUDA: Triton is not installed; plain torch instead"],
        ),
        (12, None, ["12 loops kept compiled", "CUDA: Triton 3.6.0"]),
    ],
)
def test_doctor_says_in_words_whether_kernels_are_compiled(kept, missing, said, monkeypatch, rayformer):
    what = {"numba": "0.68.0", "kept": kept, "folder": "F", "triton": "3.6.0", "triton_missing": missing}
    monkeypatch.setattr("rayformer.cli.doctor.kernels", lambda: what)
    text = rayformer("doctor", "--device", "cpu").out
    assert all(words in text for words in said)


def test_every_extra_comes_with_the_command_that_installs_it():
    found = extras()
    assert "dev" not in found
    assert found["heic"]["packages"] == ["pillow-heif"]
    assert found["heic"]["install"] == "pip install 'rayformer[heic]'"


def test_an_absent_extra_is_reported_as_absent(monkeypatch):
    monkeypatch.setattr("rayformer.cli.doctor._installed", lambda package: package != "pillow-heif")
    assert extras()["heic"]["present"] is False
