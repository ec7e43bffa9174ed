"""The config tree: nested frozen dataclasses, written to and read from plain YAML-ready values.

    to_plain      config -> dicts, lists, numbers, texts
    from_plain    the way back; a wrong field is a ConfigError with its dotted name
    field_docs    every leaf by its dotted name, with type, default and the text under the field

A config lives beside the class it configures. The text under a field is its help on the command line and
gives its unit; values that cannot work are refused in `__post_init__`, so that no way in (YAML, command line,
Python) is unguarded. A field holds a number, a text, a path, true or false, one of a few words (Literal), a
tuple of these, None where its type allows it, or another config.
"""

import ast
import dataclasses
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rayformer.core.errors import ConfigError, did_you_mean

C = TypeVar("C")


def to_plain(config: Any) -> Any:
    """The config as dicts, lists, numbers, texts and None, in the order of its fields."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, (list, tuple)):
        return [to_plain(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def from_plain(cls: type[C], plain: Any, where: str = "run.yaml") -> C:
    """The config that `to_plain` wrote. `where` names the file in errors.

    Raises ConfigError, by dotted name, for an unknown field, a missing one, a value of the wrong type, or one
    that the config's own rules refuse.
    """
    try:
        return _read_config(cls, plain, "")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _read_config(cls: type[C], plain: Any, path: str) -> C:
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(plain, Mapping):
        raise ConfigError(
            f"{path or 'the config'} must hold fields by name ({', '.join(fields)}), but is {plain!r}"
        )
    prefix = f"{path}." if path else ""
    for name in plain:
        if name not in fields:
            raise ConfigError(f"{prefix}{name} is not a field.{did_you_mean(str(name), fields)}")
    for name, field in fields.items():
        if name not in plain and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{prefix}{name} is missing: it must be {spell(kinds[name])}")
    return cls(**{name: _read(kinds[name], value, f"{prefix}{name}") for name, value in plain.items()})


def _read(kind: Any, value: Any, path: str) -> Any:
    options = _options(kind)
    inside = next((option for option in options if dataclasses.is_dataclass(option)), None)
    if inside and not (value is None and type(None) in options):
        return _read_config(inside, value, path)  # type: ignore[arg-type]
    for option in (option for option in options if option is not inside):
        found = _as_kind(option, value)
        if found is not _MISFIT:
            return found
    raise ConfigError(f"{path} must be {spell(kind)}, but is {value!r}")


_MISFIT = object()
"""What comes of a value that is not of a kind; None is a value."""


def _as_kind(kind: Any, value: Any) -> Any:
    """`value` as the type of a leaf, with nothing guessed: no text becomes a number, no number a truth."""
    if kind in (bool, str, type(None)):
        return value if isinstance(value, kind) else _MISFIT
    if kind is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else _MISFIT
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
        return float(value) if is_number else _MISFIT
    if kind is Path:
        return Path(value) if isinstance(value, (str, Path)) else _MISFIT
    if typing.get_origin(kind) is typing.Literal:
        return value if value in typing.get_args(kind) else _MISFIT
    if typing.get_origin(kind) is tuple:
        return _as_tuple(typing.get_args(kind), value)
    raise AssertionError(
        f"a config field is a number, a text, a path, a truth, a Literal or a tuple, not {kind}"
    )


def _as_tuple(kinds: tuple[Any, ...], value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        return _MISFIT
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    items = tuple(_as_kind(kind, item) for kind, item in zip(kinds, value, strict=False))
    return items if len(value) == len(kinds) and _MISFIT not in items else _MISFIT


@dataclass(frozen=True)
class FieldDoc:
    kind: Any
    """The annotation."""
    default: Any
    help: str
    """The text under the field, on one line."""

    @property
    def type(self) -> str:
        """The annotation, as a person would say it: "a whole number or none"."""
        return spell(self.kind)

    @property
    def may_be_none(self) -> bool:
        return type(None) in _options(self.kind)


def field_docs(config: Any, prefix: str = "") -> dict[str, FieldDoc]:
    """Every leaf of a config (an instance) by its dotted name, in the order of the fields."""
    docs: dict[str, FieldDoc] = {}
    texts, kinds = _texts_under_fields(type(config)), typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            docs |= field_docs(value, f"{prefix}{field.name}.")
        else:
            docs[prefix + field.name] = FieldDoc(kinds[field.name], value, texts.get(field.name, ""))
    return docs


def _texts_under_fields(cls: type) -> dict[str, str]:
    """The texts of the class and of those it builds on."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef), f"{cls} is not written as a class"
    texts: dict[str, str] = {}
    for base in cls.__bases__:
        if dataclasses.is_dataclass(base):
            texts |= _texts_under_fields(base)
    for node, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
        ):
            text = below.value.value if isinstance(below.value, ast.Constant) else None
            if isinstance(text, str):
                texts[node.target.id] = " ".join(text.split())
    return texts


def _options(kind: Any) -> tuple[Any, ...]:
    """The members of a union; of anything else, itself."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "none",
}


def spell(kind: Any) -> str:
    """A type as a person would say it: `int | None` is "a whole number or none"."""
    arguments = typing.get_args(kind)
    if kind in NAMES:
        return NAMES[kind]
    if typing.get_origin(kind) is typing.Literal:
        *first, last = map(str, arguments)
        return f"{', '.join(first)} or {last}" if first else last
    if typing.get_origin(kind) is tuple:
        several = f"{spell(arguments[0]).removeprefix('a ')}s"
        if arguments[-1] is Ellipsis:
            return several
        alike = len(set(arguments)) == 1
        return f"{len(arguments)} {several}" if alike else f"({', '.join(map(spell, arguments))})"
    if len(_options(kind)) > 1:
        return " or ".join(map(spell, _options(kind)))
    return getattr(kind, "__name__", str(kind))
