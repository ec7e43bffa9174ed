"""A recipe's config from the command line: `--model.width 128` sets the field `model.width`.

    configure       options, over a config to start from, give a config
    changed         the fields in which two configs differ
    add_fields      every field with type, unit and default, into the help of a command

tyro turns words into typed values. Which option is at fault, and how that is said, is decided here: a person
reads one rule in one wording, whether a value came from run.yaml or from the command line.
"""

import argparse
import contextlib
import io
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from rayformer.cli.options import an_option, unknown_option
from rayformer.core.config import FieldDoc, field_docs
from rayformer.core.errors import ConfigError

C = TypeVar("C")

TRUE, FALSE, NONE = ("true", "yes", "on", "1"), ("false", "no", "off", "0"), ("none", "null")

PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", Path: "PATH", bool: "true|false", type(None): "none"}


def configure(base: C, words: Sequence[str], command: str, others: Mapping[str, str] | None = None) -> C:
    """`base` with the fields that `words` set. `others` are the command's own options with their help.

    `--data X` is short for `--data.source X`; a switch is set by `--flag`, `--no-flag` or `--flag true`; a
    dash may stand for an underscore. Raises ConfigError for an unknown option (and offers the nearest one, of
    `others` too), for a value of the wrong type, and for whatever the config itself refuses.
    """
    docs = field_docs(base)
    options = [_spell_out(option, docs) for option in _grouped(words, command)]
    for name, _ in options:
        if name not in docs:
            raise unknown_option(
                f"--{name}",
                {f"--{known}": help_text(doc) for known, doc in docs.items()} | dict(others or {}),
                command,
            )
    config = _with_tyro(base, options)
    return _blame(base, options, docs) if config is None else config


def changed(before: Any, after: Any) -> list[str]:
    """The dotted names of the fields that differ, in the order of the fields."""
    old, new = field_docs(before), field_docs(after)
    return [name for name in new if name not in old or old[name].default != new[name].default]


def add_fields(parser: argparse.ArgumentParser, base: Any, title: str = "recipe") -> None:
    """A section of help for every part of the config; `title` is that of the fields that are in no part."""
    sections: dict[str, Any] = {}
    for name, doc in field_docs(base).items():
        part = name.rpartition(".")[0]
        if part not in sections:
            sections[part] = parser.add_argument_group(part or title)
        text = help_text(doc).replace("%", "%%")  # argparse would fill it in
        sections[part].add_argument(
            f"--{name}", metavar=_placeholder(doc.kind), help=text, default=argparse.SUPPRESS
        )


def help_text(doc: FieldDoc) -> str:
    return f"{doc.help} (default: {_as_typed(doc.default)})".lstrip()


Option = tuple[str, list[str]]
"""A dotted name and the words that came behind it."""


def _grouped(words: Sequence[str], command: str) -> list[Option]:
    options: list[Option] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options.append((name, [value] if equals else []))
        elif options:
            options[-1][1].append(word)
        else:
            raise ConfigError(
                f"{command} does not know what to do with {word!r}: every field is set by --name value.\n"
                f"`{command} --help` explains every option."
            )
    return options


def _spell_out(option: Option, docs: Mapping[str, FieldDoc]) -> Option:
    """The field's own name for its short forms, and the values in the spelling that tyro reads."""
    name, values = option
    name = name.replace("-", "_")
    if name not in docs and f"{name}.source" in docs:
        name = f"{name}.source"
    part, _, last = name.rpartition(".")
    unsaid = f"{part}.{last.removeprefix('no_')}".lstrip(".")
    if name not in docs and last.startswith("no_") and unsaid in docs and not values:
        return unsaid, ["False"]
    if name not in docs:
        return option
    if docs[name].kind is bool:
        values = [
            "True" if value.lower() in TRUE else "False" if value.lower() in FALSE else value
            for value in values
        ] or ["True"]
    if docs[name].may_be_none:
        values = ["None" if value.lower() in NONE else value for value in values]
    return name, values


def _with_tyro(base: C, options: Sequence[Option]) -> C | None:
    """The config, or None where a value does not fit its field."""
    import tyro

    words = [word for name, values in options for word in (f"--{name}", *values)]
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its boxes are ten lines where one will do
            return tyro.cli(
                type(base),
                default=base,
                args=words,
                use_underscores=True,
                console_outputs=False,
                config=(tyro.conf.FlagConversionOff,),
            )
    except SystemExit:
        return None


def _blame(base: Any, options: Sequence[Option], docs: Mapping[str, FieldDoc]) -> NoReturn:
    """Raise the ConfigError for the first option that does not even fit alone."""
    for name, values in options:
        try:
            fits = _with_tyro(base, [(name, values)]) is not None
        except ConfigError:  # of the right type, and refused only for want of its company
            fits = True
        if not fits:
            raise ConfigError(
                f"--{name} {_misfit(values, docs[name])}.\n{an_option(f'--{name}', help_text(docs[name]))}"
            )
    raise AssertionError(f"tyro refuses {options} together and each of them alone fits")


def _misfit(values: Sequence[str], doc: FieldDoc) -> str:
    """What is wrong with the words behind an option."""
    if not values:
        return f"needs a value: {doc.type}"
    if len(values) > 1 and "..." not in _placeholder(doc.kind) and " " not in _placeholder(doc.kind):
        came = " ".join(map(repr, values))
        return f"takes one value, but {len(values)} came: {came}. A value with spaces goes in quotes"
    return f"must be {doc.type}, but is {' '.join(values)!r}"


def _placeholder(kind: Any) -> str:
    """What stands for a value in the help: `N`, `X X`, `a|b`."""
    arguments = typing.get_args(kind)
    if kind in PLACEHOLDERS:
        return PLACEHOLDERS[kind]
    if typing.get_origin(kind) is tuple:
        return " ".join("..." if part is Ellipsis else _placeholder(part) for part in arguments)
    return "|".join(
        str(part) if typing.get_origin(kind) is typing.Literal else _placeholder(part) for part in arguments
    )


def _as_typed(value: Any) -> str:
    """A default as a person would type it."""
    if isinstance(value, (tuple, list)):
        return " ".join(map(_as_typed, value)) or "empty"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # 0.0 as 0, 10000000000.0 as 1e10
        short = re.sub(r"e([+-])0*", lambda sign: "e" + sign[1].strip("+"), f"{value:g}")
        return short if float(short) == value else str(value)
    return str(value)
