"""The doctor names what there is, and never guesses."""

import json

from rayformer.cli.doctor import extras


def test_doctor_tells_device_precision_threads_and_speed(rayformer):
    found = json.loads(rayformer("doctor", "--device", "cpu", "--json").out)
    assert found["device"] == "cpu"
    assert found["precision"] in ("bf16", "float32")
    assert found["precision_reason"]
    assert min(found["threads"], found["cores"]) >= 1
    assert found["speed"]["float32_gflops"] > 0
    assert {"python", "rayformer", "torch"} <= set(found["versions"])


def test_every_extra_comes_with_the_command_that_installs_it():
    found = extras()
    assert "dev" not in found
    assert found["heic"]["packages"] == ["pillow-heif"]
    assert found["heic"]["install"] == "pip install 'rayformer[heic]'"


def test_an_absent_extra_is_reported_as_absent(monkeypatch):
    monkeypatch.setattr("rayformer.cli.doctor._installed", lambda package: package != "pillow-heif")
    assert extras()["heic"]["present"] is False
