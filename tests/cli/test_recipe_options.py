"""Words become a config, or a refusal that says the option, the rule and what came."""

import pytest

from rayformer.cli.options import Options
from rayformer.cli.recipe_options import add_fields, changed, configure
from rayformer.core.errors import ConfigError

from .conftest import Tiny


def configured(*words: str) -> Tiny:
    return configure(Tiny(), words, "rayformer train nerf", {"--seed": "every random number follows from it"})


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(*words)
    assert 1 <= len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


def test_no_words_change_nothing():
    assert configured() == Tiny()


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--model.width", "8"], "width", 8),
        (["--model.width=8"], "width", 8),
        (["--model.density-noise", "-1e-3"], "density_noise", -0.001),
        (["--model.density_noise=-.5"], "density_noise", -0.5),
        (["--model.background", "black"], "background", "black"),
        (["--model.bounds", "0", "1.5"], "bounds", (0.0, 1.5)),
        (["--model.octaves", "1", "2", "3"], "octaves", (1, 2, 3)),
        (["--model.view_dependent", "False"], "view_dependent", False),
        (["--model.view_dependent", "no"], "view_dependent", False),
        (["--model.no-view-dependent"], "view_dependent", False),
        (["--model.no_view_dependent", "--model.width", "64"], "view_dependent", False),
        (["--model.view_dependent", "false", "--model.view_dependent"], "view_dependent", True),
        (["--model.width", "1", "--model.width", "2"], "width", 2),
    ],
)
def test_every_way_of_writing_a_value_is_read(words, field, value):
    assert getattr(configured(*words).model, field) == value


@pytest.mark.parametrize("words", [["--data", "photos"], ["--data=photos"], ["--data.source", "photos"]])
def test_data_is_short_for_its_source(words):
    assert configured(*words).data.source == "photos"


def test_none_can_be_written():
    base = Tiny()
    assert configure(base, ["--data.views", "4", "--data.views", "none"], "x").data.views is None


def test_what_was_changed_is_listed_by_its_dotted_name():
    assert changed(Tiny(), configured("--plan.steps", "5", "--model.width", "64", "--data", "x")) == [
        "data.source",
        "plan.steps",
    ]


def test_an_unknown_option_is_answered_with_the_nearest_one_and_its_help(snapshot):
    snapshot("unknown_option", refusal("--model.widht", "8"))
    assert "--model.width:" in refusal("--width", "8")
    assert "--plan.steps:" in refusal("--step", "8")
    assert "--seed: every random number" in refusal("--sead", "8")


def test_an_option_like_no_other_is_refused_without_a_guess(snapshot):
    snapshot("unlike_any_option", refusal("--qqq"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a_text_for_a_number", ["--model.width", "wide"]),
        ("a_fraction_for_a_whole_number", ["--data.views", "1.5"]),
        ("a_word_not_among_the_choices", ["--model.background", "grey"]),
        ("one_number_for_two", ["--model.bounds", "1"]),
        ("two_numbers_for_one", ["--model.width", "1", "2"]),
        ("a_guess_at_a_truth", ["--model.view_dependent", "perhaps"]),
        ("no_value", ["--plan.steps", "--model.width", "8"]),
        ("a_word_that_belongs_to_no_option", ["demo", "--model.width", "8"]),
        ("a_value_out_of_range", ["--model.width", "0"]),
    ],
)
def test_a_refusal_says_the_option_the_rule_and_what_came(snapshot, name, words):
    snapshot(name, refusal(*words))


def test_the_first_wrong_option_is_blamed_and_no_right_one():
    text = refusal("--plan.steps", "5", "--model.width", "wide", "--model.density_noise", "loud")
    assert text.startswith("--model.width must be")


def test_help_explains_every_field_with_its_default(snapshot, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    options = Options("rayformer train nerf", "Train.")
    add_fields(options, Tiny())
    snapshot("help", options.format_help())
