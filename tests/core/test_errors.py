"""What a person can mend is told apart from our faults, and a near name is offered only where one is near."""

import pytest

from rayformer.core import errors
from rayformer.core.errors import MissingExtra, RayformerError, UserError, did_you_mean

KINDS = [
    errors.ConfigError,
    errors.DataError,
    errors.RunError,
    errors.ShapeError,
    errors.Diverged,
    MissingExtra,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_person_can_mend_every_named_error(kind):
    assert issubclass(kind, UserError)
    assert issubclass(kind, RayformerError)


def test_a_missing_extra_says_how_to_install_it(snapshot):
    error = MissingExtra("heic", "photos/1.heic")
    assert error.extra == "heic"
    snapshot("missing_extra", str(error))


@pytest.mark.parametrize(("word", "near"), [("widht", "width"), ("with", "width"), ("dept", "depth")])
def test_a_near_name_is_offered(word, near):
    assert did_you_mean(word, ["depth", "width"]) == f" Did you mean {near!r}?"


@pytest.mark.parametrize("word", ["", "qqq", "momentum"])
def test_a_far_name_is_not(word):
    assert did_you_mean(word, ["depth", "width"]) == ""
