"""What a line behind `rayformer train` asks for, and what a person is told in the end."""

import json

import pytest

from rayformer.cli.train import read_job
from rayformer.core.errors import ConfigError

from .conftest import Tiny


def job(*words):
    return read_job(words, "rayformer train RECIPE")


def test_without_options_the_recipe_is_trained_as_it_is(tiny_recipe):
    asked = job("nerf")
    assert (asked.recipe, asked.config, asked.seed, asked.device, asked.smoke) == (
        "nerf",
        Tiny(),
        0,
        "auto",
        False,
    )
    assert asked.out is asked.resume is asked.start is None


def test_fixed_options_and_fields_may_be_mixed_in_any_order(tiny_recipe):
    asked = job(
        "nerf",
        "--model.width",
        "8",
        "--out",
        "x",
        "--data",
        "photos",
        "--seed",
        "-1",
        "--from",
        "w",
        "--plan.steps=3",
    )
    assert (asked.config.model.width, asked.config.data.source, asked.config.plan.steps) == (8, "photos", 3)
    assert (str(asked.out), asked.seed, asked.start) == ("x", -1, "w")
    assert asked.defaults == Tiny()


def test_smoke_starts_from_the_small_config_and_options_still_count(tiny_recipe):
    asked = job("nerf", "--smoke", "--model.width", "8")
    assert (asked.config.plan.steps, asked.config.model.width, asked.defaults) == (10, 8, tiny_recipe.smoke)


def test_help_of_a_recipe_explains_its_fields_and_the_fixed_options(rayformer, tiny_recipe):
    said = rayformer("train", "nerf", "--help")
    assert (said.status, said.err) == (0, "")
    assert "usage: rayformer train nerf" in said.out
    for text in (
        "--model.width N",
        "Channels of a hidden layer. (default: 64)",
        "--resume RUN",
        "--data.views N|none",
    ):
        assert text in said.out
    assert "(default: 10)" in rayformer("train", "nerf", "--smoke", "--help").out


def test_stdout_holds_the_numbers_the_run_and_the_report(rayformer, tiny_recipe, tmp_path):
    said = rayformer("train", "nerf", "--out", "my_run")
    assert said.status == 0
    assert "psnr_db  21.5" in said.out
    assert "my_run/report.html" in said.out
    assert (tmp_path / "my_run" / "report.html").exists()
    assert "step 10 of 10" in said.err


def test_json_is_one_document_alone_on_stdout(rayformer, tiny_recipe):
    said = rayformer("train", "nerf", "--out", "my_run", "--json")
    assert json.loads(said.out) == {
        "run": "my_run",
        "interrupted": False,
        "result": {"psnr_db": 21.5, "ssim": None},
        "report": "my_run/report.html",
    }


def test_an_interrupted_training_exits_130_and_names_its_run(rayformer, tiny_recipe):
    said = rayformer("train", "nerf", "--out", "my_run", "--plan.steps", "13", "--json")
    assert said.status == 130
    found = json.loads(said.out)
    assert (found["run"], found["interrupted"]) == ("my_run", True)


def test_a_resumed_run_keeps_recipe_config_and_seed(trained):
    asked = job("--resume", str(trained))
    assert (asked.recipe, asked.config, asked.seed, asked.resume) == ("nerf", Tiny(), 3, trained)
    assert job("nerf", "--resume", str(trained)) == asked


def test_a_resumed_run_may_be_made_longer(trained):
    asked = job("--resume", str(trained), "--plan.steps", "2000", "--plan.minutes", "3")
    assert (asked.config.plan.steps, asked.config.plan.minutes) == (2000, 3.0)


def test_a_resumed_run_may_be_told_what_it_is_already(trained):
    assert job("--resume", str(trained), "--model.width", "64", "--seed", "3") == job(
        "--resume", str(trained)
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a_field", ["--model.width", "8", "--plan.steps", "5"]),
        ("the_seed", ["--seed", "4"]),
        ("the_folder", ["--out", "elsewhere"]),
        ("weights", ["--from", "elsewhere"]),
        ("the_size", ["--smoke"]),
    ],
)
def test_a_resumed_run_may_not_become_another(trained, snapshot, name, words):
    with pytest.raises(ConfigError) as caught:
        job("--resume", str(trained), *words)
    snapshot(f"resume_with_{name}", str(caught.value))


def test_a_run_of_a_config_that_is_no_more_is_refused_with_the_field(trained):
    manifest = (trained / "run.yaml").read_text()
    (trained / "run.yaml").write_text(manifest.replace("width: 64", "breadth: 64"))
    with pytest.raises(ConfigError, match=r"run.yaml: model.breadth is not a field. Did you mean 'width'"):
        job("--resume", str(trained))
