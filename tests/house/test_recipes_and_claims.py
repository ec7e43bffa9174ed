"""What the static lists promise is what the modules hold, and every command written down can be typed."""

import dataclasses
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from rayformer.claims.index import ENTRIES as CLAIMS
from rayformer.cli.commands import find_command
from rayformer.cli.train import read_job
from rayformer.core.config import field_docs, from_plain, to_plain
from rayformer.recipes.index import ENTRIES as RECIPES
from rayformer.recipes.index import load

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def source_of(module: str) -> Path:
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def commands_in(path: Path) -> list[str]:
    """Every whole line of a file that is a command line of ours; `\\` at its end goes on in the next."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in text.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines if re.match(r"rayformer [a-z]+( |$)", line)]


WRITTEN = [
    pytest.param(line, id=f"{path.name}: {line}")
    for path in [source_of(entry.module) for entry in RECIPES] + DOCUMENTS
    for line in commands_in(path)
]


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_a_recipe_can_what_the_index_says(entry):
    recipe = load(entry.name)
    abilities = {"predict": recipe.predict, "render": recipe.render, "view": recipe.render}
    abilities["export"] = recipe.exports
    assert set(entry.abilities) == {name for name, ability in abilities.items() if ability}


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_every_recipe_says_how_it_is_trained(entry):
    assert [
        line
        for line in commands_in(source_of(entry.module))
        if line.startswith(f"rayformer train {entry.name}")
    ]


@pytest.mark.parametrize("line", WRITTEN)
def test_every_written_command_can_be_typed(line):
    _, name, *words = shlex.split(line)
    command = find_command(name)
    if name == "train" and not {"--help", "--resume"} & set(words) and words[0].islower():
        read_job(words, command.usage)


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("size", ["default", "smoke"])
def test_every_field_of_a_recipe_is_explained(entry, size):
    for name, doc in field_docs(getattr(load(entry.name), size)).items():
        assert doc.help, f"{entry.name}: {name} has no text under it"


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_no_config_has_more_than_twenty_fields(entry):
    def count(config):
        fields = dataclasses.fields(config)
        assert len(fields) <= 20, f"{type(config).__name__} has {len(fields)} fields: split it"
        for field in fields:
            value = getattr(config, field.name)
            if dataclasses.is_dataclass(value):
                count(value)

    count(load(entry.name).default)


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
@pytest.mark.parametrize("size", ["default", "smoke"])
def test_a_config_survives_run_yaml(entry, size):
    import yaml

    config = getattr(load(entry.name), size)
    assert from_plain(type(config), yaml.safe_load(yaml.safe_dump(to_plain(config)))) == config


@pytest.mark.parametrize("entry", CLAIMS, ids=lambda entry: entry.name)
def test_a_claim_is_what_the_index_says(entry):
    claim = import_module(entry.module).CLAIM
    assert (claim.name, claim.paper, claim.statement) == (entry.name, entry.paper, entry.statement)
