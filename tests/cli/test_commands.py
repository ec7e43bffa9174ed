"""The contract of the command line: exit status, what goes to stdout, what to stderr."""

import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from rayformer import __version__
from rayformer.cli import commands, output
from rayformer.cli.commands import COMMANDS, offered
from rayformer.core.errors import DataError


def test_version_and_help_are_answered_on_stdout(rayformer):
    assert rayformer("--version").out == f"rayformer {__version__}\n"
    for words in ([], ["--help"], ["-h"]):
        said = rayformer(*words)
        assert (said.status, said.err) == (0, "")
        assert all(command.does in said.out for command in offered())


@pytest.mark.parametrize("command", [command.name for command in offered()])
def test_every_command_explains_itself(rayformer, command):
    said = rayformer(command, "--help")
    assert (said.status, said.err) == (0, "")
    assert f"usage: rayformer {command}" in said.out


def test_help_before_a_command_is_help_behind_it(rayformer):
    assert rayformer("help", "eval") == rayformer("eval", "--help")


def test_no_word_of_a_help_text_is_broken_at_its_dash(rayformer, tiny_recipe):
    said = rayformer("train", "nerf", "--help").out
    assert "runs/DATE-TIME-RECIPE)" in said


def test_only_what_some_recipe_can_is_offered(monkeypatch):
    monkeypatch.setattr(commands, "ENTRIES", ())
    assert "render" not in [command.name for command in commands.offered()]
    assert {command.name for command in COMMANDS if command.ability is None} == {
        c.name for c in commands.offered()
    }


def test_an_unknown_command_is_answered_with_the_nearest(rayformer, snapshot):
    said = rayformer("trian", "nerf")
    assert (said.status, said.out) == (2, "")
    snapshot("unknown_command", said.err)


def test_an_unknown_option_of_a_command_is_answered_with_the_nearest(rayformer, snapshot):
    said = rayformer("list", "--jsn")
    assert (said.status, said.out) == (2, "")
    snapshot("unknown_option", said.err)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_run_given", ["eval"]),
        ("a_run_too_many", ["report", "a", "b"]),
        ("an_option_without_its_value", ["eval", "x", "--data"]),
        ("no_such_run", ["eval", "nowhere"]),
        ("no_recipe", ["train"]),
        ("recipe_that_is_not_first", ["train", "--data", "demo", "nerf"]),
        ("unknown_recipe", ["train", "nref"]),
        ("unknown_claim", ["reproduce", "nerf-ablation"]),
        ("unknown_device", ["doctor", "--device", "tpu"]),
        ("seed_that_is_no_number", ["train", "nerf", "--seed", "one"]),
        ("size_that_is_no_size", ["render", "x", "--size", "640"]),
        ("video_of_another_format", ["render", "x", "--out", "film.avi"]),
    ],
)
def test_a_refusal_is_one_to_four_plain_lines_and_exit_2(rayformer, tiny_recipe, snapshot, name, words):
    said = rayformer(*words)
    assert (said.status, said.out) == (2, "")
    assert 1 <= len(said.err.splitlines()) <= 4
    assert said.err.isascii()
    snapshot(name, said.err)


def test_list_names_every_recipe_and_its_json_is_one_document(rayformer):
    said = rayformer("list", "--json")
    assert (said.status, said.err) == (0, "")
    recipes = json.loads(said.out)
    assert {"name", "system", "paper", "takes", "gives", "abilities"} == set(recipes[0])
    assert all(recipe["name"] in rayformer("list").out for recipe in recipes)


def test_reproduce_without_a_claim_lists_the_claims(rayformer):
    claims = json.loads(rayformer("reproduce", "--json").out)
    assert {"nerf-ablations", "view-dependence", "coarse-to-fine"} <= {claim["name"] for claim in claims}
    assert all(claim["statement"] in rayformer("reproduce").out for claim in claims)


def broken(error):
    def run(words, usage):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("photos/7.jpg is not an image"), 2),
        (PermissionError(13, "Permission denied", "runs/x"), 2),
        (OSError(28, "No space left on device", "runs/x"), 2),
        (OSError(28, "No space left on device"), 2),
        (MemoryError("Unable to allocate 26.6 PiB"), 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nframe 0"), 2),
        (RuntimeError("shapes do not match"), 1),
        (ZeroDivisionError("division by zero"), 1),
        (KeyError("psnr"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_has_its_exit_status_and_shows_its_traceback_only_when_asked(
    rayformer, monkeypatch, error, status
):
    monkeypatch.setattr("rayformer.cli.list_recipes.run", broken(error))
    plain = rayformer("list")
    assert (plain.status, plain.out) == (status, "")
    assert "Traceback" not in plain.err
    assert 1 <= len(plain.err.splitlines()) <= 4
    debug = rayformer("--debug", "list")
    assert debug.status == status
    assert "Traceback" in debug.err


def test_our_own_fault_says_so_and_where(rayformer, monkeypatch):
    monkeypatch.setattr("rayformer.cli.list_recipes.run", broken(ZeroDivisionError("division by zero")))
    said = rayformer("list")
    assert "a fault in rayformer" in said.err
    assert "test_commands.py" in said.err
    assert "--debug" in said.err


def test_want_of_memory_says_what_to_ask_for(rayformer, monkeypatch, snapshot):
    monkeypatch.setattr("rayformer.cli.list_recipes.run", broken(MemoryError("Unable to allocate 26.6 PiB")))
    snapshot("want_of_memory", rayformer("list").err)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_refused(snapshot):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "rayformer", "list"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode == 2
    snapshot("full_disk_behind_stdout", ended.stderr)


def test_a_closed_stdout_is_no_error():
    ended = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m rayformer list >&-"], check=False, stderr=subprocess.PIPE
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_table_too_wide_for_its_terminal_becomes_blocks(monkeypatch):
    head, rows = ["claim", "statement"], [["one", "a"], ["two", "b" * 30]]
    lines = output.table(head, rows)
    assert lines.splitlines() == ["CLAIM  STATEMENT", "one    a", "two    " + "b" * 30]
    monkeypatch.setattr("sys.stdout", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("COLUMNS", "20")
    assert output.table(head, rows) == "one\n  statement  a\n\ntwo\n  statement  " + "b" * 30
    monkeypatch.setenv("COLUMNS", "60")
    assert output.table(head, rows) == lines


def test_what_a_lower_layer_says_while_it_works_goes_to_stderr(rayformer, monkeypatch):
    def run(words, usage):
        logging.getLogger("rayformer.data.scenes.drawn").info("drawing the scene %r", "demo")
        return 0

    monkeypatch.setattr("rayformer.cli.list_recipes.run", run)
    for _ in range(2):  # once each time, however often the command line is entered
        said = rayformer("list")
        assert (said.out, said.err) == ("", "- drawing the scene 'demo'\n")


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -0` would
    ended = subprocess.run(
        [sys.executable, "-m", "rayformer", "list"], check=False, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_terminal_of_another_alphabet_is_no_error():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    ended = subprocess.run(
        [sys.executable, "-m", "rayformer", "--help"], check=False, capture_output=True, env=environment
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
