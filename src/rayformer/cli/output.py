"""Who is spoken to where: stdout holds what was asked for, stderr everything else.

    say          a line to the person, on stderr
    give         what was asked for, on stdout: readable lines, or one JSON document
    progress     a bar on stderr around an iteration
    number_lines numbers by name as lines; tables of them below, the rows with the least first
    columns      rows of texts, aligned
    table        the same under a head; entry by entry where the terminal is too narrow for it

Under torchrun only the first process speaks.
"""

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SHOWN_ROWS = 20
"""Of a table, on a terminal."""


def is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def give(value: Mapping[str, Any] | Sequence[Any], as_json: bool, text: str) -> None:
    """`value` as one JSON document, or `text` for a person."""
    if is_first_process():
        print(json.dumps(_json_ready(value), indent=2, allow_nan=False) if as_json else text)


def number_lines(numbers: Mapping[str, Any]) -> str:
    """Numbers by name, one a line, aligned; below them each table (rows by name, of numbers by name), of a
    long one the rows that have the least in its first column."""
    tables = {name: rows for name, rows in numbers.items() if _is_table(rows)}
    lines = columns([[name, _readable(value)] for name, value in numbers.items() if name not in tables])
    return "\n\n".join([lines, *(_table_lines(name, rows) for name, rows in tables.items())])


def _is_table(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and bool(value) and all(isinstance(row, Mapping) for row in value.values())
    )


def _table_lines(name: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    first, *_ = head = list(next(iter(rows.values())))

    def least(item: tuple[str, Mapping[str, Any]]) -> float:
        value = item[1][first]
        return math.inf if value is None or math.isnan(value) else value

    shown = list(rows.items())
    if (left_out := len(shown) - SHOWN_ROWS) > 0:
        shown = sorted(shown, key=least)[:SHOWN_ROWS]
    lines = table(
        [name.replace("_", " "), *head], [[row, *map(_readable, values.values())] for row, values in shown]
    )
    return lines + (f"\n{left_out} more, of higher {first}; --json has all" if left_out > 0 else "")


def columns(rows: Sequence[Sequence[str]], gap: str = "  ") -> str:
    """Rows of texts as lines, every column as wide as its widest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        gap.join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a head, one a line, for people and for `grep`; but on a terminal too narrow for that, one
    block for each row: its first text, and the others beneath, each behind its name."""
    lines = columns([[title.upper() for title in head], *rows])
    if not (sys.stdout and sys.stdout.isatty()) or _widest(lines) <= shutil.get_terminal_size().columns:
        return lines
    return "\n\n".join(
        f"{row[0]}\n" + columns([["  " + title, text] for title, text in zip(head[1:], row[1:], strict=True)])
        for row in rows
    )


def _widest(lines: str) -> int:
    return max(map(len, lines.splitlines()), default=0)


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """`items`, with a bar and the time left on stderr; silent where stderr is no terminal."""
    from rich.console import Console  # 0.2 s that `list` and `--help` must not pay
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    looks = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*looks, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield from bar.track(items, total=total, description=label)


def _readable(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _json_ready(value: Any) -> Any:
    """Plain values that strict JSON can hold: what is not finite becomes null, a path its text."""
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_ready(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return (
        value
        if value is None or isinstance(value, (str, int))
        else str(value)
        if isinstance(value, Path)
        else _json_ready(float(value))
    )
