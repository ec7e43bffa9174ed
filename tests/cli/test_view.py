"""`view` and `train --view`: what is refused, and in which words."""

import socket

import pytest


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        yield str(other.getsockname()[1])


@pytest.fixture(autouse=True)
def _with_viser():
    pytest.importorskip("viser", reason="the extra view is not installed")


def test_a_port_in_use_ends_with_2_before_anything_is_loaded(rayformer, trained, taken, snapshot):
    said = rayformer("view", str(trained), "--port", taken)
    assert (said.status, said.out) == (2, "")
    snapshot("port_in_use", said.err.replace(taken, "PORT"))


def test_training_refuses_a_port_in_use_before_it_begins(rayformer, tiny_recipe, taken, tmp_path):
    said = rayformer("train", "nerf", "--view-port", taken, "--out", str(tmp_path / "run"))
    assert said.status == 2
    assert "is taken" in said.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("port", ["0", "70000", "web"])
def test_a_port_is_a_number_that_there_is(rayformer, trained, port):
    said = rayformer("view", str(trained), "--port", port)
    assert said.status == 2
    assert f"a whole number from 1 to 65535, but is {port!r}" in said.err


def test_a_run_that_cannot_be_viewed_is_told_which_can(rayformer, trained, monkeypatch, snapshot):
    from dataclasses import replace

    from rayformer.cli import abilities
    from rayformer.recipes.index import ENTRIES

    entry = next(entry for entry in ENTRIES if entry.name == "nerf")
    blind = replace(entry, abilities=("predict",))
    able = replace(entry, name="able")
    monkeypatch.setattr(abilities, "ENTRIES", (blind, able))
    monkeypatch.setattr(abilities, "entry", lambda name: blind)
    said = rayformer("view", str(trained))
    assert said.status == 2
    snapshot("cannot_be_viewed", said.err)


def test_training_that_cannot_be_watched_is_refused(rayformer, tiny_recipe, monkeypatch, snapshot):
    from dataclasses import replace

    from rayformer.cli import train
    from rayformer.recipes.index import entry

    blind = replace(entry("nerf"), abilities=())
    monkeypatch.setattr(train, "entry", lambda name: blind)
    monkeypatch.setattr(train, "ENTRIES", (blind, replace(blind, name="able", abilities=("view",))))
    said = rayformer("train", "nerf", "--view")
    assert said.status == 2
    snapshot("cannot_be_watched", said.err)
