"""A config survives the way to YAML and back, and what is wrong on the way is named by its dotted name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as draw

from rayformer.core.config import field_docs, from_plain, spell, to_plain
from rayformer.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Optim:
    rate: float = 0.1
    """Learning rate
    at its height."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decays."""
    name: Literal["adam", "sgd"] = "adam"
    """Rule."""
    milestones: tuple[int, ...] = ()
    """Steps at which the rate falls."""

    def __post_init__(self):
        if self.rate <= 0:
            raise ConfigError(f"plan.optim.rate must be above 0, but is {self.rate}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    steps: int
    """Optimiser steps."""
    minutes: float | None = None
    """Stop by the clock."""
    mask: bool = False
    """Whether masks count."""
    folder: Path | None = None
    optim: Optim = Optim()
    second: Optim | None = None
    """Another optimiser."""


@dataclass(frozen=True, kw_only=True)
class Root:
    name: str = "x"
    """Any text."""
    plan: Plan = Plan(steps=10)


NUMBERS = draw.floats(allow_nan=False)
OPTIMS = draw.builds(
    Optim,
    rate=draw.floats(min_value=1e-300, allow_nan=False),
    betas=draw.tuples(NUMBERS, NUMBERS),
    name=draw.sampled_from(["adam", "sgd"]),
    milestones=draw.lists(draw.integers()).map(tuple),
)
PLANS = draw.builds(
    Plan,
    steps=draw.integers(),
    minutes=draw.none() | NUMBERS,
    mask=draw.booleans(),
    folder=draw.none() | draw.just(Path("a/b")),
    optim=OPTIMS,
    second=draw.none() | OPTIMS,
)
TEXTS = draw.text(draw.characters(exclude_categories=["Cs", "Cc"]))


@given(draw.builds(Root, name=TEXTS, plan=PLANS))
def test_a_config_survives_the_way_to_yaml_and_back(config):
    assert from_plain(Root, yaml.safe_load(yaml.safe_dump(to_plain(config)))) == config


def test_a_whole_number_may_stand_for_a_number_and_becomes_one():
    rate = from_plain(Optim, {"rate": 1}).rate
    assert rate == 1.0
    assert isinstance(rate, float)


def test_what_is_left_out_takes_its_default():
    assert from_plain(Root, {"plan": {"steps": 10}}) == Root()


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("not_a_mapping", [1, 2]),
        ("number_for_a_config", {"plan": 5}),
        ("nothing_for_a_config", {"plan": None}),
        ("unknown_field", {"plan": {"steps": 1, "optim": {"rat": 1}}}),
        ("unknown_name_that_is_no_text", {3: 4}),
        ("missing_field", {"plan": {}}),
        ("text_for_a_number", {"plan": {"steps": 1, "optim": {"rate": "1e-3"}}}),
        ("fraction_for_a_whole_number", {"plan": {"steps": 1.5}}),
        ("truth_for_a_number", {"plan": {"steps": True}}),
        ("number_for_a_truth", {"plan": {"steps": 1, "mask": 1}}),
        ("number_for_a_text", {"name": 3}),
        ("number_for_a_path", {"plan": {"steps": 1, "folder": 3}}),
        ("not_a_number", {"plan": {"steps": 1, "minutes": float("nan")}}),
        ("word_not_among_the_choices", {"plan": {"steps": 1, "optim": {"name": "adm"}}}),
        ("list_for_a_choice", {"plan": {"steps": 1, "optim": {"name": ["adam"]}}}),
        ("too_few_numbers", {"plan": {"steps": 1, "optim": {"betas": [0.9]}}}),
        ("text_among_numbers", {"plan": {"steps": 1, "optim": {"betas": [0.9, "x"]}}}),
        ("text_for_numbers", {"plan": {"steps": 1, "optim": {"milestones": "123"}}}),
        ("out_of_range", {"plan": {"steps": 1, "optim": {"rate": -1}}}),
        ("fault_in_an_optional_config", {"plan": {"steps": 1, "second": {"rate": "x"}}}),
    ],
)
def test_a_refusal_names_the_file_the_field_the_rule_and_what_came(snapshot, name, plain):
    with pytest.raises(ConfigError) as caught:
        from_plain(Root, plain)
    assert len(str(caught.value).splitlines()) == 1
    snapshot(name, str(caught.value))


def test_every_leaf_is_documented_by_its_dotted_name():
    docs = field_docs(Root())
    assert list(docs) == [
        "name",
        "plan.steps",
        "plan.minutes",
        "plan.mask",
        "plan.folder",
        "plan.optim.rate",
        "plan.optim.betas",
        "plan.optim.name",
        "plan.optim.milestones",
        "plan.second",
    ]
    assert docs["plan.optim.rate"].help == "Learning rate at its height."
    assert docs["plan.optim.rate"].default == 0.1
    assert docs["plan.minutes"].type == "a number or none"
    assert docs["plan.minutes"].may_be_none
    assert not docs["plan.steps"].may_be_none


def test_a_field_without_a_text_does_not_take_its_neighbours():
    assert field_docs(Root())["plan.folder"].help == ""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int, "a whole number"),
        (int | None, "a whole number or none"),
        (Literal["white", "black"], "white or black"),
        (tuple[float, float, float], "3 numbers"),
        (tuple[int, ...], "whole numbers"),
        (tuple[int, str], "(a whole number, a text)"),
        (bool, "true or false"),
    ],
)
def test_types_are_said_as_a_person_would(kind, said):
    assert spell(kind) == said
